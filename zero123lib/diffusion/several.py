"""Several images of one object at once: each answers, the nearer ones count more.

The model takes one image. Asked about a camera with each of K images in turn, it gives K
predictions of the same view, and their weighted mean is what the sampler goes on with: ViewFusion's
interpolated denoising (Yang et al. 2024, section 3.3). The weights fall with the angle between the
cameras. One image has the weight 1, which is the plain path to the last bit.

Axes: K images, N views; poses are relative to the first image's camera.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.diffusion import arguments
from zero123lib.diffusion.deep_features import DeepFeatures
from zero123lib.diffusion.guidance import guided
from zero123lib.diffusion.mutual import BesidePhoto
from zero123lib.diffusion.outputs import Condition
from zero123lib.diffusion.speed import Ask
from zero123lib.views.poses import RelativePose, wrap_azimuth_deg

# Zero123Pipeline, whose module imports this one.
Pipeline = Any

# An image that is so many degrees farther away counts 1 / e as much.
TEMPERATURE_DEG = 20.0


def check_input_poses(
    conditions: Condition | Sequence[Condition], input_poses: Sequence[RelativePose] | None
) -> tuple[list[Condition], list[RelativePose]]:
    """Return images as a list with their cameras, the first at zero.

    Raises:
        ArgumentError: no image, one that is not encoded, or not one camera for each.
    """
    given: Any = [conditions] if isinstance(conditions, Condition) else conditions
    if not isinstance(given, (list, tuple)) or not all(isinstance(c, Condition) for c in given):
        raise ArgumentError("condition", "what encode() returns, or a list of it", _kinds(given))
    found = list(given)
    if not found:
        raise ArgumentError("condition", "at least one", "an empty list")
    if input_poses is None and len(found) == 1:
        return found, [RelativePose()]
    return found, check_input_count(len(found), input_poses)


def check_input_count(count: int, input_poses: Sequence[RelativePose] | None) -> list[RelativePose]:
    """Return the cameras of ``count`` images, the first at zero.

    Raises:
        ArgumentError: there is not one for each, or the first is elsewhere.
    """
    expected = f"one per image ({count}), the first one zero"
    if input_poses is None or len(input_poses) != count or not count:
        got = "none" if input_poses is None else str(len(input_poses))
        raise ArgumentError("input_poses", expected, got)
    arguments.check_poses(input_poses, "input_poses")
    if input_poses[0] != RelativePose():
        raise ArgumentError("input_poses", expected, str(input_poses[0]))
    return list(input_poses)


def _kinds(given: Any) -> str:
    kinds = {type(one).__name__ for one in (given if isinstance(given, (list, tuple)) else [given])}
    return ", ".join(sorted(kinds))


def distances_deg(inputs: Sequence[RelativePose], poses: Sequence[RelativePose]) -> Tensor:
    """Compute how far views are from images, float64 ``[N, K]``: degrees in [0, 180] between the
    directions of cameras, if the first image's stands at elevation 0."""

    def directions(cameras: Sequence[RelativePose]) -> Tensor:
        elevation, azimuth = torch.deg2rad(
            torch.tensor([[one.elevation_deg, one.azimuth_deg] for one in cameras]).double()
        ).unbind(-1)
        flat = elevation.cos()
        return torch.stack([flat * azimuth.cos(), flat * azimuth.sin(), elevation.sin()], -1)

    chord = torch.cdist(directions(poses), directions(inputs))
    return torch.rad2deg(2 * torch.asin((chord / 2).clamp(max=1.0)))


def view_weights(
    inputs: Sequence[RelativePose],
    poses: Sequence[RelativePose],
    temperature_deg: float = TEMPERATURE_DEG,
    handicaps_deg: Sequence[float] | None = None,
) -> Tensor:
    """Return how much each image counts for each view, float64 ``[N, K]``; rows sum to 1.

    Args:
        temperature_deg: of the softmax of minus the distances; infinity counts all alike.
        handicaps_deg: one per image, which counts as if so much farther away.
    """
    away = distances_deg(inputs, poses)
    if handicaps_deg is not None:
        away = away + torch.tensor(handicaps_deg).double()
    if math.isinf(temperature_deg):
        return torch.full_like(away, 1 / away.shape[1])
    return torch.softmax(-away / temperature_deg, 1)


