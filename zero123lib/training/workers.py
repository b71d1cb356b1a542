"""A data worker does not hear of the signals that ask its run to stop."""

from __future__ import annotations

import signal


def start_worker(index: int) -> None:
    """Start a DataLoader's worker: Ctrl-C, which the terminal sends to all, and SIGTERM, which job
    schedulers send to all, are for its parent, which still needs batches to finish its step.

    The worker ends when its parent tells it or is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
