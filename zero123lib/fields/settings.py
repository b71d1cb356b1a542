"""Settings of fields, for whoever checks them before torch is there."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from zero123lib._config import Count, Listed, Number, Positive, Several, settings
from zero123lib._errors import ArgumentError

_ASCENDING = "ascending shares of the steps, above 0 and below 1"


@settings
class Stages:
    """A grid that grows, coarse to fine.

    Attributes:
        resolutions: nodes along each axis, stage by stage.
        milestones: share of the steps after which each further stage begins.
        half_extent: half the side of the cube, world units; nothing is outside.
        samples: along each ray, within what may be occupied.
    """

    resolutions: Several[Annotated[int, Field(ge=2)]] = (48, 72, 96)
    milestones: Listed[Annotated[Number, Field(gt=0, lt=1)]] = Field(
        default=(0.25, 0.5), description=_ASCENDING
    )
    half_extent: Positive = 0.6
    samples: Count = 48

    def __post_init__(self) -> None:
        got, fewer = str(list(self.milestones)), len(self.resolutions) - 1
        if len(self.milestones) != fewer:
            raise ArgumentError("milestones", f"{fewer}, one fewer than resolutions", got)
        if list(self.milestones) != sorted(self.milestones):
            raise ArgumentError("milestones", _ASCENDING, got)
