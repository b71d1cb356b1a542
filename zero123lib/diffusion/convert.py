"""Any checkpoint of the family, written anew: ``zero123 convert``.

A folder is made beside its final name, in ``NAME.partial``, and renamed when it is whole. When the
writing stops, by a full disk say, the files that are whole stay there, and the same call goes on
after them.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL

from zero123lib.diffusion.checkpoints import sources
from zero123lib.diffusion.checkpoints.canonical import Checkpoint
from zero123lib.diffusion.checkpoints.export import save_original, save_part, total_bytes
from zero123lib.diffusion.checkpoints.loading import settled_encoding
from zero123lib.diffusion.checkpoints.reading import Options, read_checkpoint
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.poses import Encoding

# Of one file of a folder: little beside the model, so that little is lost when the writing stops.
MAX_SHARD_BYTES = 1_000_000_000

# In an unfinished folder: what it is being made from.
_MARK = ".from.json"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConvertProgress:
    """``done`` of ``total`` bytes of weights are on the disk; ``file`` is the latest of them."""

    done: int
    total: int
    file: str


def convert(
    source: str | Path,
    out: str | Path,
    *,
    original_config: str | Path | Mapping[str, Any] | None = None,
    encoding: Encoding | Literal["auto"] = "auto",
    use_ema: bool = True,
    torch_dtype: torch.dtype | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> Generator[ConvertProgress]:
    """Write a checkpoint as a diffusers folder, or as one file in the original layout.

    Args:
        source, original_config, encoding, use_ema: as in :meth:`Zero123Pipeline.from_pretrained`.
        out: a name ending in ``.safetensors`` for the original layout, any other for a folder.
        torch_dtype: of the weights; None keeps each as it is.
        max_shard_bytes: of one file of a folder.

    Yields:
        After every file. Nothing is done before the first is asked for.

    Raises:
        ValueError: ``out`` is taken, or the source is no usable checkpoint.
        OSError: a file cannot be written.
    """
    out = Path(out)
    _check_free(out)
    found = sources.find(source)
    checkpoint = read_checkpoint(found.path, Options(original_config, use_ema))
    settings = {"model_name": found.name, **checkpoint.settings}
    settings["encoding"] = settled_encoding(encoding, settings, found)
    for notice in checkpoint.notices:
        _logger.warning(notice)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".safetensors":
        if not isinstance(checkpoint.parts["vae"].network, AutoencoderKL):
            raise ValueError(
                "source: expected a model with an AutoencoderKL, as the original layout has, "
                f"got {str(found.path)!r}"
            )
        size = save_original(checkpoint, out, settings, torch_dtype)
        yield ConvertProgress(size, size, out.name)
        return
    made_from = {
        "files": _stamps(found.path),
        "original_config": str(original_config),
        "use_ema": use_ema,
        "torch_dtype": str(torch_dtype),
        "max_shard_bytes": max_shard_bytes,
    }
    partial = out.with_name(f"{out.name}.partial")
    _start_over_unless_same(partial, made_from)
    done, total = 0, total_bytes(checkpoint, torch_dtype)
    for name in checkpoint.parts:
        (partial / name).mkdir(exist_ok=True)
        for file, size in save_part(checkpoint, name, partial / name, torch_dtype, max_shard_bytes):
            done += size
            yield ConvertProgress(done, total, f"{name}/{file}")
    checkpoint.scheduler.save_config(partial / "scheduler")
    _save_index(checkpoint, settings, partial)
    (partial / "README.md").write_text(_card(found, settings), encoding="utf-8")
    (partial / _MARK).unlink()
    if out.is_dir():
        out.rmdir()
    partial.replace(out)


def _check_free(out: Path) -> None:
    if out.is_dir() and not any(out.iterdir()):
        return
    if os.path.lexists(out):
        raise ValueError(f"out: expected a new name or an empty folder, got {str(out)!r}")


def _stamps(path: Path) -> list[list[Any]]:
    """What tells this source from another, or from itself after a change."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return [[str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _start_over_unless_same(partial: Path, made_from: dict[str, Any]) -> None:
    """An unfinished folder that an earlier call for the same thing left, or an empty one."""
    mark = partial / _MARK
    try:
        if json.loads(mark.read_text(encoding="utf-8")) == made_from:
            return
    except (OSError, ValueError):
        pass
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir()
    mark.write_text(json.dumps(made_from), encoding="utf-8")


def _save_index(checkpoint: Checkpoint, settings: Mapping[str, Any], folder: Path) -> None:
    """``model_index.json``, as the pipeline itself would write it."""
    networks: Any = {name: part.network for name, part in checkpoint.parts.items()}
    Zero123Pipeline(**networks, scheduler=checkpoint.scheduler, **settings).save_config(folder)


def _card(found: sources.Found, settings: Mapping[str, Any]) -> str:
    """A model card that says where the weights are from."""
    licence = f"license: other\nlicense_name: {found.licence}\n" if found.licence else ""
    return (
        f"---\n{licence}library_name: diffusers\npipeline_tag: image-to-image\n---\n\n"
        f"# {settings['model_name']}\n\nConverted from `{found.path.name}` by zero123lib; pose "
        f"encoding `{settings['encoding']}`. The weights keep the licence of their source.\n"
    )
