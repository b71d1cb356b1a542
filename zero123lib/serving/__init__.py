"""An HTTP API of views, and the app, behind several replicas of a model. `zero123 serve` runs it.

A request is an image, cameras and a seed, and its answer follows from them alone: any replica may
make it, and another one again if the first is lost. `api.py` is the HTTP part, which knows of no
engine; `maker.py` is what a replica does; `cluster.py` joins the two by Ray Serve.
"""
