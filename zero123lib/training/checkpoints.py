"""The state of a run on disk: one folder per checkpoint, whole or absent.

    RUN/checkpoints/step-00001000/
        model.safetensors   the weights that are trained
        ema.safetensors     their running average
        optimizer.pt        the optimizer's state and the gradient scaler's (weights_only)
        config.yaml         the run's config
        state.json          counters, the validation loss, size and CRC-32 of each other file

What is not trained comes from the run's starting weights again. No random state is stored: all
that is drawn follows from the seed and the pair's number.
"""

from __future__ import annotations

import json
import logging
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib._files import remove_folder, whole_folder
from zero123lib.diffusion.checkpoints.safetensors_files import Entry, write_safetensors
from zero123lib.training.config_files import differences, read_config, to_yaml
from zero123lib.training.processes import on_main, share
from zero123lib.training.sharding import gathered, laid_out, put
from zero123lib.training.state import TrainState

_MODEL, _EMA, _OPTIMIZER = "model.safetensors", "ema.safetensors", "optimizer.pt"
_CONFIG, _STATE = "config.yaml", "state.json"
_PREFIX = "step-"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Saved:
    """A whole checkpoint: where, after how many steps, and its validation loss, inf for none."""

    folder: Path
    step: int
    validation_loss: float


def save_checkpoint(
    run: Path, state: TrainState, validation_loss: float | None, keep_last: int
) -> Path:
    """Write a checkpoint, and remove those that are neither among the last nor the best.

    Called by all processes; the first one writes. Sharded weights are written whole.

    Args:
        run: the run's folder.
        validation_loss: of the averages at this step, where it is known.

    Raises:
        OSError: it cannot be written; the checkpoints before it are untouched.
    """
    folder = run / "checkpoints" / f"{_PREFIX}{state.step:08d}"
    tensors = _tensors(state)

    def write() -> None:
        with whole_folder(folder) as making:
            _write(making, state, tensors, validation_loss)
        _prune(run, keep_last)

    on_main(state.accelerator, write)
    return folder


def _tensors(state: TrainState) -> dict[str, Any]:
    """Return what is written by its file's name, whole on the first process."""
    scaler: Any = state.accelerator.scaler
    held = {
        _MODEL: {name: p.detach() for name, p in state.trained.items()},
        _EMA: state.average.weights,
        _OPTIMIZER: {
            "optimizer": state.optimizer.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
        },
    }
    return gathered(held, state.accelerator.is_main_process)


def _write(
    folder: Path, state: TrainState, tensors: dict[str, Any], validation_loss: float | None
) -> None:
    for name in (_MODEL, _EMA):
        _write_tensors(folder / name, tensors[name])
    try:
        with open(folder / _OPTIMIZER, "wb") as file:
            torch.save(tensors[_OPTIMIZER], file)
    except RuntimeError as error:  # torch's word for a write that failed
        reason = " ".join(str(error.__context__ or error).split())
        raise OSError(f"cannot write {_OPTIMIZER}: {reason}") from error
    (folder / _CONFIG).write_text(to_yaml(state.config), encoding="utf-8")
    files = {path.name: [path.stat().st_size, _crc(path)] for path in sorted(folder.iterdir())}
    content = {
        "step": state.step,
        "seconds": state.seconds,
        "validation_loss": validation_loss,
        "files": files,
    }
    (folder / _STATE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    entries = {name: Entry(tuple(t.shape), t.dtype, lambda t=t: t) for name, t in tensors.items()}
    for _ in write_safetensors(path, entries, {"format": "pt"}):
        pass


def _crc(path: Path) -> int:
    value = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return value


def whole_checkpoints(run: Path, verify: bool = True) -> list[Saved]:
    """Whole checkpoints of a run, the newest first; broken ones are named in a warning.

    Args:
        verify: read every file and compare its checksum; else its size alone is compared.
    """
    found = []
    folders = [p for p in (run / "checkpoints").glob(f"{_PREFIX}*") if p.is_dir()]
    for folder in sorted(folders, reverse=True):
        try:
            content = json.loads((folder / _STATE).read_text(encoding="utf-8"))
            for name, (size, crc) in content["files"].items():
                same = (folder / name).stat().st_size == size
                if not same or (verify and _crc(folder / name) != crc):
                    raise ValueError(f"{name} is not what was written")
            loss = content["validation_loss"]
            found.append(Saved(folder, content["step"], math.inf if loss is None else loss))
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())
            _logger.warning(f"checkpoint {folder.name} is broken and ignored: {reason}")
    return found


