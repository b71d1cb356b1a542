"""Any checkpoint of the family, written anew: ``zero123 convert``.

Everything is made in a folder ``NAME.partial`` beside the final name, and renamed when it is whole.
When the writing stops, by a full disk say, what was written stays there, and the same call goes on
after it. One call at a time works in such a folder.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL
from filelock import FileLock, Timeout

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.arguments import is_whole
from zero123lib.diffusion.checkpoints import sources
from zero123lib.diffusion.checkpoints.canonical import Checkpoint
from zero123lib.diffusion.checkpoints.export import (
    original_entries,
    part_bytes,
    save_original,
    save_part,
)
from zero123lib.diffusion.checkpoints.loading import (
    check_dtype,
    check_encoding,
    settled_encoding,
    wanted_precision,
)
from zero123lib.diffusion.checkpoints.reading import Options, read_checkpoint
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.poses import Encoding

# Of one file of a folder: such that many tools, and file systems, take it.
MAX_SHARD_BYTES = 1_000_000_000

# In an unfinished folder: what it is being made from, and who is at it.
_MARK, _LOCK = ".from.json", ".lock"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConvertProgress:
    """``done`` of ``total`` bytes of weights are written; ``file`` is the one at hand."""

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

    Of the UNet's weights and their running average, what ``use_ema`` says is written.

    Args:
        source, original_config, encoding, use_ema: as in :meth:`Zero123Pipeline.from_pretrained`.
        out: a name ending in ``.safetensors`` for the original layout, any other for a folder.
        torch_dtype: of the weights; None keeps each as it is.
        max_shard_bytes: of one file of a folder.

    Yields:
        After every weight. Nothing is done before the first is asked for.

    Raises:
        ValueError: ``out`` is taken, or the source is no usable checkpoint.
        OSError: a file cannot be written.
    """
    check_encoding(encoding)
    check_dtype(torch_dtype)
    if not is_whole(max_shard_bytes) or max_shard_bytes < 1:
        raise ArgumentError(
            "max_shard_bytes", "a whole number of bytes above 0", repr(max_shard_bytes)
        )
    final = _checked_out(out)
    original = original_config is not None or not use_ema
    found = sources.find(source, None, wanted_precision(torch_dtype), original)
    partial = final.with_name(f"{final.name}.partial")
    if partial == (path := found.path.resolve()) or partial in path.parents:
        raise ArgumentError("source", f"a checkpoint outside {str(partial)!r}", repr(str(path)))
    checkpoint = read_checkpoint(found.path, Options(original_config, use_ema))
    settings = {"model_name": found.name, "licence": found.licence, **checkpoint.settings}
    settings["encoding"] = settled_encoding(encoding, settings, found)
    layer: Any = checkpoint.parts["camera_projection"].network
    layer.register_to_config(encoding=settings["encoding"])
    for notice in checkpoint.notices:
        _logger.warning(notice)
    single = final.suffix == ".safetensors"
    if single and not isinstance(checkpoint.parts["vae"].network, AutoencoderKL):
        raise ArgumentError(
            "source",
            "a model with an AutoencoderKL, as the original layout has",
            repr(str(found.path)),
        )
    made_from = {
        "files": _stamps(found.path),
        "original_config": _content(original_config),
        "settings": settings,
        "use_ema": use_ema,
        "torch_dtype": str(torch_dtype),
        "max_shard_bytes": int(max_shard_bytes),
    }
    with _unfinished(partial, made_from):
        if single:
            steps = save_original(checkpoint, partial / final.name, settings, torch_dtype)
            entries = original_entries(checkpoint, torch_dtype).values()
            total = sum(entry.nbytes for entry in entries)
        else:
            steps = _folder(checkpoint, settings, partial, torch_dtype, max_shard_bytes)
            total = part_bytes(checkpoint, torch_dtype)
        done = 0
        for file, count in steps:
            done += count
            yield ConvertProgress(done, total, file)
        if single:
            (partial / final.name).replace(final)
            shutil.rmtree(partial)
        else:
            for name in (_MARK, _LOCK):
                (partial / name).unlink()
            partial.replace(final)


