"""What a worker does to an item: bring it, work on it, put what came of it in the store.

Whatever an item does, it costs no other one: errors become rows of the manifest. An item whose
files are there already, as of a worker that was killed before it could tell, is not worked on anew.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from zero123lib._errors import RunError, one_line
from zero123lib._files import write_json
from zero123lib._optional import require
from zero123lib._versions import versions
from zero123lib.batch.items import Item
from zero123lib.batch.manifest import DONE, FAILED, schema
from zero123lib.batch.storage import Store, fetched

# Written last: an item's files are whole where it is.
RECORD = "item.json"
# What would come of another attempt is known.
_FINAL = (ValueError, ImportError, FileNotFoundError, PermissionError, RunError)
_LONGEST_WAIT_S = 10.0


class Work(Protocol):
    """What is done to an item; it travels to the workers, and keeps there what it has loaded."""

    def __call__(self, source: Path, out: Path, seed: int) -> Mapping[str, float]:
        """Make an item's files.

        Args:
            source: the item, on this machine.
            out: an empty folder, for the files.
            seed: the item's own.

        Returns:
            Scores by their names, for the manifest; may be empty.
        """
        ...


@dataclass(frozen=True)
class Order:
    """What every worker of a batch is told.

    Attributes:
        work: what is done to an item.
        out: URI of the store.
        seed: of the batch.
        retries: attempts after the first one, where another may succeed.
        fingerprint: of all that an item's files depend on beside its input and name.
        model: digest of the model's files; None where none is asked.
    """

    work: Work
    out: str
    seed: int
    retries: int
    fingerprint: str
    model: str | None = None


class Worker:
    """An actor of Ray Data: takes tables of items, yields rows of the manifest."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.store = Store(order.out)

    def __call__(self, items: Any) -> Iterator[Any]:
        table = require("pyarrow", "cluster").Table
        for row in items.to_pylist():
            made = self.row(Item(row["uri"], row["name"]), row["attempts"])
            yield table.from_pylist([made], schema())

    def row(self, item: Item, before: int = 0) -> dict[str, Any]:
        """Work on an item, again where that may help; return its row.

        Args:
            before: attempts in earlier passes, whose workers were lost.
        """
        started, attempts = time.perf_counter(), before
        while True:
            attempts += 1
            try:
                return self._attempt(item, attempts, started)
            except Exception as error:
                if _device_is_lost(error):
                    # For all of the process: Ray starts another one, and the item is tried again.
                    os._exit(1)
                if isinstance(error, _FINAL) or attempts - before > self.order.retries:
                    told = {"status": FAILED, "error": _told(error), "outputs": []}
                    seconds = time.perf_counter() - started
                    return self._row(item, attempts, told | {"seconds": seconds})
            time.sleep(min(0.1 * 4 ** (attempts - before), _LONGEST_WAIT_S))

    def _attempt(self, item: Item, attempts: int, started: float) -> dict[str, Any]:
        record = self._there_already(item)
        if record is None:
            record = self._make(item, started)
        outputs = [f"{item.name}/{name}" for name in (*record["files"], RECORD)]
        told = {"status": DONE, "error": None, "outputs": outputs, "seconds": record["seconds"]}
        scores = json.dumps(record["scores"]) if record["scores"] else None
        return self._row(item, attempts, told | {"scores": scores})

    def _there_already(self, item: Item) -> dict[str, Any] | None:
        """Return the record of files that the same batch has made of an item, None without such."""
        content = self.store.read(f"{item.name}/{RECORD}")
        try:
            record = json.loads(content or b"")
        except ValueError:
            return None
        seed, fingerprint = item.seed(self.order.seed), self.order.fingerprint
        wanted = {"input": item.uri, "seed": seed, "fingerprint": fingerprint}
        same = isinstance(record, dict) and wanted.items() <= record.items()
        return record if same else None

    def _make(self, item: Item, started: float) -> dict[str, Any]:
        seed = item.seed(self.order.seed)
        with self.store.scratch() as scratch:
            made = scratch / "made"
            made.mkdir()
            with fetched(item.uri, scratch) as source:
                try:
                    scores = self.order.work(source, made, seed)
                except ValueError as error:
                    # Users know the item by where it is, not by where it was brought.
                    text = str(error).replace(str(source), item.uri)
                    raise ValueError(text) from error
            files = [one for one in sorted(made.rglob("*")) if one.is_file()]
            record = {
                "input": item.uri,
                "name": item.name,
                "seed": seed,
                "fingerprint": self.order.fingerprint,
                "versions": versions(),
                "seconds": time.perf_counter() - started,
                "scores": dict(scores),
                "files": {one.relative_to(made).as_posix(): one.stat().st_size for one in files},
            }
            write_json(made / RECORD, record)
            self.store.put(item.name, made, RECORD)
        return record

    def _row(self, item: Item, attempts: int, told: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **row_of(item, self.order, attempts),
            **told,
            "worker": f"{platform.node()}:{os.getpid()}",
        }


def row_of(item: Item, order: Order, attempts: int) -> dict[str, Any]:
    """Return what a row says of an item whatever has become of it."""
    return {
        "name": item.name,
        "input": item.uri,
        "seed": item.seed(order.seed),
        "attempts": attempts,
        "fingerprint": order.fingerprint,
        "model": order.model,
        "versions": json.dumps(versions()),
        "ended": time.time(),
    }


def _device_is_lost(error: BaseException) -> bool:
    """Tell whether an error is torch's of a device that nothing of this process can use again."""
    return type(error).__name__ == "AcceleratorError"


def _told(error: Exception) -> str:
    text = " ".join(str(error).split())
    if not isinstance(error, (ValueError, RunError, ImportError)):
        text = f"{type(error).__name__}: {text}"
    return one_line(text)
