"""What `system.guidance` may say in a recipe, held to types and ranges before anything loads.

threestudio takes any value for any key and fails far from it, in the middle of a run. Here every
complaint is one line that names the key.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any, get_args

from zero123lib.diffusion.arguments import is_whole
from zero123lib.diffusion.distillation.variants import Variant, Weighting
from zero123lib.views.poses import Encoding

SECTION = "system.guidance"

# The fields of guidance.py's Config, which only threestudio's process can import.
KEYS = (
    "pretrained_model_name_or_path", "pretrained_config", "encoding", "use_ema",
    "half_precision_weights", "vram_O", "cond_image_path", "cond_elevation_deg",
    "cond_azimuth_deg", "cond_camera_distance", "guidance_scale", "min_step_percent",
    "max_step_percent", "grad_clip", "variant", "weighting", "max_batch_size", "max_items_eval",
    "embedded",
)  # fmt: skip

# threestudio's `C(value, epoch, global_step)`.
Scheduled = Callable[[Any, int, int], float]


def check_keys(given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise ValueError for a key that nobody reads, with the nearest one that somebody does."""
    names = list(known)
    for key in given:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, 1)
            hint = f", did you mean {near[0]!r}?" if near else f"; known are {', '.join(names)}"
            raise ValueError(f"{SECTION}: unknown key {key!r}{hint}")


def check_settings(config: Any) -> None:
    """Raise ValueError for a value of another type or out of range.

    Args:
        config: with the fields of :class:`~zero123lib.threestudio_plugin.guidance.Config`.
    """
    for name in ("pretrained_model_name_or_path", "cond_image_path"):
        _check(name, config, lambda v: isinstance(v, str) and v.strip() != "", "a text")
    for name in ("half_precision_weights", "vram_O", "use_ema"):
        _check(name, config, lambda v: isinstance(v, bool), "true or false")
    _check("cond_azimuth_deg", config, _finite, "degrees")
    _check("cond_elevation_deg", config, lambda v: _finite(v) and -90 <= v <= 90, "-90 to 90")
    _check("cond_camera_distance", config, lambda v: _finite(v) and v > 0, "a number above 0")
    _check("max_items_eval", config, is_whole, "a whole number, -1 for all")
    _check("pretrained_config", config, lambda v: v is None or isinstance(v, str), "a path")
    _check("max_batch_size", config, lambda v: v is None or (is_whole(v) and v >= 1), "1 or more")
    _check("embedded", config, lambda v: v is None or isinstance(v, Mapping), "a section")
    for name, choices, others in (
        ("encoding", get_args(Encoding), ("auto",)),
        ("variant", get_args(Variant), (None,)),
        ("weighting", get_args(Weighting), (None,)),
    ):
        allowed = (*choices, *others)
        listed = ", ".join("null" if one is None else str(one) for one in allowed)
        _check(name, config, lambda v, allowed=allowed: v in allowed, f"one of {listed}")
    for name, most in (
        ("guidance_scale", math.inf),
        ("min_step_percent", 1.0),
        ("max_step_percent", 1.0),
        ("grad_clip", math.inf),
    ):
        if getattr(config, name) is None and name == "grad_clip":
            continue
        bound = "at least 0" if most == math.inf else f"from 0 to {most:g}"
        wanted = f"a number {bound}, or a schedule [step, value, value, step, ...] of such"
        _check(name, config, lambda v, most=most: _is_schedule(v, most), wanted)


def check_order(config: Any, scheduled: Scheduled) -> None:
    """Raise ValueError where ``min_step_percent`` gets above ``max_step_percent`` on the way."""
    low, high = config.min_step_percent, config.max_step_percent
    for step in sorted({0, *_knots(low), *_knots(high)}):
        if not scheduled(low, 0, step) <= scheduled(high, 0, step):
            raise ValueError(
                f"{SECTION}.min_step_percent: expected at most max_step_percent, "
                f"got {scheduled(low, 0, step):g} above {scheduled(high, 0, step):g} at step {step}"
            )


def _check(name: str, config: Any, accept: Callable[[Any], bool], wanted: str) -> None:
    value = getattr(config, name)
    if not accept(value):
        shown = list(value) if _is_list(value) else value
        raise ValueError(f"{SECTION}.{name}: expected {wanted}, got {shown!r}")


def _finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_list(value: Any) -> bool:
    """Return a list, OmegaConf's included, which is neither a list nor a Sequence."""
    return not isinstance(value, (str, Mapping)) and hasattr(value, "__getitem__")


def _is_schedule(value: Any, most: float) -> bool:
    """Return what threestudio's C takes: a number, [v0, v1, s1], [s0, v0, v1, s1] or that and
    pairs."""
    if not _is_list(value):
        return _finite(value) and 0 <= value <= most
    numbers = list(value)
    if len(numbers) == 3:
        numbers = [0, *numbers]
    if len(numbers) < 4 or len(numbers) % 2 or not all(map(_finite, numbers)):
        return False
    values = [numbers[1], *numbers[2::2]]
    steps = [numbers[0], *numbers[3::2]]
    rising = all(a < b for a, b in itertools.pairwise(steps))
    return rising and all(0 <= one <= most for one in values)


def _knots(value: Any) -> list[int]:
    if not _is_list(value):
        return []
    numbers = list(value) if len(value) != 3 else [0, *value]
    return [int(step) for step in (numbers[0], *numbers[3::2])]
