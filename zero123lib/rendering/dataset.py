"""A data set of many objects: parallel, resumable, whatever happens.

    OUT/<name>/000.png, 000.npy, ...   the official layout
    OUT/<name>/object.json             how these views were made, and their mesh's copyright
    OUT/dataset.json                   the settings, and all objects there are
    OUT/failures.json                  meshes that could not be used, and why; absent if none

Each object appears whole or not at all, so that a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from zero123lib import __version__
from zero123lib._errors import ArgumentError
from zero123lib._files import clear_scratch, write_json
from zero123lib.rendering.objects import (
    RECORD,
    Source,
    render_object,
    whole_record,
)
from zero123lib.rendering.settings import RenderSettings
from zero123lib.rendering.workers import run_pool

DATASET = "dataset.json"
FAILURES = "failures.json"

# What the list of objects repeats of their records.
_SHOWN = ("source", "copyright", "generator", "vertices", "faces", "textures", "backend")
_LOCK = ".rendering.lock"


@dataclass(frozen=True)
class Outcome:
    """Holds what became of an object.

    Attributes:
        source: which.
        state: "kept" was whole already; "failed" could not be made.
        reason: why it failed, one line.
    """

    source: Source
    state: Literal["rendered", "kept", "failed"]
    reason: str | None = None


def render_dataset(
    sources: Sequence[Source],
    out: str | Path,
    settings: RenderSettings,
    *,
    backend: str = "auto",
    device: str = "cpu",
    workers: int = 1,
    timeout_s: float = 600.0,
) -> Iterator[Outcome]:
    """Render all objects that are not there yet; yields each as it ends.

    The images do not depend on how many workers there are, nor on the other objects. Files that
    describe the whole are written at the end, also after an exception.

    Args:
        sources: of `find_meshes`.
        out: the folder, new or of an earlier run.
        settings: the same as in an earlier run.
        backend, device: as for `render_object`.
        workers: processes, of one thread each; 0 renders in this one, with all its threads and
            without a time limit.
        timeout_s: seconds that an object may take.

    Raises:
        ValueError: `out` is no folder, was made with other settings, or is being written.
        OSError: a file could not be written.
        MissingExtraError: a library is not installed.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ArgumentError("out", "a folder", f"{str(out)!r}, which is a file")
    _check_settings(out, settings)
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ArgumentError("out", "a folder that nobody writes to", repr(str(out))) from error
    try:
        clear_scratch(out)
        yield from _render(sources, out, settings, backend, device, workers, timeout_s)
    finally:
        clear_scratch(out)
        lock.release()


def _render(
    sources: Sequence[Source],
    out: Path,
    settings: RenderSettings,
    backend: str,
    device: str,
    workers: int,
    timeout_s: float,
) -> Iterator[Outcome]:
    failed: dict[Source, str] = {}
    # The settings come first, so that a run that was killed goes on with the same ones only.
    _write_dataset(out, settings)
    try:
        missing = []
        for source in sources:
            if whole_record(out / source.name, source, settings) is None:
                missing.append(source)
            else:
                yield Outcome(source, "kept")
        work = partial(
            _render_alone if workers else render_object,
            out=out,
            settings=settings,
            backend=backend,
            device=device,
        )
        # Closed before the lists are written: no worker may go on after that.
        with closing(run_pool(work, missing, workers, timeout_s)) as ends:
            for done in ends:
                if done.reason is not None:
                    failed[done.job] = done.reason
                state = "rendered" if done.reason is None else "failed"
                yield Outcome(done.job, state, done.reason)
    finally:
        _write_dataset(out, settings)
        _write_failures(out, failed)


def _render_alone(source: Source, **options: Any) -> None:
    """Render in a process of its own, on one core."""
    import torch

    torch.set_num_threads(1)
    render_object(source, **options, threads=1)


def _check_settings(out: Path, settings: RenderSettings) -> None:
    """Raise ValueError where the folder was made with other settings."""
    try:
        before = json.loads((out / DATASET).read_bytes())["settings"]
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError) as error:
        raise ArgumentError("out", f"a whole {DATASET} in {str(out)!r}", str(error)) from error
    differences = settings.differences(before)
    if differences:
        raise ArgumentError(
            "out",
            f"a new folder or the settings of {str(out)!r}",
            f"others: {'; '.join(differences)}",
        )


def _write_dataset(out: Path, settings: RenderSettings) -> None:
    """List all objects, of this run and of earlier ones, with where they come from."""
    objects = []
    for path in sorted(out.glob(f"*/{RECORD}")):
        try:
            record = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(record, dict) and not settings.differences(record.get("settings")):
            shown = {key: record[key] for key in _SHOWN if key in record}
            objects.append({"name": path.parent.name, **shown})
    content = {"settings": settings.to_config(), "objects": objects}
    write_json(out / DATASET, {"made_by": f"zero123lib {__version__}", **content})


def _write_failures(out: Path, failed: dict[Source, str]) -> None:
    if not failed:
        (out / FAILURES).unlink(missing_ok=True)
        return
    reasons = {
        source.name: {"source": str(source.path), "reason": reason}
        for source, reason in sorted(failed.items(), key=lambda item: item[0].name)
    }
    write_json(out / FAILURES, {"failed": reasons})
