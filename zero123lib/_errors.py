"""Errors that users read: of an argument, by its name, and of a run that cannot go on."""

from __future__ import annotations

import re

# Of a message, in characters. What files and visitors say of themselves may be of any length.
LONGEST = 1500


class RunError(RuntimeError):
    """A run that cannot go on; the message says what to change, and files so far are whole."""


class NotFiniteError(RunError, FloatingPointError):
    """NaN or infinity came of a computation; the message says where."""


class ArgumentError(ValueError):
    """An argument that cannot be used; reads ``name: expected EXPECTED, got GOT``.

    Whoever calls the argument by another name, as a command line its flag, says it by
    :meth:`renamed` and never takes the text apart.

    Args:
        name: of the argument, dotted where it lies within another.
        expected: what it should have been, such as "a number above 0".
        got: what came, as it is to be shown; ``repr`` of most values.
    """

    def __init__(self, name: str, expected: str, got: str) -> None:
        super().__init__(name, expected, got)
        self.name, self.expected, self.got = name, expected, got

    def __str__(self) -> str:
        return one_line(f"{self.name}: expected {self.expected}, got {self.got}")

    def renamed(self, name: str) -> ArgumentError:
        """Make the same error of an argument of another name."""
        return type(self)(name, self.expected, self.got)

    def within(self, section: str) -> ArgumentError:
        """Make the same error of a section's argument, ``section.name``, or of all of a section."""
        return self.renamed(".".join(filter(None, (section, self.name))))


def one_line(text: str) -> str:
    """Return a message as one line of at most `LONGEST` characters that a terminal only shows.

    Messages quote files, whose names and texts may hold line breaks and commands of terminals.
    """
    joined = re.sub(r"\s*[\r\n]\s*", " ", text)
    shown = "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in joined
    )
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}..."