def _folder(
    checkpoint: Checkpoint,
    settings: Mapping[str, Any],
    folder: Path,
    dtype: torch.dtype | None,
    max_shard_bytes: int,
) -> Generator[tuple[str, int]]:
    """Write all files of a pipeline's folder; yields the file at hand and bytes of weights."""
    for name in checkpoint.parts:
        (folder / name).mkdir(exist_ok=True)
        for file, count in save_part(checkpoint, name, folder / name, dtype, max_shard_bytes):
            yield f"{name}/{file}", count
    checkpoint.scheduler.save_config(folder / "scheduler")
    networks: Any = {name: part.network for name, part in checkpoint.parts.items()}
    # The pipeline itself writes its index, `model_index.json`.
    Zero123Pipeline(**networks, scheduler=checkpoint.scheduler, **settings).save_config(folder)
    (folder / "README.md").write_text(_card(checkpoint.source, settings), encoding="utf-8")


def _checked_out(out: str | Path) -> Path:
    """The final name, absolute and without links; it is free, or an empty folder."""
    final = Path(out).resolve()
    if final.suffix in (".ckpt", ".pt", ".pth", ".bin"):
        raise ArgumentError(
            "out",
            "a folder's name, or one ending in .safetensors",
            f"{str(out)!r}; pickles are read, not written",
        )
    if final.is_dir() and not any(final.iterdir()) and final.suffix != ".safetensors":
        return final
    if os.path.lexists(final) or not final.name:
        raise ArgumentError("out", "a new name or an empty folder", repr(str(out)))
    return final


def _stamps(path: Path) -> list[list[Any]]:
    """What tells this source from another, or from itself after a change."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return [[str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _content(original_config: str | Path | Mapping[str, Any] | None) -> str | None:
    """Of a config that was read without an error."""
    if original_config is None:
        return None
    if isinstance(original_config, Mapping):
        return json.dumps(original_config, default=str, sort_keys=True)
    return Path(original_config).read_text(encoding="utf-8")


@contextmanager
def _unfinished(partial: Path, made_from: dict[str, Any]) -> Iterator[None]:
    """Hold the unfinished folder: an earlier call's for the same thing, or an empty one.

    Raises:
        ValueError: something else has that name, or another call is at it.
    """
    free = f"no file or folder {str(partial)!r}, which is in the way"
    if os.path.lexists(partial) and not partial.is_dir():
        raise ArgumentError("out", free, "one")
    if partial.is_dir():
        held = {path.name for path in partial.iterdir()}
        if held - {_LOCK} and _MARK not in held:
            raise ArgumentError("out", free, "one that was not made by a conversion")
    partial.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(partial / _LOCK, timeout=0):
            _start_over_unless_same(partial, made_from)
            yield
    except Timeout as error:
        raise ArgumentError(
            "out", f"one conversion at a time into {str(partial)!r}", "a second"
        ) from error


def _start_over_unless_same(partial: Path, made_from: dict[str, Any]) -> None:
    mark = partial / _MARK
    try:
        if json.loads(mark.read_text(encoding="utf-8")) == made_from:
            return
    except (OSError, ValueError):
        pass
    for path in partial.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()
    mark.write_text(json.dumps(made_from), encoding="utf-8")


def _card(source: Path, settings: Mapping[str, Any]) -> str:
    """A model card that says where the weights are from."""
    fields = {"library_name": "diffusers", "pipeline_tag": "image-to-image"}
    licence = settings["licence"]
    if licence and " " not in licence:
        fields["license"] = licence
    elif licence:  # one that has no identifier is "other", and named
        fields |= {"license": "other", "license_name": licence}
    # JSON's quoted strings are YAML's.
    header = "\n".join(f"{name}: {json.dumps(value)}" for name, value in fields.items())
    return (
        f"---\n{header}\n---\n\n# {settings['model_name']}\n\nConverted from `{source.name}` by "
        f"zero123lib; pose encoding `{settings['encoding']}`. The weights keep the licence of "
        "their source.\n"
    )
