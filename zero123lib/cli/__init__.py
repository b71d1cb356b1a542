"""The command line: one verb per kind of work, `zero123 VERB --help` lists its options.

A verb is a function with types, whose docstring is its help; :mod:`~zero123lib.cli.verbs` lists
them, and each is loaded when it is called. Arguments and files are checked before torch is
imported. Whatever is wrong with them is one line on stderr, `zero123 VERB: error: WHAT: expected
..., got ...`, exit status 2, and nothing is written.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType


def main(argv: Sequence[str] | None = None, program: str | None = None) -> int:
    """Run the command line.

    Args:
        argv: words after the program's name; None takes those of the process.
        program: what complaints begin with; None is ``zero123 VERB``.

    Returns:
        The exit status: 0, 1 where a file could not be written or a check found something, 2 for
        wrong input, 130 for Ctrl-C, 141 where nobody reads the output to its end, 143 where SIGTERM
        ended a reconstruction.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    name = program or " ".join(["zero123", *[word for word in words[:1] if word.isalnum()]])
    # Before torch loads: its threads sleep while they wait for one another. Spinning, as they do
    # otherwise, takes a busy machine several times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        with _interrupts_heard(f"{name}: interrupted"):
            from zero123lib.cli.verbs import run

            status = run(words, program)
            sys.stdout.flush()
            return status
    except BrokenPipeError:
        # Whoever reads has enough, as `head` has. Python must not say so again as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130


@contextmanager
def _interrupts_heard(line: str) -> Iterator[None]:
    """Ctrl-C ends the process at once while modules are imported, and is an exception otherwise.

    An exception that comes in the middle of an import may be swallowed there, or turn into a
    complaint about the module; and nothing that would have to be cleared away is there yet.
    """

    def hear(number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                sys.stdout.flush()
                os.write(2, f"{line}\n".encode())
                os._exit(130)
            frame = frame.f_back
        raise KeyboardInterrupt

    # Whoever is deaf to Ctrl-C, as a shell's background jobs are, stays so.
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    try:
        signal.signal(signal.SIGINT, hear)
    except ValueError:  # signals are heard in the main thread alone
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
