"""What became of every item of a batch: a Parquet file with a row per item.

    OUT/manifest.parquet        one row per item, from the last run that ended
    OUT/manifest.parts/*        rows of a run that is under way, or was killed

A row is a dict; :data:`COLUMNS` has its types. Of several rows of one item the last one counts.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from zero123lib._optional import require
from zero123lib.batch.storage import Store

MANIFEST, PARTS = "manifest.parquet", "manifest.parts"
DONE, FAILED = "done", "failed"
Row = Mapping[str, Any]

# Arrow's names of types; outputs are a list of them.
COLUMNS = {
    "name": "string", "input": "string", "status": "string", "error": "string",
    "outputs": "list<string>", "seconds": "double", "attempts": "int32", "seed": "int64",
    "scores": "string", "model": "string", "fingerprint": "string", "versions": "string",
    "worker": "string", "ended": "double",
}  # fmt: skip


class Manifest:
    """The manifest of a store, and rows that are yet to be written to it."""

    def __init__(self, store: Store, rows_per_part: int = 256, seconds_per_part: float = 10.0):
        self._store, self._rows, self._seconds = store, rows_per_part, seconds_per_part
        self._waiting: list[Row] = []
        self._written_at = time.monotonic()

    def read(self, *columns: str) -> list[dict[str, Any]]:
        """Return one row per item, of all columns or of some beside ``name``."""
        tables = [self._table(one, columns) for one in self._files()]
        return self._latest(tables).to_pylist() if tables else []

    def add(self, row: Row) -> None:
        """Take a row; it is written with others, some seconds later at the most."""
        self._waiting.append(row)
        late = time.monotonic() - self._written_at > self._seconds
        if late or len(self._waiting) >= self._rows:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait."""
        if self._waiting:
            table = require("pyarrow", "cluster").Table.from_pylist(self._waiting, schema())
            # In the order of time, whichever run they are of.
            self._write(f"{PARTS}/{time.time_ns():020d}-{uuid4().hex[:8]}.parquet", table)
        self._waiting, self._written_at = [], time.monotonic()

    def close(self) -> None:
        """Write what waits, and make one file of all parts."""
        self.flush()
        files = self._files()
        if files and files != [MANIFEST]:
            self._write(MANIFEST, self._latest([self._table(one) for one in files]))
            for one in files:
                if one != MANIFEST:
                    self._store.remove(one)

    def _files(self) -> list[str]:
        first = [] if self._store.read(MANIFEST) is None else [MANIFEST]
        return [*first, *self._store.names(PARTS)]

    def _table(self, file: str, columns: Sequence[str] = ()) -> Any:
        content = io.BytesIO(self._store.read(file) or b"")
        wanted = ["name", *columns] if columns else None
        return require("pyarrow.parquet", "cluster").read_table(content, columns=wanted)

    def _latest(self, tables: Sequence[Any]) -> Any:
        """Join tables; of the rows of one name the last one stays."""
        whole = require("pyarrow", "cluster").concat_tables(tables)
        last = {name: place for place, name in enumerate(whole["name"].to_pylist())}
        return whole.take([last[name] for name in sorted(last)])

    def _write(self, name: str, table: Any) -> None:
        buffer = io.BytesIO()
        require("pyarrow.parquet", "cluster").write_table(table, buffer)
        self._store.write(name, buffer.getvalue())


def schema() -> Any:
    """Return the Arrow schema of a manifest."""
    pa = require("pyarrow", "cluster")
    kinds = {"list<string>": pa.list_(pa.string()), "double": pa.float64()}
    return pa.schema([(n, kinds.get(k) or getattr(pa, k)()) for n, k in COLUMNS.items()])
