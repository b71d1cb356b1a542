"""The files that say what to install agree with each other, with the code and with what ships."""

from __future__ import annotations

import ast
import importlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import zero123lib

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
DEVELOPERS = {"audit", "dev", "docs"}
# Named in files, yet not what pyproject.toml asks users to install, each for its reason.
SPACE_ONLY = {"spaces"}  # ZeroGPU's decorator, a no-op elsewhere; the tests start a Space with it
# PyTorch3D has no release on PyPI; the other is conda-forge's name of xatlas.
CONDA_ONLY = {"pip", "pytorch3d", "xatlas-python"}
NOT_ON_PYPI = {"pytorch3d", "threestudio"}


def module_owners() -> dict[str, list[str]]:
    """Module -> distributions; xatlas is one compiled file, which Python 3.11 does not list."""
    return {"xatlas": ["xatlas"], **packages_distributions()}


def text_ranges(lines: list[str]) -> dict[str, SpecifierSet]:
    """Name -> range of requirement lines; comments, blanks and the project's own name left out."""
    parsed = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    return {canonicalize_name(r.name): r.specifier for r in parsed if r.name != "zero123lib"}


def ranges(*groups: str) -> dict[str, SpecifierSet]:
    """Name -> range, over the base dependencies and the named extras."""
    lines = PROJECT["project"]["dependencies"] + [
        line for group in groups for line in EXTRAS[group]
    ]
    return text_ranges(lines)


def file_lines(name: str) -> list[str]:
    return (ROOT / name).read_text().splitlines()


def front_matter() -> dict[str, Any]:
    _, header, _ = (ROOT / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(header)


def conda_ranges() -> dict[str, SpecifierSet]:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge"]
    *plain, piped = environment["dependencies"]
    found, more = text_ranges(plain), text_ranges(piped["pip"])
    assert found.keys().isdisjoint(more)
    found["torch"] = found.pop("pytorch")
    return {**found, **more}


def test_one_name_has_one_range() -> None:
    declared = ranges(*EXTRAS)
    for lines in [PROJECT["project"]["dependencies"], *EXTRAS.values()]:
        for name, specifier in text_ranges(lines).items():
            assert declared[name] == specifier, name


def test_constraints_pin_what_pyproject_names_inside_its_ranges() -> None:
    pins = text_ranges(file_lines("constraints.txt"))
    declared = ranges(*EXTRAS)
    assert set(pins) == set(declared)
    for name, pin in pins.items():
        (exact,) = pin
        assert exact.operator == "==" and declared[name].contains(exact.version), f"{name}{pin}"


def test_space_requirements_are_the_base_and_what_the_app_can_use() -> None:
    found = text_ranges(file_lines("requirements.txt"))
    usable = ranges("app", "meshes", "recon", "video")
    assert found.keys() - SPACE_ONLY == usable.keys()
    assert {name: found[name] for name in usable} == usable


def test_conda_environment_has_the_same_ranges() -> None:
    found = conda_ranges()
    assert found.pop("python") == SpecifierSet(PROJECT["project"]["requires-python"])
    assert found.keys() >= CONDA_ONLY | {"gradio", "diffusers", "transformers", "open3d", "torch"}
    declared = ranges(*EXTRAS)
    shared = found.keys() - CONDA_ONLY
    assert {name: found[name] for name in shared} == {name: declared[name] for name in shared}
    assert ranges("app").keys() <= shared


def test_all_names_every_extra_but_those_of_developers() -> None:
    (everything,) = (Requirement(line) for line in EXTRAS["all"])
    assert everything.extras == EXTRAS.keys() - {"all", *DEVELOPERS}


def test_no_file_asks_for_torchvision_or_a_git_install() -> None:
    for name in ["pyproject.toml", "requirements.txt", "constraints.txt", "environment.yml"]:
        lines = [line for line in file_lines(name) if not line.lstrip().startswith("#")]
        for word in ["torchvision", "torchaudio", "git+"]:
            assert word not in "\n".join(lines), f"{name} names {word}"


def test_space_front_matter_agrees() -> None:
    header = front_matter()
    pins = text_ranges(file_lines("constraints.txt"))
    assert header["sdk"] == "gradio"
    assert pins["gradio"] == SpecifierSet(f"=={header['sdk_version']}")
    assert SpecifierSet(PROJECT["project"]["requires-python"]).contains(header["python_version"])
    assert header["license"] == PROJECT["project"]["license"].lower()
    assert len(header["short_description"]) <= 60
    assert (ROOT / header["app_file"]).is_file()


def test_python_floor_is_the_same_everywhere() -> None:
    (floor,) = SpecifierSet(PROJECT["project"]["requires-python"])
    assert floor.operator == ">="
    assert PROJECT["tool"]["pyright"]["pythonVersion"] == floor.version
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{floor.version.replace('.', '')}"
    major, minor = floor.version.split(".")
    assert f"sys.version_info < ({major}, {minor})" in (ROOT / ".ci/setup").read_text()


def test_hooks_run_the_ruff_that_the_tests_run() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (revision,) = (repo["rev"] for repo in hooks["repos"] if "/ruff-" in repo["repo"])
    pins = text_ranges(file_lines("constraints.txt"))
    assert pins["ruff"] == SpecifierSet(f"=={revision.removeprefix('v')}")


def test_configured_paths_exist() -> None:
    project, tool = PROJECT["project"], PROJECT["tool"]
    for name in project["license-files"]:
        assert list(ROOT.glob(name)), name
    for folder in tool["pytest"]["ini_options"]["testpaths"]:
        assert list((ROOT / folder).rglob("test_*.py")), f"{folder} holds no test"
    module, _, function = project["scripts"]["zero123"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_ci_runs_the_tests_that_make_test_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text().splitlines() if not line.startswith("#")]
    assert commands[-1] == "make test" and "set -euo pipefail" in commands
    # The tests may themselves run under make, which hands its arguments down.
    handed_down = {"ARGS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"}
    clean = {name: value for name, value in os.environ.items() if name not in handed_down}
    for more, parallel in (("", True), ("-n0 tests", True), ("-p no:xdist tests", False)):
        command = ["make", "-n", "test", f"ARGS={more}"]
        dry = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True)
        assert dry.returncode == 0, dry.stderr
        assert ".ci/setup" in dry.stdout and "HF_HUB_OFFLINE=1" in dry.stdout
        told = dry.stdout.partition("-m pytest")[2].split()
        assert told[len(told) - len(more.split()) :] == more.split()
        assert ("-n" in told) == parallel  # without the plugin its options are errors


