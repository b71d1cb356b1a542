"""A scheduler in place of the checkpoint's runs as diffusers runs it, against diffusers' loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.model import clip_embedding, disable_one_token, enable_one_token
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.poses import RelativePose, encode_poses

MakePipeline = Callable[..., Zero123Pipeline]

POSE = RelativePose(10, 45)
NOISY = (
    DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler
)  # fmt: skip
KARRAS = {"use_karras_sigmas": True}
# Those whose noise is the checkpoint's own, and which run what the bundled family predicts.
OF_EVERY_MODEL: tuple[tuple[Any, dict[str, Any]], ...] = (
    (DDIMScheduler, {"timestep_spacing": "leading", "set_alpha_to_one": False}),
    (EulerDiscreteScheduler, {}),
    (UniPCMultistepScheduler, {}),
    (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
)
OF_EPSILON_MODELS: tuple[tuple[Any, dict[str, Any]], ...] = (
    (DDPMScheduler, {}),
    (DPMSolverMultistepScheduler, KARRAS),
    (EulerAncestralDiscreteScheduler, {}),
    (EulerDiscreteScheduler, KARRAS),
    (HeunDiscreteScheduler, {}),
    (LMSDiscreteScheduler, {}),
    (PNDMScheduler, {"skip_prk_steps": True}),
)
CASES = [("bundled", *case) for case in OF_EVERY_MODEL]
CASES += [("published", *case) for case in (*OF_EVERY_MODEL, *OF_EPSILON_MODELS)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def of(kind: Any, pipe: Any, **config: Any) -> Any:
    """A scheduler made from the pipeline's, as diffusers' users make it."""
    return kind.from_config(pipe.scheduler.config, **config)


def latents_of(pipe: Any, image: Tensor, poses: Any = (POSE,), **arguments: Any) -> Tensor:
    arguments = {"num_inference_steps": 4, "generator": seeded(), **arguments}
    return pipe(image, list(poses), guidance_scale=2.0, output_type="latent", **arguments).images


def diffusers_loop(pipe: Any, image: Tensor, scheduler: Any, steps: int, eta: float) -> Tensor:
    """What a pipeline of diffusers does: stock attention, and nothing but its scheduler's own."""
    random, kind = seeded(), type(scheduler)
    step_options: dict[str, Any] = {}
    if kind is DDIMScheduler:
        step_options["eta"] = eta
    if kind in NOISY:
        step_options["generator"] = random
    disable_one_token(pipe.unet)
    scheduler.set_timesteps(steps)
    with torch.no_grad():
        token = pipe.camera_projection(
            clip_embedding(pipe.image_encoder, image[None]), encode_poses([POSE])
        )
        concat = pipe.vae.encode(image[None]).latent_dist.mode()
        tokens, concats = (torch.cat([torch.zeros_like(x), x]) for x in (token, concat))
        x = torch.randn(pipe.latent_shape, generator=random)[None] * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            seen = scheduler.scale_model_input(torch.cat([x] * 2), t)
            sample = torch.cat([seen, concats], 1)
            uncond, cond = pipe.unet(sample, t, encoder_hidden_states=tokens).sample.chunk(2)
            guided = uncond + 2.0 * (cond - uncond)
            x = scheduler.step(guided, t, x, **step_options).prev_sample
    enable_one_token(pipe.unet)
    return x


@pytest.mark.parametrize(("family", "kind", "config"), CASES)
def test_a_scheduler_runs_as_in_diffusers(
    make_pipeline: MakePipeline, image: Tensor, family: str, kind: Any, config: dict[str, Any]
) -> None:
    pipe: Any = make_pipeline(family)
    pipe.scheduler = of(kind, pipe, **config)
    eta = 0.7 if kind is DDIMScheduler else 0.0
    own = of(kind, pipe)
    expected = diffusers_loop(pipe, image, own, 4, eta)
    found = latents_of(pipe, image, eta=eta)
    assert torch.isfinite(found).all()
    assert (found - expected).abs().max() / expected.abs().max() < 1e-4
    assert torch.equal(pipe.scheduler.timesteps, own.timesteps)
    assert pipe.num_timesteps == len(own.timesteps)


def test_a_named_sampler_does_not_ask_the_scheduler(
    make_pipeline: MakePipeline, image: Tensor
) -> None:
    pipe = make_pipeline("published")
    named = latents_of(pipe, image, sampler="ddim")
    assert torch.equal(latents_of(pipe, image), named)
    pipe.scheduler = of(EulerDiscreteScheduler, pipe)
    assert torch.equal(latents_of(pipe, image, sampler="ddim"), named)
    assert (latents_of(pipe, image) - named).abs().max() > 1e-2


def test_a_scheduler_is_kept_and_taken(
    make_pipeline: MakePipeline, image: Tensor, tmp_path: Path
) -> None:
    pipe = make_pipeline("published")
    plain = latents_of(pipe, image)
    pipe.save_pretrained(tmp_path / "plain")
    pipe.scheduler = of(EulerDiscreteScheduler, pipe)
    euler = latents_of(pipe, image)
    pipe.save_pretrained(tmp_path / "euler")
    again = Zero123Pipeline.from_pretrained(tmp_path / "euler")
    given = Zero123Pipeline.from_pretrained(tmp_path / "plain", scheduler=pipe.scheduler)
    made = Zero123Pipeline(**pipe.components)
    ddim = of(DDIMScheduler, pipe, timestep_spacing="linspace")
    other = Zero123Pipeline.from_pretrained(tmp_path / "plain", scheduler=ddim)
    for one in (again, given, made, other):
        one.set_progress_bar_config(disable=True)
    assert all(torch.equal(latents_of(one, image), euler) for one in (again, given, made))
    assert (latents_of(other, image) - plain).abs().max() > 1e-3


