"""What comes from a page or a client, checked; every complaint is one line that names its argument.

Gradio's own conversion is off (`preprocess=False`): it would decode images before anything has
looked at their size, and what it says of a number does not name it.
"""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

from gradio.utils import get_upload_folder
from PIL import Image

from zero123lib._errors import ArgumentError
from zero123lib.app.preparing import Framing
from zero123lib.app.settings import MAX_PIXELS, MAX_VIEWS, MIN_RATIO
from zero123lib.views.images import CutOutMethod
from zero123lib.views.loading import FILE_KINDS, load_image


def upload_path(upload: Any) -> str:
    """Tell where the uploaded file is; only what lies among the uploads counts as one.

    Args:
        upload: Gradio's file data.

    Raises:
        ValueError: nothing was uploaded.
    """
    given = upload.get("path") if isinstance(upload, dict) else None
    path = given if isinstance(given, str) and "\0" not in given else ""
    # Gradio checks the place only of data that a client marks as a file's.
    uploads = Path(get_upload_folder()).resolve()
    if not path or not Path(path).resolve().is_relative_to(uploads):
        raise ArgumentError("image", f"an uploaded image ({FILE_KINDS})", "none")
    return path


def uploaded_image(upload: Any) -> Image.Image:
    """Return the uploaded file, read safely; transparency, 16 bits and rotation are kept.

    Raises:
        ValueError: nothing was uploaded, or it is no image that can be used.
    """
    # The place of the file on the server is nobody's business.
    name = repr(str(upload.get("orig_name") or "the upload")[:200])
    return load_image(upload_path(upload), MAX_PIXELS, name)


def framing(ratio: Any, recentre: Any, method: Any) -> Framing:
    """Tell how the image is framed; see `zero123lib.app.preparing.Framing`."""
    method = choice("method", method, CutOutMethod)
    ratio = number("foreground_ratio", ratio, MIN_RATIO, 1.0)
    return Framing(ratio, truth("recentre", recentre), method)


def choice(name: str, value: Any, choices: Any) -> Any:
    """Return one of a ``Literal``'s values, or raise ValueError."""
    if isinstance(value, bool) or value not in get_args(choices):
        names = ", ".join(map(str, get_args(choices)))
        raise ValueError(f"{name}: expected one of {names}, got {str(value)[:40]!r}")
    return value


def truth(name: str, value: Any) -> bool:
    """Return true or false, and refuse what merely counts as such."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected true or false, got {str(value)[:40]!r}")
    return value


def number(name: str, value: Any, low: float, high: float) -> float:
    """Return a number from `low` to `high`; NaN is none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise ValueError(f"{name}: expected a number from {low:g} to {high:g}, got {value!r}")
    return float(value)


def number_or_none(name: str, value: Any, low: float, high: float) -> float | None:
    """Return a number from `low` to `high`, as text too; None where the field is empty."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str):
        with suppress(ValueError):  # what is no number is complained of below
            value = float(value)
    return number(name, value, low, high)


def whole_or(name: str, value: Any, low: int, high: int, default: int) -> int:
    """Return a whole number from `low` to `high`; the default where the field is empty."""
    return default if value is None else whole(name, value, low, high)


def number_or(name: str, value: Any, low: float, high: float, default: float) -> float:
    """Return a number from `low` to `high`; the default where the field is empty."""
    return default if value is None else number(name, value, low, high)


def whole(name: str, value: Any, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`; JSON may well bring it as 3.0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or value != int(value):
        raise ValueError(f"{name}: expected a whole number from {low} to {high}, got {value!r}")
    return int(value)


def azimuths(text: Any) -> list[float]:
    """Return degrees of a comma-separated list, 1 to `MAX_VIEWS` of them."""
    words = [word.strip() for word in str(text).split(",")] if text not in (None, "") else []
    if not 1 <= len(words) <= MAX_VIEWS:
        raise ValueError(f"azimuths: expected 1 to {MAX_VIEWS} numbers, got {len(words)}")
    return [_degrees(word) for word in words]


def _degrees(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(
            f"azimuths: expected finite numbers of degrees separated by commas, got {word[:40]!r}"
        )
    return value
