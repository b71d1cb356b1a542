"""The loss: dropout, timesteps and targets against closed forms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler

from tests.training.toy import NumberedPairs
from zero123lib.datasets.batches import collate
from zero123lib.diffusion.schedule import Schedule
from zero123lib.lpips import lpips_alex
from zero123lib.training import objective
from zero123lib.training.config import ObjectiveConfig, PerceptualConfig
from zero123lib.training.objective import (
    denoising_loss,
    draw,
    encode,
    grid_contrast,
    image_loss,
    keep,
    perceptual_weights,
    timesteps,
)
from zero123lib.training.recipe import Architecture, TrainedModel, tiny_pipeline

SHAPE = (48, 4, 4)
SMALL = Architecture(
    image_size=16, patch_size=4, block_out_channels=(16,), attended=(True,), attention_heads=(2,),
    norm_num_groups=4, clip_image_size=16, clip_patch_size=8, clip_width=16, clip_layers=1,
    clip_heads=1, context_width=16,
)  # fmt: skip


class Recorder(torch.nn.Module):
    """Stands for the UNet: keeps what it is given and predicts a constant."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.value = value

    def forward(self, sample, timesteps, encoder_hidden_states):
        self.noisy, self.concat = sample.chunk(2, 1)
        self.token, self.timesteps = encoder_hidden_states[:, 0], timesteps
        output = torch.full_like(self.noisy, self.value)
        return type("Output", (), {"sample": output})()


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline(SMALL, seed=0)


def batch_of(count: int, size: int = 16):
    return collate([NumberedPairs(size=size).pair(n) for n in range(count)])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def recorded(pipe, uniform: list[float], config: ObjectiveConfig):
    recorder, count = Recorder(), len(uniform)
    model = TrainedModel(recorder, None, pipe.camera_projection)  # pyright: ignore[reportArgumentType]
    plain = draw(0, range(count), SHAPE, False)
    draws = replace(plain, dropout=torch.tensor(uniform))
    denoising_loss(model, pipe, batch_of(count), draws, config)
    return recorder


@pytest.mark.parametrize("null", ["projected", "zero"])
def test_dropout_by_group_from_one_uniform(pipe, null):
    """u < p drops CLIP, p..2p both, 2p..3p the concat latent, the rest nothing; the pose stays
    but for the second group's zero token."""
    uniforms = [0.0, 0.049, 0.05, 0.099, 0.1, 0.149, 0.15, 0.999]
    config = ObjectiveConfig(dropout=0.05, null_token=null)
    got, whole = recorded(pipe, uniforms, config), recorded(pipe, [0.9] * 8, config)
    dropped_concat = (got.concat == 0).flatten(1).all(1)
    assert dropped_concat.tolist() == [False, False, True, True, True, True, False, False]
    assert torch.equal(got.concat[[0, 1, 6, 7]], whole.concat[[0, 1, 6, 7]])
    width = got.token.shape[1]
    weight, bias = pipe.camera_projection.proj.weight, pipe.camera_projection.proj.bias
    pose_alone = batch_of(8)["pose"] @ weight[:, width:].T + bias
    assert torch.allclose(got.token[:2], pose_alone[:2], atol=1e-6)
    both = pose_alone[2:4] if null == "projected" else torch.zeros(2, width)
    assert torch.allclose(got.token[2:4], both, atol=1e-6)
    assert torch.equal(got.token[4:], whole.token[4:])
    assert not torch.allclose(whole.token, pose_alone, atol=1e-2)


def test_dropout_groups_are_equally_likely():
    kept = keep(torch.linspace(0, 1, 10_001)[:-1], ObjectiveConfig())
    shares = {
        "clip": ((kept.embedding == 0) & (kept.concat == 1)).float().mean(),
        "both": ((kept.embedding == 0) & (kept.concat == 0)).float().mean(),
        "concat": ((kept.embedding == 1) & (kept.concat == 0)).float().mean(),
    }
    assert all(abs(share - 0.05) < 2e-4 for share in shares.values()), shares


