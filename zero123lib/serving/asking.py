"""What a request may say: fields of a form, checked as the app checks its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from fastapi import File, UploadFile
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationInfo

from zero123lib._choices import Speed, Upscale
from zero123lib._errors import ArgumentError
from zero123lib.app import inputs, settings
from zero123lib.views.images import CutOutMethod
from zero123lib.views.poses import RelativePose

Format = Literal["png", "zip", "json"]


@dataclass(frozen=True)
class Checked:
    """Checks a field in place of pydantic, whose complaints are not the app's.

    Attributes:
        check: takes the field's name and what came; gives the value, or raises ArgumentError.
        schema: that OpenAPI shows.
    """

    check: Callable[[str, Any], Any]
    schema: dict[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Have pydantic call the check alone."""

        def check(value: Any, info: ValidationInfo) -> Any:
            return self.check(str(info.field_name), value)

        return PlainValidator(check).__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        """Return the schema as it is."""
        return dict(self.schema)


def _plain(text: Any) -> Any:
    """Return a form's text as the number that it is; what is none is complained of later."""
    for read in (int, float):
        try:
            return read(text) if isinstance(text, str) else text
        except ValueError:
            continue
    return text


def _number(low: float, high: float) -> Checked:
    def check(name: str, text: Any) -> float:
        return inputs.number(name, _plain(text), low, high)

    return Checked(check, {"type": "number", "minimum": low, "maximum": high})


def _whole(low: int, high: int) -> Checked:
    def check(name: str, text: Any) -> int:
        return inputs.whole(name, _plain(text), low, high)

    return Checked(check, {"type": "integer", "minimum": low, "maximum": high})


def _choice(choices: Any) -> Checked:
    known = list(get_args(choices))

    def check(name: str, text: Any) -> Any:
        return inputs.one_of(name, _plain(text) if _plain(text) in known else text, known)

    return Checked(check, {"enum": known})


def _truth() -> Checked:
    words = {"true": True, "false": False}

    def check(name: str, text: Any) -> bool:
        return inputs.truth(name, words.get(text, text) if isinstance(text, str) else text)

    return Checked(check, {"type": "boolean"})


def _numbers(low: float, high: float, unit: str = "") -> Checked:
    def check(name: str, text: Any) -> list[float]:
        # A form may give a field several times, and gives its texts in a list.
        text = ",".join(map(str, text)) if isinstance(text, list) else text
        return inputs.numbers(name, text, low, high, unit)

    return Checked(check, {"type": "string", "examples": ["0", "0, 45, 90"]})


def _about(text: str, **schema: Any) -> Any:
    return Field(description=text, json_schema_extra=schema or None)


class Asking(BaseModel):
    """The cameras and settings of a request."""

    model_config = ConfigDict(extra="forbid")

    azimuths: Annotated[
        list[float],
        _numbers(-360, 360, "degrees"),
        _about("Degrees to the right of the image's camera, with commas between.", default="0"),
    ] = [0.0]
    elevations: Annotated[
        list[float],
        _numbers(-90, 90, "degrees"),
        _about("Degrees above the image's camera: one, or one for each camera.", default="0"),
    ] = [0.0]
    zooms: Annotated[
        list[float],
        _numbers(-settings.MAX_ZOOM, settings.MAX_ZOOM),
        _about("Distance to add, positive is farther: one, or one for each camera.", default="0"),
    ] = [0.0]
    seed: Annotated[
        int, _whole(0, settings.MAX_SEED), _about("Of the noise: the same gives the same views.")
    ] = 0
    seeds: Annotated[
        int, _whole(1, settings.MAX_SEEDS), _about("How many seeds, from the first one on.")
    ] = 1
    steps: Annotated[
        int | None,
        _whole(1, settings.MAX_STEPS),
        _about("Denoising steps; the model's own number."),
    ] = None
    guidance_scale: Annotated[
        float | None,
        _number(0.0, settings.MAX_GUIDANCE),
        _about("How closely to follow the image; 1 is no guidance; the model's own."),
    ] = None
    input_elevation: Annotated[
        float | None,
        _number(-90.0, 90.0),
        _about("Of the image's camera, degrees, for a model that asks for it."),
    ] = None
    foreground_ratio: Annotated[
        float | None,
        _number(settings.MIN_RATIO, 1.0),
        _about("Longest side of the object over the image's; the model's own."),
    ] = None
    recentre: Annotated[bool, _truth(), _about("Put the object in the middle at that size.")] = True
    method: Annotated[str, _choice(CutOutMethod), _about("How the object is cut out.")] = "auto"
    transparent: Annotated[bool, _truth(), _about("Take the white background away.")] = False
    upscale: Annotated[
        Upscale, _choice(Upscale), _about("How many times the views are enlarged.")
    ] = 1
    speed: Annotated[
        Speed, _choice(Speed), _about("What is left out to save time; exact leaves out nothing.")
    ] = "exact"
    format: Annotated[
        Format, _choice(Format), _about("A png of one view; zip or json of any number.")
    ] = "png"

    def poses(self) -> list[RelativePose]:
        """Return the cameras, one for each azimuth, elevation and zoom.

        Raises:
            ArgumentError: they do not go together.
        """
        listed = {"azimuths": self.azimuths, "elevations": self.elevations, "zooms": self.zooms}
        count = max(map(len, listed.values()))
        for name, values in listed.items():
            if len(values) not in (1, count):
                raise ArgumentError(name, f"one, or one for each of {count}", str(len(values)))
            listed[name] = values if len(values) == count else values * count
        if self.format == "png" and count * self.seeds > 1:
            raise ArgumentError("format", f"zip or json, of {count * self.seeds} views", "'png'")
        around, up, away = listed.values()
        return [RelativePose(*one) for one in zip(up, around, away, strict=True)]


class ViewsForm(Asking):
    """A request for views."""

    image: Annotated[UploadFile, File(description=f"One object; {inputs.FILE_KINDS}.")]
