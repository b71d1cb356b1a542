"""Ports for processes that begin to listen later."""

from __future__ import annotations

import os
import socket


def free_port() -> int:
    """Return a port that is free and stays so until a process that starts meanwhile takes it.

    It lies below those that systems give to connections (from 32768 on Linux), and each process of
    the tests begins to look at another one.
    """
    for port in range(20_000 + 5 * os.getpid() % 10_000, 32_000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")
