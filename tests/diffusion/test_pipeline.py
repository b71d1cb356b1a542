"""The pipeline against a slow, readable reference, and what it promises about batches and noise."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from PIL import Image
from torch import Tensor

from zero123lib.diffusion.apps import view_labels
from zero123lib.diffusion.model import clip_embedding, disable_one_token
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.upscaling import upscaled
from zero123lib.views.images import composite, to_pil
from zero123lib.views.poses import RelativePose, encode_poses

MakePipeline = Callable[..., Zero123Pipeline]

POSES = [RelativePose(20 * (i % 3) - 20, 45 * i, 0.1 * (i % 2)) for i in range(8)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latents_of(pipe: Any, image: Any, poses: list[RelativePose], **arguments: Any) -> Tensor:
    arguments = {"num_inference_steps": 4, "generator": seeded(), **arguments}
    return pipe(image, poses, output_type="latent", **arguments).images


def reference(
    pipe: Any, image: Tensor, pose: RelativePose, noise: Tensor, guidance_scale: float, steps: int
) -> Tensor:
    """One view, the slow way: stock attention, diffusers' DDIM, one branch at a time."""
    unet = copy.deepcopy(pipe.unet)
    disable_one_token(unet)
    scheduler: Any = DDIMScheduler.from_config(
        pipe.scheduler.config, timestep_spacing="trailing", set_alpha_to_one=True
    )
    scheduler.set_timesteps(steps)
    with torch.no_grad():
        embedding = clip_embedding(pipe.image_encoder, image[None])
        token = pipe.camera_projection(embedding, encode_poses([pose]))
        concat = pipe.vae.encode(image[None]).latent_dist.mode()
        x = noise[None]
        for t in scheduler.timesteps:
            cond = unet(torch.cat([x, concat], 1), t, encoder_hidden_states=token).sample
            uncond = unet(
                torch.cat([x, torch.zeros_like(concat)], 1),
                t,
                encoder_hidden_states=torch.zeros_like(token),
            ).sample
            guided = uncond + guidance_scale * (cond - uncond)
            x = scheduler.step(guided, t, x).prev_sample
    return x[0]


