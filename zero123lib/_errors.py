"""Errors that users read: of an argument, by its name, and of a run that cannot go on."""

from __future__ import annotations

import re
import sys

# Of a message, in characters. What files and visitors say of themselves may be of any length.
LONGEST = 1500
# What torch's plain RuntimeErrors say where a device, or memory, has failed a computation.
_DEVICE = re.compile(
    r"out of memory|can't allocate memory|(CUDA|HIP|NCCL|cuDNN|CUBLAS|MPS)[\w ]* (error|failed)",
    re.IGNORECASE,
)


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


def device_failure(error: BaseException) -> str | None:
    """Say in one line that the device failed, as when it is lost or full; None of other errors."""
    # Without torch there is none yet.
    torch = sys.modules.get("torch")
    kinds = (MemoryError,) if torch is None else (
        MemoryError, torch.OutOfMemoryError, torch.AcceleratorError,
    )  # fmt: skip
    text = str(error)
    if not isinstance(error, kinds) and not (
        isinstance(error, RuntimeError) and _DEVICE.search(text)
    ):
        return None
    reason = next(iter(text.strip().splitlines()), "") or type(error).__name__
    return one_line(
        f"device: expected one that lasts, got {reason[:300]!r}; what was finished stays, and the "
        "same command goes on from there (train and reconstruct with --resume)"
    )