def checked_weights(
    weights: Tensor | None, inputs: Sequence[RelativePose], poses: Sequence[RelativePose]
) -> Tensor:
    """Return weights ``[N, K]`` as they were given, or by :func:`view_weights` where none were.

    Raises:
        ArgumentError: another shape, negative ones, or rows that do not sum to 1.
    """
    if weights is None:
        return view_weights(inputs, poses)
    expected = f"a tensor [{len(poses)}, {len(inputs)}], 0 and above, whose rows sum to 1"
    if not isinstance(weights, Tensor) or tuple(weights.shape) != (len(poses), len(inputs)):
        got = list(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        raise ArgumentError("input_weights", expected, str(got))
    if not bool(((weights.sum(1) - 1).abs() < 1e-4).all() and (weights >= 0).all()):
        raise ArgumentError("input_weights", expected, "others")
    return weights


def relative_to(pose: RelativePose, origin: RelativePose) -> RelativePose:
    """Return a camera relative to another one, of two that are relative to a third."""
    return RelativePose(
        pose.elevation_deg - origin.elevation_deg,
        wrap_azimuth_deg(pose.azimuth_deg - origin.azimuth_deg),
        pose.radius - origin.radius,
    )


def conditioned(
    pipe: Pipeline,
    conditions: Sequence[Condition],
    input_poses: Sequence[RelativePose],
    poses: Sequence[RelativePose],
    weights: Tensor,
    *,
    condition_elevation_deg: float | None,
    mutual: bool,
    max_batch_size: int,
) -> Ask:
    """Make what a sampler asks: the UNet on all images, at guidance scales.

    Args:
        weights: ``[N, K]``.
        condition_elevation_deg: of the first image's camera, for models that need it.
        mutual: whether self-attention is shared with each image's own view.
    """
    contexts, beside = [], []
    for condition, origin in zip(conditions, input_poses, strict=True):
        from_there = poses if len(conditions) == 1 else [relative_to(p, origin) for p in poses]
        elevation_deg = condition_elevation_deg
        if elevation_deg is not None:
            elevation_deg = max(-90.0, min(90.0, elevation_deg + origin.elevation_deg))
        contexts.append(pipe.context(condition, from_there, elevation_deg))
        if mutual:
            own = pipe.context(condition, [RelativePose()], elevation_deg)
            beside.append(BesidePhoto(pipe, condition, own))

    @torch.no_grad()
    def ask(
        x: Tensor, t: Tensor, scales: Sequence[float], deep: DeepFeatures | None
    ) -> list[Tensor]:
        # Without any image all say the same, unless attention still reaches each one's own view.
        count = len(conditions) if mutual or any(scales) else 1
        once = count > 1 and not mutual and any(scale != 1 for scale in scales)
        unets = [one.at(x, t) for one in beside] or [pipe.unet] * len(conditions)
        # What deep blocks said is remembered of one UNet's rows, as many as there are views.
        kept = deep if len(conditions) == 1 and not mutual else None
        made = [
            guided(unets[i], x, t, conditions[i].concat, contexts[i], asked, max_batch_size, kept)
            for i, asked in enumerate(_asked(scales, count, once))
        ]
        if len(made) == 1:
            return made[0]
        shares = weights.to(x).T[..., None, None, None]
        if once:
            null = made[0][0]
            mean = (torch.stack([one[-1] for one in made]) * shares).sum(0)
            return [null.lerp(mean, scale) for scale in scales]
        return [(torch.stack(at_scale) * shares).sum(0) for at_scale in zip(*made, strict=True)]

    return ask


def _asked(scales: Sequence[float], count: int, once: bool) -> list[Sequence[float]]:
    """Return the guidance scales that the model is asked for with each image; with ``once`` only
    the first is asked without it, too."""
    return [[0.0, 1.0], *[[1.0]] * (count - 1)] if once else [scales] * count
