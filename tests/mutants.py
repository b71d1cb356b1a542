"""Change what all else stands on, one place at a time, and count which changes a test notices.

    python -m tests.mutants --minutes 10 poses cameras

mutmut makes the mutants: copies of each function with one operator, number or word changed. Its own
run begins a process per mutant; here they share one per group, into which the tests load once, and
each mutant meets the tests that reach its function, quickest first, until one fails. Mutants are
taken in an order that a seed draws: those that were tried when time is over are a fair sample, and
the rate comes with Wilson's 95 % interval (Wilson 1927).
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib.util
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import Phase, settings

from zero123lib._optional import require

ROOT = Path(__file__).resolve().parents[1]
ACTIVE = "MUTANT_UNDER_TEST"  # mutmut's: the mutant that its trampolines call
CHECKPOINTS = "diffusion/checkpoints"
# Name: the modules of zero123lib, and the tests beside them.
GROUPS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "poses": (("views/poses.py",), ("views/test_poses.py", "views/test_algebra.py")),
    "cameras": (("views/cameras.py",), ("views/test_cameras.py", "views/test_algebra.py")),
    "metrics": (
        tuple(f"metrics/{name}.py" for name in ("images", "poses", "shapes", "similarity")),
        ("test_metrics.py", "test_shape_metrics.py"),
    ),
    "samplers": (
        ("diffusion/schedule.py", "diffusion/samplers.py"),
        tuple(f"diffusion/test_{name}.py" for name in ("schedule", "samplers", "sampler_steps")),
    ),
    "headers": (
        tuple(f"{CHECKPOINTS}/{name}.py" for name in ("safetensors_files", "archives")),
        tuple(f"{CHECKPOINTS}/test_{name}.py" for name in ("archives", "bombs", "weights")),
    ),
}


class Late(BaseException):
    """A mutant goes on and on; no handler of the code's own takes it."""


class Mutated(SourceFileLoader):
    """Load a module with all its mutants, of which the active one is called."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name, str(path))
        mutating: Any = require("mutmut.mutation.file_mutation", "audit")
        made = mutating.mutate_file_contents(str(path), path.read_text())
        self.source, self.mutants = made.code, [f"{name}.{one}" for one in made.mutant_names]

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.source, self.path, "exec")


class Finder:
    """Find the mutated modules before Python finds the files."""

    def __init__(self, files: tuple[str, ...]) -> None:
        names = {f"zero123lib.{file[:-3].replace('/', '.')}": file for file in files}
        self.loaders = {
            name: Mutated(name, ROOT / "zero123lib" / file) for name, file in names.items()
        }

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in self.loaders:
            return None
        return importlib.util.spec_from_loader(name, self.loaders[name])


def interval(killed: int, tried: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's interval of a share."""
    share, more = killed / tried, z * z / tried
    middle = (share + more / 2) / (1 + more)
    half = z / (1 + more) * math.sqrt(share * (1 - share) / tried + more / tried / 4)
    return middle - half, middle + half


def change(source: str, mutant: str) -> str:
    """Return the lines that a mutant has in place of its function's."""
    end = mutant.rpartition(".")[2]
    wanted = (end.rpartition("_")[0] + "_orig", end)
    found = {
        node.name: ast.unparse(ast.Module(node.body, [])).splitlines()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name in wanted
    }
    before, after = (found[name] for name in wanted)
    lines = difflib.unified_diff(before, after, lineterm="", n=0)
    return "; ".join(line for line in lines if line[:3] not in ("---", "+++") and line[0] in "-+")


