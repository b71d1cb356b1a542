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
    from zero123lib.scenes import KINDS, check_kinds

    if args.kinds == ["all"]:
        return list(KINDS)
    if args.kinds is not None:
        try:
            check_kinds(args.kinds)
        except ValueError as error:
            raise ValueError(f"--{error}; or all alone") from error
    return args.kinds


def kinds_words(kinds: Sequence[str]) -> list[str]:
    """`--kinds` and what follows it."""
    from zero123lib.scenes import KINDS

    return ["--kinds", *(["all"] if len(kinds) == len(KINDS) else kinds)]
