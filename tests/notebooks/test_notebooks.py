"""Every notebook runs top to bottom in a fresh kernel, and shows nothing that it should not.

The rule for numbers: what was measured is said by cells. So prose, which is Markdown without code,
formulas, link targets, years and the numbers of equations, holds no digits but the ``CONSTANTS``;
and text in cells holds no typed decimals, and no digits before a unit of what one measures.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from zero123lib.display import FAST

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
MAX_BYTES = 1_000_000

# Facts about the published models that prose may name.
CONSTANTS = {"49.13", "772", "768"}
NOT_PROSE = (
    r"```.*?```",
    r"`[^`]*`",
    r"\$\$.*?\$\$",
    r"\$[^$]*\$",
    r"\]\([^)]*\)",
    r"\[\d\d_\w+",
    r"equations? \d+",
    r"\b(19|20)\d\d\b",
)
NUMBER = re.compile(r"(?<![\w-])\d[\d.,]*\d|(?<![\w-])\d(?!\w)")
MEASURED = re.compile(r"\d+\.\d+|\d\s?(dB|%|kB|MB|ms|seconds?|minutes?)\b")
# A folder of some machine: /home/..., /tmp/..., C:\Users\...
PLACE = re.compile(r"(?<![\w.:/])/(home|root|tmp|work|Users|usr|opt|var|mnt|private)/|\b[A-Z]:\\")
CAPTION = re.compile(r"\*.*(Made by the model `[^`]+`|No model took part)\.\*", re.DOTALL)


def load_runner() -> Any:
    spec = importlib.util.spec_from_file_location("notebooks_run", FOLDER / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RUNNER = load_runner()


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(output: Any) -> Iterator[str]:
    """All that an output says, images left out."""
    if output.output_type == "stream":
        yield output.text
    for kind, value in output.get("data", {}).items():
        if not kind.startswith("image/"):
            yield str(value)
    if output.output_type == "error":
        yield "\n".join(output.traceback)


def faults(notebook: Any) -> list[str]:
    """What is wrong with a notebook's outputs, one line each."""
    found = []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        if cell.execution_count is None:
            found.append(f"cell {index} was not run")
        said = "\n".join(text for output in cell.outputs for text in texts(output))
        warned = "".join(o.text for o in cell.outputs if o.get("name") == "stderr")
        if any(output.output_type == "error" for output in cell.outputs):
            found.append(f"cell {index} failed")
        if "Traceback" in said or "Warning" in warned:
            found.append(f"cell {index} warns: {warned[-300:]}")
        if PLACE.search(said) or str(ROOT) in said or tempfile.gettempdir() in said:
            found.append(f"cell {index} names a folder of the machine")
        if any("widget-view" in kind for o in cell.outputs for kind in o.get("data", {})):
            found.append(f"cell {index} keeps a widget, which is an error without its kernel")
        images = any("image/png" in output.get("data", {}) for output in cell.outputs)
        if images and not CAPTION.search(said):
            found.append(f"cell {index} shows an image and does not say which model made it")
    return found


def typed_numbers(markdown: str) -> list[str]:
    """Numbers in prose that are no constants."""
    for pattern in NOT_PROSE:
        markdown = re.sub(pattern, " ", markdown, flags=re.DOTALL)
    return [number for number in NUMBER.findall(markdown) if number not in CONSTANTS]


def parsed(source: str) -> ast.Module:
    """A cell's code; lines for IPython alone, such as %pip, count as nothing."""
    return ast.parse(re.sub(r"^(\s*)%.*$", r"\1pass", source, flags=re.MULTILINE))


