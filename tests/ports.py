"""Ports for processes that begin to listen later."""

from __future__ import annotations

import os
import socket


def free_port() -> int:
    """Return a port that is free and stays so until a process that starts meanwhile takes it.

    It lies below those that systems give to connections (from 32768 on Linux), and each process of
    the tests begins to look at another one.
    """
    return free_ports(1)[0]


def free_ports(number: int, after: int = 0) -> list[int]:
    """Return as many such ports.

    Args:
        after: the last one of an earlier call, whose ports nobody has taken yet.
    """
    found: list[int] = []
    for port in range(max(20_000 + 5 * os.getpid() % 10_000, after + 1), 32_000):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))  # also taken where another of the machine's addresses has it
            except OSError:
                continue
            found.append(port)
            if len(found) == number:
                return found
    raise RuntimeError("no port is free")
