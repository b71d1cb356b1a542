"""Tiers: each short cut alone beside the exact path, and how much it leaves out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from zero123lib._choices import Speed
from zero123lib.diffusion import samplers, speed
from zero123lib.diffusion.deep_features import DeepFeatures
from zero123lib.diffusion.guidance import guided
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.schedule import Schedule
from zero123lib.diffusion.speed import TIERS, Tier, TieredModel
from zero123lib.views.poses import RelativePose

MakePipeline = Callable[..., Zero123Pipeline]
POSES = [RelativePose(azimuth_deg=45), RelativePose(20, -90), RelativePose(-10, 180)]


def latents_of(pipe: Any, image: Tensor, tier: Speed | Tier, **options: Any) -> Tensor:
    """The last latents of three views, of 6 steps and guidance 3 unless told."""
    condition = pipe.encode(pipe.prepare(image))
    asked = {"num_inference_steps": 6, "guidance_scale": 3.0, **options}
    noise = torch.Generator().manual_seed(0)
    return samplers.last(pipe.sample(condition, POSES, speed=tier, generator=noise, **asked))


@contextmanager
def rows_of(module: Any) -> Iterator[list[int]]:
    """How many rows each call of a network or a part of it had."""
    rows: list[int] = []

    def count(_: Any, args: tuple, kwargs: dict) -> None:
        rows.append(len(args[0] if args else kwargs["hidden_states"]))

    handle = module.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()


def test_exact_is_ddim_with_guidance_to_the_bit(pipe: Any, image: Tensor) -> None:
    condition = pipe.encode(pipe.prepare(image))
    context = pipe.context(condition, POSES)
    schedule = Schedule.from_scheduler(pipe.scheduler)

    @torch.no_grad()
    def model(x: Tensor, t: int) -> Tensor:
        return guided(pipe.unet, x, torch.tensor(t), condition.concat, context, [3.0], 8)[0]

    noise = torch.Generator().manual_seed(0)
    x = samplers.unit_noise(pipe.latent_shape, 3, noise, torch.device("cpu"))
    expected = samplers.last(samplers.start("ddim", model, x, schedule, 6))
    assert torch.equal(latents_of(pipe, image, "exact"), expected)
    assert torch.equal(latents_of(pipe, image, Tier(guidance_interval=(0, 1))), expected)
    # One step is all that is computed: there is nothing before it to use again.
    single = {"num_inference_steps": 1}
    exact = latents_of(pipe, image, "exact", **single)
    assert torch.equal(latents_of(pipe, image, Tier(guidance_every=9), **single), exact)
    assert torch.equal(latents_of(pipe, image, Tier(deep_every=9), **single), exact)
    # And who reuses nothing does not notice that others did.
    assert torch.equal(latents_of(pipe, image, "exact"), expected)


@pytest.mark.parametrize(
    ("tier", "rows"),
    [
        (Tier(), [6] * 6),
        (Tier(guidance_every=2), [6, 3] * 3),
        (Tier(guidance_every=4), [6, 3, 3, 3, 6, 3]),
        # Six steps of 1000 start at 1, 5/6, 2/3, 1/2, 1/3 and 1/6 of the timesteps.
        (Tier(guidance_interval=(0.5, 1.0)), [6, 6, 6, 6, 3, 3]),
        (Tier(guidance_interval=(0.4, 0.9)), [3, 6, 6, 6, 3, 3]),
        (Tier(guidance_interval=(0.4, 0.9), guidance_every=2), [3, 6, 3, 6, 3, 3]),
    ],
)
def test_the_unconditional_pass_is_left_out_as_declared(
    pipe: Any, image: Tensor, tier: Tier, rows: list[int]
) -> None:
    with rows_of(pipe.unet) as found:
        latents_of(pipe, image, tier)
    assert found == rows


@pytest.mark.parametrize(
    ("tier", "deep"),
    [
        (Tier(), [6] * 6),
        (Tier(deep_every=2), [6, 6, 6]),
        (Tier(deep_every=4), [6, 6]),
        (Tier(deep_every=3, guidance_every=3), [6, 6]),
        # What the last full pass did not look at is not taken from an older one.
        (Tier(deep_every=3, guidance_every=2), [6, 3, 6]),
    ],
)
def test_deep_blocks_run_as_declared(pipe: Any, image: Tensor, tier: Tier, deep: list[int]) -> None:
    unet = pipe.unet
    assert len(unet.down_blocks) == 2
    parts = [
        unet.down_blocks[1].resnets[0],
        unet.mid_block.resnets[0],
        unet.up_blocks[0].resnets[0],
    ]
    first, last = unet.down_blocks[0].resnets[0], unet.up_blocks[1].resnets[0]
    for part in parts:
        with rows_of(part) as found:
            latents_of(pipe, image, tier)
        assert found == deep
    for part in (first, last):
        with rows_of(part) as found:
            latents_of(pipe, image, tier)
        assert len(found) == 6


@torch.no_grad()
def test_a_shallow_pass_of_the_same_input_is_the_full_one(pipe: Any) -> None:
    x, token = torch.randn(2, *pipe.latent_shape), torch.randn(2, 1, 32)
    concat, t = torch.randn(1, *pipe.latent_shape), torch.tensor(500)
    deep = DeepFeatures(pipe.unet)
    full, again, other = [], [], []
    for found, shallow, at in ((full, False, t), (again, True, t), (other, True, t - 300)):
        deep.shallow = shallow
        found += guided(pipe.unet, x, at, concat, token, [0.0, 1.0], 1, deep)
    assert all(torch.equal(a, b) for a, b in zip(full, again, strict=True))
    # The blocks that do run are told of the other timestep.
    assert not any(torch.equal(a, b) for a, b in zip(full, other, strict=True))


def test_guidance_that_stays_the_same_may_be_reused(make_pipeline: MakePipeline) -> None:
    """Where the condition always adds the same, no pass is needed to know it."""
    unet = make_pipeline().unet
    added = torch.randn(2, 3, 4, 4)

    def ask(x: Tensor, t: Tensor, scales: Sequence[float], deep: Any) -> list[Tensor]:
        uncond = x * t / 1000
        return [uncond + scale * added for scale in scales]

    for tier in (Tier(guidance_every=3), Tier(guidance_every=2, guidance_interval=(0.0, 1.0))):
        fast, exact = (TieredModel(one, unet, ask, 3.0, 1000) for one in (tier, Tier()))
        for t in (999, 700, 400, 100):
            x = torch.randn(2, 3, 4, 4)
            torch.testing.assert_close(fast(x, t), exact(x, t))


@pytest.mark.parametrize("name", ["balanced", "fast"])
def test_the_memory_bound_changes_nothing(pipe: Any, image: Tensor, name: Speed) -> None:
    exact_types = Tier(**{**vars(TIERS[name]), "bfloat16": False})
    single, all_at_once = (
        latents_of(pipe, image, exact_types, max_batch_size=size) for size in (1, 8)
    )
    torch.testing.assert_close(single, all_at_once, rtol=1e-3, atol=1e-3)


def test_calls_side_by_side_do_not_share_features(pipe: Any, image: Tensor) -> None:
    tiers = [Tier(deep_every=3), Tier(), Tier(deep_every=2), Tier()]
    alone = [latents_of(pipe, image, tier) for tier in tiers]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda tier: latents_of(pipe, image, tier), tiers))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert len({float(one.sum()) for one in alone}) == 3


def test_a_copy_of_the_unet_goes_its_own_way(make_pipeline: MakePipeline, image: Tensor) -> None:
    pipe = make_pipeline()
    before = latents_of(pipe, image, Tier(deep_every=2))
    parts = {**pipe.components, "unet": copy.deepcopy(pipe.unet)}
    other = Zero123Pipeline(**parts, **pipe.parameters)
    with torch.no_grad():
        for weight in pipe.unet.parameters():
            weight.zero_()
    assert torch.equal(latents_of(other, image, Tier(deep_every=2)), before)


def test_bfloat16_where_it_is_computed_and_nowhere_else(
    pipe: Any, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier, exact = Tier(bfloat16=True), latents_of(pipe, image, "exact")
    seen = []
    pipe.unet.conv_in.register_forward_hook(lambda *call: seen.append(call[-1].dtype))
    monkeypatch.setattr(speed, "computes_bfloat16", lambda kind: False)
    assert torch.equal(latents_of(pipe, image, tier), exact)
    assert set(seen) == {torch.float32}
    seen.clear()
    monkeypatch.setattr(speed, "computes_bfloat16", lambda kind: kind == "cpu")
    found = latents_of(pipe, image, tier)
    assert set(seen) == {torch.bfloat16} and found.dtype == torch.float32
    assert 0 < (found - exact).norm() / exact.norm() < 0.1


def test_views_are_decoded_in_bfloat16_too(
    make_pipeline: MakePipeline, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe: Any = make_pipeline("published")
    seen = []
    pipe.vae.decoder.conv_in.register_forward_hook(lambda *call: seen.append(call[-1].dtype))
    monkeypatch.setattr(speed, "computes_bfloat16", lambda kind: kind == "cpu")
    latents = torch.randn(2, *pipe.latent_shape, generator=torch.Generator().manual_seed(0))
    exact, found = pipe.decode(latents), pipe.decode(latents, speed="fast")
    assert seen == [torch.float32, torch.bfloat16] and found.dtype == torch.float32
    assert 0 < (found - exact).norm() / exact.norm() < 0.03
    seen.clear()
    pipe(image, POSES, num_inference_steps=1, speed="balanced", output_type="pt")
    condition = pipe.encode(pipe.prepare(image, "none"))
    pipe.views(condition, POSES, num_inference_steps=1, speed="balanced")
    assert set(seen) == {torch.bfloat16}


def test_fewer_steps_where_the_call_names_none(make_pipeline: MakePipeline, image: Tensor) -> None:
    pipe = make_pipeline(num_inference_steps=50)
    condition = pipe.encode(pipe.prepare(image))
    tier = Tier(steps=7, sampler="dpmpp")

    def steps(pipe: Any = pipe, tier: Tier = tier, **options: Any) -> list[int]:
        return [int(t) for t in pipe.sample(condition, POSES, speed=tier, **options).timesteps]

    schedule = Schedule.from_scheduler(pipe.scheduler)
    assert steps() == schedule.timesteps(7)
    assert steps(tier=Tier(steps=50)) == steps(tier=Tier(steps=90)) == schedule.timesteps(50)
    # What is named holds.
    assert steps(num_inference_steps=9) == schedule.timesteps(9)
    assert steps(sampler="ddim") == steps(eta=0.5) == schedule.timesteps(50)
    assert steps(timesteps=[900, 5]) == [900, 5]
    pipe.scheduler = copy.deepcopy(pipe.scheduler)
    assert len(steps()) == 50


def test_the_tiers_sampler_runs(make_pipeline: MakePipeline, image: Tensor) -> None:
    pipe = make_pipeline("published", num_inference_steps=50)
    for sampler in ("ddim", "dpmpp", "unipc"):
        own = latents_of(pipe, image, Tier(steps=5, sampler=sampler), num_inference_steps=None)
        named = latents_of(pipe, image, "exact", num_inference_steps=5, sampler=sampler)
        assert torch.equal(own, named)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("steps", {"steps": 0}),
        ("sampler", {"sampler": "heun"}),
        ("guidance_interval", {"guidance_interval": (0.6, 0.4)}),
        ("guidance_interval", {"guidance_interval": (0.0, float("nan"))}),
        ("guidance_interval", {"guidance_interval": (0.0, 0.5, 1.0)}),
        ("guidance_interval", {"guidance_interval": None}),
        ("guidance_every", {"guidance_every": 0}),
        ("deep_every", {"deep_every": 1.5}),
    ],
)
def test_a_tier_of_nonsense_is_named(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{name}: expected .*, got [^\n]+$"):
        Tier(**options)


def test_an_unknown_speed_is_named(pipe: Any, image: Tensor) -> None:
    with pytest.raises(ValueError, match="^speed: expected one of 'exact', .*, got 'ludicrous'$"):
        pipe(image, POSES, speed="ludicrous")


def test_a_unet_without_deep_blocks_is_named(make_pipeline: MakePipeline, image: Tensor) -> None:
    pipe = make_pipeline()
    pipe.unet.down_blocks = pipe.unet.down_blocks[:1]
    with pytest.raises(ValueError, match="^speed: expected "):
        latents_of(pipe, image, Tier(deep_every=2))