class Calls:
    """Counts calls of a method, and the rows that it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, method: str) -> None:
        self.rows: list[int] = []
        original = getattr(owner, method)

        def counted(first: Tensor, *args: Any, **kwargs: Any) -> Any:
            self.rows.append(len(first))
            return original(first, *args, **kwargs)

        monkeypatch.setattr(owner, method, counted)


@pytest.mark.parametrize("guidance_scale", [0.0, 1.0, 3.0])
def test_views_are_the_slow_references(pipe: Any, image: Tensor, guidance_scale: float) -> None:
    found = latents_of(pipe, image, POSES[:3], guidance_scale=guidance_scale)
    random = seeded()
    for view, pose in zip(found, POSES[:3], strict=True):
        noise = torch.randn(view.shape, generator=random)
        expected = reference(pipe, image, pose, noise, guidance_scale, steps=4)
        scale = max(1.0, float(expected.abs().max()))
        assert float((view - expected).abs().max()) / scale < 1e-4


def test_eight_poses_are_eight_single_ones(pipe: Any, image: Tensor) -> None:
    together = latents_of(pipe, image, POSES, generator=[seeded(i) for i in range(8)])
    for i, pose in enumerate(POSES):
        alone = latents_of(pipe, image, [pose], generator=seeded(i))
        assert torch.allclose(together[i], alone[0], atol=1e-4)


@pytest.mark.parametrize("max_batch_size", [1, 3, 8, 100])
def test_the_memory_bound_changes_nothing(
    pipe: Any, image: Tensor, max_batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pipe(image, POSES, num_inference_steps=2, generator=seeded(), eta=0.5, output_type="pt")
    unet = Calls(monkeypatch, pipe.unet, "forward")
    decoder = Calls(monkeypatch, pipe.vae, "decode")
    split = pipe(
        image,
        POSES,
        num_inference_steps=2,
        generator=seeded(),
        eta=0.5,
        max_batch_size=max_batch_size,
        output_type="pt",
    )
    assert max(unet.rows) == 2 * min(max_batch_size, 8)
    assert sum(unet.rows) == 2 * 2 * 8
    assert max(decoder.rows) == min(max_batch_size, 8)
    assert torch.allclose(split.images, whole.images, atol=1e-4)


def test_the_image_is_encoded_once(
    pipe: Any, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = Calls(monkeypatch, pipe.image_encoder, "forward")
    vae = Calls(monkeypatch, pipe.vae, "encode")
    latents_of(pipe, image, POSES, max_batch_size=2)
    assert clip.rows == [1]
    assert vae.rows == [1]


def test_guidance_one_makes_no_unconditional_pass(
    pipe: Any, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    unet = Calls(monkeypatch, pipe.unet, "forward")
    latents_of(pipe, image, POSES[:3], guidance_scale=1.0)
    assert unet.rows == [3] * 4
    unet.rows.clear()
    latents_of(pipe, image, POSES[:3], guidance_scale=1.5)
    assert unet.rows == [6] * 4


def test_a_seed_is_a_result(pipe: Any, image: Tensor) -> None:
    first = latents_of(pipe, image, POSES[:3], eta=1.0)
    assert torch.equal(latents_of(pipe, image, POSES[:3], eta=1.0), first)
    other = latents_of(pipe, image, POSES[:3], eta=1.0, generator=seeded(1))
    assert (other - first).abs().max() > 1e-2
    torch.manual_seed(5)
    free = latents_of(pipe, image, POSES[:1], generator=None)
    torch.manual_seed(5)
    assert torch.equal(latents_of(pipe, image, POSES[:1], generator=None), free)


def test_more_poses_leave_the_first_ones_alone(pipe: Any, image: Tensor) -> None:
    few, many = latents_of(pipe, image, POSES[:2]), latents_of(pipe, image, POSES)
    assert torch.allclose(many[:2], few, atol=1e-4)


def test_latents_take_the_place_of_noise(pipe: Any, image: Tensor) -> None:
    noise = torch.stack([torch.randn(pipe.latent_shape, generator=g) for g in [seeded()] * 2])
    given = latents_of(pipe, image, POSES[:2], latents=noise, generator=None)
    assert torch.equal(given, latents_of(pipe, image, POSES[:2]))


def test_eta_adds_noise_on_the_way(pipe: Any, image: Tensor) -> None:
    quiet, noisy = (latents_of(pipe, image, POSES[:1], eta=eta) for eta in (0.0, 1.0))
    assert (quiet - noisy).abs().max() > 1e-2
    # One step goes straight to clean latents, where no noise is added.
    once = [latents_of(pipe, image, POSES[:1], eta=e, num_inference_steps=1) for e in (0.0, 1.0)]
    assert torch.equal(*once)


def test_outputs(pipe: Any, image: Tensor) -> None:
    def run(output_type: str, **arguments: Any) -> Any:
        return pipe(
            image,
            POSES[:2],
            num_inference_steps=2,
            generator=seeded(),
            output_type=output_type,
            **arguments,
        )

    assert pipe.image_size == 32
    tensors = run("pt").images
    assert tensors.shape == (2, 3, 32, 32)
    assert tensors.dtype == torch.float32
    assert 0 <= float(tensors.min()) <= float(tensors.max()) <= 1
    arrays = run("np").images
    assert arrays.shape == (2, 32, 32, 3)
    assert np.array_equal(arrays, tensors.permute(0, 2, 3, 1).numpy())
    pictures = run("pil").images
    assert [(i.mode, i.size) for i in pictures] == [("RGB", (32, 32))] * 2
    assert np.abs(np.asarray(pictures[1]) / 255.0 - arrays[1]).max() <= 0.5 / 255 + 1e-6
    latents = run("latent").images
    assert torch.equal((pipe.decode(latents) + 1) / 2, tensors)
    output = run("pt")
    assert torch.equal(output.prepared.tensor, image)
    assert output.notice is None
    images, prepared = run("pt", return_dict=False)
    assert torch.equal(images, tensors)
    assert prepared.image.size == (32, 32)


def test_latents_are_divided_by_the_scaling_factor(pipe: Any) -> None:
    latents = torch.randn(2, *pipe.latent_shape, generator=seeded())
    factor = pipe.vae.config["scaling_factor"]
    with torch.no_grad():
        expected = pipe.vae.decode(latents / factor).sample.clamp(-1, 1)
    assert torch.allclose(pipe.decode(latents), expected, atol=1e-5)


def test_every_kind_of_image_gives_the_same_views(pipe: Any, image: Tensor, tmp_path: Path) -> None:
    pil = to_pil(image)
    pil.save(tmp_path / "image.png")
    kinds = [pil, tmp_path / "image.png", str(tmp_path / "image.png"), np.asarray(pil)]
    first, *others = (latents_of(pipe, kind, POSES[:1], preprocess="none") for kind in kinds)
    assert all(torch.equal(other, first) for other in others)
    # 8 bits are what the tensor has on top.
    assert torch.allclose(latents_of(pipe, image, POSES[:1]), first, atol=0.1)


def test_preprocessing_frames_the_object(make_pipeline: MakePipeline) -> None:
    rgba = Image.new("RGBA", (200, 100))
    rgba.paste((200, 30, 30, 255), (20, 30, 60, 50))
    prepared = make_pipeline().prepare(rgba, "auto", foreground_ratio=0.5)
    dark = np.asarray(prepared.image).min(axis=-1) < 128
    columns, rows = np.flatnonzero(dark.any(0)), np.flatnonzero(dark.any(1))
    assert (len(columns), len(rows)) == (16, 8)
    assert prepared.method == "alpha"


def test_callback_sees_and_changes_every_step(pipe: Any, image: Tensor) -> None:
    seen: list[tuple[int, int]] = []

    def watch(owner: Any, index: int, timestep: int, tensors: dict[str, Tensor]) -> None:
        assert owner is pipe
        assert list(tensors) == ["latents"]
        seen.append((index, timestep))

    plain = latents_of(pipe, image, POSES[:2])
    watched = latents_of(pipe, image, POSES[:2], callback_on_step_end=watch)
    assert seen == [(0, 999), (1, 749), (2, 499), (3, 249)]
    assert pipe.num_timesteps == 4
    assert torch.equal(plain, watched)

    def restart(_: Any, index: int, timestep: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"latents": torch.zeros_like(tensors["latents"]) if index == 1 else plain}

    changed = latents_of(pipe, image, POSES[:2], callback_on_step_end=restart)
    assert torch.equal(changed, plain)
    zeros = latents_of(
        pipe,
        image,
        POSES[:2],
        callback_on_step_end=lambda *step: {"latents": torch.zeros_like(step[3]["latents"])},
    )
    assert zeros.abs().max() == 0


def test_interrupt_stops_after_the_step(pipe: Any, image: Tensor) -> None:
    def stop(owner: Any, index: int, timestep: int, tensors: dict[str, Tensor]) -> None:
        owner._interrupt = index == 1
        kept.append(tensors["latents"])

    kept: list[Tensor] = []
    stopped = latents_of(pipe, image, POSES[:2], callback_on_step_end=stop)
    assert pipe.interrupt
    assert len(kept) == 2
    assert torch.equal(stopped, kept[-1])
    latents_of(pipe, image, POSES[:2])
    assert not pipe.interrupt


def test_steps_come_one_by_one(pipe: Any, image: Tensor) -> None:
    condition = pipe.encode(pipe.prepare(image))
    steps = list(pipe.sample(condition, POSES[:2], num_inference_steps=4, generator=seeded()))
    assert [(step.index, step.total, step.timestep) for step in steps] == [
        (0, 4, 999),
        (1, 4, 749),
        (2, 4, 499),
        (3, 4, 249),
    ]
    assert torch.equal(steps[-1].latents, latents_of(pipe, image, POSES[:2]))
    assert torch.allclose(steps[-1].predicted, steps[-1].latents, atol=1e-5)
    assert not steps[-1].latents.requires_grad


def test_what_is_not_named_is_as_the_checkpoint_recommends(
    make_pipeline: MakePipeline, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe: Any = make_pipeline(num_inference_steps=3, guidance_scale=1.0)
    unet = Calls(monkeypatch, pipe.unet, "forward")
    free = pipe(image, POSES[:2], generator=seeded(), output_type="latent").images
    assert unet.rows == [2] * 3  # no unconditional pass
    named = latents_of(pipe, image, POSES[:2], num_inference_steps=3, guidance_scale=1.0)
    assert torch.equal(free, named)
    condition = pipe.encode(pipe.prepare(image))
    *_, last = pipe.sample(condition, POSES[:2], generator=seeded())
    assert torch.equal(last.latents, named)
    assert pipe.recommended() == (3, 1.0)
    assert pipe.recommended(7) == (7, 1.0)
    assert pipe.recommended(guidance_scale=0.0) == (3, 0.0)
    assert make_pipeline("published").recommended() == (50, 3.0)


def test_views_are_samples_decoded(pipe: Any, image: Tensor) -> None:
    condition, seen = pipe.encode(pipe.prepare(image)), []
    options = {"num_inference_steps": 3, "max_batch_size": 1}
    made = pipe.views(condition, POSES[:2], generator=seeded(), on_step=seen.append, **options)
    expected = pipe(image, POSES[:2], generator=seeded(), output_type="pt", **options).images
    assert torch.equal((made + 1) / 2, expected)
    assert [(step.index, step.total) for step in seen] == [(0, 3), (1, 3), (2, 3)]


def test_an_enlarged_view_at_the_own_camera_is_the_photo(
    make_pipeline: MakePipeline,
) -> None:
    pipe: Any = make_pipeline()
    y, x = np.mgrid[0:400, 0:400]
    inside = np.hypot(x - 200, y - 200) < 150
    stripes = 127 + 100 * np.sin(x / 4)
    photo = Image.fromarray(np.dstack([*[stripes] * 3, 255 * inside]).astype(np.uint8))
    poses = [RelativePose(), RelativePose(0, 1), RelativePose(0, -360), RelativePose(0, 0, 0.01)]

    def views(upscale: int, given: Any = photo) -> Tensor:
        noise = torch.Generator().manual_seed(0)
        options: dict[str, Any] = {"generator": noise, "num_inference_steps": 1}
        return pipe(given, poses, upscale=upscale, output_type="pt", **options).images

    made, size = views(2), 2 * pipe.image_size
    prepared = pipe.prepare(photo)
    own = composite(prepared.detail).resize((size, size), Image.Resampling.LANCZOS)
    wanted = torch.from_numpy(np.array(own)).permute(2, 0, 1) / 255
    torch.testing.assert_close(made[[0, 2]], wanted.expand(2, -1, -1, -1), atol=1e-5, rtol=0)
    # Nowhere else, not in what the model itself made, and not of what has no more pixels.
    close = {"atol": 1e-5, "rtol": 0}
    torch.testing.assert_close(made[[1, 3]], upscaled(views(1), 2)[[1, 3]], **close)
    assert not torch.isclose(F.avg_pool2d(made[:1], 2), views(1)[:1], atol=0.02).all()
    small = prepared.tensor
    torch.testing.assert_close(views(2, small), upscaled(views(1, small), 2), **close)
    # A sheet says which they are.
    labels = view_labels(prepared, poses, 2)
    assert [label.endswith("the photo") for label in labels] == [True, False, True, False]
    assert not any("photo" in label for label in view_labels(prepared, poses))


def test_guidance_zero_makes_no_conditional_pass(
    pipe: Any, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    unet = Calls(monkeypatch, pipe.unet, "forward")
    first, second = latents_of(pipe, image, [POSES[0]] * 2, guidance_scale=0.0)
    assert unet.rows == [2] * 4
    assert (first - second).abs().max() > 1e-3
    other = latents_of(pipe, 1 - image.abs(), [POSES[3]] * 2, guidance_scale=0.0)
    assert torch.equal(other, torch.stack([first, second]))


@pytest.mark.parametrize("sampler", ["official", "unipc", "dpmpp", "euler"])
def test_other_samplers_run(pipe: Any, image: Tensor, sampler: str) -> None:
    latents = latents_of(pipe, image, POSES[:2], sampler=sampler)
    assert torch.isfinite(latents).all()
    assert not torch.equal(latents, latents_of(pipe, image, POSES[:2]))


def test_progress_bar_counts_steps(
    make_pipeline: MakePipeline, image: Tensor, capsys: pytest.CaptureFixture
) -> None:
    pipe = make_pipeline()
    latents_of(pipe, image, POSES[:1])
    assert capsys.readouterr().err == ""
    pipe.set_progress_bar_config(disable=False, desc="views")
    latents_of(pipe, image, POSES, max_batch_size=2)
    shown = capsys.readouterr().err
    assert "views: 100%" in shown
    assert "4/4" in shown
    # The official schedule drops the noisiest of its timesteps.
    latents_of(pipe, image, POSES[:1], sampler="official", num_inference_steps=5)
    assert "4/4" in capsys.readouterr().err


def test_stable_zero123_is_told_the_conditions_elevation(
    make_pipeline: MakePipeline, image: Tensor
) -> None:
    pipe = make_pipeline(encoding="stable-zero123")
    with pytest.raises(ValueError, match="condition_elevation_deg: expected"):
        latents_of(pipe, image, POSES[:1])
    low, high = (latents_of(pipe, image, POSES[:1], condition_elevation_deg=e) for e in (0.0, 60.0))
    assert (low - high).abs().max() > 1e-4
    # The radius has no part in this encoding, the elevation none in the other.
    nearer = [RelativePose(POSES[0].elevation_deg, POSES[0].azimuth_deg, 0.5)]
    same = latents_of(pipe, image, nearer, condition_elevation_deg=0.0)
    assert torch.equal(same, low)