class Plugin:
    """Run the collected tests without a mutant, then those that reach each mutant."""

    def __init__(self, finder: Finder, seconds: float, seed: int) -> None:
        self.finder, self.seconds, self.seed = finder, seconds, seed
        self.status, self.survivors = Counter[str](), list[str]()
        self.all = [name for loader in finder.loaders.values() for name in loader.mutants]

    def outcome(self, items: list[pytest.Item], limit: float) -> str:
        """Tell whether a test notices the active mutant, in so many seconds of the CPU."""
        begun, noticed = time.process_time(), False
        signal.setitimer(signal.ITIMER_PROF, limit)
        try:
            for item, following in zip(items, [*items[1:], None], strict=True):
                if noticed := any(report.failed for report in self.run(item, following)):
                    break
        except Late:
            noticed = True
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            # Else the next mutant's first test fails where a test of another file was the last.
            items[0].session._setupstate.teardown_exact(None)
        late = time.process_time() - begun >= limit
        return "survived" if not noticed else "timeout" if late else "killed"

    def run(self, item: pytest.Item, following: pytest.Item | None) -> list[pytest.TestReport]:
        return runtestprotocol(item, log=False, nextitem=following)

    def reaching(self, items: list[pytest.Item]) -> dict[str, list[pytest.Item]]:
        """Return the tests that reach each function, quickest first; all must pass."""
        trampoline: Any = require("mutmut.mutation.trampoline", "audit")
        reached: set[str] = set()
        trampoline.record_trampoline_hit = lambda name, caller=None: reached.add(name)
        os.environ[ACTIVE] = "stats"
        found: dict[str, list[tuple[float, int, pytest.Item]]] = defaultdict(list)
        for number, item in enumerate(items):
            reached.clear()
            begun = time.process_time()
            if any(report.failed for report in self.run(item, None)):
                pytest.exit(f"{item.nodeid} fails without a mutant", 1)
            for name in reached:
                found[name].append((time.process_time() - begun, number, item))
        return {name: [item for *_, item in sorted(tests)] for name, tests in found.items()}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        def late(*_: Any) -> None:
            raise Late

        signal.signal(signal.SIGPROF, late)
        tests, whole = self.reaching(session.items), time.process_time()
        random.Random(self.seed).shuffle(self.all)
        begun = time.monotonic()
        for name in self.all:
            os.environ[ACTIVE] = name
            items = tests.get(name.rpartition("__mutmut_")[0], [])
            told = self.outcome(items, 5 * whole) if items else "no test"
            self.status[told] += 1
            if told in ("survived", "no test"):
                source = self.finder.loaders[name.rpartition(".")[0]].source
                self.survivors.append(f"{told}: {name}: {change(source, name)}")
                print(self.survivors[-1], flush=True)
            if time.monotonic() - begun > self.seconds:
                break
        del os.environ[ACTIVE]
        return True


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("groups", nargs="*", default=list(GROUPS), metavar="GROUP")
    parser.add_argument("--minutes", type=float, default=math.inf, help="for each group")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the mutants")
    told = parser.parse_args(arguments)
    if unknown := set(told.groups) - GROUPS.keys():
        parser.error(f"GROUP: expected of {', '.join(GROUPS)}, got {', '.join(unknown)}")
    if not told.minutes > 0:
        parser.error(f"--minutes: expected more than 0, got {told.minutes:g}")
    if len(told.groups) > 1:
        words = ("--minutes", str(told.minutes), "--seed", str(told.seed))
        for group in told.groups:
            subprocess.run([sys.executable, "-m", "tests.mutants", group, *words], check=True)
        return
    # A failure counts, not the least case of it.
    settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate])
    settings.load_profile("mutants")
    files, tests = GROUPS[told.groups[0]]
    finder = Finder(files)
    sys.meta_path.insert(0, finder)
    plugin = Plugin(finder, 60 * told.minutes, told.seed)
    os.chdir(ROOT)
    words = ["-q", "--tb=line", "--disable-warnings", "-p", "no:cacheprovider"]
    words += [f"tests/{name}" for name in tests]
    if code := pytest.main(words, plugins=[plugin]):
        sys.exit(code)
    tried = plugin.status.total()
    killed = plugin.status["killed"] + plugin.status["timeout"]
    low, high = interval(killed, tried)
    print(
        f"{told.groups[0]}: {killed} of {tried} noticed, {killed / tried:.1%}, of {len(plugin.all)}"
        f" mutants in all; 95 % interval {low:.1%} to {high:.1%}; {dict(plugin.status)}"
    )


if __name__ == "__main__":
    main()
