"""The names that a pickle of weights may refer to: an explicit list, and nothing beyond it."""

from __future__ import annotations

# Bytes per element of the storages that torch.save names.
ITEM_BYTES = {
    "torch.DoubleStorage": 8,
    "torch.FloatStorage": 4,
    "torch.HalfStorage": 2,
    "torch.BFloat16Storage": 2,
    "torch.LongStorage": 8,
    "torch.IntStorage": 4,
    "torch.ShortStorage": 2,
    "torch.CharStorage": 1,
    "torch.ByteStorage": 1,
    "torch.BoolStorage": 1,
}
ORDERED_DICT = "collections.OrderedDict"
TENSOR = "torch._utils._rebuild_tensor_v2"
PARAMETER = "torch._utils._rebuild_parameter"
ENCODE = "_codecs.encode"
# Values that stand in optimizer states and hyper-parameters; torch makes them of plain ones.
PLAIN = {"torch.Size", "torch.device"}
DTYPES = {f"torch.{name}" for name in ("float64", "float32", "float16", "bfloat16", "int64")}

# What stands beside the tensors in files of Lightning, and becomes a stand-in that does nothing.
# Stable Diffusion's files, of which Zero123's are descendants, hold ModelCheckpoint, as a key of
# `callbacks`, and numpy's scalars (lopho/pickle_inspector, _importlists.py). OmegaConf's containers
# are in files of models that keep their hyper-parameters (open-retina/open-retina, pull request
# 186); the other names are those that pickles of such containers refer to.
INERT = {
    *(  # Lightning 2 has another package name.
        f"{package}.callbacks.{name}"
        for package in ("pytorch_lightning", "lightning.pytorch")
        for name in ("model_checkpoint.ModelCheckpoint", "early_stopping.EarlyStopping")
    ),
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.nodes.AnyNode",
    "omegaconf.nodes.BooleanNode",
    "omegaconf.nodes.FloatNode",
    "omegaconf.nodes.IntegerNode",
    "omegaconf.nodes.StringNode",
    "typing.Any",
    "builtins.bool",
    "builtins.dict",
    "builtins.float",
    "builtins.int",
    "builtins.list",
    "builtins.str",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
}
# The same, where the pickle goes on to fill a dict.
INERT_DICTS = {
    "collections.defaultdict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
}
# Pickles of protocol 2 use Python 2's names, and torch translates them.
PYTHON_2 = {"__builtin__.long": "builtins.int", "__builtin__.unicode": "builtins.str"}
