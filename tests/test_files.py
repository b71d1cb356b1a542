"""Files and folders are whole or absent, and on the disk before they get their names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zero123lib import _files as files


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_write_that_fails_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "views"
    files.write_folder(folder, {"a.txt": b"old"})
    with pytest.raises(TypeError):
        files.write_folder(folder, {"a.txt": b"new", "b.txt": "not bytes"})  # type: ignore[dict-item]
    assert (folder / "a.txt").read_bytes() == b"old"
    assert names_in(folder) == {"a.txt"} and names_in(tmp_path) == {"views"}


def test_an_interrupted_replacement_leaves_no_index_of_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_folder(tmp_path, {"000.png": b"old", "001.png": b"old", "index": b"old"})
    replace, calls = Path.replace, []

    def once(path: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", once)
    with pytest.raises(KeyboardInterrupt):
        files.write_folder(tmp_path, {"000.png": b"new", "001.png": b"new", "index": b"new"})
    assert names_in(tmp_path) == {"000.png", "001.png"}


def test_files_are_on_the_disk_before_they_get_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str | int] = []

    def noted(name: str) -> None:
        real = getattr(Path, name)

        def call(path: Path, *more: object, **options: object) -> object:
            events.append(f"{name} {path.name}")
            return real(path, *more, **options)

        monkeypatch.setattr(Path, name, call)

    for name in ("rename", "replace", "unlink"):
        noted(name)
    monkeypatch.setattr(files.os, "fsync", lambda handle: events.append(os.fstat(handle).st_ino))
    folder, content = tmp_path / "new", {"a": b"1", "index": b"2"}

    files.write_folder(folder, content)
    a, index, here = ((folder / name).stat().st_ino for name in ("a", "index", "."))
    assert events == [a, index, here, "rename made", tmp_path.stat().st_ino]

    events.clear()
    files.write_folder(folder, content)
    a, index = ((folder / name).stat().st_ino for name in ("a", "index"))
    expected = [a, index, "unlink index", here, "replace a", here, "replace index", here]
    assert events == expected


def test_a_folder_named_from_within_is_that_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    assert files.write_folder(Path(".."), {"a": b"1"}) == ["inner"]
    assert names_in(tmp_path) == {"a", "inner"}


def test_what_cannot_be_written_to_is_named_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path, tmp_path / "new", tmp_path / "new" / "deep"):
        files.check_folder(out)
    files.check_file(tmp_path / "file")
    files.check_file(tmp_path / "new" / "deep.glb")
    for check, out, got in (
        (files.check_folder, tmp_path / "file", "which is a file"),
        (files.check_folder, tmp_path / "file" / "in", "expected a folder that can be written"),
        (files.check_file, tmp_path, "which is a folder"),
        (files.check_file, tmp_path / "file" / "in", "expected a file in a folder that can be"),
    ):
        with pytest.raises(ValueError, match=f"out: .*{got}"):
            check(out)
