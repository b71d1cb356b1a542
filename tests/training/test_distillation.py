"""A student of few steps: where its targets lie, what is trained, what comes out."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from _quality import compared, own_views, show, tier_views
from diffusers import DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler

from tests.training.test_objective import SMALL
from tests.training.toy import NumberedPairs, toy_config, weights_of
from zero123lib._errors import ArgumentError
from zero123lib.cli import main
from zero123lib.datasets.batches import collate
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.samplers import ddim
from zero123lib.diffusion.schedule import Schedule
from zero123lib.evaluation.samples import scene_samples
from zero123lib.training.checkpoints import resume, save_checkpoint
from zero123lib.training.config import DistillationConfig
from zero123lib.training.distillation import Way, student_settings
from zero123lib.training.loop import train
from zero123lib.training.objective import draw
from zero123lib.training.output import write_model
from zero123lib.training.recipe import tiny_pipeline, tiny_scheduler
from zero123lib.training.state import start
from zero123lib.views.poses import RelativePose

STEPS, TEACHER_STEPS, GUIDANCE = 2, 6, 2.0

# Made for ten minutes of one core.
BUNDLED = """
preset: distil
initial: tiny
data:
  source: scenes
  workers: 0
  scenes:
    kinds: [chair, table, lamp, mug, car, house, duck, bear]
    first_scene: 400000
    shuffle_buffer: 64
    pairs_per_scene: 96
    shards: 4
    shard_pairs: 8
batch: {size: 32, per_device: 32}
optimizer: {learning_rate: 2.0e-4, betas: [0.9, 0.99]}
schedule: {warmup_steps: 20, decay: cosine}
objective: {distillation: {guidance_scale: 2.0, teacher_steps: 24}}
ema: {decay: 0.98}
compute: {channels_last: true, attention: plain, threads: 1, gradient_checkpointing: false}
validation: {every_steps: 35, views: 0}
budget: {steps: 420}
"""


def way_of(steps: int = STEPS) -> Way:
    schedule = Schedule.from_scheduler(tiny_scheduler())
    return Way(schedule, DistillationConfig(steps, TEACHER_STEPS))


def noise(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, 2, 2, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a pipeline that recommends 50 steps with guidance, its weights made up."""
    pipe = tiny_pipeline(SMALL, seed=0)
    # The output of fresh weights hardly depends on the input.
    pipe.unet.conv_out.weight.data *= 4
    pipe.register_to_config(num_inference_steps=50, guidance_scale=GUIDANCE, model_name="big")
    folder = tmp_path_factory.mktemp("teacher")
    pipe.save_pretrained(folder)
    return folder


def config_of(tmp_path: Path, teacher: Path, *overrides: str) -> Any:
    distillation = f"{{steps: {STEPS}, teacher_steps: {TEACHER_STEPS}}}"
    return toy_config(
        tmp_path, f"initial={{source: {teacher}}}", "trained.image_encoder=false",
        "objective.dropout=0", f"objective.distillation={distillation}", *overrides,
    )  # fmt: skip


@pytest.mark.parametrize("steps", [1, 2, 3, 6])
def test_the_parts_of_the_way_end_where_the_students_steps_do(steps):
    schedule, way = Schedule.from_scheduler(tiny_scheduler()), way_of(steps)
    points = torch.arange(1, TEACHER_STEPS + 1)
    assert way.timesteps[points].tolist() == schedule.timesteps(TEACHER_STEPS)[::-1]
    tops = way.end(points).unique() + way.part
    assert way.timesteps[tops].tolist() == schedule.timesteps(steps)[::-1]
    ahead = points - way.end(points)
    assert ahead.min() == 1 and ahead.max() == way.part == TEACHER_STEPS // steps


def test_the_way_is_what_ddim_goes():
    """Step by step beside the sampler; both are told the same clean latents."""
    schedule, way = Schedule.from_scheduler(tiny_scheduler()), way_of()
    x, told = noise(1), noise(TEACHER_STEPS, 1)
    outputs = iter(told.split(1))
    walked = ddim(lambda *_: next(outputs), x, schedule, schedule.timesteps(TEACHER_STEPS))
    for index, step in enumerate(walked):
        point = torch.tensor([TEACHER_STEPS - index])
        x = way.step(x, told[index : index + 1], point, point - 1)
        torch.testing.assert_close(x, step.latents, rtol=1e-6, atol=1e-6)


def test_a_step_to_where_it_is_changes_nothing_whatever_is_predicted():
    """The boundary condition, which the student needs no parametrisation for."""
    way, points = way_of(), torch.arange(1, TEACHER_STEPS + 1)
    x, x0 = noise(TEACHER_STEPS), noise(TEACHER_STEPS, 1)
    torch.testing.assert_close(way.step(x, x0, points, points), x)


