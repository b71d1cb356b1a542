"""Training pairs from disk or from a stream: reading, writing, packing and checking them.

`pairs.open_pairs` opens a data set in the official folder layout (`folder.py`) or packed in tar
shards (`shards.py`). Needs what `views` needs; shards also need the extra `train` (webdataset).
"""
