"""Score distillation gives the gradient that its formulas state, through encoder and resizing."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast, get_args

import pytest
import torch
from torch import Tensor

from zero123lib.diffusion.distillation.variants import (
    ISM_INTERVAL,
    ISM_STRIDE,
    WEIGHTINGS,
    Variant,
    weight,
)
from zero123lib.diffusion.patches import PatchAutoencoder
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.schedule import Schedule
from zero123lib.diffusion.sds import Draw, Guidance, loss_with_gradient
from zero123lib.views.poses import RelativePose, encode_poses

POSES = [RelativePose(20.0, 40.0), RelativePose(-10.0, 170.0, 0.2), RelativePose(0.0, -75.0)]
VARIANTS = get_args(Variant)
PREDICTIONS = ("epsilon", "sample", "v_prediction")

Make = Callable[..., Zero123Pipeline]


def guidance_of(pipe: Zero123Pipeline, image: Tensor, **options: Any) -> Guidance:
    return Guidance(pipe, pipe.prepare(image, "none"), **options)


def views(count: int = len(POSES), size: int = 32) -> Tensor:
    made = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(3))
    return made.requires_grad_()


def grad(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def predicts(pipe: Zero123Pipeline, prediction_type: str) -> Zero123Pipeline:
    pipe.scheduler = type(pipe.scheduler).from_config(
        pipe.scheduler.config, prediction_type=prediction_type, rescale_betas_zero_snr=False
    )
    return pipe


def plain_eps(pipe: Zero123Pipeline, guidance: Guidance, x: Tensor, t: int, scale: float) -> Tensor:
    """One view after another, one condition after the other: the slow way, pose by pose."""
    schedule = Schedule.from_scheduler(pipe.scheduler)
    condition = guidance.condition
    results = []
    with torch.no_grad():
        for row, pose in zip(x, POSES, strict=True):
            token = pipe.camera_projection(condition.embedding, encode_poses([pose]))
            eps = []
            for kind in (0.0, 1.0):
                stacked = torch.cat([row[None], kind * condition.concat], 1)
                output: Any = pipe.unet(stacked, t, encoder_hidden_states=kind * token)
                eps.append(schedule.x0_and_eps(output.sample, row[None], t)[1])
            results.append(eps[0] + scale * (eps[1] - eps[0]))
    return torch.cat(results)


def expected(
    pipe: Zero123Pipeline, guidance: Guidance, variant: str, x0: Tensor, noise: Tensor, t: int
) -> Tensor:
    """The papers' formulas, in eps and at one timestep."""
    schedule = Schedule.from_scheduler(pipe.scheduler)
    alpha, sigma = schedule.level(t)

    def eps(x: Tensor, scale: float, at: int = t) -> Tensor:
        return plain_eps(pipe, guidance, x, at, scale)

    def inverted(x: Tensor, at: int, to: int) -> Tensor:
        """A step of DDIM towards more noise, without the condition."""
        (a, b), (c, d), found = schedule.level(at), schedule.level(to), eps(x, 0.0, at)
        return c * (x - b * found) / a + d * found

    noisy = alpha * x0 + sigma * noise
    if variant == "sds":
        return sigma**2 * (eps(noisy, 3.0) - noise)
    if variant == "csd":
        return sigma**2 * (eps(noisy, 1.0) - eps(noisy, 0.0))
    if variant == "sjc":
        varsigma = sigma / alpha
        denoised = (noisy - sigma * eps(noisy, 3.0)) / alpha
        return -(denoised - x0) / varsigma
    total = schedule.num_train_timesteps
    s = max(t - round(ISM_INTERVAL * total), 0)
    x, at = schedule.level(0)[0] * x0 + schedule.level(0)[1] * noise, 0
    for to in [*range(s % round(ISM_STRIDE * total), s, round(ISM_STRIDE * total)), s]:
        if to > at:
            x, at = inverted(x, at, to), to
    slope = eps(x, 0.0, s)
    later = inverted(x, s, t)
    return sigma / alpha * (eps(later, 3.0) - slope)


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_is_the_formula(
    make_pipeline: Make, image: Tensor, variant: Variant, prediction_type: str
) -> None:
    pipe = predicts(make_pipeline("published"), prediction_type)
    guidance = guidance_of(pipe, image, posterior="mode", max_batch_size=2)
    draw = guidance.draw(3, generator=torch.Generator().manual_seed(1))
    for t in (20, 400, 900):
        latents = guidance.encode(views()).detach().requires_grad_()
        at = Draw(torch.full((3,), t), draw.noise)
        found = guidance.distil(latents, POSES, variant=variant, draw=at)
        found.loss.backward()
        formula = expected(pipe, guidance, variant, latents.detach(), draw.noise, t)
        tolerance = 2e-4 * float(formula.abs().max())
        assert torch.allclose(found.gradient, formula, atol=tolerance)
        assert torch.allclose(grad(latents), found.gradient / 3, rtol=1e-6)
        assert float(found.gradient_norm) == pytest.approx(float(formula.norm()), rel=1e-3)
        assert float(found.loss.detach()) == pytest.approx(
            float(formula.square().sum()) / 6, rel=1e-3
        )


