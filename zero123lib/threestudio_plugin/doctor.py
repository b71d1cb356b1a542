"""What keeps threestudio from running our recipes, item by item, each with its mend."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zero123lib._errors import ArgumentError
from zero123lib.threestudio_plugin.clone import (
    GUIDANCE_TYPE,
    INSTALL_PAGE,
    REPOSITORY,
    TESTED_COMMIT,
    TESTED_VERSION,
    Clone,
    open_clone,
)

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_PROBE_TIMEOUT_S = 600


@dataclass(frozen=True)
class Requirement:
    """A module that threestudio imports at once, whatever it is asked to do.

    Attributes:
        module: its import name.
        mend: what to do when it is missing.
        package: whose version is shown.
        versions: prefixes of the versions that work; empty where any does.
    """

    module: str
    mend: str
    package: str
    versions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One item.

    Attributes:
        item: what was looked at.
        good: whether it will do.
        found: in a few words.
        mend: what to do about it, where something is to be done.
    """

    item: str
    good: bool
    found: str
    mend: str | None = None


def _pip(module: str, package: str, *versions: str, pin: str = "") -> Requirement:
    return Requirement(module, f"pip install '{package}{pin}'", package, versions)


def _page(module: str, package: str, *versions: str) -> Requirement:
    """Neither conda nor PyPI has it for every GPU: upstream's own page says how to get it."""
    return Requirement(module, f"see {INSTALL_PAGE}", package, versions)


REQUIREMENTS = (
    _pip("torchvision", "torchvision"),
    _pip("pytorch_lightning", "pytorch-lightning", "2.", pin=">=2,<3"),
    _pip("omegaconf", "omegaconf", "2.", pin=">=2.3,<3"),
    _pip("jaxtyping", "jaxtyping"),
    _pip("typeguard", "typeguard"),
    _pip("einops", "einops"),
    _pip("cv2", "opencv-python"),
    _pip("matplotlib", "matplotlib"),
    _pip("wandb", "wandb"),
    _pip("torchmetrics", "torchmetrics"),
    _pip("imageio", "imageio"),
    _pip("trimesh", "trimesh"),
    _pip("controlnet_aux", "controlnet_aux"),
    _pip("igl", "libigl", "2.5.1", pin="==2.5.1"),
    _pip("nerfacc", "nerfacc", "0.5.", pin="==0.5.3"),
    _pip("xatlas", "xatlas"),
    _page("tinycudann", "tinycudann"),
    _page("nvdiffrast.torch", "nvdiffrast"),
    _page("envlight", "envlight"),
)

# Runs in threestudio's Python: imports each module, as finding it says nothing of its libraries.
_PROBE = """
import importlib, importlib.metadata, json, platform, sys

def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None

def attempt(module):
    try:
        importlib.import_module(module)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"

result = {"python": platform.python_version(), "modules": {}, "cuda": None}
for module, package in json.loads(sys.argv[1]):
    result["modules"][module] = [version(package), attempt(module)]
try:
    import torch
    result["torch"] = torch.__version__
    result["cuda"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
except Exception as error:
    result["torch"] = None
print("PROBE" + json.dumps(result))
"""

_LOAD = """
import launch
launch.load_custom_modules()
import threestudio
print("PROBE" + str({name!r} in threestudio.__modules__))
"""


def examine(clone: str | Path | None = None, python: str = sys.executable) -> Iterator[Finding]:
    """Look at everything that a run needs, the cheap first.

    Args:
        clone: threestudio's folder; without it only the Python is looked at.
        python: the interpreter that runs threestudio.
    """
    opened = None
    if clone is not None:
        try:
            opened = open_clone(clone)
        except ArgumentError as error:
            found = f"expected {error.expected}, got {error.got}"
            yield Finding("clone", False, found, f"git clone {REPOSITORY}")
        else:
            yield from _clone_findings(opened)
    answer = _probe(python)
    if isinstance(answer, str):
        yield Finding("python", False, answer, "name threestudio's Python with --python")
        return
    yield from _python_findings(answer)
    if opened is not None and opened.has_hook:
        yield _loading(opened, python)


def _clone_findings(clone: Clone) -> Iterator[Finding]:
    version, commit = clone.version or "no version", clone.commit or "unknown commit"
    good = clone.version == TESTED_VERSION and clone.commit in (None, TESTED_COMMIT)
    found = f"{version} at {commit[:7] if clone.commit else commit}"
    checkout = f"git -C {shlex.quote(str(clone.root))} checkout {TESTED_COMMIT[:7]}"
    yield Finding("threestudio", good, found, None if good else f"tested with: {checkout}")
    good = clone.has_hook
    found = "installed" if good else "not installed"
    mend = None if good else f"zero123 threestudio install {shlex.quote(str(clone.root))}"
    yield Finding("our hook", good, found, mend)


def _python_findings(answer: dict[str, Any]) -> Iterator[Finding]:
    modern = tuple(map(int, answer["python"].split(".")[:2])) >= (3, 11)
    mend = None if modern else "zero123lib needs Python 3.11: see environment-threestudio.yml"
    yield Finding("Python", modern, answer["python"], mend)
    if answer["torch"] is None:
        yield Finding("torch", False, "not installed", "see environment-threestudio.yml")
    else:
        mend = None if answer["cuda"] else "threestudio needs an NVIDIA GPU and torch's CUDA build"
        found = f"{answer['torch']} on {answer['cuda'] or 'no GPU'}"
        yield Finding("torch", answer["cuda"] is not None, found, mend)
    for need in REQUIREMENTS:
        version, error = answer["modules"][need.module]
        known = not need.versions or (version or "").startswith(need.versions)
        good = error is None and known
        if error is not None:
            absent = error.startswith("ModuleNotFoundError")
            found = "not installed" if absent and version is None else " ".join(error.split())[:160]
        else:
            found = version or "of no version"
        yield Finding(need.module, good, found, None if good else need.mend)


def _loading(clone: Clone, python: str) -> Finding:
    """Tell whether threestudio's own loader registers our guidance, which prints and passes over
    whatever goes wrong."""
    answer = _run(python, _LOAD.format(name=GUIDANCE_TYPE), cwd=clone.root)
    good = answer == "True"
    found = f"registers {GUIDANCE_TYPE}" if good else f"does not load: {answer}"
    mend = None if good else "mend what is above first; then this is a bug of zero123lib's"
    return Finding("our guidance", good, found, mend)


def _probe(python: str) -> dict[str, Any] | str:
    wanted = json.dumps([[need.module, need.package] for need in REQUIREMENTS])
    answer = _run(python, _PROBE, wanted)
    return json.loads(answer) if answer.startswith("{") else answer


def _run(python: str, code: str, *arguments: str, cwd: Path | None = None) -> str:
    """Return what a script says after "PROBE", or in a line what went wrong."""
    try:
        done = subprocess.run(
            [python, "-c", code, *arguments],
            capture_output=True, text=True, cwd=cwd, env=child_environment(),
            timeout=_PROBE_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"
    for line in done.stdout.splitlines():
        if line.startswith("PROBE"):
            return line.removeprefix("PROBE")
    return last_line(done.stderr) or f"exit status {done.returncode}"


def child_environment() -> dict[str, str]:
    """Return ours, where this very zero123lib is importable, installed or not."""
    paths = [str(_PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def last_line(text: str) -> str:
    """Return the last line that says something, which of a traceback is the error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
