"""Our guidance inside the real threestudio is the embedded one: same loss, same gradient."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.sds import Guidance
from zero123lib.scenes import HELD_OUT_SEED, random_scene, render
from zero123lib.threestudio_plugin.clone import GUIDANCE_TYPE, TESTED_VERSION
from zero123lib.threestudio_plugin.launch import PROGRESS_VARIABLE
from zero123lib.threestudio_plugin.settings import KEYS
from zero123lib.views.cameras import FOV_DEG, camera_to_world, rays
from zero123lib.views.images import to_pil
from zero123lib.views.poses import Pose, RelativePose

CONDITION = Pose(5.0, 30.0, 1.85)
TARGETS = [Pose(25.0, 75.0, 1.85), Pose(-10.0, -150.0, 2.0)]
POSES = [target.relative_to(CONDITION) for target in TARGETS]


@pytest.fixture(scope="module")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rgba = render(random_scene(HELD_OUT_SEED), [CONDITION], 128, background="white").rgba[0]
    path = tmp_path_factory.mktemp("image") / "input.png"
    to_pil(rgba[..., :3].permute(2, 0, 1) * 2 - 1).save(path)
    return path


@pytest.fixture
def settings(image_file: Path) -> dict[str, Any]:
    return {
        "pretrained_model_name_or_path": "tiny",
        "cond_image_path": str(image_file),
        "cond_elevation_deg": CONDITION.elevation_deg,
        "cond_azimuth_deg": CONDITION.azimuth_deg,
        "cond_camera_distance": CONDITION.radius,
        "min_step_percent": [0, 0.4, 0.2, 200],
        "max_step_percent": [0, 0.85, 0.5, 200],
    }


@pytest.fixture
def make(threestudio: Any, settings: dict[str, Any]) -> Callable[..., Any]:
    """Our guidance as a recipe of threestudio's makes it."""
    OmegaConf: Any = importlib.import_module("omegaconf").OmegaConf

    def build(**changes: Any) -> Any:
        return threestudio.find(GUIDANCE_TYPE)(OmegaConf.create({**settings, **changes}))

    return build


def batch() -> dict[str, Tensor]:
    rows = [(pose.elevation_deg, pose.azimuth_deg, pose.radius) for pose in TARGETS]
    elevation, azimuth, distance = torch.tensor(rows).unbind(-1)
    return {"elevation": elevation, "azimuth": azimuth, "camera_distances": distance}


def views(size: int = 64) -> Tensor:
    made = torch.rand(2, size, size, 3, generator=torch.Generator().manual_seed(3))
    return made.requires_grad_()


