"""The site builds without a complaint, and complains of what would lead nowhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


PACKAGE = '''"""A package that offers what it does not have."""
__version__ = "0"
_HOMES = {"Gone": "zero123lib.poses"}
'''


def complaints(tree: Path, out: Path) -> str:
    """Check a tree as `make docs` does, short of writing HTML."""
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "dummy", "-c", "docs", ".", str(out)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder in which the reference's pages may be written."""
    (tmp_path / "tree/docs").mkdir(parents=True)
    return tmp_path / "tree"


def test_every_link_and_public_name_is_found(tree: Path, tmp_path: Path) -> None:
    unread = shutil.ignore_patterns("*.safetensors", "__pycache__", "api")
    for folder in ("benchmarks", "docs", "notebooks", "tests", "zero123lib"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=unread, dirs_exist_ok=True)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, tree)
    assert complaints(tree, tmp_path / "out") == ""


def test_what_leads_nowhere_is_told(tree: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "docs/conf.py", tree / "docs")
    (tree / "zero123lib").mkdir()
    pages = {
        "README.md": "# Front\n\n[page](docs/gone.md), [part](docs/app.md#gone), ![](gone.png)\n",
        "docs/app.md": "# The app\n",
        "docs/unlisted.md": "# Not in the table of contents\n",
        "zero123lib/__init__.py": PACKAGE,
        "zero123lib/poses.py": '"""Poses, see :func:`gone_too`."""\n',
    }
    for name, text in pages.items():
        (tree / name).write_text(text)
    told = complaints(tree, tmp_path / "out")
    for fault in ["docs/gone.md", "'gone' [myst", "gone.png", "zero123lib.poses.Gone", "gone_too"]:
        assert fault in told, told
    assert "unlisted.md: WARNING: document isn't included in any toctree" in told
