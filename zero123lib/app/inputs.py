"""What comes from a page or a client, checked; every complaint is one line that names its argument.

Gradio's own conversion is off (`preprocess=False`): it would decode images before anything has
looked at their size, and what it says of a number does not name it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

from gradio.data_classes import ImageData
from gradio.utils import get_upload_folder
from PIL import Image
from pydantic import ValidationError, model_validator

from zero123lib._errors import ArgumentError
from zero123lib.app.preparing import Framing
from zero123lib.app.settings import MAX_LAYERS, MAX_PIXELS, MAX_VIEWS, MIN_RATIO
from zero123lib.views.images import CutOutMethod, ImageError
from zero123lib.views.loading import FILE_KINDS, load_image


class Upload(ImageData):
    """Gradio's file data of an image; what is none is an empty one, which `upload_path` refuses.

    Of itself Gradio answers nothing then, and writes a traceback.
    """

    @model_validator(mode="wrap")
    @classmethod
    def check(cls, value: Any, validated: Callable[[Any], Upload]) -> Upload:
        """Validate as Gradio does."""
        try:
            return validated(value)
        except ValidationError:
            return cls.model_construct(path=None)


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
    path = upload_path(upload)
    name = repr(str(upload.get("orig_name") or "the upload")[:200])
    return load_image(path, MAX_PIXELS, name)


def painted_layers(strokes: Any) -> Iterator[Image.Image]:
    """Read the layers of an editor one after the other; those without paint are passed over.

    Raises:
        ArgumentError: it is no editor's value, or there are more layers than anybody paints.
    """
    layers = strokes.get("layers") if isinstance(strokes, dict) else strokes
    layers = [] if layers is None else layers
    if not isinstance(layers, list) or len(layers) > MAX_LAYERS:
        got = f"{len(layers)}" if isinstance(layers, list) else short(layers)
        raise ArgumentError("strokes", f"at most {MAX_LAYERS} layers of an image editor", got)
    for layer in layers:
        with suppress(ImageError):  # of a layer without paint
            yield uploaded_image(layer)


def framing(ratio: Any, recentre: Any, method: Any) -> Framing:
    """Tell how the image is framed; see `zero123lib.app.preparing.Framing`."""
    method = choice("method", method, CutOutMethod)
    ratio = number("foreground_ratio", ratio, MIN_RATIO, 1.0)
    return Framing(ratio, truth("recentre", recentre), method)


def choice(name: str, value: Any, choices: Any) -> Any:
    """Return one of a ``Literal``'s values, or raise ValueError."""
    return one_of(name, value, get_args(choices))


def one_of(name: str, value: Any, choices: Iterable[Any]) -> Any:
    """Return one of some values, or raise ValueError; `value` may be anything."""
    known = list(choices)
    if isinstance(value, bool) or value not in known:
        names = ", ".join(map(str, known))
        raise ArgumentError(name, f"one of {names}", repr(str(value)[:40]))
    return known[known.index(value)]  # 2 where JSON brings 2.0


def truth(name: str, value: Any) -> bool:
    """Return true or false, and refuse what merely counts as such."""
    if not isinstance(value, bool):
        raise ArgumentError(name, "true or false", repr(str(value)[:40]))
    return value


def number(name: str, value: Any, low: float, high: float) -> float:
    """Return a number from `low` to `high`; NaN is none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise ArgumentError(name, f"a number from {low:g} to {high:g}", short(value))
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
        raise ArgumentError(name, f"a whole number from {low} to {high}", short(value))
    return int(value)


def azimuths(given: Any) -> list[float]:
    """Return 1 to `MAX_VIEWS` azimuths: of a list of numbers, or of a text with commas between."""
    return numbers("azimuths", given, -360.0, 360.0, "degrees")


def numbers(name: str, given: Any, low: float, high: float, unit: str = "") -> list[float]:
    """Return 1 to `MAX_VIEWS` numbers: of a list, or of a text with commas between.

    A comma may follow the last one.
    """
    listed = given if isinstance(given, list) else [] if given is None else str(given).split(",")
    if isinstance(given, str) and not listed[-1].strip():
        listed = listed[:-1]
    if not 1 <= len(listed) <= MAX_VIEWS:
        raise ArgumentError(name, f"1 to {MAX_VIEWS} numbers", str(len(listed)))
    return [number(name, _finite(name, one, unit), low, high) for one in listed]


def _finite(name: str, given: Any, unit: str) -> float:
    value = math.nan
    if isinstance(given, str | int | float) and not isinstance(given, bool):
        with suppress(ValueError, OverflowError):
            value = float(given)
    if not math.isfinite(value):
        of = f" of {unit}" if unit else ""
        raise ArgumentError(name, f"finite numbers{of} separated by commas", short(given))
    return value


def azimuth(name: str, value: Any) -> float:
    """Return an azimuth: a turn either way at most."""
    return number(name, value, -360.0, 360.0)


def short(value: Any) -> str:
    """Return how to show what came, whatever it is and however long."""
    if isinstance(value, str):
        return repr(value.strip()[:40])
    return f"{value!r:.40}"
