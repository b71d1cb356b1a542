"""Confidences: probabilities, recovered from answers whose chances are known."""

from __future__ import annotations

import pytest
import torch

from zero123lib import Zero123Pipeline
from zero123lib.inversion.confidence import calibration, confidence, corrected, fit

KNOWN = {
    "pose": {"weights": [2.0, -1.0], "bias": 0.5},
    "elevation": {"weights": [2.0], "bias": 0.5, "line": [1.2, -4.0]},
}


def test_fit_recovers_the_chances_that_answers_were_drawn_with() -> None:
    random = torch.Generator().manual_seed(0)
    signs = torch.rand(20_000, 2, generator=random) * 4
    chance = torch.sigmoid(signs @ torch.tensor([1.0, -2.0]) + 1.0)
    right = torch.rand(20_000, generator=random) < chance
    found = fit(signs, right)
    told = torch.sigmoid(signs @ torch.tensor(found["weights"]) + found["bias"])
    assert float((told - chance).abs().mean()) < 0.05


def test_answers_that_part_without_fault_give_finite_coefficients() -> None:
    signs = torch.linspace(0, 1, 20)[:, None]
    found = fit(signs, signs[:, 0] > 0.5)
    assert 0 < found["weights"][0] < 1e3


def test_confidence_is_the_logistic_function_of_the_signs() -> None:
    expected = float(torch.sigmoid(torch.tensor(2.0 * 1 - 1.0 * 3 + 0.5)))
    assert confidence(KNOWN, "pose", [1.0, 3.0]) == pytest.approx(expected)
    assert confidence(KNOWN, "pose", [1e9, 0.0]) == pytest.approx(1.0)
    assert confidence(KNOWN, "pose", [-1e9, 0.0]) == pytest.approx(0.0)


def test_a_model_that_is_not_calibrated_is_not_sure_and_not_corrected() -> None:
    assert confidence({}, "pose", [1.0, 3.0]) is None
    assert corrected({}, 33.0) == 33.0
    assert corrected(KNOWN, 20.0) == pytest.approx(20.0)
    assert corrected(KNOWN, 80.0) == 90.0  # 92 is above the pole


def test_what_is_kept_of_the_bundled_model_is_of_its_weights(pipe: Zero123Pipeline) -> None:
    """After new weights: `python benchmarks/cameras.py --calibrate`."""
    known = calibration(pipe)
    assert {"elevation", "weights"} <= set(known)
    for kind in set(known) - {"weights"}:
        sure = confidence(known, kind, [0.5] * len(known[kind]["weights"]))
        assert sure is not None and 0 <= sure <= 1


def test_weights_are_known_again_in_half_precision_and_not_after_training(
    pipe: Zero123Pipeline,
) -> None:
    narrow = Zero123Pipeline.from_pretrained("tiny", torch_dtype=torch.bfloat16)
    assert calibration(narrow) == calibration(pipe) != {}
    trained = Zero123Pipeline.from_pretrained("tiny")
    with torch.no_grad():
        for weight in trained.unet.parameters():
            weight *= 1.02
    assert calibration(trained) == {}
