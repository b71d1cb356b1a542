"""threestudio's own system, data, field and trainer, a few steps on the CPU with our guidance.

All of it is theirs but for what has no CPU build: nerfacc's three functions, in a few lines here,
and the hash grid, in whose place their own frequency encoding stands.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.threestudio.test_guidance import CONDITION
from zero123lib.reconstruction.recipes import RECIPES
from zero123lib.scenes import HELD_OUT_SEED, random_scene, render
from zero123lib.threestudio_plugin.launch import PROGRESS_VARIABLE

STEPS = 3
OVERRIDES = [
    "system.guidance.pretrained_model_name_or_path=tiny",
    "system.guidance.max_items_eval=1",
    "system.freq.guidance_eval=2",
    "system.geometry.pos_encoding_config={otype: ProgressiveBandFrequency, n_frequencies: 4}",
    "system.renderer.num_samples_per_ray=24",
    "data.height=16", "data.width=16", "data.resolution_milestones=[]",
    "data.random_camera.height=16", "data.random_camera.width=16",
    "data.random_camera.batch_size=2", "data.random_camera.resolution_milestones=[]",
    "data.random_camera.eval_height=16", "data.random_camera.eval_width=16",
    "data.random_camera.n_val_views=2", "data.random_camera.n_test_views=2",
    f"trainer.max_steps={STEPS}", "trainer.precision=32", "trainer.enable_progress_bar=false",
]  # fmt: skip


class Grid(nn.Module):
    """nerfacc's OccGridEstimator, with every cell occupied."""

    def __init__(self, roi_aabb: Tensor, resolution: int, levels: int) -> None:
        super().__init__()
        self.aabb = roi_aabb

    def sampling(
        self, rays_o: Tensor, rays_d: Tensor, render_step_size: float, **settings: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        corners = (self.aabb.view(2, 1, 3) - rays_o) / rays_d
        near = corners.amin(0).amax(-1).clamp(min=0)
        count = int((corners.amax(0).amin(-1) - near).max() / render_step_size)
        starts = near[:, None] + torch.arange(count) * render_step_size
        inside = starts < corners.amax(0).amin(-1)[:, None]
        rays = torch.arange(len(rays_o))[:, None].expand_as(starts)
        return rays[inside], starts[inside], starts[inside] + render_step_size

    def update_every_n_steps(self, **settings: Any) -> None:
        pass


def weights_of_density(
    starts: Tensor, ends: Tensor, density: Tensor, ray_indices: Tensor, n_rays: int
) -> tuple[Tensor, Tensor, Tensor]:
    """nerfacc's render_weight_from_density: Max 1995, ray by ray."""
    thickness = density * (ends - starts)
    through = thickness.cumsum(0) - thickness
    counts = torch.bincount(ray_indices, minlength=n_rays)
    first = (counts.cumsum(0) - counts)[ray_indices]
    transmittance = torch.exp(through[first] - through)
    alpha = 1 - torch.exp(-thickness)
    return transmittance * alpha, transmittance, alpha


def accumulated(weights: Tensor, values: Tensor | None, ray_indices: Tensor, n_rays: int) -> Tensor:
    """nerfacc's accumulate_along_rays."""
    each = weights[:, None] * (1 if values is None else values)
    return torch.zeros(n_rays, each.shape[-1]).index_add(0, ray_indices, each)


def images() -> SimpleNamespace:
    """What threestudio uses of OpenCV, by Pillow."""
    return SimpleNamespace(
        IMREAD_UNCHANGED=0, COLOR_BGRA2RGBA="RGBA", COLOR_RGB2BGR=None, INTER_AREA=0,
        imread=lambda path, flag=None: np.asarray(Image.open(path).convert("RGBA")),
        cvtColor=lambda image, code: image,
        resize=lambda image, size, interpolation: np.asarray(
            Image.fromarray(image).resize(size, Image.Resampling.BOX)
        ),
        imwrite=lambda path, image: Image.fromarray(image.astype(np.uint8)).save(path),
    )  # fmt: skip


def cut_loose(patch: pytest.MonkeyPatch) -> None:
    """Its ties to CUDA, nerfacc and OpenCV, replaced."""
    module = importlib.import_module
    renderer: Any = module("threestudio.models.renderers.nerf_volume_renderer")
    nerfacc = SimpleNamespace(
        OccGridEstimator=Grid,
        render_weight_from_density=weights_of_density,
        accumulate_along_rays=accumulated,
    )
    patch.setattr(renderer, "nerfacc", nerfacc)
    for name in ("data.image", "utils.saving"):
        patch.setattr(module(f"threestudio.{name}"), "cv2", images())
    # A rank is where tensors are sent.
    for name in ("data.image", "utils.misc", "models.networks", "systems.base"):
        target: Any = module(f"threestudio.{name}")
        for function, value in (("get_rank", "cpu"), ("get_device", torch.device("cpu"))):
            if hasattr(target, function):
                patch.setattr(target, function, lambda value=value: value)


@pytest.fixture
def on_cpu(threestudio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_loose(monkeypatch)


@pytest.mark.parametrize("recipe", ["zero123-sds", "stable-zero123-sds"])
def test_its_system_trains_with_our_guidance(
    recipe: str,
    threestudio: Any,
    on_cpu: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rgba = render(random_scene(HELD_OUT_SEED), [CONDITION], 64).rgba[0]
    Image.fromarray((rgba.numpy() * 255).round().astype(np.uint8)).save(tmp_path / "input.png")
    monkeypatch.setenv(PROGRESS_VARIABLE, str(tmp_path / "steps"))
    places = {"exp_root_dir": str(tmp_path), "data.image_path": str(tmp_path / "input.png")}
    words = [*OVERRIDES, *(f"{key}={json.dumps(value)}" for key, value in places.items())]
    load_config: Callable[..., Any] = importlib.import_module(
        "threestudio.utils.config"
    ).load_config
    config = load_config(str(RECIPES / f"{recipe}.yaml"), cli_args=words, n_gpus=1)
    trainer_class: Any = importlib.import_module("pytorch_lightning").Trainer

    data = threestudio.find(config.data_type)(config.data)
    system = threestudio.find(config.system_type)(config.system, resumed=False)
    system.set_save_dir(str(tmp_path / "save"))
    before = [parameter.detach().clone() for parameter in system.geometry.parameters()]
    trainer = trainer_class(
        accelerator="cpu", logger=False, enable_checkpointing=False, inference_mode=False,
        enable_model_summary=False, **config.trainer,
    )  # fmt: skip
    trainer.fit(system, datamodule=data)
    assert system.true_global_step == STEPS

    told = [json.loads(line) for line in (tmp_path / "steps").read_text().splitlines()]
    assert [line["step"] for line in told] == list(range(STEPS))
    assert all(np.isfinite(line["losses"]["sds"]) for line in told)
    moved = [
        float((now - then).abs().max())
        for now, then in zip(system.geometry.parameters(), before, strict=True)
    ]
    assert min(moved) > 0 and np.isfinite(moved).all()
    # guidance_eval at steps 0 and 2: the previews that upstream's Stable guidance forgets.
    previews = (tmp_path / "save").glob("it*-train.png")
    assert {path.name for path in previews} == {"it0-train.png", "it2-train.png"}
