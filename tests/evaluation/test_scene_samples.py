"""The samples are held out, fair, fixed, and do not depend on how many are asked."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch

from zero123lib.evaluation import mean_training_image, samples, scene_samples
from zero123lib.evaluation.samples import Sample
from zero123lib.metrics import silhouette, silhouette_iou
from zero123lib.scenes import HELD_OUT_SEED, random_camera, random_scene, render

SIZE = 32


def same(first: Sample, second: Sample) -> bool:
    pairs = [(getattr(first, f.name), getattr(second, f.name)) for f in fields(Sample)]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


@pytest.fixture(scope="module")
def asked() -> list[Sample]:
    return list(scene_samples(5, 3, SIZE))


def test_always_the_same_however_many_are_asked(asked):
    few = list(scene_samples(2, 3, SIZE))
    assert all(same(a, b) for a, b in zip(few, asked[:2], strict=True))
    assert asked[0].fingerprint() == few[0].fingerprint() != few[1].fingerprint()
    other = replace(few[0], scene=replace(few[0].scene, light=(1.0, 0.0, 0.0)))
    assert other.fingerprint() != few[0].fingerprint()
    fewer_views = next(scene_samples(1, 1, SIZE))
    assert fewer_views.target_poses == asked[0].target_poses[:1]
    assert torch.allclose(fewer_views.targets, asked[0].targets[:1], atol=1e-6)


def test_objects_are_held_out_and_seen_from_the_stated_cameras(asked):
    seeds = [sample.seed for sample in asked]
    assert seeds == sorted(set(seeds)) and seeds[0] >= HELD_OUT_SEED
    assert [q.index for q in asked] == [0, 1, 2, 3, 4]
    assert asked[-1].replaced == seeds[-1] - HELD_OUT_SEED - 4
    poses = [pose for q in asked for pose in (q.condition_pose, *q.target_poses)]
    assert len(set(poses)) == 20
    assert all(-10 <= pose.elevation_deg <= 60 and 1.5 <= pose.radius <= 2.2 for pose in poses)


def test_kinds_are_drawn_from_those_asked_for():
    found = list(scene_samples(6, 1, SIZE, ["duck", "mug"]))
    assert {sample.name for sample in found} == {"duck", "mug"}
    assert {sample.kinds for sample in found} == {frozenset({"duck", "mug"})}
    again = next(scene_samples(1, 1, SIZE, ["mug", "duck"]))
    assert again.fingerprint() == found[0].fingerprint()
    with pytest.raises(ValueError, match="kinds: expected some of chair, .*, got 'unicorn'"):
        scene_samples(1, 1, SIZE, ["duck", "unicorn"])


def test_the_mean_is_of_the_same_kinds():
    of_lamps = mean_training_image(16, ["lamp"])
    images = []
    random = torch.Generator().manual_seed(0)
    for seed in range(samples._MEAN_SCENES):
        pose = samples.random_camera(random)
        scene = samples.random_scene(seed, "lamp")
        images.append(samples.render(scene, [pose], 16, background="white").rgba[0, ..., :3])
    expected = torch.stack(images).mean(0).permute(2, 0, 1)
    assert torch.allclose(of_lamps, expected, atol=1e-6)


def test_elevations_are_uniform_in_their_sine():
    random = torch.Generator().manual_seed(0)
    drawn = [samples.held_out_camera(random) for _ in range(4000)]
    sines = torch.tensor([math.sin(math.radians(pose.elevation_deg)) for pose in drawn])
    low, high = math.sin(math.radians(-10)), math.sin(math.radians(60))
    for share in (0.25, 0.5, 0.75):
        assert float(sines.quantile(share)) == pytest.approx(low + share * (high - low), abs=0.04)
    azimuths = torch.tensor([pose.azimuth_deg for pose in drawn])
    assert torch.histc(azimuths, 4, -180, 180).min() > 900


def test_images_are_those_of_the_object_and_show_enough_of_it(asked):
    for sample in asked:
        rgba = render(
            random_scene(sample.seed), (sample.condition_pose, *sample.target_poses), SIZE
        ).rgba
        alpha = rgba[..., 3]
        assert ((alpha >= 0.5).float().mean((1, 2)) >= 0.15).all()
        white = (rgba[..., :3] * alpha[..., None] + 1 - alpha[..., None]).permute(0, 3, 1, 2)
        assert torch.allclose(sample.condition, white[0] * 2 - 1, atol=1e-5)
        assert torch.allclose(sample.targets, white[1:], atol=1e-5)
        assert torch.equal(sample.silhouettes, alpha[1:] > 0)
        assert torch.equal(sample.inside, (alpha[1:] > 0) | (alpha[0] > 0))


def test_the_threshold_of_silhouettes_finds_true_ones():
    found = [
        silhouette_iou(silhouette(sample.targets), sample.silhouettes)
        for sample in scene_samples(8, 2, 64)
    ]
    assert float(torch.cat(found).mean()) > 0.99


def test_an_object_that_shows_too_little_gives_way(monkeypatch):
    tried = []

    def hidden(scene, poses, size):
        rendered = render(scene, poses, size)
        if scene.seed == HELD_OUT_SEED:
            tried.extend(poses)
            rendered.rgba[..., 3] = 0
        return rendered

    monkeypatch.setattr(samples, "render", hidden)
    sample = next(scene_samples(1, 2, SIZE))
    assert sample.seed > HELD_OUT_SEED and sample.replaced == sample.seed - HELD_OUT_SEED
    assert len(tried) == (2 + 1) * samples.DRAWS_PER_VIEW


@pytest.mark.parametrize("numbers", [(0, 1, 8), (1, 0, 8), (1, 1, 0)])
def test_refuses_to_ask_nothing(numbers):
    name = ("objects", "views", "size")[numbers.index(0)]
    with pytest.raises(ValueError, match=f"{name}: expected at least 1, got 0"):
        scene_samples(*numbers)


def test_the_mean_is_that_of_training_images(monkeypatch):
    monkeypatch.setattr(samples, "_MEAN_SCENES", 3)
    samples._mean_image.cache_clear()
    random = torch.Generator().manual_seed(0)
    views = [
        render(random_scene(seed), [random_camera(random)], 16, background="white").rgba[0, ..., :3]
        for seed in range(3)
    ]
    expected = torch.stack(views).mean(0).permute(2, 0, 1)
    assert torch.allclose(mean_training_image(16), expected, atol=1e-6)
    samples._mean_image.cache_clear()
