"""The rooms of zero123lib stand on floors: imports run downwards only, and never in a circle."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import zero123lib

ROOT = Path(__file__).resolve().parents[1]
# CONTRIBUTING.md holds the table: "| 2 | `views`, `metrics` |".
FLOORS = {
    name: int(floor)
    for floor, names in re.findall(
        r"^\| (\d+) \| (`.*`) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE
    )
    for name in re.findall(r"`(\w+)`", names)
}
ABOVE = {"app", "demo", "tests", "benchmarks", "notebooks"}
FOREIGN_TO_VIEWS = ["diffusers", "transformers", "open3d", "pytorch3d", "threestudio", "gradio"]


def read_modules(package: Path) -> dict[str, Path]:
    """Dotted name -> file, over a package's tree; a package's own name stands for its __init__.

    Models are data: by the file beside a model's index diffusers loads it, nothing else.
    """
    modules = {}
    for path in sorted(set(package.rglob("*.py")) - set(package.glob("models/**/*.py"))):
        parts = (package.name, *path.relative_to(package).with_suffix("").parts)
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def named_imports(module: str, path: Path) -> Iterator[tuple[str, str | None]]:
    """Every (module, name) that a file imports, wherever in it, relative imports resolved."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            parts = [*(base if node.level else []), *([node.module] if node.module else [])]
            yield from ((".".join(parts), alias.name) for alias in node.names)


def import_graph(package: Path) -> dict[str, set[str]]:
    """File-level imports inside a package, and of what stands above it.

    The package's own __init__ is a facade of lazy names and takes no part, neither as importer nor
    as imported: a room that imports a public name from it is told so by `violations`.
    """
    modules = read_modules(package)
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        if module == package.name:
            continue
        graph[module] = set()
        for source, name in named_imports(module, path):
            if name == "__version__":
                continue
            if source.partition(".")[0] in {package.name} | ABOVE:
                inner = f"{source}.{name}"
                graph[module].add(inner if inner in modules else source)
    return graph


def room(module: str) -> str:
    return module.split(".")[1]


def violations(package: Path) -> list[str]:
    """One line per import that does not run downwards, and per room that has no floor."""
    found = []
    for module, targets in import_graph(package).items():
        if room(module) not in FLOORS:
            found.append(f"{module}: the room {room(module)!r} has no floor")
            continue
        for target in sorted(targets):
            if target == package.name:
                found.append(f"{module} imports the facade {package.name}: name the room")
            elif target.partition(".")[0] in ABOVE:
                found.append(f"{module} imports {target}, which stands above the library")
            elif room(target) not in FLOORS:
                found.append(f"{module} imports {target}, which has no floor")
            elif room(target) != room(module) and FLOORS[room(target)] >= FLOORS[room(module)]:
                found.append(f"{module} imports {target}, which is not below it")
    return found


def write_package(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = tmp_path / "zero123lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "zero123lib"


def test_imports_run_downwards() -> None:
    assert violations(ROOT / "zero123lib") == []


def test_every_floor_is_of_a_room_that_there_is() -> None:
    rooms = {room(module) for module in read_modules(ROOT / "zero123lib") if "." in module}
    assert FLOORS.keys() == rooms - {"models"}


def test_imports_run_in_no_circle() -> None:
    # static_order raises CycleError, whose message shows the circle.
    assert list(graphlib.TopologicalSorter(import_graph(ROOT / "zero123lib")).static_order())


def test_facade_names_stand_in_known_rooms() -> None:
    assert {room(home) for home in zero123lib._HOMES.values()} <= FLOORS.keys()


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("views/a.py", "from zero123lib.diffusion import b", "not below"),
        ("views/a.py", "def f():\n    import zero123lib.cli", "not below"),
        ("views/a.py", "from ..metrics import psnr", "not below"),
        ("fields/a.py", "from zero123lib import meshes", "not below"),
        ("cli.py", "from zero123lib import Pose", "facade"),
        ("cli.py", "from demo.layout import build", "above"),
        ("helpers.py", "", "has no floor"),
        ("cli.py", "from zero123lib.helpers import x", "has no floor"),
        ("cli.py", "from zero123lib.views.a import x", None),
        ("cli.py", "from zero123lib import __version__", None),
        ("diffusion/a.py", "from ..views import x\nfrom . import b", None),
    ],
)
def test_floor_check_sees(tmp_path: Path, name: str, text: str, complaint: str | None) -> None:
    empty = dict.fromkeys(["__init__.py", "meshes/__init__.py", "diffusion/b.py"], "")
    found = violations(write_package(tmp_path, {**empty, name: text}))
    assert len(found) == (complaint is not None), found
    assert complaint is None or complaint in found[0]


def test_circle_check_sees(tmp_path: Path) -> None:
    files = {
        "views/__init__.py": "from zero123lib.views.a import x",
        "views/a.py": "from .b import x",
        "views/b.py": "from zero123lib.views import y",
    }
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(import_graph(write_package(tmp_path, files))).prepare()


def defined(path: Path) -> set[str]:
    """Functions, classes and their methods, as "name" and "Class.method"."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, kinds):
            inner = {f"{node.name}.{part.name}" for part in node.body if isinstance(part, kinds)}
            found |= {node.name, *inner}
    return found


def test_walks_pass_what_is_there() -> None:
    _, walks = (ROOT / "CONTRIBUTING.md").read_text().split("## Three walks\n")
    walks, _ = walks.split("\n## ", 1)
    names: set[str] | None = None
    for span in re.findall(r"`([^`]+)`", walks):
        if span.endswith(".py"):
            names = defined(ROOT / "zero123lib" / span)
        else:
            assert names is not None and span in names, span


VIEWS_ALONE = f"""
import importlib, pkgutil, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FOREIGN_TO_VIEWS}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocked())
from zero123lib import views
names = [m.name for m in pkgutil.walk_packages(views.__path__, "zero123lib.views.")]
for name in names:
    importlib.import_module(name)
print(*names)
"""


def test_views_import_with_the_other_stacks_blocked() -> None:
    done = subprocess.run(
        [sys.executable, "-c", VIEWS_ALONE], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    files = read_modules(ROOT / "zero123lib" / "views")
    assert len(done.stdout.split()) == len(files) - 1 > 0


def test_settings_that_are_asked_of_a_model_exist() -> None:
    """Type checkers see a mapping's names as little as they see a notebook."""
    from zero123lib.diffusion.checkpoints.limits import SETTINGS

    asked = {
        name
        for folder in ("zero123lib", "benchmarks", "notebooks", "demo")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".ipynb")
        for name in re.findall(r"pipe\.config\[\\?[\"'](\w+)", path.read_text())
    }
    assert asked and asked <= SETTINGS.keys()