def test_importing_the_package_loads_no_heavy_stack() -> None:
    heavy = {"torch", "diffusers", "transformers", "open3d", "gradio", "numpy", "PIL"}
    heavy |= {"ray", "pyarrow", "fsspec"}
    code = f"import sys, zero123lib; print(*sorted({heavy!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_public_names_load_at_use() -> None:
    for name in zero123lib.__all__:
        assert getattr(zero123lib, name) is not None and name in dir(zero123lib)
    with pytest.raises(AttributeError, match=r"zero123lib.*'no_such_name'"):
        _ = zero123lib.no_such_name


@cache
def parsed(folder: str) -> list[tuple[Path, ast.Module]]:
    paths = [ROOT / folder] if folder.endswith(".py") else sorted((ROOT / folder).rglob("*.py"))
    return [(path, ast.parse(path.read_text())) for path in paths]


def imported_roots(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


RUNTIME = [extra for extra in EXTRAS if extra not in DEVELOPERS]


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("zero123lib", RUNTIME),
        ("app.py", RUNTIME),
        ("demo", RUNTIME),
        ("benchmarks", list(EXTRAS)),
        ("docs", ["docs"]),
        ("tests", list(EXTRAS)),
    ],
)
def test_every_import_is_declared(folder: str, extras: list[str]) -> None:
    own = {"zero123lib", "demo", "app", "tests"}
    own |= {path.stem for place in ("tests", "benchmarks") for path, _ in parsed(place)}
    foreign = sys.stdlib_module_names | own | SPACE_ONLY | NOT_ON_PYPI
    owners = module_owners()
    for path, tree in parsed(folder):
        for module in set(imported_roots(tree)) - foreign:
            names = {canonicalize_name(owner) for owner in owners.get(module, [])}
            assert names & ranges(*extras).keys(), f"{path.name} imports {module}, undeclared"


def test_optional_dependencies_name_the_extra_that_brings_them() -> None:
    owners = module_owners()
    for path, tree in parsed("zero123lib") + parsed("demo"):
        for node in ast.walk(tree):
            match node:
                case ast.Call(
                    func=ast.Name(id="require") | ast.Attribute(attr="require"),
                    args=[ast.Constant(value=str(module)), ast.Constant(value=str(extra))],
                ) if (root := module.partition(".")[0]) not in NOT_ON_PYPI:
                    names = {canonicalize_name(owner) for owner in owners[root]}
                    direct = text_ranges(EXTRAS[extra]).keys()
                    assert names & direct, f"{path.name}: [{extra}] does not bring {module}"
