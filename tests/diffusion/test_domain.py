"""What counts as far from drawn objects: closed forms, held-out scenes, and real photos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zero123lib.diffusion.domain import DomainStatistics, domain_distance, fit_domain, grain
from zero123lib.scenes import random_camera, random_scene, render
from zero123lib.views.images import prepare
from zero123lib.views.poses import RelativePose

SIZE = 128


def disc(levels: Tensor) -> Tensor:
    """A disc filled with levels `[S, S]` of 0 to 255, grey, on white: `[1, 3, S, S]`."""
    size = len(levels)
    across = torch.arange(size) - size / 2 + 0.5
    inside = across[:, None] ** 2 + across**2 < (0.4 * size) ** 2
    image = torch.where(inside, levels, torch.full_like(levels, 255.0))
    return image.expand(1, 3, -1, -1) / 127.5 - 1


def noise(low: int, high: int) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randint(low, high, (64, 64), generator=random).float()


def test_flat_surfaces_have_no_grain_and_rounded_ramps_next_to_none() -> None:
    flat = torch.full((64, 64), 90.0)
    ramp = (torch.arange(64.0)[:, None] * 2.3 + torch.arange(64.0) * 0.7).round()
    assert float(grain(disc(flat))) == 0
    assert float(grain(disc(ramp))) <= 1.2


def test_a_pattern_with_calm_places_has_no_grain() -> None:
    stripes = torch.where(torch.arange(64) % 16 < 8, 40.0, 200.0).expand(64, 64)
    assert float(grain(disc(stripes))) == 0


def test_grain_is_the_mean_laplacian_of_the_calmest_windows() -> None:
    """On the paraboloid x^2 + y^2 the Laplacian is 4 everywhere but where levels wrap."""
    across = torch.arange(64.0) - 32
    bowl = across[:, None] ** 2 + across**2
    assert float(grain(disc(bowl % 200))) == pytest.approx(4, abs=1e-4)
    assert float(grain(disc(100 + noise(-2, 3)))) > 2
    assert float(grain(disc(noise(0, 200)))) > 50


def test_what_has_no_inside_has_no_grain() -> None:
    image = torch.ones(2, 3, 64, 64)
    image[1, :, :, 30:33] = -0.5
    assert grain(image).tolist() == [0, 0]


def test_distance_is_in_thresholds() -> None:
    image = disc(100 + noise(-2, 3))
    at = DomainStatistics(float(grain(image)))
    assert float(domain_distance(at, image)) == pytest.approx(1)
    assert DomainStatistics.from_config(at.to_config()) == at


def test_coverage_is_the_share_within() -> None:
    images = torch.cat([disc(100 + noise(-k // 20, k // 20 + 1)) for k in range(100)])
    known = fit_domain(images, coverage=0.5)
    assert float((domain_distance(known, images) <= 1).float().mean()) >= 0.5
    with pytest.raises(ValueError, match="images: expected at least 100, got 5"):
        fit_domain(images[:5], 0.99)


def drawn(first_seed: int, count: int) -> Tensor:
    """Scenes as users give them: half as drawn, half cut out and recentred."""
    random = torch.Generator().manual_seed(first_seed)
    images = []
    for seed in range(first_seed, first_seed + count):
        rgba = render(random_scene(seed), [random_camera(random)], SIZE).rgba[0].numpy()
        images.append(prepare(rgba, SIZE, "auto" if seed % 2 else "none").tensor)
    return torch.stack(images)


@pytest.fixture(scope="module")
def known() -> DomainStatistics:
    return fit_domain(drawn(0, 150))


def test_held_out_scenes_are_near(known: DomainStatistics) -> None:
    held_out = drawn(1_000_500_000, 60)
    assert int((domain_distance(known, held_out) > 1).sum()) <= 8


def test_photos_are_far(known: DomainStatistics, shared_data: Path) -> None:
    photos = sorted((shared_data / "images").glob("*.png"))
    assert len(photos) == 12
    images = torch.stack([prepare(photo, SIZE).tensor for photo in photos])
    near = [p.name for p, d in zip(photos, domain_distance(known, images), strict=True) if d <= 1]
    assert near == []


def test_notice_is_given_and_logged(
    make_pipeline: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    known = DomainStatistics(1.5).to_config()
    pipe = make_pipeline(
        trained_on={"domain": "drawn objects", "domain_statistics": known}, model_name="mine"
    )
    smooth, grainy = disc(torch.full((32, 32), 90.0))[0], disc(noise(95, 105)[:32, :32])[0]
    near = pipe(smooth, [RelativePose()], num_inference_steps=1)
    assert near.notice is None
    assert caplog.messages == []
    far = pipe(grainy, [RelativePose()], num_inference_steps=1)
    assert far.notice.startswith("This image is unlike the drawn objects that the model 'mine'")
    assert caplog.messages == [far.notice]
    assert make_pipeline().notice(far.prepared) is None
