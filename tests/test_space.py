"""A Gradio Space: what its Hub refuses, the commands of docs/space.md, and its start."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 10 * 2**20

pytestmark = pytest.mark.skipif(
    not (ROOT / ".git").exists() or shutil.which("git") is None, reason="no clone with git"
)

# What the Hub's pre-receive hook does, as far as it concerns us.
HOOK = f"""#!{sys.executable}
import subprocess, sys
def git(*words):
    return subprocess.run(["git", *words], capture_output=True, check=True).stdout
for line in sys.stdin:
    _, commit, _ = line.split()
    for entry in git("ls-tree", "-r", "-z", commit).split(b"\\0")[:-1]:
        about, _, name = entry.partition(b"\\t")
        content = git("cat-file", "blob", about.split()[2].decode())
        if b"\\0" in content[:8000] or len(content) > {MOST_BYTES}:
            sys.exit(f"Your push was rejected because it contains binary files: {{name.decode()}}")
"""

# As much of git-lfs as the commands need; objects lie in a folder beside it.
LFS = f"""#!{sys.executable}
import hashlib, pathlib, re, subprocess, sys
store = pathlib.Path(__file__).parent / "objects"
store.mkdir(exist_ok=True)
verb, content = sys.argv[1], b""
if verb == "install":
    for key, value in {{"clean": "git-lfs clean -- %f", "smudge": "git-lfs smudge -- %f",
                        "required": "true"}}.items():
        subprocess.run(["git", "config", *sys.argv[2:], "filter.lfs." + key, value], check=True)
    sys.exit()
content = sys.stdin.buffer.read()
pointer = re.match(rb"version https://git-lfs.github.com/spec/v1\\noid sha256:(\\w+)", content)
if verb == "clean" and not pointer:
    name = hashlib.sha256(content).hexdigest()
    (store / name).write_bytes(content)
    content = (f"version https://git-lfs.github.com/spec/v1\\noid sha256:{{name}}\\n"
               f"size {{len(content)}}\\n").encode()
elif verb == "smudge" and pointer:
    content = (store / pointer[1].decode()).read_bytes()
sys.stdout.buffer.write(content)
"""

# Finds nothing of what requirements.txt does not bring.
HIDE = """
import sys
from importlib.machinery import PathFinder

class Shown(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] not in {hidden!r}:
            return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Shown
"""


def git(*words: str, cwd: Path = ROOT, **more: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=cwd, env={**os.environ, **more}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def tracked() -> list[str]:
    names = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return [name for name in names if (ROOT / name).is_file() or (ROOT / name).is_symlink()]


def copy_tracked(target: Path, *leaving_out: str) -> Path:
    for name in tracked():
        if name.partition("/")[0] not in leaving_out:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name, follow_symlinks=False)
    return target


def push_commands() -> str:
    """The commands of the section "Or push"."""
    text = (ROOT / "docs/space.md").read_text().partition("## Or push")[2]
    (block,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return block


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This tree as a repository of one commit, for a user without a configuration of git."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"):
        monkeypatch.setenv(name, "nobody")
    for name in ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "nobody@example.org")
    repository = copy_tracked(tmp_path / "plain")
    git("init", "--quiet", "--initial-branch=main", cwd=repository)
    git("add", ".", cwd=repository)
    git("commit", "--quiet", "-m", "all", cwd=repository)
    return repository


@pytest.fixture
def hub(tmp_path: Path, plain: Path) -> Path:
    """A bare repository that refuses what the Hub refuses."""
    bare = tmp_path / "hub.git"
    git("init", "--quiet", "--bare", "--initial-branch=main", str(bare), cwd=plain)
    (bare / "hooks/pre-receive").write_text(HOOK)
    (bare / "hooks/pre-receive").chmod(0o755)
    return bare


@pytest.fixture
def lfs(tmp_path: Path) -> str:
    """A PATH with a stand-in for git-lfs."""
    folder = tmp_path / "lfs"
    folder.mkdir()
    (folder / "git-lfs").write_text(LFS)
    (folder / "git-lfs").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_what_is_binary_is_marked_so_and_nothing_else_is_large(plain: Path) -> None:
    lines = [line.split() for line in git("ls-files", "--eol", cwd=plain).splitlines()]
    binary = {words[-1] for words in lines if words[0] == "i/-text"}
    assert binary
    told = git("check-attr", "binary", *(words[-1] for words in lines), cwd=plain)
    marked = {line.rsplit(": ", 2)[0] for line in told.splitlines() if line.endswith(" set")}
    assert binary == marked
    for words in lines:
        assert words[-1] in binary or (plain / words[-1]).lstat().st_size < MOST_BYTES, words[-1]


def test_the_commands_make_what_the_hub_takes(plain: Path, hub: Path, lfs: str) -> None:
    refused = subprocess.run(
        ["git", "push", str(hub), "main"], cwd=plain, capture_output=True, text=True
    )
    assert refused.returncode != 0 and "contains binary files" in refused.stderr
    commands = push_commands().replace("https://huggingface.co/spaces/OWNER/NAME", str(hub))
    assert str(hub) in commands
    done = subprocess.run(
        ["bash", "-euc", commands],
        cwd=plain,
        env={**os.environ, "PATH": lfs},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert git("rev-list", "--count", "main", cwd=hub).strip() == "1"
    # The repository itself is what it was, and so are clones of it, without git-lfs and with.
    assert git("status", "--porcelain", cwd=plain, PATH=lfs) == ""
    assert "filter=lfs" not in (plain / ".gitattributes").read_text()
    for number, path in enumerate((os.environ["PATH"], lfs)):
        clone = plain.with_name(f"clone-{number}")
        if path == lfs:
            git("lfs", "install", "--global", cwd=plain, PATH=path)
        git("clone", "--quiet", str(plain), str(clone), cwd=plain.parent, PATH=path)
        assert git("status", "--porcelain", cwd=clone, PATH=path) == ""
        same(clone, plain)
    # And the Space's machine, which has git-lfs, gets all files.
    git("clone", "--quiet", str(hub), str(plain.with_name("space-2")), cwd=plain.parent, PATH=lfs)
    same(plain.with_name("space-2"), plain, but=".gitattributes")


def same(one: Path, other: Path, but: str = "") -> None:
    names = git("ls-files", "-z", cwd=other).split("\0")[:-1]
    assert names == git("ls-files", "-z", cwd=one).split("\0")[:-1]
    for name in names:
        if name != but and not (other / name).is_symlink():
            assert (one / name).read_bytes() == (other / name).read_bytes(), name


def brought(lines: list[str]) -> set[str]:
    """Distributions that requirements bring, with all that these require; installed ones."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    while waiting:
        one = waiting.pop()
        extras = [*one.extras, ""]
        key = f"{canonicalize_name(one.name)}[{','.join(sorted(one.extras))}]"
        if key in found:
            continue
        try:
            needed = [Requirement(text) for text in requires(one.name) or []]
        except PackageNotFoundError:
            continue  # of another system
        found |= {key, canonicalize_name(one.name)}
        waiting += [
            more
            for more in needed
            if more.marker is None or any(more.marker.evaluate({"extra": e}) for e in extras)
        ]
    return found


