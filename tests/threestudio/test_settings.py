"""Every mistake in `system.guidance` is one line that names the key; no threestudio needed."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from zero123lib.threestudio_plugin.settings import check_keys, check_order, check_settings

GOOD: dict[str, Any] = {
    "pretrained_model_name_or_path": "tiny",
    "pretrained_config": None,
    "encoding": "auto",
    "use_ema": True,
    "half_precision_weights": False,
    "vram_O": True,
    "cond_image_path": "photo.png",
    "cond_elevation_deg": 5,
    "cond_azimuth_deg": 0.0,
    "cond_camera_distance": 3.8,
    "guidance_scale": 3.0,
    "min_step_percent": [0, 0.4, 0.2, 200],
    "max_step_percent": [0.85, 0.5, 200],
    "grad_clip": None,
    "variant": None,
    "weighting": None,
    "max_batch_size": None,
    "max_items_eval": -1,
    "embedded": {"variant": "sds"},
}


def config(**changes: Any) -> Any:
    return SimpleNamespace(**{**GOOD, **changes})


def scheduled(value: Any, epoch: int, step: int) -> float:
    """threestudio's C, of the two forms that stand below."""
    if not isinstance(value, list):
        return value
    start, low, high, end = value if len(value) == 4 else [0, *value]
    return float(np.interp(step, [start, end], [low, high]))


def test_good_settings_pass() -> None:
    check_settings(config())
    check_settings(config(grad_clip=[0, 2.0, 8.0, 1000], variant="ism", weighting="uniform"))
    check_settings(config(guidance_scale=[100, 7.0, 5.0, 150, 10.0, 200]))
    check_order(config(), scheduled)


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("pretrained_model_name_or_path", 3, "a text"),
        ("pretrained_config", 3, "a path"),
        ("encoding", "objaverse", "one of zero123, stable-zero123, auto"),
        ("use_ema", "yes", "true or false"),
        ("half_precision_weights", 16, "true or false"),
        ("vram_O", None, "true or false"),
        ("cond_image_path", "", "a text"),
        ("cond_elevation_deg", 95, "-90 to 90"),
        ("cond_azimuth_deg", math.nan, "degrees"),
        ("cond_camera_distance", 0, "a number above 0"),
        ("guidance_scale", -1, "a number at least 0, or a schedule"),
        ("guidance_scale", [1.0, 2.0], "a number at least 0, or a schedule"),
        ("min_step_percent", 20, "a number from 0 to 1, or a schedule"),
        ("max_step_percent", [0, 0.85, 1.5, 200], "a number from 0 to 1, or a schedule"),
        ("max_step_percent", [200, 0.85, 0.5, 0], "a number from 0 to 1, or a schedule"),
        ("max_step_percent", [0, 0.85, "half", 200], "a number from 0 to 1, or a schedule"),
        ("grad_clip", True, "a number at least 0, or a schedule"),
        ("variant", "vsd", "one of sds, sjc, csd, ism, null"),
        ("weighting", "snr", "one of sigma2, uniform, sigma_over_alpha, alpha_sigma2, null"),
        ("max_batch_size", 0, "1 or more"),
        ("max_items_eval", 1.5, "a whole number, -1 for all"),
        ("embedded", 3, "a section"),
    ],
)
def test_a_wrong_value_is_named(key: str, value: Any, wanted: str) -> None:
    with pytest.raises(ValueError) as error:
        check_settings(config(**{key: value}))
    message = str(error.value)
    assert message.startswith(f"system.guidance.{key}: expected {wanted}") and "\n" not in message
    assert f"got {value!r}" in message


def test_a_typo_is_answered_with_what_was_meant() -> None:
    with pytest.raises(ValueError, match="'min_steps_percent', did you mean 'min_step_percent'"):
        check_keys({"min_steps_percent": 0.1}, GOOD)
    with pytest.raises(ValueError, match=r"unknown key 'zzz'; known are pretrained_model"):
        check_keys({"zzz": 0.1}, GOOD)


def test_timesteps_that_cross_on_the_way_are_refused() -> None:
    crossing = config(min_step_percent=[0, 0.2, 0.6, 100], max_step_percent=[0, 0.9, 0.5, 100])
    with pytest.raises(ValueError, match=r"got 0.6 above 0.5 at step 100"):
        check_order(crossing, scheduled)
