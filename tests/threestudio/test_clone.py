"""The hook, the doctor and their verbs, on folders that look like threestudio or do not."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from zero123lib import cli
from zero123lib.threestudio_plugin import doctor
from zero123lib.threestudio_plugin.clone import (
    GUIDANCE_TYPE,
    HOOK,
    HOOK_TEXT,
    TESTED_COMMIT,
    TESTED_VERSION,
    install,
    open_clone,
)
from zero123lib.threestudio_plugin.doctor import Finding, examine, last_line

LOADER = """
def load_custom_modules():
    pass
"""


def make_clone(root: Path, version: str = TESTED_VERSION, commit: str | None = None) -> Path:
    (root / "threestudio").mkdir(parents=True)
    (root / "threestudio" / "__init__.py").write_text(
        f'__modules__ = {{"{GUIDANCE_TYPE}": None}}\n__version__ = "{version}"\n'
    )
    (root / "launch.py").write_text(LOADER)
    if commit:
        (root / ".git").mkdir()
        (root / ".git" / "HEAD").write_text(f"{commit}\n")
    return root


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return make_clone(tmp_path / "threestudio", commit=TESTED_COMMIT)


@pytest.fixture
def healthy(tmp_path: Path) -> str:
    """A Python whose modules are all there: it answers the doctor's questions from a script."""
    answer = tmp_path / "answer.py"
    answer.write_text(
        "import json, sys\n"
        "if len(sys.argv) < 4:\n"
        "    print('PROBETrue')\n"
        "else:\n"
        "    versions = {'igl': '2.5.1', 'nerfacc': '0.5.3'}\n"
        "    modules = {m: [versions.get(m, '2.3.0'), None] for m, _ in json.loads(sys.argv[3])}\n"
        "    print('PROBE' + json.dumps({'python': '3.11.9', 'torch': '2.13.0', 'cuda': 'a GPU',"
        " 'modules': modules}))\n"
    )
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{answer}" "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


def found(findings: list[Finding], item: str) -> Finding:
    return next(finding for finding in findings if finding.item == item)


def test_hook_is_one_file_that_imports_the_guidance(clone: Path) -> None:
    assert not open_clone(clone).has_hook
    before = {path for path in clone.rglob("*") if path.is_file()}
    assert install(clone) == clone / HOOK
    assert {path for path in clone.rglob("*") if path.is_file()} - before == {clone / HOOK}
    assert open_clone(clone).has_hook
    # launch.py puts the folder's name into sys.modules: ours must not hide the package.
    assert HOOK.parent.name != "zero123lib"
    compile(HOOK_TEXT, "hook", "exec")
    install(clone)  # a second time is the same
    (clone / HOOK).write_text("import zero123lib.old")
    install(clone)  # one of an earlier version is replaced
    assert open_clone(clone).has_hook


def test_a_file_that_is_not_ours_stays(clone: Path) -> None:
    (clone / HOOK).parent.mkdir(parents=True)
    (clone / HOOK).write_text("print('mine')")
    with pytest.raises(ValueError, match="clone: expected no other file at"):
        install(clone)
    assert (clone / HOOK).read_text() == "print('mine')"


@pytest.mark.parametrize("missing", ["launch.py", "threestudio/__init__.py"])
def test_what_is_no_clone_is_told(clone: Path, missing: str) -> None:
    (clone / missing).unlink()
    with pytest.raises(ValueError, match=r"clone: expected a folder with threestudio .*has no "):
        open_clone(clone)
    with pytest.raises(ValueError, match="clone: expected a folder with threestudio"):
        install(clone.parent / "absent")


def test_commit_is_read_as_git_says(tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "clone")
    assert open_clone(clone).commit is None
    run = {"cwd": clone, "check": True, "capture_output": True, "text": True}
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "init", "-q"], **run)
    assert open_clone(clone).commit is None  # no commit yet
    subprocess.run(["git", *who, "commit", "-q", "--allow-empty", "-m", "x"], **run)
    truth = subprocess.run(["git", "rev-parse", "HEAD"], **run).stdout.strip()
    assert open_clone(clone).commit == truth
    subprocess.run(["git", "pack-refs", "--all"], **run)
    assert open_clone(clone).commit == truth
    subprocess.run(["git", "checkout", "-q", "--detach"], **run)
    assert open_clone(clone).commit == truth


