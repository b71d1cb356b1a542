"""What makes a rendered data set the one it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from zero123lib._choices import Lighting
from zero123lib._errors import ArgumentError
from zero123lib.meshes.axes import UPS
from zero123lib.meshes.settings import MAX_SAMPLES_PER_SIDE


@dataclass(frozen=True)
class RenderSettings:
    """Everything that the pictures depend on, besides the meshes.

    Attributes:
        views: cameras per object. The first ones are the same whatever the number.
        size: pixels of a picture's side.
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

    views: int = 12
    size: int = 256
    elevation_deg: tuple[float, float] = (-90.0, 90.0)
    radius: tuple[float, float] = (1.5, 2.2)
    seed: int = 0
    supersample: int = 3
    light: Lighting = "random"
    up: str = "auto"

    def __post_init__(self) -> None:
        # File names have three digits.
        _check_whole("views", self.views, 1, 1000)
        _check_whole("supersample", self.supersample, 1, 16)
        _check_whole("size", self.size, 8, MAX_SAMPLES_PER_SIDE // self.supersample)
        _check_whole("seed", self.seed, 0, 2**63 - 1)
        low, high = self.elevation_deg
        if not -90.0 <= low <= high <= 90.0:
            raise ArgumentError("elevation", "LOW HIGH from -90 to 90 degrees", f"{low:g} {high:g}")
        low, high = self.radius
        if not 0.0 < low <= high < math.inf:
            raise ArgumentError("radius", "LOW HIGH above 0", f"{low:g} {high:g}")
        for name, names in (("light", get_args(Lighting)), ("up", UPS)):
            if getattr(self, name) not in names:
                raise ArgumentError(name, f"one of {', '.join(names)}", repr(getattr(self, name)))

    def to_config(self) -> dict[str, Any]:
        """Return plain JSON values."""
        config = asdict(self)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in config.items()}

    def differences(self, config: object) -> list[str]:
        """Return what differs in another's `to_config`, as "views 8, now 12"."""
        if not isinstance(config, Mapping):
            return [f"no settings, but {type(config).__name__}"]
        mine = self.to_config()
        names = [field.name for field in fields(self)]
        return [
            f"{name} {config.get(name)}, now {mine[name]}"
            for name in names
            if config.get(name) != mine[name]
        ]


def _check_whole(name: str, value: int, low: int, high: int) -> None:
    if not (isinstance(value, int) and low <= value <= high):
        raise ArgumentError(name, f"a whole number from {low} to {high}", repr(value))
