"""The files of the verbs of `zero123 evaluate`, and networks of features that go into them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from zero123lib._errors import ArgumentError
from zero123lib._files import clear_scratch, held_folder, write_folder
from zero123lib.cli.options import check_present

if TYPE_CHECKING:
    from zero123lib.evaluation.embedders import Embedder

Out = Annotated[Path | None, Parameter(metavar="DIR")]
CELLS = "cells"
TRUE_VIEWS = "truth"


@Parameter(name="*", group=Group("Weights that do not come along", sort_key=4))
@dataclass(frozen=True)
class Features:
    """Networks of features, for what is not measured without them.

    Attributes:
        clip: folder of CLIP, as transformers saves it: CLIP similarity, and FID on CLIP.
        inception: file of Inception's weights, as pytorch-fid has it: FID.
    """

    clip: Annotated[Path | None, Parameter(metavar="DIR")] = None
    inception: Annotated[Path | None, Parameter(metavar="FILE")] = None

    def check(self) -> None:
        """Raise ArgumentError where one is not there, before anything heavy is loaded."""
        if self.clip is not None:
            check_present(self.clip, "clip", "a folder of CLIP")
        if self.inception is not None:
            check_present(self.inception, "inception", "the file of Inception's weights")

    def refuse(self, beside: str) -> None:
        """Raise ArgumentError where one is named beside an option that measures no images."""
        for name in ("clip", "inception"):
            if getattr(self, name) is not None:
                raise ArgumentError(name, f"no {beside} beside it", "both")

    def load(self) -> tuple[Embedder, ...]:
        """Load the networks.

        Raises:
            ArgumentError: a folder or file is not what it is named as.
        """
        from zero123lib.evaluation.embedders import clip_embedder, inception_embedder

        found = [] if self.clip is None else [clip_embedder(self.clip)]
        found += [] if self.inception is None else [inception_embedder(self.inception)]
        return tuple(found)

    @property
    def words(self) -> list[str]:
        """Return the options as they are written on the command line."""
        named = {"--clip": self.clip, "--inception": self.inception}
        return [word for name, path in named.items() if path for word in (name, str(path))]


@contextmanager
def held_report(out: Path | None) -> Iterator[None]:
    """Keep other runs out of a report's folder, and what a killed one left half-written."""
    if out is None:
        yield
        return
    with held_folder(out):
        for folder in (out, out / CELLS, *(out / TRUE_VIEWS).glob("*")):
            clear_scratch(folder)
        yield


def write_report(out: Path | None, files: Mapping[str, bytes]) -> None:
    """Write a report's files, the last of which describes the others, and say which."""
    if out is None:
        return
    there = write_folder(out, files)
    others = [name for name in there if name not in (CELLS, TRUE_VIEWS) and name[0] != "."]
    print(f"wrote {out}/: {', '.join(files)}")
    if others:
        print(f"{out}/ also holds {', '.join(others)}, from before")