def test_the_aim_of_a_step_is_its_clean_latents_and_of_two_steps_a_mean_of_theirs():
    way, x, first, second = way_of(), noise(2), noise(2, 1), noise(2, 2)
    points = torch.tensor([3, 6])
    between = points - 1
    end = way.end(points)
    once = way.step(x, first, points, end)
    torch.testing.assert_close(way.aim(x, once, points, end), first, rtol=1e-5, atol=1e-5)
    twice = way.step(way.step(x, first, points, between), second, between, end)
    aim = way.aim(x, twice, points, end)
    torch.testing.assert_close(way.step(x, aim, points, end), twice, rtol=1e-5, atol=1e-5)
    share = (aim - second) / (first - second)
    assert (share > -1e-4).all() and (share < 1 + 1e-4).all()
    torch.testing.assert_close(share, share[:, :1, :1, :1].expand_as(share), rtol=1e-2, atol=1e-4)


def pairs(count: int) -> Any:
    return collate([NumberedPairs().pair(n) for n in range(count)])


def test_a_student_that_is_its_teacher_has_no_loss_where_one_step_is_all(tmp_path, teacher):
    """Guidance 1, and no more steps for the teacher than for the student."""
    alike = config_of(
        tmp_path, teacher, "objective.distillation={steps: 6, teacher_steps: 6, guidance_scale: 1}"
    )
    for config, expected in ((alike, True), (config_of(tmp_path, teacher), False)):
        state = start(config)
        draws = draw(0, range(4), state.pipe.latent_shape, False)
        for step in (0, None):
            loss = float(state.loss(state.model, pairs(4), draws, step).detach())
            assert (loss < 1e-10) is expected, (loss, step)


def test_gradients_reach_the_student_alone(tmp_path, teacher):
    state = start(config_of(tmp_path, teacher))
    draws = draw(0, range(4), state.pipe.latent_shape, False)
    assert state.teacher is not None
    before = {n: p.clone() for n, p in state.teacher.unet.state_dict().items()}
    list(train(state, NumberedPairs()))
    state.loss(state.model, pairs(4), draws, 0).backward()
    assert all(p.grad is None for p in state.teacher.unet.parameters())
    assert any(p.grad is not None for p in state.pipe.unet.parameters())
    after = state.teacher.unet.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    trained = state.pipe.unet.state_dict()
    assert any(not torch.equal(trained[name], tensor) for name, tensor in before.items())


def test_validation_is_against_the_pipelines_own_steps(tmp_path, teacher):
    """From pure noise, the student's first step aims where three of the teacher's lead."""
    state = start(config_of(tmp_path, teacher))
    assert state.teacher is not None
    pipe = Zero123Pipeline.from_pretrained(teacher)
    way, batch = state.teacher.way, pairs(1)
    draws = draw(0, range(1), state.pipe.latent_shape, False)
    draws.timestep[:] = 0.999
    condition = pipe.encode(pipe.prepare(batch["condition"][0]))
    token = pipe.camera_projection(condition.embedding, batch["pose"])
    schedule = Schedule.from_scheduler(pipe.scheduler)

    def guided(x, t):
        null, seen = (
            pipe.unet(torch.cat([x, c], 1), t, encoder_hidden_states=k).sample
            for c, k in ((condition.concat * 0, token * 0), (condition.concat, token))
        )
        return null + GUIDANCE * (seen - null)

    with torch.no_grad():
        steps = ddim(guided, draws.noise, schedule, schedule.timesteps(TEACHER_STEPS))
        reached = list(itertools.islice(steps, way.part))[-1].latents
        t = torch.tensor(schedule.timesteps(STEPS)[0])
        sample = torch.cat([draws.noise, condition.concat], 1)
        said = pipe.unet(sample, t, encoder_hidden_states=token).sample
        alpha, sigma = schedule.level(schedule.timesteps(STEPS)[1])
        # At the start there is nothing but noise: alpha is 0 and sigma 1.
        aim = (reached - sigma * draws.noise) / alpha
        expected = (said - aim).square().mean()
        loss = state.loss(state.model, batch, draws)
    assert float(loss) == pytest.approx(float(expected), rel=1e-4) and float(expected) > 1e-6


@pytest.mark.parametrize("more", [(), ("trained.unet=lora", "trained.lora_rank=2")])
def test_a_resumed_student_is_the_unbroken_one_to_the_bit(tmp_path, teacher, more):
    config = config_of(tmp_path, teacher, *more)
    whole, first, second = start(config), start(config), start(config)
    losses = [p.loss for p in train(whole, NumberedPairs())]
    before = [p.loss for p in itertools.islice(train(first, NumberedPairs()), 3)]
    save_checkpoint(tmp_path / "run", first, None, 1)
    resume(tmp_path / "run", second)
    assert before + [p.loss for p in train(second, NumberedPairs())] == losses
    for name, weight in weights_of(second).items():
        assert torch.equal(weight, weights_of(whole)[name]), name


