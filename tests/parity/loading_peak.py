"""Load a checkpoint in half precision, in a process of its own, and say what memory it took.

    python -m tests.parity.loading_peak FILE

writes two numbers of bytes: the peak of the process's anonymous memory (libraries and all; pages
of the mapped file are not among it, as the kernel can drop them), and the size of the model.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from zero123lib import Zero123Pipeline

_STATUS = Path("/proc/self/status")
_PERIOD_S = 0.005


def rss_anon() -> int:
    """This process's anonymous memory at the moment, bytes; Linux alone tells."""
    found = re.search(r"^RssAnon:\s+(\d+) kB$", _STATUS.read_text(), re.M)
    assert found is not None
    return int(found[1]) * 1024


@contextmanager
def watched() -> Iterator[list[int]]:
    """A list of one number, the peak so far."""
    peak, over = [rss_anon()], threading.Event()

    def watch() -> None:
        while not over.wait(_PERIOD_S):
            peak[0] = max(peak[0], rss_anon())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
        peak[0] = max(peak[0], rss_anon())


def main(path: Path) -> None:
    with watched() as peak:
        pipe = Zero123Pipeline.from_pretrained(path, encoding="zero123", torch_dtype=torch.float16)
    networks = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
    weights = [weight for network in networks for weight in network.state_dict().values()]
    print(peak[0], sum(weight.nbytes for weight in weights))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
