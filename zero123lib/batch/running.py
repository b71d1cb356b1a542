"""A batch from its first item to its manifest, through lost workers, Ctrl-C and second runs."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from zero123lib._errors import ArgumentError, RunError, one_line
from zero123lib._files import held_folder, json_bytes
from zero123lib._optional import require
from zero123lib._words import count
from zero123lib.batch.cluster import Spread, cluster, one_pass
from zero123lib.batch.items import Item
from zero123lib.batch.manifest import DONE, FAILED, Manifest
from zero123lib.batch.storage import SETTINGS, Store, reaching
from zero123lib.batch.worker import Order, Work, row_of

# Passes over a cluster that may end without a single row before the batch gives up.
_EMPTY_PASSES = 3

Tell = Callable[[Mapping[str, Any]], Any]


@dataclass
class Ended:
    """How a batch ended.

    Attributes:
        items: how many it has.
        kept: that an earlier run had done.
        done, failed: by this run.
        lost: times that an item's worker was lost.
        workers: at a time, at most.
        seconds: that the items took, all workers together at work.
        interrupted: whether Ctrl-C or SIGTERM came.
        scores: means over all done items, of an earlier run too, by their names.
    """

    items: int
    kept: int = 0
    done: int = 0
    failed: int = 0
    lost: int = 0
    workers: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Return how many items this run ended in a second."""
        return (self.done + self.failed) / self.seconds if self.seconds else 0.0


def run_batch(
    items: Sequence[Item],
    work: Work,
    out: str,
    settings: Mapping[str, Any],
    *,
    seed: int = 0,
    spread: Spread = Spread(),
    retries: int = 2,
    on_cpu: bool = False,
    begin: Callable[[int], Any] = lambda kept: None,
    tell: Tell = lambda row: None,
) -> Ended:
    """Work on all items that the manifest does not have as done.

    Args:
        items: of :func:`zero123lib.batch.items.find_items`.
        work: what is done to an item.
        out: a path, or a URI of fsspec.
        settings: all that items' files depend on beside their inputs and names, in JSON's types;
            the same as in an earlier run. ``model_digest`` of it is told in the manifest.
        seed: of the batch; with an item's name it gives the item's own.
        spread: over which workers.
        retries: attempts after the first one, where another may succeed or a worker was lost.
        on_cpu: whether no GPU is wanted.
        begin: is told how many an earlier run has done, before the work begins.
        tell: is told every row.

    Raises:
        ArgumentError: the folder has other settings, another run, or another item's files under a
            name; there is no such cluster.
        RunError: no worker could do anything.
        OSError: the store could not be written.
    """
    store = Store(out)
    store.check()
    with ExitStack() as held:
        if store.local is not None:
            held.enter_context(held_folder(store.local))
        settings = json.loads(json.dumps({**settings, "seed": seed}))
        with reaching(out):
            _check_settings(store, settings)
        store.clear_scratch()
        held.callback(store.clear_scratch)
        place = out if store.local is None else str(store.local)
        order = Order(
            work, place, seed, retries, fingerprint(settings), settings.get("model_digest")
        )
        batch = _Batch(items, order, spread, on_cpu, Manifest(store), tell)
        begin(batch.ended.kept)
        return batch.go()


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Return a digest of settings."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_settings(store: Store, settings: Mapping[str, Any]) -> None:
    """Write the settings; raise ArgumentError where an earlier run had others."""
    content = store.read(SETTINGS)
    if content is None:
        store.write(SETTINGS, json_bytes(settings))
        return
    try:
        before = dict(json.loads(content))
    except (ValueError, TypeError) as error:
        raise ArgumentError("out", f"a whole {SETTINGS} in {store.uri!r}", str(error)) from error
    others = sorted(
        key for key in before.keys() | settings.keys() if before.get(key) != settings.get(key)
    )
    if others:
        told = "; ".join(f"{key} {before.get(key)!r}, now {settings.get(key)!r}" for key in others)
        expected = f"a new folder or the settings of {store.uri!r}"
        raise ArgumentError("out", expected, one_line(f"others: {told}"))


