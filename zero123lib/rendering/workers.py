"""Work spread over processes that may crash or hang without taking the rest along.

The standard library's pools end when a process dies, and cannot stop a job that hangs: a mesh
from the wild can do both. Here a job's end is always known, and to which job it happened.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")


@dataclass(frozen=True)
class Done(Generic[Job]):
    """A job that has ended.

    Attributes:
        job: which.
        result: what the work returned, None where it failed.
        reason: why it failed, one line, or None.
    """

    job: Job
    result: Any
    reason: str | None


@dataclass
class _Worker(Generic[Job]):
    process: SpawnProcess
    pipe: Connection
    job: Job
    started: float


def run_pool(
    work: Callable[[Job], Any], jobs: Sequence[Job], workers: int, timeout_s: float
) -> Generator[Done[Job]]:
    """Do all jobs in `workers` processes; yields them as they end, in any order.

    Args:
        work: a picklable function. An exception fails its job alone, as do its process's death
            and its running out of time; but an OSError or ImportError, which would meet the
            others as well, ends everything.
        jobs: picklable.
        workers: how many processes; 0 does the jobs one by one in this one, unprotected: dying
            and running out of time are then the run's.
        timeout_s: seconds that a job may take.

    Raises:
        OSError, ImportError: as the work raised it.
    """
    if workers == 0:
        for job in jobs:
            yield Done(job, *_result(work, job))
        return
    context = multiprocessing.get_context("spawn")
    waiting = list(reversed(jobs))
    busy: list[_Worker[Job]] = []

    def start(job: Job) -> None:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        process.start()
        # Once only the process holds its end, its death is seen as the end of the pipe.
        theirs.close()
        _send(ours, job)
        busy.append(_Worker(process, ours, job, time.monotonic()))

    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                start(waiting.pop())
            oldest = min(worker.started for worker in busy)
            left = max(oldest + timeout_s - time.monotonic(), 0.0)
            ready = wait([worker.pipe for worker in busy], timeout=left)
            for worker in list(busy):
                late = time.monotonic() - worker.started > timeout_s
                if worker.pipe not in ready and not late:
                    continue
                done = _collect(worker) if worker.pipe in ready else None
                if done is None:
                    busy.remove(worker)
                    yield Done(worker.job, None, _end(worker, late, timeout_s))
                    continue
                job, worker.job = worker.job, waiting.pop() if waiting else worker.job
                if job is worker.job:
                    busy.remove(worker)
                    _stop(worker)
                else:
                    worker.started = time.monotonic()
                    _send(worker.pipe, worker.job)
                yield Done(job, *done)
    finally:
        for worker in busy:
            worker.process.kill()
            _stop(worker)


def _send(pipe: Connection, job: Any) -> None:
    # A process that has just died is noticed by the end of its pipe.
    with suppress(OSError):
        pipe.send(job)


def _collect(worker: _Worker[Any]) -> tuple[Any, str | None] | None:
    """Return (result, reason) of a worker, or None where its process is gone."""
    try:
        kind, value = worker.pipe.recv()
    except (EOFError, OSError):
        return None
    if kind == "fatal":
        raise value
    return (value, None) if kind == "result" else (None, value)


def _end(worker: _Worker[Any], late: bool, timeout_s: float) -> str:
    """Clear a lost worker away; says what became of it."""
    if late:
        worker.process.kill()
    _stop(worker)
    if late:
        return f"expected to be done in {timeout_s:g} seconds, and was not"
    return f"its process died with exit code {worker.process.exitcode}"


def _stop(worker: _Worker[Any]) -> None:
    worker.pipe.close()
    worker.process.join()


def _serve(pipe: Connection, work: Callable[[Any], Any]) -> None:
    """Run a worker process: jobs in, results out, until the pipe ends or the parent is gone."""
    # Ctrl-C reaches the whole group; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            result, reason = _result(work, job)
        except (OSError, ImportError) as error:
            pipe.send(("fatal", error))
        else:
            pipe.send(("reason", reason) if reason else ("result", result))


def _result(work: Callable[[Any], Any], job: Any) -> tuple[Any, str | None]:
    """Return (result, None) or (None, reason); raises what would meet the other jobs as well."""
    try:
        return work(job), None
    except (OSError, ImportError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        known = isinstance(error, ValueError) and reason
        return None, reason if known else f"{type(error).__name__}: {reason}"


def _end_with_parent() -> None:
    # Else, after a kill, a worker would go on writing into a folder that a new run has taken over.
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
