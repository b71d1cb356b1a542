"""The guidance term is the official one: threestudio's `zero123-guidance` and ours, one checkpoint.

Both read the same file in the official layout, with the made-up weights of `tests/parity` in a
small model at the sizes that threestudio insists on: images of 256 px, latents of 32. What runs
is threestudio's guidance and the official model's code from the clone's `extern/`, with stand-ins
for kornia's resizing, which is torch's, and for CLIP's download. Needs `openai-clip` beside the
packages named in conftest.py.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor

from tests.parity import official
from tests.parity.checkpoint import read_layout, write_checkpoint
from zero123lib.diffusion.sds import Draw
from zero123lib.threestudio_plugin.clone import GUIDANCE_TYPE

PARITY = Path(__file__).parents[1] / "parity"
SCHEDULES = {"min_step_percent": [0, 0.4, 0.2, 200], "max_step_percent": [0, 0.85, 0.5, 200]}


def write_files(folder: Path) -> dict[str, str]:
    """The checkpoint, its YAML as the official code names things, and the image."""
    write_checkpoint(folder / "model.ckpt", read_layout(dict(np.load(PARITY / "small.npz"))))
    text = (
        (PARITY / "small.yaml").read_text().replace("target: ldm.", "target: extern.ldm_zero123.")
    )
    config = yaml.safe_load(text)
    params = config["model"]["params"]
    params["image_size"] = params["unet_config"]["params"]["image_size"] = 32
    params["first_stage_config"]["params"]["ddconfig"]["resolution"] = 256
    (folder / "model.yaml").write_text(yaml.safe_dump(config))
    column = np.linspace(0, 255, 256, dtype=np.uint8)
    image = np.stack(
        [np.tile(column, (256, 1)), np.tile(column[:, None], 256), np.full((256, 256), 90)]
    )
    Image.fromarray(image.transpose(1, 2, 0).astype(np.uint8)).save(folder / "input.png")
    return {name: str(folder / name) for name in ("model.ckpt", "model.yaml", "input.png")}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write_files(tmp_path_factory.mktemp("official"))


def read_image(path: str, flag: Any) -> np.ndarray:
    """What OpenCV would give of an RGBA file; the stand-in's colour conversion does nothing."""
    return np.asarray(Image.open(path).convert("RGBA"))


@contextmanager
def official_modules() -> Iterator[None]:
    """Within, the official model's code of `extern/` can be imported, and reads its checkpoint."""
    spec = importlib.util.find_spec("clip")
    if spec is None:
        raise ModuleNotFoundError("openai-clip is not installed, of which the official model is")
    clip = ModuleType("clip")
    clip.__path__ = list(spec.submodule_search_locations or [])
    clip.__dict__["load"] = lambda **kwargs: (official._clip(official.SMALL_CLIP), None)
    kornia = MagicMock()
    kornia.geometry.resize, kornia.enhance.normalize = official._resize, official._normalize
    kornia.__path__ = []
    distributed = ModuleType("pytorch_lightning.utilities.distributed")
    distributed.__dict__["rank_zero_only"] = lambda function: function
    names = {
        "clip": clip,
        "kornia": kornia,
        "kornia.augmentation": MagicMock(),
        "pytorch_lightning.utilities.distributed": distributed,
        "taming": MagicMock(),
        "taming.modules": MagicMock(),
        "taming.modules.vqvae": MagicMock(),
        "taming.modules.vqvae.quantize": MagicMock(),
    }
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        for name, module in names.items():
            patch.setitem(sys.modules, name, module)
        patch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("extern", "clip"):
            del sys.modules[name]


@pytest.fixture
def official_imports() -> Iterator[None]:
    if importlib.util.find_spec("clip") is None:  # importing it would ask for torchvision
        pytest.skip("openai-clip is not installed, of which the official model is made")
    with official_modules():
        yield


def guidance_module(family: str, patch: pytest.MonkeyPatch) -> Any:
    """threestudio's module of a guidance, with what it uses of OpenCV."""
    module: Any = importlib.import_module(
        f"threestudio.models.guidance.{family.replace('-', '_')}_guidance"
    )
    cv2 = SimpleNamespace(
        IMREAD_UNCHANGED=None, COLOR_BGRA2RGBA=None, INTER_AREA=None,
        imread=read_image,
        cvtColor=lambda image, code: image,
        resize=lambda image, size, interpolation: image,
    )  # fmt: skip
    patch.setattr(module, "cv2", cv2)
    return module


def settings(files: dict[str, str]) -> dict[str, Any]:
    """What both codes are told."""
    return {
        "pretrained_model_name_or_path": files["model.ckpt"],
        "pretrained_config": files["model.yaml"],
        "cond_image_path": files["input.png"],
        "cond_elevation_deg": 10.0,
        "cond_camera_distance": 3.8,
        "guidance_scale": 3.0,
        **SCHEDULES,
    }


def views() -> Tensor:
    made = torch.rand(2, 64, 64, 3, generator=torch.Generator().manual_seed(3))
    return made.requires_grad_()


@pytest.mark.parametrize("family", ["zero123", "stable-zero123"])
def test_the_guidance_term_is_the_official_one(
    threestudio: Any,
    official_imports: None,
    files: dict[str, str],
    family: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    OmegaConf: Any = importlib.import_module("omegaconf").OmegaConf

    guidance_module(family, monkeypatch)
    shared = settings(files)
    theirs = threestudio.find(f"{family}-guidance")(OmegaConf.create(shared))
    ours = threestudio.find(GUIDANCE_TYPE)(OmegaConf.create({**shared, "encoding": family}))
    where = {
        "elevation": torch.tensor([20.0, -5.0]),
        "azimuth": torch.tensor([100.0, -60.0]),
        "camera_distances": torch.tensor([3.8, 3.9]),
    }
    for guidance in (theirs, ours):
        guidance.update_step(0, 100)

    drawn: dict[str, Tensor] = {}

    def recorded(name: str, draw: Any) -> Any:
        def record(*args: Any, **kwargs: Any) -> Tensor:
            drawn[name] = draw(*args, **kwargs)
            return drawn[name]

        return record

    def posterior_noise(*args: Any, **kwargs: Any) -> Tensor:
        """The same for both codes: the only noise that either draws by torch.randn itself."""
        return torch.empty(2, 4, 32, 32).normal_(generator=torch.Generator().manual_seed(5))

    seen, again = views(), views()
    with monkeypatch.context() as patched:
        patched.setattr(torch, "randn", posterior_noise)
        with monkeypatch.context() as recording:
            recording.setattr(torch, "randint", recorded("timesteps", torch.randint))
            recording.setattr(torch, "randn_like", recorded("noise", torch.randn_like))
            expected = theirs(seen, **where)
        found = ours(again, **where, draw=Draw(drawn["timesteps"], drawn["noise"]))
    expected["loss_sds"].backward()
    found["loss_sds"].backward()
    assert seen.grad is not None and again.grad is not None and seen.grad.abs().max() > 0
    error = float((again.grad - seen.grad).norm() / seen.grad.norm())
    loss = float((found["loss_sds"] / expected["loss_sds"]).detach()) - 1
    print(f"{family}: gradient differs by {error:.1e}, loss by {loss:.1e}")
    assert error < 1e-3 and abs(loss) < 1e-3
    for name in ("min_step", "max_step"):
        assert found[name] == expected[name]
