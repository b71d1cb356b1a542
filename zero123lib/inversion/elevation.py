"""The elevation of the camera that took one photo: :func:`estimate_elevation`.

Zero123-family models know cameras relative to the photo's; that no denoising loss can tell the
absolute elevation follows from their very input. What tells it is geometry: views that the model
makes around the photo's camera show one solid at one elevation alone, see
:mod:`zero123lib.inversion.solid`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

from zero123lib.diffusion import arguments
from zero123lib.diffusion.apps import needs_input_elevation
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.schedule import Schedule
from zero123lib.inversion.confidence import TRUSTED, calibration, confidence, corrected
from zero123lib.inversion.poses import check_shows_something
from zero123lib.inversion.solid import agreement
from zero123lib.views.cameras import spherical_to_camera
from zero123lib.views.images import ImageSource, Prepared, Preprocess, alpha_from_white
from zero123lib.views.poses import RelativePose

# Those that are asked about, degrees.
CANDIDATES_DEG = tuple(float(one) for one in range(-30, 81, 10))
# Rings of views around the photo's camera, so much higher.
_RISES_DEG, _AZIMUTHS, _RADIUS = (0.0, 25.0, -25.0), 8, 1.85
# Of the views, for models that do not predict clean latents.
_STEPS = 25
# Silhouettes are compared at so many pixels.
_MASK_PX = 32
# Within a degree of a pole a camera is on it.
_HIGHEST_DEG = 89.0


@dataclass(frozen=True, eq=False)
class ElevationEstimate:
    """How high the camera of a photo stood.

    Attributes:
        elevation_deg: the answer.
        confidence: the probability that it is right within 15 degrees; None for a model that is not
            calibrated.
        raw_deg: where one solid explains the views best. Blurred views bring it towards the middle;
            the answer is this, corrected by what is known of the model.
        candidates_deg: ``[E]``, elevations that were asked about, rising.
        agreements: ``[E]``, how well one solid explains the views at each, in [0, 1].
        signs: what the confidence follows from.
        prepared: the photo as the model saw it.
        notice: one sentence where the photo is far from what the model knows; its confidence, which
            objects like the model's taught, then means nothing.
    """

    elevation_deg: float
    confidence: float | None
    raw_deg: float
    candidates_deg: Tensor
    agreements: Tensor
    signs: tuple[float, ...]
    prepared: Prepared
    notice: str | None

    @property
    def trusted(self) -> bool:
        """Tell whether the answer is more likely right than wrong."""
        return self.notice is None and (self.confidence or 0.0) >= TRUSTED

    def image(self, width: int = 480, height: int = 240) -> Image.Image:
        """Draw the agreement over the elevations, with a line at the answer."""
        image, pad = Image.new("RGB", (width, height), "white"), 24
        draw = ImageDraw.Draw(image)
        low, high = float(self.candidates_deg[0]), float(self.candidates_deg[-1])
        least, most = float(self.agreements.min()), float(self.agreements.max())

        def place(elevation_deg: float, value: float) -> tuple[float, float]:
            across = (elevation_deg - low) / (high - low)
            up = (value - least) / max(most - least, 1e-9)
            return pad + across * (width - 2 * pad), height - pad - up * (height - 2 * pad)

        for tick in range(-30, 90, 30):
            column, bottom = place(tick, least)
            draw.line([(column, pad), (column, bottom)], fill=(225, 225, 225))
            draw.text((column - 8, bottom + 6), f"{tick}", fill=(90, 90, 90))
        answer = place(self.elevation_deg, least)[0]
        draw.line([(answer, pad), (answer, height - pad)], fill=(0, 160, 100), width=3)
        curve = zip(self.candidates_deg.tolist(), self.agreements.tolist(), strict=True)
        draw.line([place(*one) for one in curve], fill=(126, 3, 140), width=3)
        return image


def estimate_elevation(
    pipe: Zero123Pipeline,
    image: ImageSource | Tensor,
    *,
    preprocess: Preprocess = "auto",
    num_inference_steps: int | None = None,
    seed: int = 0,
    max_batch_size: int | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> ElevationEstimate:
    """Estimate the elevation of a photo's camera from views that the model makes of it.

    A stable-zero123 checkpoint, which is conditioned on the answer, is asked at elevation 0.

    Args:
        image: as :meth:`Zero123Pipeline.prepare` takes it.
        preprocess: see :data:`zero123lib.views.images.Preprocess`.
        num_inference_steps: of the views. None takes 1 for a model that predicts clean latents,
            whose views are then means of what may be there, and 25 for any other.
        seed: of the noise.
        max_batch_size: rows per batch of UNet and VAE, the bound on memory; None means 8.
        on_step: told of each unit of work and of how many there are.

    Raises:
        ArgumentError: an argument is out of range.
        ImageError: the image cannot be read, or shows nothing.
    """
    arguments.batch_size(max_batch_size)
    arguments.check_whole("seed", seed)
    steps = elevation_steps(
        pipe,
        pipe.prepare(image, preprocess),
        num_inference_steps=num_inference_steps,
        seed=seed,
        max_batch_size=max_batch_size,
    )
    while True:
        try:
            done, total = next(steps)
        except StopIteration as end:
            return end.value
        if on_step is not None:
            on_step(done, total)


def elevation_steps(
    pipe: Zero123Pipeline,
    prepared: Prepared,
    *,
    num_inference_steps: int | None = None,
    seed: int = 0,
    max_batch_size: int | None = None,
    views_at_once: int = _AZIMUTHS,
) -> Generator[tuple[int, int], None, ElevationEstimate]:
    """Estimate as :func:`estimate_elevation` does, in pieces between which others may work.

    Args:
        prepared: the photo as the model is given it.
        views_at_once: how many views one piece of work makes a step of.

    Yields:
        After each piece of work, how many are done and how many there are.

    Returns:
        The estimate.
    """
    batch = arguments.batch_size(max_batch_size)
    if num_inference_steps is None:
        clean = Schedule.from_scheduler(pipe.scheduler).prediction_type == "sample"
        num_inference_steps = 1 if clean else _STEPS
    check_shows_something(prepared.tensor)
    condition, candidates = pipe.encode(prepared), torch.tensor(CANDIDATES_DEG)
    generator, masks = torch.Generator().manual_seed(seed), []
    around = [360.0 * i / _AZIMUTHS for i in range(_AZIMUTHS)]
    poses = [RelativePose(rise, azimuth) for rise in _RISES_DEG for azimuth in around]
    parts = [poses[i : i + views_at_once] for i in range(0, len(poses), views_at_once)]
    done, total = 0, len(parts) * num_inference_steps + 3
    for part in parts:
        steps = pipe.sample(
            condition,
            part,
            num_inference_steps=num_inference_steps,
            generator=generator,
            max_batch_size=batch,
            condition_elevation_deg=0.0 if needs_input_elevation(pipe) else None,
        )
        for step in steps:
            if step.index + 1 == step.total:
                masks.append(_silhouettes(pipe.finish(step.latents, condition, part, batch)))
            done += 1
            yield done, total
    whole, found = torch.cat(masks), []
    for some in (whole, *_halves(whole)):
        found.append(_agreements(some))
        done += 1
        yield done, total
    agreements, *halves = found
    raw = peak(candidates, agreements)
    one, other = (peak(candidates, half) for half in halves)
    most = float(agreements.max())
    signs = (10 * (1 - most), 10 * (most - float(agreements.min())), abs(one - other) / 30)
    known = calibration(pipe)
    return ElevationEstimate(
        corrected(known, raw),
        confidence(known, "elevation", signs),
        raw,
        candidates,
        agreements,
        signs,
        prepared,
        pipe.notice(prepared),
    )


def _silhouettes(views: Tensor) -> Tensor:
    """Return soft masks ``[V, S, S]`` of views ``[V, 3, H, W]`` in [-1, 1]."""
    small = functional.adaptive_avg_pool2d((views.cpu() + 1) / 2, _MASK_PX)
    return alpha_from_white(small)[..., 3]


def _agreements(masks: Tensor) -> Tensor:
    """Return how well one solid explains the rings of masks at each candidate, ``[E]``.

    Their distance does not matter: all cameras have the same.
    """
    rises = torch.tensor(_RISES_DEG).repeat_interleave(len(masks) // len(_RISES_DEG))
    azimuths = torch.arange(len(masks)) % (len(masks) // len(_RISES_DEG))
    azimuths = azimuths * (360.0 * len(_RISES_DEG) / len(masks))
    found = []
    for candidate_deg in CANDIDATES_DEG:
        elevations = (rises + candidate_deg).clamp(-_HIGHEST_DEG, _HIGHEST_DEG)
        cameras = spherical_to_camera(elevations, azimuths, torch.tensor(_RADIUS))
        found.append(agreement(masks, cameras))
    return torch.stack(found)


def _halves(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Part the views of every ring into every second one and those between."""
    return masks[0::2], masks[1::2]


def peak(candidates: Tensor, values: Tensor) -> float:
    """Return where values ``[E]`` at evenly spaced candidates are largest, by a parabola through
    the largest and its neighbours; at an end the end itself."""
    place = int(values.argmax())
    if place in (0, len(values) - 1):
        return float(candidates[place])
    before, most, after = values[place - 1 : place + 2].double().tolist()
    bend = 2 * most - before - after
    shift = (after - before) / (2 * bend) if bend > 0 else 0.0
    return float(candidates[place]) + shift * float(candidates[1] - candidates[0])