def _prune(run: Path, keep_last: int) -> None:
    saved = whole_checkpoints(run, verify=False)
    best = min(saved, key=lambda one: one.validation_loss, default=None)
    for one in saved[keep_last:]:
        if one is not best or one.validation_loss == math.inf:
            remove_folder(one.folder)


def best_loss(run: Path) -> float:
    """Return the lowest validation loss among a run's checkpoints; inf where there is none."""
    return min(
        (one.validation_loss for one in whole_checkpoints(run, verify=False)), default=math.inf
    )


def resume(run: Path, state: TrainState) -> Path | None:
    """Go on from the newest whole checkpoint; None where there is none.

    Called by all processes; the first one reads, and tells the others.

    Raises:
        ValueError: the checkpoint is of a run with another config.
    """

    def newest() -> str | None:
        saved = whole_checkpoints(run)
        return str(saved[0].folder) if saved else None

    name = on_main(state.accelerator, newest)
    if name is None:
        return None
    folder, read = Path(name), {}
    on_main(state.accelerator, lambda: read.update(_read(folder, state)))
    # What fails between processes is not the checkpoint's fault.
    shared = share(state.accelerator, read)
    with _refused(folder):
        _load(shared, state)
    return folder


@contextmanager
def _refused(folder: Path) -> Iterator[None]:
    """Whatever fails within is the checkpoint's fault."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        expected, got = "a checkpoint of this model", f"{str(folder)!r}: {reason}"
        raise ArgumentError("resume", expected, got) from error


def _read(folder: Path, state: TrainState) -> dict[str, Any]:
    """Return the content of each file, on the CPU."""
    _check_config(folder, state)
    with _refused(folder):
        return {
            _MODEL: load_file(folder / _MODEL),
            _EMA: load_file(folder / _EMA),
            _OPTIMIZER: torch.load(folder / _OPTIMIZER, map_location="cpu", weights_only=True),
            _STATE: json.loads((folder / _STATE).read_text(encoding="utf-8")),
        }


def _load(read: dict[str, Any], state: TrainState) -> None:
    """Put what was read into a state, sharded as that is."""
    for mine, name in ((state.trained, _MODEL), (state.average.weights, _EMA)):
        if mine.keys() != read[name].keys():
            raise ValueError(f"{len(mine)} weights to train and {len(read[name])} saved ones")
        for key, tensor in mine.items():
            put(tensor, read[name][key])
    moments, optimizer = read[_OPTIMIZER], state.optimizer.optimizer
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    for index, held in moments["optimizer"]["state"].items():
        like = trained[index]
        held |= {k: laid_out(v, like) for k, v in held.items() if v.shape == like.shape}
    optimizer.load_state_dict(moments["optimizer"])
    scaler: Any = state.accelerator.scaler
    if scaler is not None and moments["scaler"]:
        scaler.load_state_dict(moments["scaler"])
    state.step, state.seconds = read[_STATE]["step"], read[_STATE]["seconds"]


def _check_config(folder: Path, state: TrainState) -> None:
    changed = differences(state.config, read_config(folder / _CONFIG))
    if changed:
        key, (new, old) = next(iter(changed.items()))
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise ArgumentError(
            "resume", f"the run's own config, in which {key} is {old!r}", f"{new!r}{more}"
        )
