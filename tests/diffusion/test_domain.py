"""What counts as far from a model's world: how badly it draws an image from its own camera."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from zero123lib.diffusion.domain import DomainStatistics, fit_domain, own_view_distance
from zero123lib.lpips import lpips_alex
from zero123lib.views.poses import RelativePose


def test_distance_is_lpips_of_images_in_their_range() -> None:
    views, images = torch.rand(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = lpips_alex()((views + 1) / 2, (images + 1) / 2)
    assert torch.equal(own_view_distance(views, images.double()), expected)
    assert own_view_distance(images, images).tolist() == [0, 0, 0]


def test_coverage_is_the_share_that_is_near() -> None:
    distances = torch.arange(200) / 200
    known = fit_domain(distances, coverage=0.75)
    assert float((distances <= known.own_view_lpips).float().mean()) == pytest.approx(0.75)
    assert DomainStatistics.from_config(known.to_config()) == known
    with pytest.raises(ValueError, match="distances: expected at least 100, got 5"):
        fit_domain(distances[:5], 0.99)


@pytest.mark.parametrize("encoding", ["zero123", "stable-zero123"])
def test_the_model_is_asked_for_the_images_own_view(
    make_pipeline: Callable[..., Any], encoding: str
) -> None:
    pipe = make_pipeline(encoding=encoding)
    prepared = pipe.prepare(torch.zeros(3, 32, 32), "none")
    view = pipe.views(
        pipe.encode(prepared),
        [RelativePose()],
        num_inference_steps=1,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(0),
        condition_elevation_deg=0.0 if encoding == "stable-zero123" else None,
    )
    expected = own_view_distance(view, prepared.tensor[None])
    assert float(pipe.own_view_distance(prepared)) == pytest.approx(float(expected))


def test_the_distance_does_not_depend_on_the_scheduler(make_pipeline: Callable[..., Any]) -> None:
    """One step of diffusers' own would begin at t = 1, where pure noise is taken for an image."""
    pipe = make_pipeline("published")
    prepared = pipe.prepare(torch.zeros(3, 32, 32), "none")
    expected = pipe.own_view_distance(prepared)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(
        pipe.scheduler.config, timestep_spacing="leading"
    )
    assert torch.equal(pipe.own_view_distance(prepared), expected)


@pytest.mark.parametrize("call", ["__call__", "orbit"])
def test_notice_is_given_and_logged(
    make_pipeline: Callable[..., Any], caplog: pytest.LogCaptureFixture, call: str
) -> None:
    image = torch.zeros(3, 32, 32)
    distance = float(make_pipeline().own_view_distance(make_pipeline().prepare(image)))
    for threshold in (distance * 1.001, distance * 0.999):
        known = DomainStatistics(threshold).to_config()
        trained_on = {"domain": "drawn objects", "domain_statistics": known}
        pipe = make_pipeline(trained_on=trained_on, model_name="mine")
        poses = 2 if call == "orbit" else [RelativePose(azimuth_deg=90)]
        made = getattr(pipe, call)(image, poses, num_inference_steps=1)
        if threshold > distance:
            assert made.notice is None and caplog.messages == []
    assert made.notice is not None and made.notice.startswith(
        "This image is unlike the drawn objects that the model 'mine'"
    )
    assert caplog.messages == [made.notice]
    assert make_pipeline().notice(made.prepared) is None
