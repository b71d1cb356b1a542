"""Optional dependencies: what their absence says, and that skips for absent data do skip."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from zero123lib._optional import MissingExtraError, require


def test_present_module_is_returned() -> None:
    assert require("json.decoder", "app") is sys.modules["json.decoder"]


def test_absent_module_names_the_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"no_such_module.*zero123lib\[meshes\]"):
        require("no_such_module.part", "meshes")


@pytest.mark.parametrize("body", ["import no_such_inner", "raise ImportError('libusb not found')"])
def test_module_that_does_not_load_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    (tmp_path / "half_installed.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=r"does not load \(.*(no_such_inner|libusb)"):
        require("half_installed", "meshes")


def test_errors_of_other_kinds_pass_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_module.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZeroDivisionError):
        require("broken_module", "meshes")


def test_absent_shared_data_skips_with_its_reason(tmp_path: Path) -> None:
    """The real conftest, in a clone that has nothing beside it."""
    tests = tmp_path / "clone" / "tests"
    tests.mkdir(parents=True)
    (tests / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    (tests / "test_one.py").write_text("def test_one(shared_data): assert False")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", str(tests)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "1 skipped" in done.stdout, done.stdout
    assert "../shared/data is absent" in done.stdout
