"""Run a recipe in threestudio, as a process of its own, and bring back what it made.

    for step in launch("zero123-sds.yaml", clone, "photo.png", "run/"):
        print(step.stage, step.step, step.total, step.losses)

Everything threestudio writes lies under OUT/threestudio; what it says, in OUT/threestudio.log.
Axes of meshes: threestudio's world is ours, z-up, the input camera at azimuth 0.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from zero123lib import __version__
from zero123lib._errors import ArgumentError
from zero123lib._files import whole_file, write_json
from zero123lib.diffusion.checkpoints import sources
from zero123lib.meshes.export import write_mesh
from zero123lib.meshes.load import load_mesh
from zero123lib.threestudio_plugin.clone import GUIDANCE_TYPE, Clone, open_clone
from zero123lib.threestudio_plugin.diagnosis import diagnosis, version_notice
from zero123lib.threestudio_plugin.doctor import child_environment
from zero123lib.threestudio_plugin.settings import KEYS, check_keys
from zero123lib.views.cutout import networks_of
from zero123lib.views.images import ImageSource, Prepared, Preprocess, prepare

# As in guidance.py, which only threestudio's process can import.
PROGRESS_VARIABLE = "ZERO123LIB_PROGRESS"

# Pixels of the input view on the disk: the most that threestudio's recipes compare it at.
_INPUT_SIZE = 512
_MODEL = "system.guidance.pretrained_model_name_or_path"
_POLL_S = 0.2
_STOP_S = 20.0


class LaunchError(OSError):
    """threestudio stopped; the message says why, as far as its last words tell, and where the rest
    of them is."""


@dataclass(frozen=True, eq=False)
class LaunchProgress:
    """Where the run is.

    Attributes:
        stage: "sds" while it optimises, then "outputs".
        step: finished steps of ``total``.
        losses: of the guidance: "sds" and "grad_norm"; empty while something else is done.
        seconds: since the start.
    """

    stage: str
    step: int
    total: int
    losses: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, eq=False)
class Launched:
    """What a run left, the last that :func:`launch` yields.

    Attributes:
        files: by name: "turntable.mp4", "mesh.ply", "mesh.glb", "metrics.json", "input.png",
            "threestudio.log", and "threestudio", the folder of its own files.
        metrics: the content of metrics.json.
        how: how the image was cut out, in words.
        notices: what is missing and why.
    """

    files: Mapping[str, Path]
    metrics: Mapping[str, Any]
    how: str
    notices: tuple[str, ...] = ()


def launch(
    recipe: str | Path,
    clone: str | Path,
    image: ImageSource,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    preprocess: Preprocess = "auto",
    python: str = sys.executable,
    gpu: str = "0",
    mesh: bool = True,
) -> Iterator[LaunchProgress | Launched]:
    """Train, render the turntable, export the mesh; arguments are checked at the first step.

    Closing the generator stops threestudio.

    Args:
        recipe: a whole threestudio config.
        clone: threestudio's folder, with our hook.
        image: of the object; it is framed here, and both the reference view and the guidance see
            what lies in OUT/input.png.
        out: a folder that holds no earlier run.
        overrides: ``dotted.key=value``, handed on to threestudio.
        preprocess: see :data:`zero123lib.views.images.Preprocess`.
        python: the interpreter that threestudio is installed for.
        gpu: as for threestudio's ``--gpu``.
        mesh: export one.

    Yields:
        Progress, and at last :class:`Launched`.

    Raises:
        ValueError: an argument is of no use; the message names it.
        LaunchError: threestudio stopped. What it had written stays, if there was a step.
    """
    opened, content = _checked(recipe, clone, overrides)
    total, model = _max_steps(content, overrides), _told(content, overrides, _MODEL)
    home = Path(out).absolute()
    run = home / "threestudio" / "run"
    if run.exists():
        raise ArgumentError(
            "out",
            "a folder without an earlier run",
            f"{str(out)!r}: name another one, or remove {home / 'threestudio'}",
        )
    prepared = prepare(image, _INPUT_SIZE, preprocess)
    home.mkdir(parents=True, exist_ok=True)
    framed, log, progress = home / "input.png", home / "threestudio.log", home / ".progress.jsonl"
    with whole_file(framed) as scratch:
        prepared.rgba.save(scratch)
    places = {
        "data.image_path": str(framed),
        "exp_root_dir": str(home),
        "name": "threestudio",
        "tag": "run",
        "use_timestamp": False,
    }
    words = [
        *map(_with_whole_path, overrides),
        *(f"{key}={json.dumps(value)}" for key, value in places.items()),
    ]
    command = [python, "launch.py", "--gpu", gpu]
    config = str(Path(recipe).absolute())
    start, done = time.monotonic(), 0
    try:
        child = _Child([*command, "--config", config, "--train", *words], opened, log, progress)
        for step, losses in child.watch():
            done = step + 1
            yield LaunchProgress("sds", done, total, losses, time.monotonic() - start)
    except LaunchError:
        if not done:  # what it made ready is no run, and would be in the way of the next attempt
            shutil.rmtree(home / "threestudio", ignore_errors=True)
        raise
    finally:
        progress.unlink(missing_ok=True)
    seconds = {"train": time.monotonic() - start}
    yield LaunchProgress("outputs", total, total, {}, seconds["train"])
    notices = [notice for notice in [version_notice(opened)] if notice]
    if mesh:
        wanted = ["--export", f"resume={json.dumps(str(run / 'ckpts' / 'last.ckpt'))}"]
        wanted += ["system.exporter_type=mesh-exporter", "system.exporter.context_type=cuda"]
        parsed = str(run / "configs" / "parsed.yaml")
        try:
            for _ in _Child([*command, "--config", parsed, *wanted], opened, log, None).watch():
                pass
        except LaunchError as error:
            notices.append(f"no mesh: {error}")
        seconds["export"] = time.monotonic() - start - seconds["train"]
    yield _gathered(home, run, opened, model, prepared, seconds, notices)


def _checked(
    recipe: str | Path, clone: str | Path, overrides: Sequence[str]
) -> tuple[Clone, dict[str, Any]]:
    opened = open_clone(clone)
    if not opened.has_hook:
        raise ArgumentError(
            "clone",
            f"our hook in {str(clone)!r}",
            f"none: zero123 threestudio install {shlex.quote(str(clone))}",
        )
    for text in overrides:
        if not re.match(r"[\w.]+=", text):
            raise ArgumentError("overrides", "dotted.key=value", repr(text))
    try:
        content = yaml.safe_load(Path(recipe).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ArgumentError("recipe", "a YAML file", f"{str(recipe)!r}: {reason}") from error
    whole = isinstance(content, dict) and {"data_type", "system_type", "system"} <= content.keys()
    if not whole or not isinstance(content["system"], dict):
        raise ArgumentError(
            "recipe",
            "a whole threestudio config, with data_type, system_type and system",
            f"{str(recipe)!r}, which the embedded engine alone can run",
        )
    if content["system"].get("guidance_type") == GUIDANCE_TYPE:
        # Now: threestudio would load its data and its field first, and then complain.
        section = "system.guidance."
        given = [text.partition("=")[0] for text in overrides if text.startswith(section)]
        told = [key.removeprefix(section).partition(".")[0] for key in given]
        written = content["system"].get("guidance")
        check_keys(
            dict.fromkeys([*(written if isinstance(written, Mapping) else ()), *told]),
            KEYS,
        )
    return opened, content


def _with_whole_path(override: str) -> str:
    """Return a model's file is named from where we stand; threestudio stands in its clone."""
    key, _, value = override.partition("=")
    path = Path(value)
    named = value in (*sources.bundled_models(), *sources.NAMED)
    if key != _MODEL or named or not path.exists():
        return override
    return f"{key}={json.dumps(str(path.absolute()))}"


