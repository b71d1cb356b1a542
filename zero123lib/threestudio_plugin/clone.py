"""A clone of threestudio on the disk: is it one, which one, and does it load our guidance?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from zero123lib._errors import ArgumentError
from zero123lib._files import write_bytes

# What recipes call our guidance: `system.guidance_type`.
GUIDANCE_TYPE = "zero123lib-guidance"

# threestudio has no releases: this commit (December 2024, its newest) is what the tests run on.
TESTED_COMMIT = "28d9d80d9d00f308244adfcf3be8b17ca0cb6465"
TESTED_VERSION = "0.2.3"
REPOSITORY = "https://github.com/threestudio-project/threestudio"
INSTALL_PAGE = f"{REPOSITORY}#installation"

# launch.py imports every folder of `custom` and puts its name into sys.modules: never `zero123lib`,
# which would hide the package.
HOOK = Path("custom") / "threestudio-zero123lib" / "__init__.py"
HOOK_TEXT = '''"""Registers zero123lib's guidance; written by `zero123 threestudio install`."""

import zero123lib.threestudio_plugin.guidance  # noqa: F401
'''


@dataclass(frozen=True)
class Clone:
    """A folder that holds threestudio.

    Attributes:
        root: absolute.
        version: as ``threestudio/__init__.py`` says, None where it does not.
        commit: 40 hex digits of its git checkout, None where there is no git folder.
    """

    root: Path
    version: str | None
    commit: str | None

    @property
    def hook(self) -> Path:
        """Our file in it, there or not."""
        return self.root / HOOK

    @property
    def has_hook(self) -> bool:
        """Tell whether our file is there and ours."""
        return self.hook.is_file() and self.hook.read_bytes() == HOOK_TEXT.encode()


def open_clone(folder: str | Path) -> Clone:
    """Look at a clone.

    Raises:
        ValueError: the folder is not one.
    """
    root = Path(folder).expanduser().absolute()
    package = root / "threestudio" / "__init__.py"
    for part in (root / "launch.py", package):
        if not part.is_file():
            raise ArgumentError(
                "clone",
                f"a folder with threestudio (git clone {REPOSITORY})",
                f"{str(folder)!r}, which has no {part.relative_to(root)}",
            )
    found = re.search(
        r"^__version__\s*=\s*[\"']([^\"']+)", package.read_text(errors="replace"), re.MULTILINE
    )
    return Clone(root, found[1] if found else None, _commit(root / ".git"))


def install(folder: str | Path) -> Path:
    """Write our hook under a clone's ``custom``, whole or not at all; a second time is the same.

    Returns:
        The file.

    Raises:
        ValueError: the folder is not a clone, or there is another file of the hook's name.
        OSError: it cannot be written.
    """
    clone = open_clone(folder)
    if clone.hook.exists() and not clone.has_hook and b"zero123lib" not in clone.hook.read_bytes():
        raise ArgumentError("clone", f"no other file at {clone.hook}", "one that is not ours")
    write_bytes(clone.hook, HOOK_TEXT.encode())
    return clone.hook


def _commit(git: Path) -> str | None:
    """Return what HEAD is at, read from the files: git itself may be absent, or distrust the
    folder."""
    if git.is_file():  # a worktree or submodule: "gitdir: PATH"
        git = (git.parent / git.read_text().partition("gitdir:")[2].strip()).resolve()
    head = git / "HEAD"
    if not head.is_file():
        return None
    text = head.read_text().strip()
    if text.startswith("ref:"):
        name = text.partition(":")[2].strip()
        loose, packed = git / name, git / "packed-refs"
        if loose.is_file():
            text = loose.read_text().strip()
        elif packed.is_file():
            lines = (line.split(" ") for line in packed.read_text().splitlines())
            text = next((line[0] for line in lines if line[1:] == [name]), "")
    return text if re.fullmatch("[0-9a-f]{40}", text) else None
