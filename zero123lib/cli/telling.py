"""What a verb tells: lines for people, one JSON document for programs, or nothing."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cyclopts import Group, Parameter

from zero123lib.cli.options import Flag

_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


@Parameter(name="*", group=Group.create_ordered("What it tells"))
@dataclass(frozen=True)
class Telling:
    """How a verb tells what it does.

    Attributes:
        quiet: tell nothing but errors, and show no progress.
        json: one JSON document on stdout: files, model, licence, networks, seconds, notices.
    """

    quiet: Flag = False
    json: Flag = False

    def line(self, text: str) -> None:
        """Tell people a line."""
        if not self.quiet and not self.json:
            print(text, flush=True)

    def result(self, content: Mapping[str, Any]) -> None:
        """Tell programs how it ended."""
        if self.json:
            print(json.dumps(content, indent=2, allow_nan=False))

    @property
    def no_bars(self) -> bool | None:
        """Say tqdm's ``disable``: None shows bars where stderr is a terminal."""
        return True if self.quiet else None

    @contextmanager
    def hushed(self) -> Iterator[None]:
        """Keep warnings of whoever is called from stderr where only errors are wanted."""
        before = logging.root.manager.disable
        with warnings.catch_warnings():
            if self.quiet:
                warnings.simplefilter("ignore")
                logging.disable(logging.WARNING)
            try:
                yield
            finally:
                logging.disable(before)


@contextmanager
def stage_bars(telling: Telling) -> Iterator[Callable[[str, int, int, str], None]]:
    """Show a bar per stage of a run: give it stage, step, steps in all and a note, again and again.

    A stage that begins in its middle, as in a run that goes on, counts from there.
    """
    from tqdm import tqdm

    name, bar = None, None

    def show(stage: str, step: int, total: int, note: str) -> None:
        nonlocal name, bar
        if bar is None or stage != name:
            if bar is not None:
                bar.close()
            more = {"initial": step - 1, "bar_format": _BAR, "disable": telling.no_bars}
            name, bar = stage, tqdm(total=total, desc=stage, **more)
        bar.set_postfix_str(note, refresh=False)
        bar.update(step - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


def listing(names: list[str]) -> str:
    """List names, of many the first and the last ones."""
    return ", ".join(names if len(names) <= 4 else [names[0], "...", *names[-2:]])
