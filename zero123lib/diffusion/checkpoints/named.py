"""The published checkpoints, and where each can be had: a table, with what its pages state.

Sizes and licences are as the pages of the Hugging Face Hub show them; the published weights have
not been run here. A model has several sources: the official file holds the UNet twice, its weights
and their running average, in float32, beside what training needs; ports hold it once, and do not
say which of the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # it loads torch, which a look at this table needs not
    from zero123lib.views.poses import Encoding

# float16: half of what float32 takes;  float32: as the model was trained
Precision = Literal["float16", "float32"]
# original: one file, as the official code has it;  diffusers: a folder, a port of it
Layout = Literal["diffusers", "original"]


@dataclass(frozen=True)
class Place:
    """Where weights are published.

    Attributes:
        place: a repository ``owner/name`` of the Hugging Face Hub, or a web address.
        file: the checkpoint at that place; None for a whole diffusers folder.
    """

    place: str
    file: str | None = None

    @property
    def name(self) -> str:
        """Return what to pass as a model to get this very one."""
        return f"{self.place}/{self.file}" if self.file else self.place

    @property
    def layout(self) -> Layout:
        """Return how the weights lie in it."""
        return "original" if self.file else "diffusers"

    @property
    def on_the_web(self) -> bool:
        """Tell whether it is a plain address, and no repository of the Hub."""
        return "://" in self.place


@dataclass(frozen=True, kw_only=True)
class Source(Place):
    """A place where the weights of a named model are published.

    Attributes:
        publisher: who put them there.
        precision: of the weights.
        nbytes: to download, rounded as the page does it.
        stated: whether ``nbytes`` is on the source's page; else it is computed from the number of
            parameters, 1,247,746,219.
        licence: in the page's own words; None where it has none.
    """

    publisher: str
    precision: Precision = "float32"
    nbytes: int
    stated: bool = True
    licence: str | None


@dataclass(frozen=True)
class NamedModel:
    """A published checkpoint.

    Attributes:
        encoding: of the pose, that it was trained with.
        licence: of the weights, by those who trained them, whoever ported them.
        sources: where they are published; the official one last.
        licence_stated: whether those who trained them say so; else a port's page is all there is.
    """

    encoding: Encoding
    licence: str
    sources: tuple[Source, ...]
    licence_stated: bool = True


_DERIVED = "they derive from Stable Diffusion (CreativeML OpenRAIL-M)"
_MIT = f"MIT, as the page of the weights states; {_DERIVED}"
_XL = f"not stated with the weights; their code's is MIT, and {_DERIVED}"
_STABILITY_NC = "Stability AI Non-Commercial Research Community License: research, no commerce"
_STABILITY = "Stability AI Community License: commerce within its limits on revenue"


def _kxic(name: str, licence: str | None = "mit") -> Source:
    nbytes = 4_990_984_876  # 4 bytes per parameter
    place = f"kxic/{name}"
    return Source(place, publisher="kxic", nbytes=nbytes, stated=False, licence=licence)


def _ashawkey(name: str) -> Source:
    place, nbytes = f"ashawkey/{name}", 2_500_000_000
    return Source(place, publisher="ashawkey", precision="float16", nbytes=nbytes, licence="mit")


def _columbia(place: str, file: str, licence: str | None) -> Source:
    return Source(place, file, publisher="Columbia", nbytes=15_500_000_000, licence=licence)


def _cvlab(file: str) -> Source:
    return _columbia("cvlab/zero123-weights", file, "mit")


def _stability(file: str) -> Source:
    place, licence = "stabilityai/stable-zero123", "sai-nc-community"
    return Source(place, file, publisher="Stability AI", nbytes=8_580_000_000, licence=licence)


_COLUMBIA_XL = _columbia("https://zero123.cs.columbia.edu/assets", "zero123-xl.ckpt", None)

# Where cvlab-columbia/zero123's README.md sends its users, Stability AI's own repository, and the
# ports that other projects load.
NAMED: dict[str, NamedModel] = {
    "zero123-105000": NamedModel("zero123", _MIT, (_kxic("zero123-105000"), _cvlab("105000.ckpt"))),
    "zero123-165000": NamedModel("zero123", _MIT, (_kxic("zero123-165000"), _cvlab("165000.ckpt"))),
    "zero123-xl": NamedModel(
        "zero123",
        _XL,
        (_ashawkey("zero123-xl-diffusers"), _kxic("zero123-xl"), _COLUMBIA_XL),
        licence_stated=False,
    ),
    "stable-zero123": NamedModel(
        "stable-zero123",
        _STABILITY_NC,
        (
            _ashawkey("stable-zero123-diffusers"),
            _kxic("stable-zero123", licence=None),
            _stability("stable_zero123.ckpt"),
        ),
    ),
    "stable-zero123-c": NamedModel(
        "stable-zero123", _STABILITY, (_stability("stable_zero123_c.ckpt"),)
    ),
}


def fitting(name: str, precision: Precision | None, original: bool) -> list[Source]:
    """List the sources of a model that give what is wanted, the smallest first.

    Args:
        name: one of :data:`NAMED`.
        precision: at least that of the weights; None takes any.
        original: take the official layout alone, which has the weights and their running average.
    """
    able = [
        source
        for source in NAMED[name].sources
        if (precision != "float32" or source.precision == "float32")
        and (source.layout == "original" or not original)
    ]
    return sorted(able, key=lambda source: source.nbytes)


def named_source(text: str) -> tuple[str, Source] | None:
    """Find the model and the source that a source's own name stands for; None for any other."""
    for name, model in NAMED.items():
        for source in model.sources:
            if source.name == text:
                return name, source
    return None