def grad(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def test_its_own_loader_of_custom_picks_us_up(threestudio: Any) -> None:
    assert threestudio.__version__ == TESTED_VERSION
    assert GUIDANCE_TYPE in threestudio.__modules__
    assert {
        "zero123-guidance",
        "zero123-system",
        "implicit-volume",
    } <= threestudio.__modules__.keys()


def test_launch_knows_its_keys(threestudio: Any) -> None:
    known = {field.name for field in fields(threestudio.find(GUIDANCE_TYPE).Config)}
    assert known == set(KEYS)


@pytest.mark.parametrize("variant", ["sds", "sjc", "csd", "ism"])
def test_loss_and_gradient_are_the_embedded_ones(
    make: Callable[..., Any], image_file: Path, variant: str
) -> None:
    inside = make(variant=variant)
    inside.update_step(0, 100)
    draw = inside.guidance.draw(2, (0.3, 0.6), torch.Generator().manual_seed(0))
    seen = views()
    result = inside(seen, **batch(), rays_o=None, draw=draw)
    result["loss_sds"].backward()

    pipe = Zero123Pipeline.from_pretrained("tiny")
    embedded = Guidance(pipe, pipe.prepare(image_file, "none"))
    rgb = views().detach().permute(0, 3, 1, 2).requires_grad_()
    found = embedded(rgb, POSES, variant=variant, draw=draw)  # pyright: ignore[reportArgumentType]
    found.loss.backward()
    expected = grad(rgb).permute(0, 2, 3, 1)
    assert expected.abs().max() > 0
    assert (grad(seen) - expected).norm() < 1e-4 * expected.norm()
    assert float(result["loss_sds"].detach()) == pytest.approx(float(found.loss.detach()), rel=1e-4)
    assert float(result["grad_norm"]) == pytest.approx(float(found.gradient_norm), rel=1e-4)


def test_cameras_are_understood_relative_to_the_input_view(make: Callable[..., Any]) -> None:
    poses = make()._poses(**{
        "elevation": torch.tensor([25.0, 5.0]),
        "azimuth": torch.tensor([75.0, -170.0]),
        "distance": torch.tensor([1.85, 2.05]),
    })  # fmt: skip
    assert POSES[0] == RelativePose(20.0, 45.0, 0.0)
    assert (poses[0].elevation_deg, poses[0].azimuth_deg) == (20.0, 45.0)
    assert poses[0].radius == pytest.approx(0.0, abs=1e-6)
    assert poses[1].azimuth_deg == pytest.approx(160.0)
    assert poses[1].radius == pytest.approx(0.2, abs=1e-6)


def test_schedules_are_followed(make: Callable[..., Any]) -> None:
    guidance = make(guidance_scale=[0, 1.0, 3.0, 100], grad_clip=[0, 2.0, 8.0, 1000])
    for step, low, high, scale in (
        (0, 0.4, 0.85, 1.0),
        (100, 0.3, 0.675, 3.0),
        (900, 0.2, 0.5, 3.0),
    ):
        guidance.update_step(0, step)
        assert guidance.timesteps == pytest.approx((low, high))
        assert guidance.guidance_scale == pytest.approx(scale)
        with torch.no_grad():
            told = guidance(views(), **batch())
        assert (told["min_step"], told["max_step"]) == (int(1000 * low), int(1000 * high))


def test_previews_have_what_the_system_saves(make: Callable[..., Any]) -> None:
    result = make(max_items_eval=1)(views(), **batch(), guidance_eval=True)["eval"]
    assert result["bs"] == 1 and len(result["texts"]) == len(result["noise_levels"]) == 1
    for name in ("imgs_noisy", "imgs_1step", "imgs_1orig", "imgs_final"):
        assert result[name].shape == (1, 128, 128, 3), name
        assert 0 <= float(result[name].min()) <= float(result[name].max()) <= 1
    assert (
        len(make(max_items_eval=-1)(views(), **batch(), guidance_eval=True)["eval"]["texts"]) == 2
    )
    # Ten steps of denoising bring a noisy view nearer to something smooth.
    roughness = {
        name: float((result[name][:, 1:] - result[name][:, :-1]).abs().mean())
        for name in ("imgs_noisy", "imgs_final")
    }
    assert roughness["imgs_final"] < roughness["imgs_noisy"]


def test_latents_come_in_without_an_encoder(make: Callable[..., Any]) -> None:
    guidance = make()
    channels = guidance.guidance.latent_shape[0]
    rgb = torch.rand(2, 16, 16, channels, requires_grad=True)
    guidance(rgb, **batch(), rgb_as_latents=True)["loss_sds"].backward()
    assert bool(torch.isfinite(grad(rgb)).all()) and grad(rgb).abs().max() > 0


def test_half_precision_and_autocast_are_finite(make: Callable[..., Any]) -> None:
    guidance = make(half_precision_weights=True)
    seen = views()
    with torch.autocast("cpu", torch.bfloat16):
        result = guidance(seen.half(), **batch())
    result["loss_sds"].backward()
    assert result["loss_sds"].dtype == torch.float32
    assert math.isfinite(float(result["loss_sds"].detach())) and bool(
        torch.isfinite(grad(seen)).all()
    )


def test_progress_is_told_where_somebody_asks(
    make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PROGRESS_VARIABLE, str(tmp_path / "steps"))
    guidance = make()
    for step in (0, 1):
        guidance.update_step(0, step)
        result = guidance(views(), **batch())
    told = [json.loads(line) for line in (tmp_path / "steps").read_text().splitlines()]
    assert [line["step"] for line in told] == [0, 1]
    assert told[1]["losses"]["sds"] == pytest.approx(float(result["loss_sds"].detach()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"guidence_scale": 3.0}, "unknown key 'guidence_scale', did you mean 'guidance_scale'?"),
        ({"min_step_percent": "low"}, "min_step_percent: expected a number from 0 to 1"),
        ({"min_step_percent": 0.99}, "min_step_percent: expected at most max_step_percent"),
        ({"cond_image_path": "absent.png"}, "absent.png"),
    ],
)
def test_mistakes_are_named(
    make: Callable[..., Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=r"[\w.]+: ") as error:
        make(**changes)
    assert message in str(error.value)


def test_the_true_camera_is_a_matter_of_four_numbers(threestudio: Any, parse: Any) -> None:
    """threestudio's own data module makes the rays of our 49.13 degree camera."""
    image: Any = importlib.import_module("threestudio.data.image")

    class Rays(image.SingleImageDataBase):
        def load_images(self) -> None:
            pass

    pose = Pose(5.0, 0.0, 1.85)
    config = parse(
        image.SingleImageDataModuleConfig,
        {
            "height": 16,
            "width": 16,
            "default_elevation_deg": pose.elevation_deg,
            "default_azimuth_deg": 0.0,
            "default_camera_distance": pose.radius,
            "default_fovy_deg": FOV_DEG,
            "use_random_camera": False,
            "rays_noise_scale": 0.0,
        },
    )
    made = Rays()
    made.setup(config, "train")
    origins, directions = rays(camera_to_world(pose), 16)
    assert torch.allclose(made.rays_o[0], origins, atol=1e-5)
    assert torch.allclose(made.rays_d[0], directions, atol=1e-5)