def test_doctor_finds_nothing_where_nothing_is_wrong(
    clone: Path, healthy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    install(clone)
    findings = list(examine(clone, healthy))
    assert all(finding.good and finding.mend is None for finding in findings)
    assert found(findings, "our guidance").found == f"registers {GUIDANCE_TYPE}"
    assert cli.main(["threestudio", "doctor", str(clone), "--python", healthy]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "everything is there"


def test_doctor_tells_a_clone_of_another_version(tmp_path: Path, healthy: str) -> None:
    old = make_clone(tmp_path / "old", version="0.1.0", commit="0" * 40)
    finding = found(list(examine(old, healthy)), "threestudio")
    assert not finding.good and finding.found == "0.1.0 at 0000000"
    assert finding.mend is not None and f"checkout {TESTED_COMMIT[:7]}" in finding.mend
    hook = found(list(examine(old, healthy)), "our hook")
    assert not hook.good and hook.mend == f"zero123 threestudio install {old}"


def test_doctor_tells_what_this_python_lacks(
    clone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real probe of this interpreter, in which one module is broken and one too new."""
    site = tmp_path / "site"
    for name, text in {
        "envlight": "raise OSError('no libfoo.so')",
        "igl": "",
        "nerfacc": "",
    }.items():
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text(text)
    info = site / "libigl-2.6.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: libigl\nVersion: 2.6.0\n")
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setattr(
        doctor,
        "REQUIREMENTS",
        [need for need in doctor.REQUIREMENTS if need.module in ("envlight", "igl", "tinycudann")],
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    install(clone)
    findings = list(examine(clone))
    assert found(findings, "Python").good
    torch = found(findings, "torch")
    assert not torch.good and torch.found.endswith("on no GPU")
    assert torch.mend is not None and "GPU" in torch.mend
    assert found(findings, "envlight").found == "OSError: no libfoo.so"
    igl = found(findings, "igl")
    assert (igl.good, igl.found, igl.mend) == (False, "2.6.0", "pip install 'libigl==2.5.1'")
    cuda = found(findings, "tinycudann")
    assert not cuda.good and cuda.found == "not installed"
    assert cuda.mend is not None and cuda.mend.startswith("see https://github.com/threestudio")
    assert cli.main(["threestudio", "doctor", str(clone)]) == 1
    lines = capsys.readouterr().out.splitlines()
    bad = sum(line.startswith("BAD") for line in lines)
    assert lines[-1] == f"{bad} to mend" and bad == sum(not one.good for one in findings)


def test_doctor_tells_a_hook_that_does_not_load(clone: Path, healthy: str, tmp_path: Path) -> None:
    install(clone)
    (clone / "threestudio" / "__init__.py").write_text("__version__ = '0.2.3'\n__modules__ = {}\n")
    finding = doctor._loading(open_clone(clone), sys.executable)
    assert (finding.good, finding.found) == (False, "does not load: False")
    (clone / "threestudio" / "__init__.py").write_text("import absent_module\n")
    assert (
        "No module named 'absent_module'"
        in doctor._loading(open_clone(clone), sys.executable).found
    )


def test_doctor_without_a_python_or_a_clone(tmp_path: Path) -> None:
    findings = list(examine(tmp_path, str(tmp_path / "absent")))
    assert [(one.item, one.good) for one in findings] == [("clone", False), ("python", False)]
    assert findings[0].mend is not None and findings[0].mend.startswith("git clone https://")


def test_verbs_complain_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["threestudio", "install", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "zero123 threestudio install: error: CLONE: expected" in error
    assert cli.main(["threestudio"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_install_says_what_it_wrote(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["threestudio", "install", str(clone)]) == 0
    assert str(clone / HOOK) in capsys.readouterr().out


def test_last_line_is_the_error_of_a_traceback() -> None:
    assert last_line("Traceback\n  File x\nValueError: a: b\n\n") == "ValueError: a: b"
    assert last_line("\n") == ""


def test_our_package_is_importable_for_a_child() -> None:
    first = doctor.child_environment()["PYTHONPATH"].split(os.pathsep)[0]
    assert (Path(first) / "zero123lib" / "__init__.py").is_file()
