"""Ctrl-C, a closed pipe, a full disk and threads: what the world does to a verb."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from running import BEAR, ROOT, names_in, python

from zero123lib.cli import main, making


def interrupted(process: subprocess.Popen[str], folder: Path) -> None:
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert errors.splitlines() == ["zero123 views: interrupted"]
    assert names_in(folder) == set()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_while_sampling_leaves_nothing(tmp_path: Path) -> None:
    # A shell's background job is born deaf to Ctrl-C, and the tests may well run in one.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from zero123lib.cli import main; sys.exit(main())"
    )
    command = ["views", BEAR, "--steps", "1000", "--out", str(tmp_path / "views")]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(2):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    interrupted(process, tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
@pytest.mark.parametrize("module", ["cyclopts", "PIL.Image", "torch", "diffusers"])
def test_ctrl_c_while_a_module_is_imported_is_one_line(tmp_path: Path, module: str) -> None:
    code = f"""
import os, signal, sys
class Press:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Press())
from zero123lib.cli import main
sys.exit(main())
"""
    done = python(code, "views", BEAR, "--out", str(tmp_path / "views"))
    assert done.returncode == 130 and done.stdout == ""
    assert done.stderr == "zero123 views: interrupted\n" and names_in(tmp_path) == set()


@pytest.mark.parametrize("words", [["models", "list"], ["env"]])
def test_a_reader_that_has_enough_is_no_error(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        command = [sys.executable, "-m", "zero123lib", *words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment.pop("PYTHONUNBUFFERED", None)
        done = subprocess.run(command, env=environment, stdout=closed, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_folder_that_cannot_be_written_is_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(making, "write_folder", full)
    words = ["views", BEAR, "--steps", "1", "--azimuth", "0", "--out", str(tmp_path / "o")]
    assert main(words) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("given", "seen"), [(None, "passive"), ("active", "active")])
def test_threads_wait_asleep_unless_the_user_says(
    given: str | None, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if given:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    code = (
        "import os, sys; from zero123lib.cli import main; early = 'torch' in sys.modules; "
        "main(['mesh', 'inspect', 'absent.ply']); print(early, os.environ['OMP_WAIT_POLICY'])"
    )
    assert python(code).stdout.split() == ["False", seen]
