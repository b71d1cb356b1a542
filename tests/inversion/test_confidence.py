"""Confidences: probabilities, recovered from answers whose chances are known."""

from __future__ import annotations

import json

import pytest
import torch

from zero123lib.inversion import confidence as module
from zero123lib.inversion.confidence import calibration, confidence, corrected, fit


@pytest.fixture
def known(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"weights": [2.0, -1.0], "bias": 0.5}
    (tmp_path / "c.json").write_text(
        json.dumps({"known": {"pose": one, "elevation": {**one, "line": [1.2, -4.0]}}})
    )
    monkeypatch.setattr(module, "CALIBRATION", tmp_path / "c.json")


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


@pytest.mark.usefixtures("known")
def test_confidence_is_the_logistic_function_of_the_signs() -> None:
    expected = float(torch.sigmoid(torch.tensor(2.0 * 1 - 1.0 * 3 + 0.5)))
    assert confidence("known", "pose", [1.0, 3.0]) == pytest.approx(expected)
    assert confidence("known", "pose", [1e9, 0.0]) == pytest.approx(1.0)
    assert confidence("known", "pose", [-1e9, 0.0]) == pytest.approx(0.0)


@pytest.mark.usefixtures("known")
def test_a_model_that_is_not_calibrated_is_not_sure_and_not_corrected() -> None:
    assert confidence("other", "pose", [1.0, 3.0]) is None
    assert corrected("other", 33.0) == 33.0
    assert corrected("known", 20.0) == pytest.approx(20.0)
    assert corrected("known", 80.0) == 90.0  # 92 is above the pole


def test_what_is_kept_is_what_confidences_need() -> None:
    known = json.loads(module.CALIBRATION.read_text())
    for model in known:
        for kind, one in calibration(model).items():
            sure = confidence(model, kind, [0.5] * len(one["weights"]))
            assert sure is not None and 0 <= sure <= 1
    assert "elevation" in known["tiny"]
