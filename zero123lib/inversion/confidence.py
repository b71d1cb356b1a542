"""How far to trust a camera that was found: a probability, calibrated per model.

What tells a right answer from a wrong one are a few numbers of each estimate; a logistic regression
of them, fitted on held-out objects by ``benchmarks/cameras.py --calibrate``, says how likely the
answer is right. Its coefficients are in ``calibration.json``, by the model's name and some of its
weights, and nowhere else: a model that is not in there, or has been trained since, has no
confidence, and its answers are not taken for sure.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zero123lib.diffusion.pipeline import Zero123Pipeline

CALIBRATION = Path(__file__).with_name("calibration.json")
# Of a probability: from here on an answer is worth taking.
TRUSTED = 0.5
# Right is within so many degrees: the elevation of one photo, the turn between two.
RIGHT_DEG = {"elevation": 15.0, "pose": 20.0}
# Keeps coefficients finite where the numbers part right from wrong without fault.
_RIDGE = 0.02
# A model is known by so many of its weights, up to the rounding of half precision.
_FINGERS, _ROUNDING = 32, 5e-3


def fingerprint(pipe: Zero123Pipeline) -> list[float] | None:
    """Return some of a model's weights, by which it is known again in any precision; None where
    they are not at hand, as while offloading has them elsewhere."""
    named = sorted(
        (f"{part}.{name}", weight)
        for part, module in (("unet", pipe.unet), ("camera_projection", pipe.camera_projection))
        for name, weight in module.named_parameters()
    )
    places = [round(i * (len(named) - 1) / (_FINGERS - 1)) for i in range(_FINGERS)]
    weights = [named[place][1] for place in places]
    if any(weight.is_meta for weight in weights):
        return None
    return [round(float(one.detach().flatten()[one.numel() // 2]), 7) for one in weights]


def calibration(pipe: Zero123Pipeline) -> dict[str, Any]:
    """Return what is known of a model: coefficients and how they were found; empty if nothing.

    What was fitted to other weights of the same name counts for nothing.
    """
    known, here = json.loads(CALIBRATION.read_text()).get(pipe.model_name, {}), fingerprint(pipe)
    there = known.get("weights")
    if here is None or there is None or len(here) != len(there):
        return {}
    same = torch.allclose(torch.tensor(here), torch.tensor(there), rtol=_ROUNDING, atol=1e-6)
    return known if same else {}


def confidence(known: Mapping[str, Any], kind: str, signs: Sequence[float]) -> float | None:
    """Return the probability in [0, 1] that an answer is right; None for a model not calibrated.

    Args:
        known: from :func:`calibration`.
        kind: "elevation" or "pose".
        signs: the numbers that the estimate gives for it.
    """
    if kind not in known:
        return None
    one = known[kind]
    logit = one["bias"] + sum(w * s for w, s in zip(one["weights"], signs, strict=True))
    return 1.0 / (1.0 + math.exp(-max(min(logit, 50.0), -50.0)))


def in_words(confidence: float | None, within_deg: float, notice: str | None) -> str:
    """Say how sure an answer is.

    Args:
        confidence: of the answer.
        within_deg: what counts as right.
        notice: of a photo that is far from what the model knows, where there is one.
    """
    if notice:
        return "not to be trusted"
    if confidence is None:
        return "how sure is not known"
    word = "" if confidence >= TRUSTED else "not to be trusted, "
    return f"{word}{100 * confidence:.0f} % sure to be within {within_deg:g} degrees"


def corrected(known: Mapping[str, Any], raw_deg: float) -> float:
    """Return an elevation in [-90, 90] of where one solid explains the views best, in degrees."""
    slope, offset_deg = known.get("elevation", {}).get("line", (1.0, 0.0))
    return max(-90.0, min(90.0, slope * raw_deg + offset_deg))


def fit(signs: Tensor, right: Tensor) -> dict[str, Any]:
    """Fit the coefficients: logistic regression by Newton's method, with a small ridge.

    Args:
        signs: ``[N, F]`` of N answers.
        right: ``[N]`` boolean.

    Returns:
        "weights" ``[F]`` and "bias", for the signs as they are.
    """
    signs, wanted = signs.double(), right.double()
    mean, spread = signs.mean(0), signs.std(0).clamp_min(1e-6)
    inputs = torch.cat([(signs - mean) / spread, torch.ones(len(signs), 1).double()], 1)
    ridge = _RIDGE * len(signs) * torch.eye(inputs.shape[1]).double()
    ridge[-1, -1] = 1e-6
    found = torch.zeros(inputs.shape[1]).double()
    for _ in range(50):
        share = torch.sigmoid(inputs @ found)
        slope = inputs.T @ (share - wanted) + ridge @ found
        bend = inputs.T @ (inputs * (share * (1 - share))[:, None]) + ridge
        found = found - torch.linalg.solve(bend, slope)
    weights = found[:-1] / spread
    bias = float(found[-1] - (weights * mean).sum())
    return {"weights": weights.tolist(), "bias": bias}