def test_timesteps_follow_the_power():
    uniform = torch.linspace(0, 1, 100_001)[:-1].double()
    counts = timesteps(uniform, 1000, 1.0).bincount(minlength=1000)
    assert counts.min() >= 99 and counts.max() <= 101
    noisy = timesteps(uniform, 1000, 0.25)
    # P(t < 500) = P(u < (1/2)^4)
    assert (noisy < 500).double().mean() == pytest.approx(0.5**4, abs=1e-3)
    assert timesteps(torch.ones(1), 1000, 1.0).item() == 999


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_loss_against_its_closed_form(pipe, prediction_type):
    """For a network that always answers 0.3 the loss is mean((0.3 - target)^2)."""
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        prediction_type=prediction_type,
    )  # fmt: skip
    recorder, batch = Recorder(0.3), batch_of(4)
    model = TrainedModel(recorder, None, pipe.camera_projection)  # pyright: ignore[reportArgumentType]
    draws = draw(1, range(4), SHAPE, False)
    before, pipe.scheduler = pipe.scheduler, scheduler
    try:
        loss = denoising_loss(model, pipe, batch, draws, ObjectiveConfig(posterior="mode"))
    finally:
        pipe.scheduler = before
    x0 = pipe.vae.encode(batch["target"]).latent_dist.mode() * pipe.vae.config["scaling_factor"]
    t = (1000 * draws.timestep).long()
    assert torch.equal(recorder.timesteps, t)
    noisy = scheduler.add_noise(x0, draws.noise, t)  # pyright: ignore[reportArgumentType]
    assert torch.allclose(recorder.noisy, noisy, atol=1e-5)
    target = {
        "epsilon": draws.noise,
        "sample": x0,
        "v_prediction": scheduler.get_velocity(x0, draws.noise, t),  # pyright: ignore[reportArgumentType]
    }[prediction_type]
    assert float(loss) == pytest.approx(float((0.3 - target).square().mean()), rel=1e-5)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_values_are_those_of_the_formulas_in_single_precision(pipe, prediction_type):
    """What is trained on is, to rounding, what abar in float32 gives, as runs before had it."""
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        prediction_type=prediction_type, clip_sample=False,
    )  # fmt: skip
    schedule = Schedule.from_scheduler(scheduler)
    x0, eps, output = (torch.randn(1000, 4, generator=seeded(i)) for i in range(3))
    steps = torch.arange(1000)
    abar = scheduler.alphas_cumprod[steps][:, None]
    alpha, sigma = abar.sqrt(), (1 - abar).sqrt()
    noisy = alpha * x0 + sigma * eps
    assert torch.allclose(schedule.add_noise(x0, eps, steps), noisy, atol=1e-6)
    v = alpha * eps - sigma * x0
    target = {"epsilon": eps, "sample": x0, "v_prediction": v}[prediction_type]
    assert torch.allclose(schedule.target(x0, eps, steps), target, atol=1e-6)
    seen = {
        "epsilon": (noisy - sigma * output) / alpha,
        "sample": output,
        "v_prediction": alpha * noisy - sigma * output,
    }[prediction_type]
    found, _ = schedule.x0_and_eps(output, noisy, steps)
    assert torch.allclose(found, seen, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_the_perceptual_loss_is_that_of_the_clean_latents(pipe, prediction_type, monkeypatch):
    """With the mean square in place of LPIPS, each pair weighted as its type has it."""

    def squares(made, target):
        # What is around the images, where they are moved, is white in both.
        return (made - target).square().sum((1, 2, 3)) / (3 * 16 * 16)

    monkeypatch.setattr(objective, "lpips_alex", lambda device: squares)
    monkeypatch.setattr(pipe, "scheduler", DDIMScheduler(prediction_type=prediction_type))
    batch, steps = batch_of(3), torch.tensor([20, 500, 900])
    output, noisy = (torch.randn(3, *SHAPE, generator=seeded(i)) for i in range(2))
    with torch.no_grad():
        shift = torch.zeros(3, 2, dtype=torch.int64)
        found = image_loss(pipe, output, noisy, steps, batch["target"], shift, 1.0)
    abar = pipe.scheduler.alphas_cumprod[steps]
    alpha, sigma = abar.sqrt()[:, None, None, None], (1 - abar).sqrt()[:, None, None, None]
    clean = {
        "epsilon": (noisy - sigma * output) / alpha,
        "sample": output,
        "v_prediction": alpha * noisy - sigma * output,
    }[prediction_type]
    made = pipe.vae.decode(clean / pipe.vae.config["scaling_factor"]).sample
    apart = squares((made + 1) / 2, (batch["target"] + 1) / 2)
    assert float(found) == pytest.approx(
        float((perceptual_weights(prediction_type, abar) * apart).mean()), rel=1e-5
    )


def test_target_is_a_scaled_sample_of_the_posterior_and_the_condition_its_mode(pipe):
    """With a VAE of mean 2 and width 3: (2 + 3 n) * factor, and 2."""

    class Posterior:
        mean, std = torch.full((2, *SHAPE), 2.0), torch.full((2, *SHAPE), 3.0)

        def mode(self):
            return self.mean

    class Vae:
        dtype, config = torch.float32, {"scaling_factor": 0.18215}

        def encode(self, images):
            return type("Encoded", (), {"latent_dist": Posterior()})()

    fake: Any = type("Pipe", (), {"vae": Vae()})()
    draws = draw(0, range(2), SHAPE, True)
    assert draws.posterior is not None
    latents, concat = encode(fake, batch_of(2), draws)
    assert torch.allclose(latents, (2 + 3 * draws.posterior) * 0.18215)
    assert torch.equal(concat, torch.full_like(concat, 2.0))
    assert abs(float((draws.posterior * draws.noise).mean())) < 0.1


def test_draws_depend_on_seed_and_pair_alone():
    together, alone = draw(0, range(4), SHAPE, True), draw(0, [2], SHAPE, True)
    assert torch.equal(together.noise[2], alone.noise[0])
    assert torch.equal(together.dropout[2:3], alone.dropout)
    plain, other = draw(0, [2], SHAPE, False), draw(1, [2], SHAPE, False)
    assert torch.equal(plain.noise, alone.noise) and not torch.equal(plain.noise, other.noise)
    many = draw(0, range(200), SHAPE, False)
    assert many.noise.mean().abs() < 0.01 and (many.noise.std() - 1).abs() < 0.01
    assert 0.4 < many.dropout.mean() < 0.6 and 0.4 < many.timestep.mean() < 0.6


def test_the_perceptual_loss_is_lpips_of_the_images_from_its_step_on() -> None:
    """For a network that always answers 0.01 the image is what 0.01 decodes to."""
    large = replace(SMALL, image_size=32, overlap=True)
    pipe, batch = tiny_pipeline(large, 0), batch_of(3, 32)
    model = TrainedModel(Recorder(0.01), None, pipe.camera_projection)  # pyright: ignore[reportArgumentType]
    draws = draw(1, range(3), (48, 8, 8), False)
    config = ObjectiveConfig(posterior="mode", perceptual=PerceptualConfig(0.5, from_step=7))
    losses = [denoising_loss(model, pipe, batch, draws, config, step) for step in (6, 7, None)]
    latents = torch.full((3, 48, 8, 8), 0.01) / pipe.vae.config["scaling_factor"]
    decoded: Any = pipe.vae.decode(latents)
    white, moved = torch.ones(2, 3, 3, 40, 40), draws.shift.tolist()
    for index, (y, x) in enumerate(moved):
        white[0, index, :, y : y + 32, x : x + 32] = decoded.sample[index].detach()
        white[1, index, :, y : y + 32, x : x + 32] = batch["target"][index]
    distance = lpips_alex()(*((white + 1) / 2)).mean()
    assert losses[1] == losses[2]
    assert float(losses[1] - losses[0]) == pytest.approx(0.5 * float(distance), rel=1e-4)


def test_a_filter_that_is_trained_is_asked_for_the_target_and_to_leave_true_images() -> None:
    """With the network's answer 0.01, by the formula; only the weights of the filter follow it."""
    pipe, batch = tiny_pipeline(SMALL, 0), batch_of(3)
    filtering: Any = pipe.vae.deblocking
    torch.nn.init.normal_(filtering.conv_out.weight, std=0.1, generator=seeded(3))
    draws = draw(1, range(3), SHAPE, False)
    config, asked = ObjectiveConfig(posterior="mode"), []
    for trained in (None, filtering):
        model = TrainedModel(Recorder(0.01), None, pipe.camera_projection, trained)  # pyright: ignore[reportArgumentType]
        asked.append(denoising_loss(model, pipe, batch, draws, config, 0))
    decoded: Any = pipe.vae.decode(
        torch.full((3, *SHAPE), 0.01) / pipe.vae.config["scaling_factor"]
    )
    off, first = decoded.sample - batch["target"], batch["target"][:1]  # of four, or fewer
    pixels = 0.08 * off.square().mean() + 0.06 * off.abs().mean()
    untouched = (filtering(first) - first).abs().mean()
    grid = grid_contrast(decoded.sample, batch["target"], 4)
    wanted = pixels + 0.05 * untouched + 0.03 * grid
    assert torch.allclose(asked[1] - asked[0], wanted, rtol=1e-4)
    asked[1].backward()
    assert all(one.grad.abs().sum() > 0 for one in filtering.parameters())


def test_a_grid_is_seen_where_it_is_and_an_image_has_none_over_itself() -> None:
    """Lines of 0.5 on a ramp with steps of 0.1: at each line two steps of 0.5 - 0.1 more."""
    ramp = (torch.arange(16) * 0.1 - 1).expand(1, 3, 16, 16)
    lines = ramp.clone()
    lines[..., 3::8] -= 0.5
    assert float(grid_contrast(ramp, ramp, 8)) == 0
    # Of 8 places across, and 8 down with no step at all: steps of 0.4 and 0.6 in place of 0.1.
    mean = 0.1 * (15 / 16) / 2
    wanted = ((0.3 / mean) ** 2 + (0.5 / mean) ** 2) / 16
    assert float(grid_contrast(lines, ramp, 8)) == pytest.approx(wanted, rel=1e-4)


def test_perceptual_weights_bound_what_an_error_of_the_output_does() -> None:
    abar = torch.tensor([0.999, 0.5, 0.0047])
    assert torch.equal(perceptual_weights("sample", abar), torch.ones(3))
    weights = perceptual_weights("epsilon", abar)
    # x0 = (x - sigma eps) / alpha: an error of eps is one of x0 times sigma / alpha.
    assert (weights * ((1 - abar) / abar).sqrt() <= 1 + 1e-6).all()
    assert weights[:2].tolist() == [1.0, 1.0]
