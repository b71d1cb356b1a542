"""The set-up script, run for real with stand-ins for the tools that would change the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Stands for a system Python and, copied by `-m venv`, for the one in .venv. Records pip's calls.
PYTHON = """#!/bin/bash
case "$1 $2" in
  "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  "-m pip") echo "$*" >>"$PIP_LOG"; exit "${PIP_EXIT:-0}" ;;
esac
"""


class Clone:
    """A folder with the files that set-up reads, and a PATH that starts with stand-ins."""

    def __init__(self, root: Path, system: str) -> None:
        self.root, self.tools, self.pip_log = root, root / "tools", root / "pip.log"
        (root / ".ci").mkdir()
        self.tools.mkdir()
        for name in [".ci/setup", "pyproject.toml", "constraints.txt", "packages.txt"]:
            shutil.copy(ROOT / name, root / name)
        self.tool("uname", f"#!/bin/bash\necho {system}\n")
        self.tool("python3", PYTHON)

    def tool(self, name: str, script: str) -> None:
        path = self.tools / name
        path.write_text(script)
        path.chmod(0o755)

    def set_up(self, **extra: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.tools}{os.pathsep}{os.environ['PATH']}",
            "PIP_LOG": str(self.pip_log),
            **extra,
        }
        command = ["bash", str(self.root / ".ci/setup")]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    def pip_calls(self) -> list[str]:
        return self.pip_log.read_text().splitlines() if self.pip_log.exists() else []


@pytest.fixture
def mac(tmp_path: Path) -> Clone:
    return Clone(tmp_path, "Darwin")


@pytest.fixture
def debian(tmp_path: Path) -> Clone:
    """Debian, where no system package is installed, under a user who is not root."""
    clone = Clone(tmp_path, "Linux")
    clone.tool("dpkg-query", "#!/bin/bash\nexit 1\n")
    clone.tool("id", "#!/bin/bash\necho 1000\n")
    return clone


def test_torch_first_then_the_rest_under_constraints(mac: Clone) -> None:
    done = mac.set_up()
    assert done.returncode == 0, done.stderr
    torch, rest = mac.pip_calls()
    assert "-c constraints.txt" in torch and torch.endswith(" torch")
    assert "-c constraints.txt" in rest and rest.endswith("-e .[all,dev]")


def test_second_run_installs_nothing(mac: Clone) -> None:
    mac.set_up()
    calls = mac.pip_calls()
    assert mac.set_up().returncode == 0
    assert mac.pip_calls() == calls


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "packages.txt"])
def test_changed_file_installs_again(mac: Clone, name: str) -> None:
    mac.set_up()
    with (mac.root / name).open("a") as file:
        file.write("\n")
    mac.set_up()
    assert len(mac.pip_calls()) == 4


def test_failed_install_is_tried_again(mac: Clone) -> None:
    mac.set_up()
    with (mac.root / "constraints.txt").open("a") as file:
        file.write("\n")
    assert mac.set_up(PIP_EXIT="1").returncode != 0
    calls = len(mac.pip_calls())
    assert mac.set_up().returncode == 0
    assert len(mac.pip_calls()) == calls + 2


def test_missing_libraries_are_named_in_one_command(debian: Clone) -> None:
    done = debian.set_up()
    assert done.returncode == 1
    names = (ROOT / "packages.txt").read_text().split()
    command = "sudo apt-get update && sudo apt-get install -y --no-install-recommends"
    assert f"{command} {' '.join(names)}" in done.stderr
    assert debian.pip_calls() == []


def test_root_installs_missing_libraries_after_an_update(debian: Clone) -> None:
    log = debian.root / "apt.log"
    debian.tool("id", "#!/bin/bash\necho 0\n")
    debian.tool("apt-get", f'#!/bin/bash\necho "$*" >>{log}\n')
    assert debian.set_up().returncode == 0
    update, install = log.read_text().splitlines()
    assert update.startswith("update")
    assert install.startswith("install") and "libusb-1.0-0" in install


def test_python_that_is_too_old_is_refused(mac: Clone) -> None:
    mac.tool("old", "#!/bin/bash\nexit 1\n")
    done = mac.set_up(PYTHON="old")
    assert done.returncode == 1
    assert "PYTHON=old: expected a Python >= 3.11" in done.stderr
    assert not (mac.root / ".venv").exists()