class FourPairs(NumberedPairs):
    """Four pairs again and again, their noise always another."""

    def pair(self, number: int) -> Any:
        return super().pair(number % 4)


def test_a_student_nears_the_teachers_whole_way(tmp_path, teacher):
    """What it learns of one step at a time carries over to the whole, and to other noise."""
    state = start(config_of(tmp_path, teacher, "batch.per_device=4", "budget.steps=60"))
    draws = draw(99, range(4), state.pipe.latent_shape, False)
    draws.timestep[:] = torch.tensor([0.1, 0.4, 0.6, 0.9])

    def distance() -> float:
        with torch.no_grad():
            return float(state.loss(state.model, pairs(4), draws))

    before = distance()
    list(train(state, FourPairs()))
    assert distance() < 0.85 * before


def test_what_comes_out_takes_its_steps_without_being_told(tmp_path, teacher):
    state = start(config_of(tmp_path, teacher, "budget.steps=1"))
    list(train(state, NumberedPairs()))
    write_model(tmp_path, state)
    pipe = Zero123Pipeline.from_pretrained(tmp_path / "model")
    pipe.set_progress_bar_config(disable=True)
    assert pipe.recommended() == (STEPS, 1.0) and pipe.model_name == f"big-{STEPS}-steps"
    pipe(torch.zeros(3, 16, 16), [RelativePose(azimuth_deg=30)], output_type="pt")
    assert pipe.num_timesteps == STEPS
    # Stock diffusers takes the same steps from the folder.
    stock: Any = DDIMScheduler.from_pretrained(tmp_path / "model", subfolder="scheduler")
    stock.set_timesteps(STEPS)
    own = Schedule.from_scheduler(pipe.scheduler).timesteps(STEPS)
    assert stock.timesteps.tolist() == own and stock.final_alpha_cumprod == 1


@pytest.mark.parametrize(
    "scheduler", [PNDMScheduler(), EulerDiscreteScheduler(), DDIMScheduler(clip_sample=True)]
)
def test_a_student_is_not_clipped_whatever_scheduler_its_teacher_had(scheduler):
    pipe = tiny_pipeline(SMALL, seed=0)
    pipe.register_modules(scheduler=scheduler)
    own = student_settings(pipe, DistillationConfig())["scheduler"]
    assert Schedule.from_scheduler(own).clip_range is None
    assert not own.config["clip_sample"]
    torch.testing.assert_close(own.alphas_cumprod, scheduler.alphas_cumprod)


def test_what_does_not_fit_is_one_line(tmp_path, teacher):
    for override, line in (
        ("objective.distillation.teacher_steps=5", "teacher_steps: expected a multiple"),
        ("objective.dropout=0.1", "objective.dropout: expected 0"),
        ("initial={architecture: tiny}", "initial: expected a model to distil"),
    ):
        with pytest.raises(ArgumentError, match=line):
            config_of(tmp_path, teacher, override)
    many = "objective.distillation={steps: 2, teacher_steps: 2000}"
    with pytest.raises(ArgumentError, match="objective.distillation.teacher_steps: expected"):
        start(config_of(tmp_path, teacher, many))


@pytest.mark.soak
def test_four_steps_of_the_bundled_model_are_nearer_to_its_fifty(tmp_path):
    """Nearer than four steps of its own, with guidance or without; on held-out objects."""
    (tmp_path / "bundled.yaml").write_text(BUNDLED)
    assert main(["train", str(tmp_path / "bundled.yaml"), "--out", str(tmp_path / "run")]) == 0
    teacher, student = (
        Zero123Pipeline.from_pretrained(model) for model in ("tiny", tmp_path / "run" / "model")
    )
    for pipe in (teacher, student):
        pipe.set_progress_bar_config(disable=True)
    ways = {
        "exact": tier_views(teacher, "exact", 50, 2.0),
        "4 exact": tier_views(teacher, "exact", 4, 2.0),
        "4 unguided": tier_views(teacher, "exact", 4, 1.0),
        "student": own_views(student),
    }
    kinds = teacher.trained_on.get("scene_kinds")
    found = compared(ways, list(scene_samples(8, 4, teacher.image_size, kinds=kinds)), True)
    show(found)
    *others, mine = found[1:]
    for other in others:
        assert mine["PSNR to exact, dB"] > other["PSNR to exact, dB"], (mine, other)
        assert mine["LPIPS to exact"] < other["LPIPS to exact"], (mine, other)