def _told(content: Mapping[str, Any], overrides: Sequence[str], key: str) -> Any:
    """Return what the run is told for a dotted key; None where nothing is."""
    given = [text.partition("=")[2] for text in overrides if text.partition("=")[0] == key]
    if given:
        return yaml.safe_load(given[-1])
    value: Any = content
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _max_steps(content: Mapping[str, Any], overrides: Sequence[str]) -> int:
    steps = _told(content, overrides, "trainer.max_steps")
    if steps is None:
        return 0
    if type(steps) is not int or steps < 1:
        raise ArgumentError("trainer.max_steps", "a whole number above 0", repr(steps))
    return steps


class _Child:
    """threestudio at work, its words added to a log and its steps read from a file."""

    def __init__(self, command: list[str], clone: Clone, log: Path, progress: Path | None) -> None:
        self._log, self._progress, self._clone = log, progress, clone
        environment = child_environment()
        # Checkpoints of this very run, which torch's default would not read back.
        environment["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
        if progress is not None:
            progress.write_bytes(b"")
            environment[PROGRESS_VARIABLE] = str(progress)
        with log.open("ab") as sink:
            self._begin = sink.tell()
            self._process = subprocess.Popen(
                command, cwd=clone.root, env=environment, stdin=subprocess.DEVNULL,
                stdout=sink, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def watch(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Yield steps as they are finished, until it ends.

        Raises:
            LaunchError: it did not end well.
        """
        position = 0
        try:
            while True:
                ended = self._process.poll() is not None
                if self._progress is not None:
                    with self._progress.open("rb") as file:
                        file.seek(position)
                        fresh = file.read()
                    lines = fresh[: fresh.rfind(b"\n") + 1]  # the last may be half written
                    position += len(lines)
                    for line in lines.splitlines():
                        told = json.loads(line)
                        yield told["step"], told["losses"]
                if ended:
                    break
                time.sleep(_POLL_S)
        finally:
            self._stop()
        if self._process.returncode != 0:
            raise LaunchError(self._complaint())

    def _stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _complaint(self) -> str:
        with self._log.open("rb") as file:
            file.seek(self._begin)
            words = file.read().decode(errors="replace")
        why = diagnosis(words, self._clone, f"exit status {self._process.returncode}")
        return f"threestudio: {why} (all it said: {self._log})"


def _gathered(
    home: Path,
    run: Path,
    clone: Clone,
    model: Any,
    prepared: Prepared,
    seconds: Mapping[str, float],
    notices: list[str],
) -> Launched:
    """Bring outputs into our layout."""
    names = ["input.png", "threestudio.log", "threestudio"]
    videos = sorted(run.glob("save/it*-test.mp4"), key=os.path.getmtime)
    if videos:
        names.append("turntable.mp4")
        with whole_file(home / "turntable.mp4") as scratch:
            shutil.copyfile(videos[-1], scratch)
    else:
        notices.append("no turntable: threestudio wrote no video")
    models = sorted(run.glob("save/it*-export/*.obj"), key=os.path.getmtime)
    if models:
        try:
            made = load_mesh(models[-1], up="z", normalise=False)
            for name in ("mesh.ply", "mesh.glb"):
                write_mesh(home / name, made)
                names.append(name)
        except ValueError as error:  # an empty surface, say; the field's checkpoint stays
            notices.append(f"no mesh: {error}")
    metrics = {
        "engine": "threestudio",
        "threestudio": {"version": clone.version, "commit": clone.commit},
        "zero123lib": __version__,
        "model": model,
        "model_licence": None,  # threestudio does not tell
        "cut_out": prepared.method,
        "networks": networks_of(prepared.method),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "losses": _last_losses(run),
        "notices": notices,
    }
    write_json(home / "metrics.json", metrics)
    files = {name: home / name for name in [*names, "metrics.json"]}
    return Launched(files, metrics, prepared.how, tuple(notices))


def _last_losses(run: Path) -> dict[str, float]:
    """Return the latest finite value of each loss in Lightning's CSV logs."""
    latest: dict[str, float] = {}
    for table in sorted(run.glob("csv_logs/version_*/metrics.csv"), key=os.path.getmtime):
        with table.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                for key, text in row.items():
                    if key and key.startswith("train/") and text and math.isfinite(float(text)):
                        latest[key.removeprefix("train/")] = float(text)
    return latest
