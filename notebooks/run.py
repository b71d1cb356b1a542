"""Run the notebooks in fresh kernels, and write their outputs into them.

    python notebooks/run.py                         # all of them: `make notebooks`
    python notebooks/run.py notebooks/01*.ipynb
    python notebooks/run.py --fast --keep           # the least work, files stay as they are

What is written is the same whoever writes it: no times, no names of machines, numbered cells. A
notebook whose cell fails stays as it was.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from zero123lib._files import write_bytes
from zero123lib.display import FAST

FOLDER = Path(__file__).resolve().parent
TIMEOUT_S = 900
# Widgets without their kernel would be an error in place of a picture, viewers of meshes fill a
# megabyte; the lines of text that come with both stay.
_LIVE = ("application/vnd.jupyter.widget-view+json", "text/html")


def notebooks() -> list[Path]:
    """All of them, by number."""
    return sorted(FOLDER.glob("[0-9]*.ipynb"))


def execute(path: Path, fast: bool = False) -> Any:
    """The notebook with the outputs of a fresh kernel, without network.

    Args:
        fast: the least work, see `zero123lib.display.scaled`.

    Raises:
        CellExecutionError: a cell fails; the message has its traceback.
    """
    notebook: Any = nbformat.read(path, as_version=4)
    # Threads sleep while they wait: beside other work, spinning makes one minute ten.
    quiet = {"OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1", FAST: str(int(fast))}
    environment = {**os.environ, **quiet}
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(FOLDER)}},
        store_widget_state=False,
        # It warns that kernels talk over TCP, as they do everywhere.
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    with client.setup_kernel(env=environment):
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
    return tidied(notebook)


def tidied(notebook: Any) -> Any:
    """The notebook without what differs from machine to machine or lives in a kernel, in place."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    count = 0
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index:02}"
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        for output in cell.outputs:
            for kind in _LIVE:
                output.get("data", {}).pop(kind, None)
            output.pop("transient", None)
            if "execution_count" in output:
                output["execution_count"] = count
    return notebook


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and write; the exit status is 1 where a cell fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("paths", nargs="*", type=Path, help="notebooks; all unless told")
    parser.add_argument("--fast", action="store_true", help="the least work, as in the tests")
    parser.add_argument("--keep", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    failed = 0
    for path in options.paths or notebooks():
        started = time.monotonic()
        try:
            done = execute(path, options.fast)
        except CellExecutionError as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            failed = 1
            continue
        if not options.keep:
            write_bytes(path, nbformat.writes(done).encode() + b"\n")
        print(f"{path.name}: {time.monotonic() - started:.0f} s", flush=True)
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