def test_the_space_starts_without_a_word_of_complaint(tmp_path: Path) -> None:
    """On CPU hardware, with what requirements.txt brings and nothing else."""
    space = copy_tracked(tmp_path / "space", "tests", "benchmarks", "notebooks", "docs")
    kept = brought((space / "requirements.txt").read_text().splitlines()) | {"pip"}
    hidden = {
        module
        for module, owners in packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & kept
    }
    assert {"pytest", "playwright", "peft", "zero123lib"} & hidden
    venv.create(tmp_path / "environment", with_pip=False, symlinks=True)
    (site,) = (tmp_path / "environment").glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (site / "sitecustomize.py").write_text(HIDE.format(hidden=hidden - {"zero123lib"}))
    starts_quietly(tmp_path / "environment/bin/python", space, tmp_path / "log")


@pytest.mark.soak
def test_the_space_starts_in_the_environment_that_the_hub_builds(tmp_path: Path) -> None:
    """Of the front matter's Python and Gradio and of requirements.txt, installed anew: 2 GB.

    The Hub takes the newest versions in range, and its own build of torch; here the index decides.
    """
    header = (ROOT / "README.md").read_text().split("---\n")[1]
    told = dict(re.findall(r'^(\w+): "?([^"\n]+)"?$', header, re.MULTILINE))
    python = shutil.which(f"python{told['python_version']}")
    if python is None:
        pytest.skip(f"no python{told['python_version']}, which the Space has")
    space = copy_tracked(tmp_path / "space", "tests", "benchmarks", "notebooks", "docs")
    subprocess.run([python, "-m", "venv", tmp_path / "environment"], check=True)
    own = tmp_path / "environment/bin/python"
    # As the Hub's image for this SDK does, in this order.
    install = [own, "-m", "pip", "install", "--quiet", "--no-cache-dir"]
    subprocess.run([*install, "-r", "requirements.txt"], cwd=space, check=True)
    sdk = f"gradio[oauth,mcp]=={told['sdk_version']}"
    subprocess.run([*install, sdk, "uvicorn>=0.14.0", "websockets>=10.4", "spaces"], check=True)
    starts_quietly(own, space, tmp_path / "log")


def starts_quietly(python: Path, space: Path, log: Path) -> None:
    """Start app.py as a Space does, ask for the page, and read the log."""
    port = free_port()
    kept_variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "GRADIO", "ZERO123", "VIRTUAL"))
    }
    variables = {
        **kept_variables,
        "SYSTEM": "spaces",
        "SPACE_ID": "owner/name",
        "SPACE_HOST": "owner-name.hf.space",
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
    }
    with log.open("w") as file:
        process = subprocess.Popen(
            [python, "app.py"],
            cwd=space,
            env=variables,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        page = answer(f"http://127.0.0.1:{port}/", process, log)
    finally:
        process.terminate()
        process.wait(120)
    assert "gradio" in page
    said = log.read_text()
    assert "Running on" in said and str(port) in said
    assert not re.search(r"(?i)traceback|warning|error|deprecat", said), said


def answer(url: str, process: subprocess.Popen[bytes], log: Path) -> str:
    """The page, once it is served."""
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return response.read().decode()
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"nothing was served: {log.read_text()}")