def test_views_at_different_timesteps_do_not_mix(make_pipeline: Make, image: Tensor) -> None:
    guidance = guidance_of(make_pipeline(), image)
    latents = guidance.encode(views()).detach()
    draw = guidance.draw(3, (0.1, 0.9), torch.Generator().manual_seed(0))
    together = guidance.distil(latents, POSES, draw=draw)
    for i, pose in enumerate(POSES):
        own = Draw(draw.timesteps[i : i + 1], draw.noise[i : i + 1])
        alone = guidance.distil(latents[i : i + 1], [pose], draw=own)
        assert torch.allclose(alone.gradient[0], together.gradient[i], atol=1e-5)
        assert torch.allclose(alone.predicted[0], together.predicted[i], atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_results_do_not_depend_on_the_batch(
    make_pipeline: Make, image: Tensor, variant: Variant
) -> None:
    pipe = make_pipeline("published")
    gradients = []
    for size in (None, 2, 1):
        rgb = views()
        guidance = guidance_of(pipe, image, max_batch_size=size)
        generator = torch.Generator().manual_seed(0)
        guidance(rgb, POSES, variant=variant, generator=generator).loss.backward()
        gradients.append(grad(rgb))
    assert gradients[0].abs().max() > 0
    for other in gradients[1:]:
        assert torch.allclose(other, gradients[0], atol=1e-4 * float(gradients[0].abs().max()))


def gaussian(pipe: Zero123Pipeline, mean: Tensor, std: float) -> Callable[..., Any]:
    """The exact model of x0 ~ N(mean, std^2): E[x0 | x] in closed form, given as pipe predicts."""
    schedule = Schedule.from_scheduler(pipe.scheduler)

    def forward(stacked: Tensor, t: Tensor, encoder_hidden_states: Tensor) -> Any:
        x = stacked[:, : stacked.shape[1] // 2]
        abar = schedule.alphas_cumprod[t].reshape(-1, 1, 1, 1).to(x)
        gain = abar.sqrt() * std**2 / (abar * std**2 + 1 - abar)
        return SimpleNamespace(sample=mean + gain * (x - abar.sqrt() * mean))

    return forward


@pytest.mark.parametrize("variant", ["sds", "sjc", "ism"])
def test_descent_leads_to_what_a_perfect_model_knows(
    make_pipeline: Make, image: Tensor, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = make_pipeline("bundled")  # predicts x0
    guidance = guidance_of(pipe, image, posterior="mode")
    target = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(8))
    mean = guidance.encode(target)
    monkeypatch.setattr(pipe.unet, "forward", gaussian(pipe, mean, 0.05))
    rgb = torch.full((1, 3, 32, 32), 0.5, requires_grad=True)
    optimizer = torch.optim.Adam([rgb], lr=0.02)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        optimizer.zero_grad()
        settings: dict[str, Any] = {"timesteps": (0.2, 0.7), "generator": generator}
        guidance(rgb, POSES[:1], variant=variant, **settings).loss.backward()
        optimizer.step()
    before, after = (0.5 - target).abs().mean(), (rgb - target).abs().mean()
    assert after < 0.3 * before, (float(before), float(after))
    # At rest, and not because it has no gradient anywhere.
    assert guidance(target, POSES[:1], draw=guidance.draw(1, (0.5, 0.5))).gradient_norm > 0


def test_mean_gradient_of_a_gaussian_points_to_its_mean(
    make_pipeline: Make, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # E[gradient] = w sigma alpha / (alpha^2 s^2 + sigma^2) (x0 - mean), for noise of mean 0.
    pipe = make_pipeline("bundled")
    guidance = guidance_of(pipe, image)
    mean, std, t = torch.randn(guidance.latent_shape), 0.3, 600
    monkeypatch.setattr(pipe.unet, "forward", gaussian(pipe, mean, std))
    clean = torch.randn(1, *guidance.latent_shape)
    noise = torch.randn(1, *guidance.latent_shape)
    both = [Draw(torch.tensor([t]), sign * noise) for sign in (1, -1)]  # antithetic: noise cancels
    gradients = [guidance.distil(clean, POSES[:1], draw=draw).gradient for draw in both]
    alpha, sigma = guidance.schedule.level(t)
    slope = sigma**2 * sigma * alpha / (alpha**2 * std**2 + sigma**2)
    assert torch.allclose((gradients[0] + gradients[1]) / 2, slope * (clean - mean), atol=1e-4)


@pytest.mark.parametrize("variant", ["csd", "ism"])
def test_low_variance_variants_vary_less(
    make_pipeline: Make, image: Tensor, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With a model that knows the clean latents, SDS still hands on part of the noise.
    pipe = make_pipeline("bundled")
    guidance = guidance_of(pipe, image)
    mean = torch.randn(1, *guidance.latent_shape)
    monkeypatch.setattr(pipe.unet, "forward", gaussian(pipe, mean, 0.5))

    def spread(name: Variant) -> float:
        generator = torch.Generator().manual_seed(0)
        settings: Any = {"timesteps": (0.5, 0.5), "weighting": "uniform", "variant": name}
        found = [
            guidance.distil(mean + 0.1, POSES[:1], generator=generator, **settings).gradient
            for _ in range(20)
        ]
        return float(torch.cat(found).std(0).mean())

    assert spread(variant) < 0.5 * spread("sds")


def test_the_input_view_is_encoded_once(
    make_pipeline: Make, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = make_pipeline("published")
    calls = {"image_encoder": 0, "vae": 0}

    def counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return method(*args, **kwargs)

        return call

    monkeypatch.setattr(
        pipe.image_encoder, "forward", counted("image_encoder", pipe.image_encoder.forward)
    )
    monkeypatch.setattr(pipe.vae, "encode", counted("vae", pipe.vae.encode))
    guidance = guidance_of(pipe, image)
    assert calls == {"image_encoder": 1, "vae": 1}
    latents = guidance.encode(views())
    assert calls == {"image_encoder": 1, "vae": 2}
    for _ in range(3):
        guidance.distil(latents.detach(), POSES)
    assert calls == {"image_encoder": 1, "vae": 2}


def test_encoder_is_the_pipelines(pipe: Zero123Pipeline, image: Tensor) -> None:
    guidance = guidance_of(pipe, image, posterior="mode")
    latents = guidance.encode((image[None] + 1) / 2)
    scaled = guidance.condition.concat * pipe.vae.config["scaling_factor"]
    assert torch.allclose(latents, scaled, atol=1e-5)


def test_posterior_is_sampled_with_gradient(make_pipeline: Make, image: Tensor) -> None:
    guidance = guidance_of(make_pipeline("published"), image)
    rgb = views()
    drawn = [guidance.encode(rgb, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2])
    drawn[0].sum().backward()
    assert grad(rgb).abs().max() > 0
    assert all(parameter.grad is None for parameter in guidance.pipe.vae.parameters())


@pytest.mark.parametrize("size", [16, 32, 48])
def test_other_sizes_are_resized_with_gradient(
    make_pipeline: Make, image: Tensor, size: int
) -> None:
    guidance = guidance_of(make_pipeline("bundled"), image)
    rgb = views(size=size)
    assert guidance.encode(rgb).shape == (3, *guidance.latent_shape)
    guidance(rgb, POSES, generator=torch.Generator().manual_seed(0)).loss.backward()
    assert bool(torch.isfinite(grad(rgb)).all())
    assert grad(rgb).abs().amax((1, 2, 3)).min() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("variant", VARIANTS)
def test_half_precision_is_finite_and_near(
    make_pipeline: Make, image: Tensor, variant: Variant, dtype: torch.dtype
) -> None:
    gradients = []
    for kind in (torch.float32, dtype):
        guidance = guidance_of(make_pipeline("published").to(kind), image, posterior="mode")
        draw = guidance.draw(3, (0.3, 0.7), torch.Generator().manual_seed(0))
        rgb = views()
        found = guidance(rgb, POSES, variant=variant, draw=draw)
        found.loss.backward()
        assert found.loss.dtype == torch.float32 and found.not_finite == 0
        assert bool(torch.isfinite(grad(rgb)).all())
        gradients.append(found.gradient)
    error = (gradients[1] - gradients[0]).norm() / gradients[0].norm()
    assert error < 0.1, float(error)


def test_autocast_around_it_changes_nothing(make_pipeline: Make, image: Tensor) -> None:
    guidance = guidance_of(make_pipeline("published"), image, posterior="mode")
    draw = guidance.draw(3)
    plain = guidance(views(), POSES, draw=draw).gradient
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(guidance(views(), POSES, draw=draw).gradient, plain)


def test_a_view_that_is_not_finite_takes_no_part(
    make_pipeline: Make, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = make_pipeline("bundled")
    guidance = guidance_of(pipe, image)
    forward = pipe.unet.forward

    def overflow(*args: Any, **kwargs: Any) -> Any:
        output: Any = forward(*args, **kwargs)
        output.sample[0, 0, 0, 0] = math.inf
        return output

    monkeypatch.setattr(pipe.unet, "forward", overflow)
    latents = guidance.encode(views()).detach().requires_grad_()
    found = guidance.distil(latents, POSES, guidance_scale=1.0)
    found.loss.backward()
    assert found.not_finite == 1
    assert found.gradient[0].abs().max() == 0 < found.gradient[1].abs().max()
    assert bool(torch.isfinite(grad(latents)).all())


def test_seed_decides_and_bounds_hold(make_pipeline: Make, image: Tensor) -> None:
    guidance = guidance_of(make_pipeline("bundled"), image)
    total = guidance.schedule.num_train_timesteps
    draw = guidance.draw(2000, (0.25, 0.26), torch.Generator().manual_seed(0))
    assert set(draw.timesteps.tolist()) == set(range(total // 4, int(total * 0.26) + 1))
    assert guidance.draw(2, (1.0, 1.0)).timesteps.tolist() == [total - 1] * 2
    again = guidance.draw(2000, (0.25, 0.26), torch.Generator().manual_seed(0))
    assert torch.equal(draw.noise, again.noise) and torch.equal(draw.timesteps, again.timesteps)
    found = guidance(views(), POSES, max_gradient=0.01)
    assert float(found.gradient.abs().max()) == pytest.approx(0.01)


@pytest.mark.parametrize("name", ["sigma2", "uniform", "sigma_over_alpha", "alpha_sigma2"])
def test_weights(scheduler: Any, name: Any) -> None:
    schedule = Schedule.from_scheduler(scheduler)
    for t in (0, 500, 999):
        alpha, sigma = schedule.level(t)
        truth = {
            "sigma2": sigma**2,
            "uniform": 1.0,
            "sigma_over_alpha": sigma / alpha,
            "alpha_sigma2": alpha * sigma**2,
        }
        found = weight(name, schedule, torch.tensor([t]), torch.zeros(1))
        assert float(found) == pytest.approx(truth[name], rel=1e-5)
    assert set(WEIGHTINGS.values()) <= {"sigma2", "uniform", "sigma_over_alpha", "alpha_sigma2"}


def test_weight_sigma_over_alpha_makes_sds_a_fit_to_the_prediction(
    make_pipeline: Make, image: Tensor
) -> None:
    guidance = guidance_of(make_pipeline("bundled"), image)
    latents = guidance.encode(views()).detach()
    found = guidance.distil(latents, POSES, weighting="sigma_over_alpha", timesteps=(0.2, 0.8))
    assert torch.allclose(found.gradient, latents - found.predicted, atol=1e-4)


def test_stable_encoding_sees_the_elevation(make_pipeline: Make, image: Tensor) -> None:
    pipe = make_pipeline("published", encoding="stable-zero123")
    gradients = []
    for elevation in (0.0, 30.0):
        guidance = guidance_of(pipe, image, condition_elevation_deg=elevation, posterior="mode")
        draw = guidance.draw(3, generator=torch.Generator().manual_seed(0))
        gradients.append(guidance(views(), POSES, draw=draw).gradient)
    assert not torch.allclose(gradients[0], gradients[1])
    with pytest.raises(ValueError, match="condition_elevation_deg: expected the input view's"):
        guidance_of(pipe, image)


def test_loss_gives_small_gradients_without_rounding() -> None:
    # Next to latents of 1e3, `latents - gradient` would lose all of this gradient.
    latents = torch.full((2, 1, 1, 1), 1e3, requires_grad=True)
    gradient = torch.full((2, 1, 1, 1), 1e-6)
    loss_with_gradient(latents, gradient).backward()
    assert torch.equal(grad(latents), gradient / 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timesteps": (0.5, 0.2)}, "timesteps: expected the lowest and the highest share"),
        ({"timesteps": 0.5}, "timesteps: expected the lowest and the highest share"),
        ({"timesteps": (0.5, math.nan)}, "timesteps: expected the lowest and the highest share"),
        ({"guidance_scale": -1.0}, "guidance_scale: expected a number of at least 0"),
        ({"variant": "vsd"}, "variant: expected one of 'sds', 'sjc', 'csd', 'ism', got 'vsd'"),
        ({"weighting": "snr"}, "weighting: expected one of 'sigma2'"),
        ({"max_gradient": -0.1}, "max_gradient: expected a number of at least 0"),
        ({"generator": 3}, "generator: expected a torch.Generator"),
        (
            {"weighting": "sigma_over_alpha", "timesteps": (1.0, 1.0)},
            "timesteps: expected an upper end below 1",
        ),
    ],
)
def test_wrong_arguments_are_named(
    make_pipeline: Make, image: Tensor, options: dict[str, Any], message: str
) -> None:
    guidance = guidance_of(make_pipeline("bundled"), image)
    with pytest.raises(ValueError, match=message):
        guidance(views(), POSES, **options)


def test_views_must_fit_the_poses(make_pipeline: Make, image: Tensor) -> None:
    pipe = make_pipeline("bundled")
    guidance = guidance_of(pipe, image)
    with pytest.raises(ValueError, match=r"rgb: expected a floating tensor \[3, 3, H, W\], one"):
        guidance(views(2), POSES)
    with pytest.raises(ValueError, match=r"rgb: expected .* got torch.uint8 \[3, 3, 32, 32\]"):
        guidance((views() * 255).byte(), POSES)
    with pytest.raises(ValueError, match=r"latents: expected a floating tensor \[3, 48, 8, 8\]"):
        guidance.distil(views(), POSES)
    with pytest.raises(ValueError, match="poses: expected a list of RelativePose"):
        guidance(views(), cast(Any, [(0, 0, 0)] * 3))
    with pytest.raises(ValueError, match="posterior: expected one of 'sample', 'mode'"):
        guidance_of(pipe, image, posterior="mean")
    assert isinstance(pipe.vae, PatchAutoencoder)
