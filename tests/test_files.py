"""A file is there whole, or the one before it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zero123lib._files import whole_file, write_bytes, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_in_folders_that_are_made(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b" / "file.bin", b"12345")
    assert (tmp_path / "a" / "b" / "file.bin").read_bytes() == b"12345"
    assert names(tmp_path / "a" / "b") == ["file.bin"]


def test_until_it_is_whole_the_old_one_is_there(tmp_path: Path) -> None:
    file = tmp_path / "mesh.ply"
    file.write_text("old")
    with whole_file(file) as scratch:
        assert (scratch.parent, scratch.suffix) == (tmp_path, ".ply")
        scratch.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert names(tmp_path) == ["mesh.ply"]


def test_what_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "mesh.ply"
    file.write_text("old")
    with pytest.raises(OSError, match="disk full"), whole_file(file) as scratch:
        scratch.write_text("half")
        raise OSError("disk full")
    assert file.read_text() == "old"
    assert names(tmp_path) == ["mesh.ply"]


def test_a_writer_that_wrote_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "file"):
        pass
    assert names(tmp_path) == []


def test_json_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"psnr_db": 20.5})
    assert json.loads((tmp_path / "a.json").read_text()) == {"psnr_db": 20.5}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"psnr_db": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"psnr_db": 20.5}