def test_runs_side_by_side_do_not_disturb_each_other(
    make_pipeline: MakePipeline, image: Tensor
) -> None:
    pipe: Any = make_pipeline("published")
    pipe.scheduler = of(DPMSolverMultistepScheduler, pipe)
    condition = pipe.encode(pipe.prepare(image))
    counts = (3, 5)
    alone = [
        [step.latents for step in pipe.sample(condition, [POSE], num_inference_steps=n,
                                              generator=seeded())]
        for n in counts
    ]  # fmt: skip
    three, five = (
        pipe.sample(condition, [POSE], num_inference_steps=n, generator=seeded()) for n in counts
    )
    woven = [], []
    for _ in range(3):
        woven[1].append(next(five).latents)
        woven[0].append(next(three).latents)
    woven[1].extend(step.latents for step in five)
    for apart, together in zip(alone, woven, strict=True):
        assert len(apart) == len(together)
        assert all(torch.equal(a, b) for a, b in zip(apart, together, strict=True))


def test_steps_tell_what_the_model_sees(make_pipeline: MakePipeline, image: Tensor) -> None:
    pipe: Any = make_pipeline("published")
    for kind in (EulerDiscreteScheduler, DPMSolverMultistepScheduler):  # tells it, and does not
        pipe.scheduler = of(kind, pipe)
        condition = pipe.encode(pipe.prepare(image))
        *_, last = pipe.sample(condition, [POSE], num_inference_steps=4, generator=seeded())
        assert torch.allclose(last.predicted, last.latents, atol=1e-4)


def test_replaced_latents_go_on(make_pipeline: MakePipeline, image: Tensor) -> None:
    pipe: Any = make_pipeline("published")
    pipe.scheduler = of(EulerDiscreteScheduler, pipe)
    plain = latents_of(pipe, image)
    same, less = (
        latents_of(pipe, image, callback_on_step_end=lambda p, i, t, tensors, f=factor: {
            "latents": f * tensors["latents"] if i == 1 else tensors["latents"]
        })
        for factor in (1.0, 0.5)
    )  # fmt: skip
    assert torch.equal(same, plain)
    assert (less - plain).abs().max() > 1e-2


def test_custom_steps(make_pipeline: MakePipeline, image: Tensor) -> None:
    pipe: Any = make_pipeline("published")
    usual = latents_of(pipe, image)
    mine = {"num_inference_steps": None, "timesteps": [999, 749, 499, 249]}
    assert torch.equal(latents_of(pipe, image, **mine), usual)
    few = latents_of(pipe, image, sampler="dpmpp", timesteps=torch.tensor([900, 300]))
    assert pipe.num_timesteps == 2 and pipe.scheduler.timesteps.tolist() == [900, 300]
    assert (few - usual).abs().max() > 1e-2
    pipe.scheduler = of(EulerDiscreteScheduler, pipe)
    own = of(EulerDiscreteScheduler, pipe)
    own.set_timesteps(4)
    assert own.sigmas is not None
    expected = latents_of(pipe, image)
    for steps in ({"timesteps": own.timesteps.int()}, {"sigmas": own.sigmas[:-1].tolist()}):
        found = latents_of(pipe, image, num_inference_steps=None, **steps)
        # Euler makes noise levels of timesteps, or the reverse, in single precision.
        assert (found - expected).abs().max() / expected.abs().max() < 1e-3


def refusal(family: str, kind: Any, message: str, **arguments: Any) -> Any:
    name = f"{family} {kind.__name__ if kind else 'ddim'} {message.partition(':')[0]}"
    return pytest.param(family, kind, message, arguments, id=name)


@pytest.mark.parametrize(
    ("family", "kind", "message", "arguments"),
    [
        refusal("published", FlowMatchEulerDiscreteScheduler,
                "scheduler: expected one with betas, .* got a FlowMatchEulerDiscreteScheduler"),
        refusal("bundled", PNDMScheduler,
                "scheduler: expected one that can run this model, got a PNDMScheduler, which"),
        refusal("published", EulerDiscreteScheduler,
                "eta: expected 0, as a EulerDiscreteScheduler takes none", eta=0.5),
        refusal("published", DDIMScheduler, "eta: expected a number in .* got 2", eta=2),
        refusal("published", HeunDiscreteScheduler,
                "sigmas: expected None, as a HeunDiscreteScheduler takes none", sigmas=[9.0, 1.0]),
        refusal("published", EulerDiscreteScheduler,
                "num_inference_steps: expected a whole number from 1 to 1000, got 0",
                num_inference_steps=0),
        refusal("published", None, "sigmas: expected None with the sampler 'ddim'", sigmas=[1.0]),
        refusal("published", None, "timesteps: expected None with the official sampler",
                sampler="official", timesteps=[500]),
        refusal("published", None, "timesteps: expected whole numbers from 999 down to 0",
                timesteps=[500, 500]),
        refusal("published", None, "timesteps: expected .* got \\[1000, 3\\]", timesteps=[1000, 3]),
        refusal("published", None, "timesteps: expected .* got \\[\\]", timesteps=[]),
        refusal("published", None, "timesteps: expected .* got 7", timesteps=7),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(
    make_pipeline: MakePipeline,
    image: Tensor,
    family: str,
    kind: Any,
    message: str,
    arguments: dict[str, Any],
) -> None:
    pipe: Any = make_pipeline(family)
    if kind is not None:
        pipe.scheduler = of(kind, pipe)
    with pytest.raises(ArgumentError, match=f"^{message}") as caught:
        latents_of(pipe, image, **arguments)
    assert "\n" not in str(caught.value)
