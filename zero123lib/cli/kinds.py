"""`--kinds`: which kinds of procedural objects a protocol asks about."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def add_kinds(parser: argparse.ArgumentParser) -> None:
    """Add `--kinds`."""
    parser.add_argument(
        "--kinds", nargs="+", metavar="KIND",
        help="of objects, such as chair car, or all (the model's own, or all)",
    )  # fmt: skip


def kinds_told(args: argparse.Namespace) -> list[str] | None:
    """The kinds of `--kinds`; None where it was not given.

    Raises:
        ValueError: there is no such kind.
    """
    from zero123lib.scenes import KINDS

    if args.kinds == ["all"]:
        return list(KINDS)
    for kind in args.kinds or ():
        if kind not in KINDS:
            raise ValueError(
                f"--kinds: expected all alone, or some of {', '.join(KINDS)}, got {kind!r}"
            )
    return args.kinds


def kinds_words(kinds: Sequence[str]) -> list[str]:
    """`--kinds` and what follows it."""
    from zero123lib.scenes import KINDS

    return ["--kinds", *(["all"] if len(kinds) == len(KINDS) else kinds)]
