"""The real threestudio, from a clone outside the tree, without what only a GPU's machine has.

`ZERO123_THREESTUDIO` names the clone. Its Python dependencies that install anywhere
(`pytorch-lightning jaxtyping typeguard einops`, and `openai-clip` for the official guidance) come
from a folder on `PYTHONPATH` (`pip install --no-deps --target FOLDER ...`), so that they need not
stand in this project's environment. Ten others are stand-ins.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, cast
from unittest.mock import MagicMock

import pytest
import torch

from zero123lib.threestudio_plugin.clone import HOOK, install

STAND_INS = {
    "controlnet_aux", "cv2", "envlight", "igl", "matplotlib", "nerfacc", "nvdiffrast",
    "tinycudann", "torchvision", "wandb",
}  # fmt: skip
# Imported before the stand-ins are in place: each would ask one of them what it can do.
FIRST = ("pytorch_lightning", "torchmetrics", "diffusers", "transformers")


class StandIns:
    """An import hook: the modules that cannot be installed are mocks."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] not in STAND_INS:
            return None
        return ModuleSpec(name, cast(Any, self), is_package=True)

    def create_module(self, spec: Any) -> Any:
        module = MagicMock(name=spec.name)
        module.__path__, module.__name__, module.__spec__ = [], spec.name, spec
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass


@contextmanager
def standing_in() -> Iterator[None]:
    """Within, the ten modules are mocks; afterwards nothing that comes later sees them."""
    held = {name: sys.modules.pop(name) for name in list(sys.modules) if _stands_in(name)}
    finder = StandIns()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if _stands_in(name)]:
            del sys.modules[name]
        sys.modules.update(held)


def _stands_in(name: str) -> bool:
    return name.partition(".")[0] in STAND_INS


@pytest.fixture(scope="session")
def threestudio_clone() -> Path:
    folder = os.environ.get("ZERO123_THREESTUDIO")
    if not folder:
        pytest.skip("ZERO123_THREESTUDIO names no clone of threestudio to test against")
    return Path(folder).resolve()


@contextmanager
def loaded(clone: Path, root: Path) -> Iterator[Any]:
    """threestudio, with all that is under `custom/` loaded by its own `launch.py`.

    The clone stays as it is: an empty folder is filled with links to stand for it, with our hook in
    its own `custom`.
    """
    for entry in clone.iterdir():
        if entry.name not in ("custom", "outputs"):
            (root / entry.name).symlink_to(entry)
    (root / HOOK).parents[1].mkdir(parents=True)
    install(root)
    before, held = Path.cwd(), list(sys.path)
    os.chdir(root)
    sys.path.insert(0, str(root))
    try:
        for name in FIRST:
            importlib.import_module(name)
        with standing_in():
            launch = importlib.import_module("launch")
            launch.load_custom_modules()
            module = importlib.import_module("threestudio")
        yield module
    finally:
        os.chdir(before)
        sys.path[:] = held


@contextmanager
def without_gpu() -> Iterator[None]:
    """Within, what threestudio makes is made on the CPU, and the stand-ins are there."""
    base = importlib.import_module("threestudio.utils.base")
    with pytest.MonkeyPatch.context() as patch, standing_in():
        patch.setattr(base, "get_device", lambda: torch.device("cpu"))
        yield


@pytest.fixture(scope="session")
def imported(
    threestudio_clone: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ModuleType]:
    for name in FIRST:
        pytest.importorskip(name, reason=f"{name} is not installed; see {__file__}")
    with loaded(threestudio_clone, tmp_path_factory.mktemp("threestudio")) as module:
        yield module


@pytest.fixture
def threestudio(imported: ModuleType) -> Iterator[Any]:
    """threestudio on the CPU."""
    with without_gpu():
        yield imported


@pytest.fixture
def parse(threestudio: Any) -> Callable[..., Any]:
    """threestudio's `parse_structured`."""
    return importlib.import_module("threestudio.utils.config").parse_structured
