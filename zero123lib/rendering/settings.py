"""What makes a rendered data set the one it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field

from zero123lib._choices import Lighting, UpAxis
from zero123lib._config import Positive, Range, settings
from zero123lib._errors import ArgumentError
from zero123lib.meshes.settings import MAX_SAMPLES_PER_SIDE


@settings
class RenderSettings:
    """Everything that the images depend on, besides the meshes.

    Attributes:
        views: cameras per object. The first ones are the same whatever the number.
        size: pixels of an image's side.
        elevation_deg: cameras are drawn between these two.
        radius: likewise, scene units; the longest side of the object's bounding box is 1.
        seed: of cameras and lights, together with the object's name.
        supersample: samples along a pixel's side.
        light: "fixed" is the same for all objects; "random" is drawn for each object, one for all
            its views.
        up: of the files, see `meshes.load`.

    Raises:
        ValueError: one is out of range.
    """

    # File names have three digits.
    views: int = Field(default=12, ge=1, le=1000)
    size: int = 256
    elevation_deg: Range[Annotated[float, Field(ge=-90, le=90)]] = (-90.0, 90.0)
    radius: Range[Positive] = (1.5, 2.2)
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    supersample: int = Field(default=3, ge=1, le=16)
    light: Lighting = "random"
    up: UpAxis = "auto"

    def __post_init__(self) -> None:
        most = MAX_SAMPLES_PER_SIDE // self.supersample
        if not 8 <= self.size <= most:
            raise ArgumentError("size", f"a whole number from 8 to {most}", str(self.size))

    def to_config(self) -> dict[str, Any]:
        """Return plain JSON values."""
        config = asdict(self)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in config.items()}

    def differences(self, config: object) -> list[str]:
        """Return what differs in another's `to_config`, as "views 8, now 12"."""
        if not isinstance(config, Mapping):
            return [f"no settings, but {type(config).__name__}"]
        mine = self.to_config()
        return [
            f"{name} {config.get(name)}, now {value}"
            for name, value in mine.items()
            if config.get(name) != value
        ]
