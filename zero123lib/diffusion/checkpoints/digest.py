"""Which files a model is made of, in one number: for whoever asks before anything is loaded."""

from __future__ import annotations

import hashlib
from pathlib import Path

from zero123lib.diffusion.checkpoints.sources import find


def files_digest(source: str | Path) -> str:
    """Return the SHA-256 of a model's files, their names and contents, hidden ones left out.

    Args:
        source: as :func:`zero123lib.diffusion.checkpoints.sources.find` takes it; what is not on
            this disk is brought.

    Raises:
        ArgumentError: there is no such model, or it cannot be downloaded.
    """
    path = find(source).path
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    digest = hashlib.sha256()
    for file in sorted(files):
        name = file.relative_to(path.parent if path.is_file() else path).as_posix()
        if not any(part.startswith(".") for part in name.split("/")):
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
            digest.update(f"{name} {content}\n".encode())
    return digest.hexdigest()
