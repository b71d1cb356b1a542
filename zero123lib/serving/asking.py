"""What a request may say: fields of a form, checked as the app checks its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

from fastapi import File, UploadFile
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from zero123lib._choices import Speed, Upscale
from zero123lib._errors import ArgumentError
from zero123lib.app import inputs, settings
from zero123lib.views.images import CutOutMethod
from zero123lib.views.poses import RelativePose

Format = Literal["png", "zip", "json"]


def _field(check: Callable[[Any], Any], about: str, **schema: Any) -> Any:
    """Return a field's type: what checks it, and what OpenAPI says of it."""
    return Annotated[Any, BeforeValidator(check), WithJsonSchema(schema), Field(description=about)]


def _plain(text: Any) -> Any:
    """Return a form's text as the number that it is; what is none is complained of later."""
    for read in (int, float):
        try:
            return read(text) if isinstance(text, str) else text
        except ValueError:
            continue
    return text


def _number(name: str, low: float, high: float, about: str) -> Any:
    def check(text: Any) -> float:
        return inputs.number(name, _plain(text), low, high)

    return _field(check, about, type="number", minimum=low, maximum=high)


def _whole(name: str, low: int, high: int, about: str) -> Any:
    def check(text: Any) -> int:
        return inputs.whole(name, _plain(text), low, high)

    return _field(check, about, type="integer", minimum=low, maximum=high)


def _choice(name: str, choices: Any, about: str) -> Any:
    known = list(get_args(choices))

    def check(text: Any) -> Any:
        return inputs.one_of(name, _plain(text) if _plain(text) in known else text, known)

    return _field(check, about, enum=known)


def _truth(name: str, about: str) -> Any:
    words = {"true": True, "false": False}

    def check(text: Any) -> bool:
        return inputs.truth(name, words.get(text, text) if isinstance(text, str) else text)

    return _field(check, about, type="boolean")


def _numbers(name: str, low: float, high: float, unit: str, about: str) -> Any:
    def check(text: Any) -> list[float]:
        return inputs.numbers(name, text, low, high, unit)

    return _field(check, about, type="string", examples=["0", "0, 45, 90"])


class Asking(BaseModel):
    """The cameras and settings of a request."""

    model_config = ConfigDict(extra="forbid")

    azimuths: _numbers(
        "azimuths", -360, 360, "degrees", "Degrees to the right of the image's camera, with commas."
    ) = [0.0]
    elevations: _numbers(
        "elevations", -90, 90, "degrees", "Degrees above the image's camera: one, or one for each."
    ) = [0.0]
    zooms: _numbers(
        "zooms",
        -settings.MAX_ZOOM,
        settings.MAX_ZOOM,
        "",
        "Distance to add, positive is farther: one, or one for each.",
    ) = [0.0]
    seed: _whole("seed", 0, settings.MAX_SEED, "Of the noise: the same gives the same views.") = 0
    seeds: _whole("seeds", 1, settings.MAX_SEEDS, "How many seeds, from the first one on.") = 1
    steps: _whole("steps", 1, settings.MAX_STEPS, "Denoising steps; the model's own number.") = None
    guidance_scale: _number(
        "guidance_scale", 0.0, settings.MAX_GUIDANCE, "1 is no guidance; the model's own."
    ) = None
    input_elevation: _number(
        "input_elevation", -90.0, 90.0, "Of the image's camera, for a model that asks for it."
    ) = None
    foreground_ratio: _number(
        "foreground_ratio", settings.MIN_RATIO, 1.0, "Object's size in the frame; the model's own."
    ) = None
    recentre: _truth("recentre", "Put the object in the middle at that size.") = True
    method: _choice("method", CutOutMethod, "How the object is cut out.") = "auto"
    transparent: _truth("transparent", "Take the white background away.") = False
    upscale: _choice("upscale", Upscale, "How many times the views are enlarged.") = 1
    speed: _choice("speed", Speed, "What is left out to save time; exact leaves out nothing.") = (
        "exact"
    )
    format: _choice("format", Format, "png of one view; zip or json of any number.") = "png"

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
