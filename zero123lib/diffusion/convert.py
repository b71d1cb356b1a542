"""Any checkpoint of the family, written anew: ``zero123 convert``.

Everything is made in a folder ``NAME.partial`` beside the final name, and renamed when it is whole.
When the writing stops, by a full disk say, what was written stays there, and the same call goes on
after it. One call at a time works in such a folder.
"""

from __future__ import annotations

import json
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
from zero123lib.diffusion.checkpoints.canonical import Checkpoint
from zero123lib.diffusion.checkpoints.export import (
    WeightsFile,
    original_file,
    part_files,
    save_config,
)
from zero123lib.diffusion.checkpoints.loading import Wanted, open_model
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.poses import Encoding

# Of one file of a folder: such that many tools, and file systems, take it.
MAX_SHARD_BYTES = 1_000_000_000

# In an unfinished folder: what it is being made from, and who is at it.
_MARK, _LOCK = ".from.json", ".lock"


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
    wanted = Wanted(original_config, encoding, use_ema, torch_dtype)
    wanted.check()
    if not is_whole(max_shard_bytes) or max_shard_bytes < 1:
        raise ArgumentError(
            "max_shard_bytes", "a whole number of bytes above 0", repr(max_shard_bytes)
        )
    final = _checked_out(out)
    single = final.suffix == ".safetensors"
    partial = final.with_name(f"{final.name}.partial")
    checkpoint, settings = open_model(source, wanted)
    path = checkpoint.source.resolve()
    if partial == path or partial in path.parents:
        raise ArgumentError("source", f"a checkpoint outside {str(partial)!r}", repr(str(path)))
    if single and not isinstance(checkpoint.parts["vae"].network, AutoencoderKL):
        raise ArgumentError(
            "source",
            "a model with an AutoencoderKL, as the original layout has",
            repr(str(checkpoint.source)),
        )
    dtype, read = torch_dtype, [checkpoint.source, *checkpoint.source.rglob("*")]
    if isinstance(original_config, str | Path):
        read.append(Path(original_config))
    # What tells these files from others, or from themselves after a change.
    stamps = [
        [str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns]
        for file in sorted(read)
        if file.is_file()
    ]
    made_from = [stamps, original_config, settings, use_ema, dtype, max_shard_bytes]
    parts: dict[str, list[WeightsFile]] = {}
    if single:
        files = [original_file(checkpoint, final.name, settings, dtype)]
    else:
        for name in checkpoint.parts:
            parts[name] = part_files(checkpoint, name, dtype, max_shard_bytes)
        files = [file for part in parts.values() for file in part]
    with _unfinished(partial, json.dumps(made_from, default=str).encode()):
        done, total = 0, sum(file.nbytes for file in files)
        for file in files:
            for count in file.write(partial):
                done += count
                yield ConvertProgress(done, total, file.name)
        if single:
            (partial / final.name).replace(final)
            shutil.rmtree(partial)
            return
        _describe(checkpoint, parts, settings, partial)
        for name in (_MARK, _LOCK):
            (partial / name).unlink()
        partial.replace(final)


def _describe(
    checkpoint: Checkpoint,
    parts: Mapping[str, list[WeightsFile]],
    settings: Mapping[str, Any],
    folder: Path,
) -> None:
    """Write what a pipeline's folder holds beside the weights."""
    for name, files in parts.items():
        save_config(checkpoint, name, files, folder)
    checkpoint.scheduler.save_config(folder / "scheduler")
    networks: Any = {name: part.network for name, part in checkpoint.parts.items()}
    # The pipeline itself writes its index, `model_index.json`.
    Zero123Pipeline(**networks, scheduler=checkpoint.scheduler, **settings).save_config(folder)
    (folder / "README.md").write_text(_card(checkpoint.source, settings), encoding="utf-8")


def _checked_out(out: str | Path) -> Path:
    """Return the final name, absolute and without links; it is free, or an empty folder."""
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


@contextmanager
def _unfinished(partial: Path, made_from: bytes) -> Iterator[None]:
    """Hold the unfinished folder: an earlier call's for the same thing, or an empty one.

    Raises:
        ValueError: something else has that name, or another call is at it.
    """
    free = f"no file or folder {str(partial)!r}, which is in the way"
    if os.path.lexists(partial) and not partial.is_dir():
        raise ArgumentError("out", free, "one")
    partial.mkdir(parents=True, exist_ok=True)
    mark = partial / _MARK
    if {path.name for path in partial.iterdir()} - {_LOCK} and not mark.exists():
        raise ArgumentError("out", free, "one that was not made by a conversion")
    try:
        with FileLock(partial / _LOCK, timeout=0):
            if not mark.exists() or mark.read_bytes() != made_from:
                for path in partial.iterdir():
                    if path.is_dir():
                        shutil.rmtree(path)
                    elif path.name != _LOCK:
                        path.unlink()
                mark.write_bytes(made_from)
            yield
    except Timeout as error:
        raise ArgumentError(
            "out", f"one conversion at a time into {str(partial)!r}", "a second"
        ) from error


def _card(source: Path, settings: Mapping[str, Any]) -> str:
    """Return a model card that says where the weights are from."""
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
