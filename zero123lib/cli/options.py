"""What options are made of: numbers within bounds, and the groups that several verbs share.

A parameter is called what the library calls the argument, so that its complaints get the option's
name by themselves (:func:`zero123lib.cli.diagnosis.spelled`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter, Token

from zero123lib._choices import AutoEncoding, Device, Speed
from zero123lib._errors import ArgumentError

if TYPE_CHECKING:
    from PIL.Image import Image

    from zero123lib.diffusion.pipeline import Zero123Pipeline
    from zero123lib.views.sources import NamedImage


def number(
    read: Callable[[str], float], expected: str, accept: Callable[[Any], bool], metavar: str
) -> Parameter:
    """Take a number that ``accept`` does; ``expected`` says which those are."""

    def convert(kind: Any, tokens: Sequence[Token]) -> float:
        (text,) = (token.value for token in tokens)
        try:
            if accept(value := read(text)):
                return value
        except ValueError:
            pass  # no number is not accepted either
        raise ArgumentError("number", expected, repr(text))

    return Parameter(converter=convert, metavar=metavar)


def whole(low: int, high: int, metavar: str = "N") -> Parameter:
    """Take whole numbers from ``low`` to ``high``."""
    expected = f"a whole number from {low} to {high}"
    return number(int, expected, lambda value: low <= value <= high, metavar)


Degrees = Annotated[float, number(float, "a finite number of degrees", math.isfinite, "DEG")]
Finite = Annotated[float, number(float, "a finite number", math.isfinite, "R")]
Positive = Annotated[
    float, number(float, "a finite number above 0", lambda value: 0.0 < value < math.inf, "R")
]
Share = Annotated[
    float, number(float, "a share from 0 to 1", lambda value: 0.0 <= value <= 1.0, "SHARE")
]
Ratio = Annotated[
    float, number(float, "a number above 0 and at most 1", lambda value: 0.0 < value <= 1.0, "F")
]
Guidance = Annotated[
    float, number(float, "a number from 0 to below 10000", lambda value: 0.0 <= value < 1e4, "G")
]
Steps = Annotated[int, whole(1, 1000)]
Seed = Annotated[int, whole(0, 2**63 - 1)]
Flag = Annotated[bool, Parameter(show_default=False)]
# May be repeated; what follows one of them is another argument.
Assignments = Annotated[
    list[str] | None, Parameter(name="--set", metavar="KEY=VALUE", consume_multiple=False)
]
Mask = Annotated[Path | None, Parameter(metavar="PNG")]
# Where several photos of one object were taken from.
Cameras = Annotated[Path | None, Parameter(metavar="JSON")]


THE_MODEL = Group.create_ordered("The model")


@Parameter(name="*", group=THE_MODEL)
@dataclass(frozen=True)
class Reading:
    """What reading a checkpoint may need besides its name.

    Attributes:
        encoding: pose encoding that it was trained with.
        original_config: official config, for a file of other sizes than the published ones.
    """

    encoding: AutoEncoding = "auto"
    original_config: Annotated[Path | None, Parameter(metavar="YAML")] = None

    def check(self, model: str) -> None:
        """Raise ArgumentError for what is seen to be wrong before torch is there."""
        if self.original_config is not None:
            check_present(self.original_config, "original_config")
        from zero123lib.diffusion.checkpoints.sources import check_source

        check_source(model)


@Parameter(name="*", group=THE_MODEL)
@dataclass(frozen=True)
class Model:
    """Which model, and where it runs.

    Attributes:
        model: a model's name, a folder, or a .ckpt or .safetensors file (a recipe's own, or tiny).
        reading: what reading it may need.
        device: where it runs; auto takes a GPU where there is one.
    """

    model: Annotated[str | None, Parameter(name=("--model",), metavar="NAME")] = None
    reading: Reading = field(default_factory=Reading)
    device: Device = "auto"

    def check(self) -> None:
        """Raise ArgumentError for what is seen to be wrong before torch is there."""
        with renaming(source="model"):
            self.reading.check(self.model or "tiny")

    def load(self, usual: str = "tiny", speed: Speed = "exact") -> Zero123Pipeline:
        """Load the pipeline, and torch before it; ``usual`` is taken where none is named."""
        from zero123lib.diffusion.apps import load_pipeline

        reading, name = self.reading, self.model or usual
        return load_pipeline(name, self.device, reading.encoding, reading.original_config, speed)


@Parameter(name="*", group=THE_MODEL)
@dataclass(frozen=True)
class Maker(Model):
    """Which model makes the predictions, if one does.

    Attributes:
        model: a model's name, a folder or a file; it fills PREDICTIONS first (none).
        reading: what reading it may need.
        device: where it runs; auto takes a GPU where there is one.
    """


@Parameter(name="*", group=THE_MODEL)
@dataclass(frozen=True)
class ServedModel:
    """Which model a server has, also by the environment.

    Attributes:
        model: a model's name, a folder, or a .ckpt or .safetensors file.
        encoding: pose encoding that it was trained with.
        original_config: official config, for a file of other sizes than the published ones.
        device: where it runs; auto takes a GPU where there is one.
    """

    model: Annotated[str, Parameter(env_var="ZERO123_MODEL", metavar="NAME")] = "tiny"
    encoding: Annotated[AutoEncoding, Parameter(env_var="ZERO123_ENCODING")] = "auto"
    original_config: Annotated[
        Path | None, Parameter(env_var="ZERO123_ORIGINAL_CONFIG", metavar="YAML")
    ] = None
    device: Annotated[Device, Parameter(env_var="ZERO123_DEVICE")] = "auto"

    def checked(self) -> Model:
        """Return it as any verb's; raise ArgumentError for what is seen to be wrong before torch
        is there."""
        found = Model(self.model, Reading(self.encoding, self.original_config), self.device)
        found.check()
        return found


@contextmanager
def renaming(**names: str) -> Iterator[None]:
    """Make complaints of the library about an argument complaints about another one of ours."""
    try:
        yield
    except ArgumentError as error:
        if error.name not in names:
            raise
        raise error.renamed(names[error.name]) from error


def read_image(image: NamedImage, mask: Path | None = None) -> Image:
    """Decode an image, with a mask as its transparency.

    Raises:
        ImageError: one of them cannot be read, or they do not fit.
    """
    from zero123lib.views.loading import load_image

    loaded = load_image(image.source, name=image.label)
    if mask is None:
        return loaded
    from zero123lib.views.cutout import masked

    return masked(loaded, mask)


def check_present(path: Path, name: str, expected: str = "a file") -> None:
    """Raise ArgumentError where there is no such file or folder."""
    if not path.exists():
        raise ArgumentError(name, expected, f"{str(path)!r}, and there is none")
