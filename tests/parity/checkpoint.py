"""Checkpoint files of the official layout, as PyTorch Lightning 1.4 wrote them.

The layout, which `make_reference.py` took from the official model, says which tensors there are;
the values come from their names, by `weights.py`. Everything is written tensor by tensor: a file
of 15 GB takes as much disk again while it is made, and no memory to speak of.
"""

from __future__ import annotations

import math
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from tests.parity import weights


@dataclass(frozen=True, eq=False)
class Layout:
    """All tensors of an official ``state_dict``, in its order.

    Attributes:
        shapes: by name.
        constants: those that no training changes: the schedule, and the EMA's counters. All
            others are float32.
    """

    shapes: Mapping[str, tuple[int, ...]]
    constants: Mapping[str, np.ndarray]

    def value(self, name: str) -> np.ndarray:
        """One tensor's values."""
        if name in self.constants:
            return self.constants[name]
        return weights.tensor(name, self.shapes[name])


def read_layout(reference: Mapping[str, np.ndarray]) -> Layout:
    """The layout that a file of `make_reference.py` holds."""
    pairs = zip(reference["names"].tolist(), reference["shapes"].tolist(), strict=True)
    shapes = {name: tuple(int(side) for side in shape.split(",") if side) for name, shape in pairs}
    prefix = "constant/"
    found = {key: value for key, value in reference.items() if key.startswith(prefix)}
    return Layout(shapes, {key.removeprefix(prefix): value for key, value in found.items()})


def write_checkpoint(path: Path, layout: Layout) -> None:
    """Write a ``.ckpt``: weights, averages, optimizer states, callbacks."""
    raw = path.with_suffix(".raw")
    try:
        with raw.open("wb") as file:
            for name in layout.shapes:
                layout.value(name).tofile(file)
        with _model_checkpoint() as callback:
            torch.save(_lightning(_mapped(raw, layout), callback), path)
    finally:
        raw.unlink(missing_ok=True)


def _mapped(raw: Path, layout: Layout) -> OrderedDict[str, Tensor]:
    """The ``state_dict``, each tensor's storage a stretch of the file."""
    content = np.memmap(raw, np.uint8, "r+")
    state: OrderedDict[str, Tensor] = OrderedDict()
    start = 0
    for name, shape in layout.shapes.items():
        dtype = layout.constants[name].dtype if name in layout.constants else np.dtype(np.float32)
        end = start + math.prod(shape) * dtype.itemsize
        state[name] = torch.from_numpy(content[start:end].view(dtype).reshape(shape))
        start = end
    return state


def _lightning(state: OrderedDict[str, Tensor], callback: type) -> dict[str, Any]:
    """What Lightning puts around a ``state_dict``, after some training.

    The optimizer has the parameters that the official `configure_optimizers` gives it, and two
    moments of each: zeros here, which numpy does not give memory before someone writes to them.
    """
    trained = [name for name in state if name.startswith(("model.diffusion_model.", "cc_proj"))]
    moments = {
        index: {"step": 105000, **{key: _zeros(state[name]) for key in ("exp_avg", "exp_avg_sq")}}
        for index, name in enumerate(trained)
    }
    group = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}
    seen = {
        "monitor": "val/loss_simple_ema",
        "best_model_score": torch.tensor(0.25),
        "best_model_path": "logs/checkpoints/epoch=000105.ckpt",
        "current_score": torch.tensor(0.26),
        "dirpath": "logs/checkpoints",
    }
    return {
        "epoch": 105,
        "global_step": 105000,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": state,
        "callbacks": {callback: seen},
        "optimizer_states": [
            {"state": moments, "param_groups": [{**group, "params": list(range(len(trained)))}]}
        ],
        "lr_schedulers": [{"base_lrs": [1e-4], "last_epoch": 105000, "lr_lambdas": [None]}],
    }


def _zeros(like: Tensor) -> Tensor:
    return torch.from_numpy(np.zeros(tuple(like.shape), np.float32))


@contextmanager
def _model_checkpoint() -> Iterator[type]:
    """A class that pickles as Lightning's callback does: the key of its state in the file."""
    packages = ["pytorch_lightning", "pytorch_lightning.callbacks"]
    name = "pytorch_lightning.callbacks.model_checkpoint"
    modules = {full: ModuleType(full) for full in (*packages, name)}
    callback = type("ModelCheckpoint", (), {"__module__": name})
    modules[name].__dict__["ModelCheckpoint"] = callback
    with mock.patch.dict(sys.modules, modules):
        yield callback
