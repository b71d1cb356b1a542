"""What the benchmarks share: wall times and their ratios, tables of CPU time and peak memory."""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

ROUNDS = 3


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def ratio(slow: Callable[[], object], fast: Callable[[], object]) -> tuple[float, float]:
    """Fastest round of each, in turn, after one warm-up: ``(slow, fast)`` in seconds."""
    slow()
    fast()
    pairs = [(seconds(slow), seconds(fast)) for _ in range(ROUNDS)]
    return min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)


def metric(name: str, value: float, unit: str, better: str) -> dict[str, Any]:
    """One line of a report, printed."""
    print(f"{name:56s} {value:8.2f} {unit}", flush=True)
    return {"name": name, "value": round(value, 3), "unit": unit, "better": better}


def processor_time() -> float:
    """Of this process and of those that it has waited for, in seconds."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_mib() -> int:
    """The largest memory of this process, or of one that it has waited for."""
    peaks = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    # Kilobytes, but bytes on a Mac.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(max(peak.ru_maxrss for peak in peaks) / unit)


def reset_peak(device: torch.device) -> None:
    """Begin to look for the largest memory anew, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "cpu" and sys.platform == "linux":
        # 5 resets the mark, see proc_pid_clear_refs(5); containers may forbid it.
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: torch.device) -> int:
    """The largest memory since :func:`reset_peak`: of a GPU its own, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    if sys.platform != "linux":
        return peak_mib() * 2**20
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


class Stages:
    """Sums the wall time of parts by name: ``with stages("decode"): ...``.

    Args:
        wait: for what the device still has to do.
    """

    def __init__(self, wait: Callable[[], object] = lambda: None) -> None:
        self.seconds: dict[str, float] = {}
        self._wait = wait

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._wait()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def tabulate(
    script: str,
    about: str | None,
    rows: Callable[[bool], Sequence[tuple[str, int]]],
    row: Callable[[str, int], dict[str, Any]],
) -> None:
    """The command line of a cost table: each row in a process of its own, printed, then as JSON.

    Args:
        script: the benchmark's file; its processes run it again.
        about: for --help.
        rows: kind and number of each row; with the largest sizes for True.
        row: measures one, in its process.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--full", action="store_true", help="the largest sizes, too")
    parser.add_argument("--out", type=Path, default=Path(script).with_suffix(".json"))
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        torch.set_num_threads(1)
        print(json.dumps(row(options.row[0], int(options.row[1]))))
        return
    table = []
    for kind, number in rows(options.full):
        command = [sys.executable, script, "--row", kind, str(number)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        table.append(json.loads(done.stdout.splitlines()[-1]))
        print("  ".join(f"{name} {value}" for name, value in table[-1].items()), flush=True)
    machine = f"{platform.machine()}, 1 thread, torch {torch.__version__}"
    options.out.write_text(json.dumps({"machine": machine, "rows": table}, indent=2) + "\n")