def written_text(tree: ast.AST) -> Iterator[str]:
    """String constants, of f-strings what stands between the values."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.FormattedValue):
            yield from written_text(ast.Expression(node.value))
        else:
            yield from written_text(node)


def test_there_are_the_notebooks_that_the_folder_promises() -> None:
    numbers = [path.name[:2] for path in PATHS]
    assert len(PATHS) >= 6 and len(set(numbers)) == len(numbers)
    assert RUNNER.notebooks() == PATHS


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_runs_top_to_bottom_in_a_fresh_kernel(path: Path) -> None:
    before = sorted(FOLDER.iterdir())
    assert faults(RUNNER.execute(path, fast=True)) == []
    assert sorted(FOLDER.iterdir()) == before, "a notebook leaves files behind"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_committed_outputs_are_whole_small_and_of_no_machine(path: Path) -> None:
    assert path.stat().st_size < MAX_BYTES
    notebook = read(path)
    assert faults(notebook) == []
    assert path.read_text() == nbformat.writes(RUNNER.tidied(notebook)) + "\n"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_numbers_in_the_prose_are_said_by_cells(path: Path) -> None:
    notebook = read(path)
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    assert [number for text in prose for number in typed_numbers(text)] == []
    for cell in code_cells(notebook)[1:]:
        typed = [text for text in written_text(parsed(cell.source)) if MEASURED.search(text)]
        assert typed == []


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_cells_call_the_library_and_define_nothing(path: Path) -> None:
    for cell in code_cells(read(path)):
        for node in ast.walk(parsed(cell.source)):
            assert not isinstance(node, (ast.FunctionDef, ast.ClassDef)), cell.source


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_first_cells_find_the_library_and_choose_the_model(path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    first, second, *_ = code_cells(read(path))
    assert first.source == code_cells(read(PATHS[0]))[0].source
    names = {
        node.targets[0].id: node.value.value
        for source in (first.source, second.source)
        for node in parsed(source).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    assert names["REPOSITORY"] == project["urls"]["Repository"]
    assert names["model"] == "tiny"
    asked = re.search(r"zero123lib\[([\w,]+)\]", first.source)
    assert asked and set(asked[1].split(",")) <= project["optional-dependencies"].keys()


@pytest.fixture
def busy_machine() -> Iterator[None]:
    """As many processes as cores that do nothing but take their time."""
    words = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(words) for _ in range(os.cpu_count() or 1)]
    yield
    for process in processes:
        process.kill()
        process.wait()


def said_in_a_plain_kernel(cells: list[str]) -> str:
    """What cells print in a kernel as a student's Jupyter starts it: no word about threads."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    unset = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}
    plain = {name: value for name, value in os.environ.items() if name not in unset}
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(FOLDER)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    with client.setup_kernel(env={**plain, "OMP_NUM_THREADS": "2", FAST: "1"}):
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
    return "\n".join(t for cell in notebook.cells for o in cell.outputs for t in texts(o))


# The CPU time of one thread, which waits for nobody, is what the work takes; beside a busy machine
# two threads that spin take many times as much.
CPU_TIME = """
import time
condition = torch.zeros(3, pipe.image_size, pipe.image_size)
for threads in (2, 1):
    torch.set_num_threads(threads)
    pipe(condition, [RelativePose()], num_inference_steps=1)
    before = time.process_time()
    for _ in range(3):
        pipe(condition, [RelativePose()], num_inference_steps=4)
    print("took", time.process_time() - before)
"""


@pytest.mark.usefixtures("busy_machine")
def test_threads_sleep_while_they_wait_in_a_plain_kernel() -> None:
    first, second, *_ = (cell.source for cell in code_cells(read(PATHS[0])))
    said = said_in_a_plain_kernel([first, second, CPU_TIME])
    two, one = (float(number) for number in re.findall(r"took ([\d.]+)", said))
    assert two < 2.5 * one


def test_a_kernel_that_has_loaded_torch_is_told_to_restart() -> None:
    first = code_cells(read(PATHS[0]))[0].source
    loaded = "import sys, types; sys.modules['torch'] = types.ModuleType('torch')"
    assert said_in_a_plain_kernel([loaded, first, first]).count("Restart the kernel") == 1
    assert said_in_a_plain_kernel([first, loaded, first]) == ""


def test_links_between_notebooks_lead_somewhere() -> None:
    for path in PATHS:
        for cell in (cell for cell in read(path).cells if cell.cell_type == "markdown"):
            for target in re.findall(r"\]\((?!https?:)([^)#]+)", cell.source):
                assert (FOLDER / target).is_file(), f"{path.name} links to {target}"


def made(cells: list[Any], path: Path) -> Path:
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_a_cell_that_fails_is_an_error(tmp_path: Path) -> None:
    path = made([nbformat.v4.new_code_cell("1 / 0")], tmp_path / "failing.ipynb")
    kept = path.read_bytes()
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        RUNNER.execute(path)
    assert RUNNER.main([str(path)]) == 1 and path.read_bytes() == kept


def test_what_a_cell_must_not_show_is_found(tmp_path: Path) -> None:
    source = (
        "import os, sys, traceback\n"
        "from IPython.display import display\n"
        "print(os.getcwd())\n"
        "print('UserWarning: beware', file=sys.stderr)\n"
        "display({'image/png': 'aGVsbG8=', 'text/plain': ''}, raw=True)"
    )
    path = made([nbformat.v4.new_code_cell(source)], tmp_path / "talking.ipynb")
    found = faults(RUNNER.execute(path))
    assert [line.split(":")[0] for line in found] == [
        "cell 0 warns",
        "cell 0 names a folder of the machine",
        "cell 0 shows an image and does not say which model made it",
    ]


def test_typed_numbers_are_found() -> None:
    assert typed_numbers("It has 18.6 dB, and 29 degrees after 1,440 pairs.") == [
        "18.6",
        "29",
        "1,440",
    ]
    free = "Zero-1-to-3 (Liu et al. 2023), equation 1, in 3D: $x_2 = 5$, `4.5`, 49.13 degrees, "
    assert typed_numbers(free + "[02_cameras](02_cameras.ipynb), PyTorch3D.") == []
    cell = 'say(f"made {score:8.2f} dB, was 17.5 dB")'
    assert [text for text in written_text(parsed(cell)) if MEASURED.search(text)] == [
        " dB, was 17.5 dB"
    ]