class _Batch:
    """One run of a batch."""

    def __init__(
        self,
        items: Sequence[Item],
        order: Order,
        spread: Spread,
        on_cpu: bool,
        manifest: Manifest,
        tell: Tell,
    ) -> None:
        self.order, self.spread, self.on_cpu = order, spread, on_cpu
        self.manifest, self.tell = manifest, tell
        rows = manifest.read("status", "input")
        before = {row["name"]: row["input"] for row in rows if row["status"] == DONE}
        for item in items:
            if (other := before.get(item.name, item.uri)) != item.uri:
                expected = f"inputs whose names no others have in {order.out!r}"
                raise ArgumentError("inputs", expected, f"{item.uri!r} after {other!r}")
        # By name, what is yet to be done; how often it was lost with a worker; and how often in a
        # pass that ended nothing, which is an item's own fault: one that waits for a worker which
        # another item kills is lost too, and innocent.
        self.missing = {item.name: item for item in items if item.name not in before}
        self.tries = dict.fromkeys(self.missing, 0)
        self.faults = dict.fromkeys(self.missing, 0)
        self.ended = Ended(len(items), kept=len(items) - len(self.missing))

    def go(self) -> Ended:
        try:
            if self.missing:
                self._on_cluster()
        except KeyboardInterrupt:
            self.ended.interrupted = True
        finally:
            self.manifest.close()
        self.ended.scores = _means(self.manifest.read("status", "scores"))
        return self.ended

    def _on_cluster(self) -> None:
        # Ray takes SIGTERM for itself as it begins.
        with cluster(self.spread.ray) as nodes, _interruptible():
            gpus = self.spread.gpus(nodes, self.on_cpu)
            room = self.spread.most(nodes, self.on_cpu)
            self.ended.workers = min(room, len(self.missing))
            started, empty, passes = time.perf_counter(), 0, 0
            try:
                while self.missing:
                    alone = passes > 0 or self.order.retries == 0
                    problem = self._pass(gpus, alone)
                    empty = empty + 1 if problem is not None else 0
                    if empty == _EMPTY_PASSES:
                        raise RunError(one_line(f"no worker could do anything: {problem}"))
                    passes += 1
            finally:
                self.ended.seconds = time.perf_counter() - started

    def _pass(self, gpus: float, alone: bool) -> str | None:
        """Give all missing items to workers once; return what kept them all from it, if so."""
        ray = require("ray", "cluster")
        asked = [(item, self.tries[name]) for name, item in self.missing.items()]
        workers, problem = min(self.ended.workers, len(asked)), None
        before = len(self.missing)
        cpus = self.spread.cpus_per_worker
        try:
            for row in one_pass(asked, self.order, workers, cpus, gpus, alone):
                self._take(row)
        except ray.exceptions.RayError as error:
            problem = _cause(error)
        if problem is not None:
            return problem if len(self.missing) == before else None
        barren = len(self.missing) == before
        for name, item in list(self.missing.items()):
            self.tries[name] += 1
            self.faults[name] += barren
            self.ended.lost += 1
            if self.faults[name] > self.order.retries:
                row = row_of(item, self.order, self.tries[name])
                told = f"its worker was lost {count(self.tries[name], 'time')}"
                more = {"status": FAILED, "error": told, "outputs": [], "seconds": None}
                self._take({**row, **more, "scores": None, "worker": None})
        return None

    def _take(self, row: Mapping[str, Any]) -> None:
        if self.missing.pop(row["name"], None) is None:
            return
        if row["status"] == DONE:
            self.ended.done += 1
        else:
            self.ended.failed += 1
        self.manifest.add(row)
        self.tell(row)


def _cause(error: Exception) -> str:
    """Return the last line of an error of Ray's, which ends with its cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["status"] == DONE and row["scores"]:
            for name, value in json.loads(row["scores"]).items():
                if value is not None:
                    found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends a batch as Ctrl-C does, where signals are heard: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
