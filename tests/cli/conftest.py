"""Images that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "text.png").write_text("not an image")
    Image.new("RGB", (1, 1)).save(folder / "one.png")
    Image.new("RGBA", (64, 64), (9, 9, 9, 0)).save(folder / "empty.png")
    return folder
