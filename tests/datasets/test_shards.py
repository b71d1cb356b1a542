"""Tar shards: what is in them, what is broken in them, and how they are streamed."""

from __future__ import annotations

import gzip
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from discs import SIZE, which

from zero123lib.datasets import shards, tars
from zero123lib.datasets.batches import Batch, PairSource
from zero123lib.datasets.packing import pack
from zero123lib.datasets.pairs import open_pairs
from zero123lib.datasets.shards import ShardPairs, shuffled
from zero123lib.datasets.tars import find_shards, is_shards, read_counts, read_shard

SHARD_BYTES = 20_000


@pytest.fixture
def packed(make_objects: Callable[..., Path]) -> Path:
    """Seven objects in four shards, with an index."""
    out = make_objects(7).with_name("shards")
    progress = list(pack(out.with_name("objects"), out, SHARD_BYTES))[-1]
    assert (progress.done, progress.packed, progress.shards) == (7, 7, 4)
    return out


@pytest.fixture
def served(packed: Path) -> Iterator[str]:
    """The shards' folder on a real server on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = partial(Quiet, directory=str(packed))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def taken(source: PairSource, count: int, first: int = 0) -> list[Batch]:
    return list(islice(source.batches(first, 1, 4), count))


def same(a: list[Batch], b: list[Batch]) -> bool:
    return all(torch.equal(x[name], y[name]) for x, y in zip(a, b, strict=True) for name in x)


def contents(url: str) -> tuple[dict[str, dict[str, bytes]], dict[str, str]]:
    """Files of the objects in a shard, and what was reported."""
    reported: dict[str, str] = {}
    found = {
        stored.name.rpartition(":")[2]: {name: stored.read(name) for name in stored.files}
        for stored in read_shard(url, reported.__setitem__)
    }
    return found, reported


def test_shards_hold_the_files_of_the_folder(packed: Path) -> None:
    found = {}
    for url in find_shards(packed):
        objects, reported = contents(url)
        assert reported == {} and not found.keys() & objects.keys()
        found.update(objects)
    root = packed.with_name("objects")
    assert found == {
        folder.relative_to(root).as_posix(): {
            file.name: file.read_bytes() for file in folder.iterdir()
        }
        for folder in root.glob("group/*")
    }


def test_index_counts_what_is_there(packed: Path) -> None:
    urls = find_shards(packed)
    assert read_counts(urls) == {url: len(contents(url)[0]) for url in urls}


def test_same_folder_gives_the_same_bytes(packed: Path) -> None:
    again = packed.with_name("again")
    assert list(pack(packed.with_name("objects"), again, SHARD_BYTES))
    files = sorted(packed.iterdir())
    assert [file.name for file in files] == sorted(file.name for file in again.iterdir())
    assert all(file.read_bytes() == (again / file.name).read_bytes() for file in files)


def test_no_shard_is_larger_than_asked_unless_an_object_is(packed: Path) -> None:
    closing = 10_240  # tar fills its last record
    assert all(file.stat().st_size <= SHARD_BYTES + closing for file in packed.glob("*.tar"))
    tight = packed.with_name("tight")
    assert list(pack(packed.with_name("objects"), tight, 1))[-1].shards == 7


def test_packing_that_stops_leaves_nothing(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = packed.with_name("stopped")
    steps = pack(packed.with_name("objects"), out, SHARD_BYTES)
    next(steps)
    steps.close()
    with pytest.raises(ValueError, match="out: expected a new name"):
        next(pack(packed.with_name("objects"), packed))
    assert sorted(path.name for path in packed.parent.iterdir()) == ["objects", "shards"]


def test_shards_give_the_same_pairs_as_the_folder(make_objects: Callable[..., Path]) -> None:
    root = make_objects(3, 3)
    assert list(pack(root, root.with_name("shards"), SHARD_BYTES))

    def pairs(path: Path) -> set[tuple]:
        found = set()
        for batch in islice(open_pairs(path, SIZE).batches(0, 1, 12), 12):
            for a, b, pose, _camera in zip(*batch.values(), strict=True):
                numbers = tuple(np.round(pose.numpy().astype(float), 4).tolist())
                found.add((*which(a), *which(b), numbers))
        return found

    from_folder = pairs(root)
    assert len(from_folder) == 3 * 3 * 2
    assert pairs(root.with_name("shards")) == from_folder


def test_a_plain_tar_of_folders_is_a_shard(packed: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "plain.tar", "w") as tar:
        tar.add(packed.with_name("objects"), arcname=".")
    found, reported = contents(str(tmp_path / "plain.tar"))
    assert reported == {} and len(found) == 7
    assert all(len(files) == 8 for files in found.values())
    (tmp_path / "plain.tar.gz").write_bytes(gzip.compress((tmp_path / "plain.tar").read_bytes()))
    assert contents(str(tmp_path / "plain.tar.gz")) == (found, {})


def test_unfinished_objects_in_a_plain_tar_are_passed_over(packed: Path, tmp_path: Path) -> None:
    root = packed.with_name("objects")
    (root / "group/00").rename(root / ".making-1")
    with tarfile.open(tmp_path / "plain.tar", "w") as tar:
        tar.add(root, arcname=".")
    found, reported = contents(str(tmp_path / "plain.tar"))
    assert reported == {} and found.keys() == {f"group/{index:02d}" for index in range(1, 7)}


def test_drive_of_windows_is_no_url() -> None:
    assert is_shards("https://host/a.tar") and not is_shards(r"C:\absent\renders")


def test_names_of_shards(packed: Path) -> None:
    urls = find_shards(packed)
    assert [Path(url).name for url in urls] == [f"{number:06d}.tar" for number in range(4)]
    assert find_shards(f"{packed}/{{000000..000003}}.tar") == urls
    assert find_shards(urls[2]) == (urls[2],)
    web = find_shards("https://host/{0..1}.tar::pipe:cat x.tar")
    assert web == ("https://host/0.tar", "https://host/1.tar", "pipe:cat x.tar")
    with pytest.raises(ValueError, match=r"path: .*[Uu]nbalanced"):
        find_shards("https://host/{0..")


def break_off(path: Path, at: int) -> None:
    path.write_bytes(path.read_bytes()[:at])


def spoil_header(path: Path) -> None:
    """Damage the header of the ninth file, the first one of the second object."""
    content = bytearray(path.read_bytes())
    start = [i for i in range(0, len(content), 512) if content[i + 257 : i + 262] == b"ustar"][8]
    content[start : start + 20] = b"\xff" * 20
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", [".tar", ".TAR"])  # read where it lies, and as a stream
@pytest.mark.parametrize(
    ("damage", "objects"),
    [
        (lambda path: break_off(path, 0), 0),
        (lambda path: break_off(path, 700), (0, 1)),
        (lambda path: break_off(path, -11_000), (1, 2)),
        (spoil_header, 1),
        (lambda path: path.write_bytes(b"<html>404</html>" * 100), 0),
        (lambda path: path.unlink(), 0),
    ],
)
def test_shard_that_breaks_off_is_named_and_read_up_to_there(
    packed: Path, suffix: str, damage: Callable[[Path], object], objects: int | tuple
) -> None:
    path = packed / "000000.tar"
    path = path.rename(path.with_suffix(suffix))
    before, reported = contents(str(path))
    assert len(before) == 2 and reported == {}
    damage(path)
    after, reported = contents(str(path))
    assert reported.keys() == {str(path)}
    assert "break" in reported[str(path)] or "readable" in reported[str(path)]
    assert len(after) in (objects if isinstance(objects, tuple) else (objects,))


@pytest.mark.parametrize("suffix", [".tar", ".TAR"])
def test_damage_anywhere_in_a_shard_is_named_or_harmless(packed: Path, suffix: str) -> None:
    """Whatever byte is wrong, reading goes on, and a view that differs is one that is refused."""
    path = packed / "000000.tar"
    path = path.rename(path.with_suffix(suffix))
    good, _ = contents(str(path))
    whole = path.read_bytes()
    headers = [i for i in range(0, len(whole), 512) if whole[i + 257 : i + 262] == b"ustar"]
    random = np.random.default_rng(0)
    places = [header + int(random.integers(512)) for header in headers for _ in range(12)]
    named = 0
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x15]) + whole[place + 1 :])
        found, reported = contents(str(path))
        named += str(path) in reported
        assert found == good or reported.keys() == {str(path)}, place
    assert named > len(places) / 2


def test_broken_shards_are_skipped_and_move_no_other_pair(packed: Path) -> None:
    whole = taken(ShardPairs(packed, SIZE, seed=1, buffer_objects=3), 14)
    lost = set(contents(str(packed / "000001.tar"))[0])
    (packed / "000001.tar").unlink()
    source = ShardPairs(packed, SIZE, seed=1, buffer_objects=3)
    got = taken(source, 14)
    assert source.skipped.keys() == {str(packed / "000001.tar")}
    lost_numbers = {int(name.rpartition("/")[2]) for name in lost}
    for a, b in zip(whole, got, strict=True):
        for x, y in zip(a["condition"], b["condition"], strict=True):
            assert torch.equal(x, y) or which(x)[0] in lost_numbers
            assert which(y)[0] not in lost_numbers
    # And a run that is resumed agrees with one that was not.
    for first in (1, 5, 9):
        resumed = ShardPairs(packed, SIZE, seed=1, buffer_objects=3)
        assert same(taken(resumed, 4, first), got[first : first + 4])


@pytest.mark.parametrize("indexed", [True, False])
def test_going_on_is_the_same_as_having_read_all(packed: Path, indexed: bool) -> None:
    if not indexed:
        (packed / "shards.json").unlink()
    whole = taken(ShardPairs(packed, SIZE, seed=4, buffer_objects=2), 16)
    for first in range(0, 12, 3):
        resumed = ShardPairs(packed, SIZE, seed=4, buffer_objects=2)
        assert same(taken(resumed, 4, first), whole[first : first + 4]), first


def test_going_on_opens_no_shard_that_it_is_past(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def watched(url: str, report: Callable[[str, str], None]):
        opened.append(url)
        return read_shard(url, report)

    monkeypatch.setattr(shards, "read_shard", watched)
    # Pair 7 * 1000 + 6 is the last of epoch 1000: of its shards, only what is needed is opened.
    source = ShardPairs(packed, SIZE, buffer_objects=1)
    next(source.batches(7 * 1000 + 6, 1, 1))
    assert len(opened) == 1


def test_reading_passes_over_what_others_decode(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    real = shards.draw_pair

    def watched(stored, *arguments):
        decoded.append(stored.name)
        return real(stored, *arguments)

    monkeypatch.setattr(shards, "draw_pair", watched)
    list(islice(ShardPairs(packed, SIZE).batches(3, 5, 2), 3))
    assert len(decoded) == 6


def test_index_that_cannot_be_used(packed: Path) -> None:
    for content in (
        "{",
        "[]",
        '{"shards": 3}',
        '{"shards": {"a": "b"}}',
        '{"shards": {"../a": 3}}',
    ):
        (packed / "shards.json").write_text(content)
        with pytest.raises(ValueError, match="^path: expected .* in .*shards.json, got"):
            ShardPairs(packed, SIZE)


def test_more_objects_than_the_index_says(packed: Path) -> None:
    (packed / "shards.json").write_text(json.dumps({"shards": {"000000.tar": 1}}))
    source = ShardPairs(packed, SIZE)
    taken(source, 4)
    assert list(source.skipped) == [str(packed / "000000.tar")]
    assert "expected 1 objects" in source.skipped[str(packed / "000000.tar")]


def test_stream_from_a_server_is_the_folder(packed: Path, served: str) -> None:
    pattern = f"{served}/{{000000..000003}}.tar"
    local = ShardPairs(packed, SIZE, seed=2, buffer_objects=3)
    streamed = open_pairs(pattern, SIZE, seed=2, buffer_objects=3)
    assert isinstance(streamed, ShardPairs)
    assert same(taken(local, 6), taken(streamed, 6))
    assert same(
        taken(local, 2, 4), taken(open_pairs(pattern, SIZE, seed=2, buffer_objects=3), 2, 4)
    )
    assert streamed.skipped == {}


def test_shard_that_the_server_has_not_is_named(served: str) -> None:
    source = open_pairs(f"{served}/{{000000..000004}}.tar", SIZE)
    batches = taken(source, 6)
    assert source.skipped.keys() == {f"{served}/000004.tar"}
    assert all(which(image) for batch in batches for image in batch["condition"])


def test_stream_that_breaks_off_is_named(packed: Path, served: str) -> None:
    break_off(packed / "000002.tar", 5000)
    source = open_pairs(f"{served}/{{000000..000003}}.tar", SIZE)
    taken(source, 4)
    assert f"{served}/000002.tar" in source.skipped


def test_stream_from_a_command(packed: Path) -> None:
    source = open_pairs(f"pipe:cat {packed}/000000.tar", SIZE)
    assert all(which(image) for image in taken(source, 1)[0]["target"])
    assert source.skipped == {}
    failing = open_pairs("pipe:exit 3", SIZE)
    with pytest.raises(ValueError, match="none; the first of 1 complaints: pipe:exit 3"):
        taken(failing, 1)


def test_file_in_a_shard_that_is_too_large(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "MAX_FILE_BYTES", 200)
    found, reported = contents(str(packed / "000000.tar"))
    assert all("expected at most 200 bytes" in reason for reason in reported.values())
    assert len(reported) == 16 and found == {}


@pytest.mark.parametrize("capacity", [1, 3, 10, 50])
def test_buffer_shuffles_and_loses_nothing(capacity: int) -> None:
    out = []
    for item, waiting in shuffled(range(20), np.random.default_rng(0), capacity):
        assert len(waiting) < capacity
        out.append(item)
    assert sorted(out) == list(range(20))
    assert (out == list(range(20))) == (capacity == 1)
    # Nothing leaves before the buffer that it comes into is full.
    assert all(place <= index + capacity - 1 for index, place in enumerate(out))
