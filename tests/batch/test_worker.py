"""Items, one by one: outputs whole or not at all, errors as rows, and the manifest of them."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from made import Inverted, write_images

from zero123lib._errors import ArgumentError, RunError
from zero123lib.batch import storage, worker
from zero123lib.batch.cluster import Spread, cluster
from zero123lib.batch.items import Item
from zero123lib.batch.manifest import COLUMNS, Manifest
from zero123lib.batch.storage import Store, fetched
from zero123lib.batch.worker import RECORD, Order, Work, Worker

pytest.importorskip("fsspec", reason="fsspec is not installed: pip install 'zero123lib[cluster]'")
pytest.importorskip("pyarrow", reason="pyarrow is not installed")


@pytest.fixture
def work(tmp_path: Path) -> Inverted:
    (tmp_path / "log").mkdir()
    return Inverted(tmp_path / "log")


def order(work: Work, out: str, **more: object) -> Order:
    return Order(work, out, **{"seed": 0, "retries": 2, "fingerprint": "f", **more})


def item(folder: Path, name: str) -> Item:
    write_images(folder, name)
    return Item(str(folder / name), name)


def test_an_item_is_made_once_and_found_again(
    tmp_path: Path, work: Inverted, place: Callable[[str], str]
) -> None:
    one, out = item(tmp_path / "in", "x/a.png"), place("out")
    row = Worker(order(work, out)).row(one)
    assert row["status"] == "done" and row["error"] is None and row["attempts"] == 1
    assert row["outputs"] == ["x/a.png/inverted.png", "x/a.png/seed.txt", "x/a.png/item.json"]
    assert set(row) == set(COLUMNS) and json.loads(row["scores"]) == {"mean": 255}
    store = Store(out)
    assert store.read("x/a.png/seed.txt") == str(one.seed(0)).encode()
    record = json.loads(store.read(f"x/a.png/{RECORD}") or b"")
    assert {n: len(store.read(f"x/a.png/{n}") or b"") for n in record["files"]} == record["files"]
    # Another worker finds it; one of another batch, or of another file of its name, makes it anew.
    again = Worker(order(work, out)).row(one)
    assert work.attempts("a") == 1 and again["seconds"] == row["seconds"]
    Worker(order(work, out, fingerprint="g")).row(one)
    assert work.attempts("a") == 2
    Worker(order(work, out, fingerprint="g")).row(item(tmp_path / "elsewhere", "x/a.png"))
    assert work.attempts("a") == 3


def test_a_folder_without_its_record_counts_for_nothing(
    tmp_path: Path, work: Inverted, place: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, out = item(tmp_path / "in", "a.png"), place("out")
    Worker(order(work, out)).row(one)
    before = Store(out).read("a.png/inverted.png")
    Store(out).remove(f"a.png/{RECORD}")
    Store(out).write("a.png/inverted.png", b"half")
    Worker(order(work, out)).row(one)
    assert Store(out).read("a.png/inverted.png") == before and work.attempts("a") == 2


def test_nothing_half_made_is_on_a_disk(tmp_path: Path, work: Inverted) -> None:
    bad = item(tmp_path / "in", "broken.png")
    Worker(order(work, str(tmp_path / "out"))).row(bad)
    left = [one for one in (tmp_path / "out").rglob("*") if one.is_file()]
    assert left == []
    with Store(str(tmp_path / "out")).scratch():  # as of a worker that is killed here
        Store(str(tmp_path / "out")).clear_scratch()
        assert list((tmp_path / "out").iterdir()) == []


def test_an_upload_that_breaks_leaves_no_record(
    tmp_path: Path, work: Inverted, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, wrote = item(tmp_path / "in", "a.png"), []
    fs, _ = storage.filesystem(s3, "out")
    put = fs.put_file

    def broken(local: str, remote: str) -> None:
        wrote.append(remote)
        if len(wrote) == 2:
            raise ConnectionResetError("cut off")
        put(local, remote)

    monkeypatch.setattr(fs, "put_file", broken)
    row = Worker(order(work, f"{s3}/out", retries=0)).row(one)
    assert row["status"] == "failed" and row["error"] == "ConnectionResetError: cut off"
    assert Store(f"{s3}/out").read(f"a.png/{RECORD}") is None
    row = Worker(order(work, f"{s3}/out")).row(one)
    assert row["status"] == "done" and wrote[-1].endswith(RECORD)


@pytest.mark.parametrize(
    ("name", "attempts", "error"),
    [
        ("broken.png", 1, "UnidentifiedImageError: cannot identify image file"),
        ("shaky.png", 2, None),
        ("bug.png", 3, "TypeError: of no use"),
    ],
)
def test_what_another_attempt_may_mend_gets_one(
    tmp_path: Path,
    work: Inverted,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    attempts: int,
    error: str | None,
) -> None:
    monkeypatch.setattr(worker.time, "sleep", lambda seconds: None)
    row = Worker(order(work, str(tmp_path / "out"))).row(item(tmp_path / "in", name))
    if error is None:
        assert (row["status"], row["error"]) == ("done", None)
    else:
        assert row["status"] == "failed" and row["error"].startswith(error)
        assert "\n" not in row["error"] and row["outputs"] == []
    if name != "broken.png":  # no image: Pillow's own error is one of files
        assert (row["attempts"], work.attempts(name[:-4])) == (attempts, attempts)


def test_a_lost_device_ends_the_process_and_not_the_item(
    tmp_path: Path, work: Inverted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No attempt of this process could succeed; Ray begins another one."""

    class Ended(BaseException):
        pass

    def end(status: int) -> None:
        raise Ended(status)

    def lost(source: Path, out: Path, seed: int) -> dict[str, float]:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(worker.os, "_exit", end)
    with pytest.raises(Ended, match="1"):
        Worker(order(lost, str(tmp_path / "out"))).row(item(tmp_path / "in", "a.png"))


def test_an_item_that_is_not_there_is_a_row(tmp_path: Path, work: Inverted) -> None:
    row = Worker(order(work, str(tmp_path / "out"))).row(Item(str(tmp_path / "no.png"), "no.png"))
    assert row["status"] == "failed" and row["attempts"] == 1 and "no.png" in row["error"]


def test_files_that_a_mesh_names_come_with_it(tmp_path: Path, s3: str) -> None:
    fs, root = storage.filesystem(f"{s3}/meshes", "inputs")
    for name in ("chair.obj", "chair.mtl", "maps/wood.png"):
        fs.pipe_file(f"{root}/{name}", name.encode())
    with fetched(f"{s3}/meshes/chair.obj", tmp_path) as here:
        assert {one.name for one in here.parent.rglob("*") if one.is_file()} == {
            "chair.obj", "chair.mtl", "wood.png"
        }  # fmt: skip
        assert here.read_bytes() == b"chair.obj"
        assert (here.parent / "maps/wood.png").read_bytes() == b"maps/wood.png"


def rows(status: str, *names: str) -> list[dict]:
    empty = dict.fromkeys(COLUMNS)
    return [{**empty, "name": name, "status": status, "outputs": [name]} for name in names]


def test_a_manifest_has_the_last_row_of_every_item(place: Callable[[str], str]) -> None:
    store = Store(place("out"))
    first = Manifest(store, rows_per_part=2)
    for row in rows("failed", "c", "a", "b"):
        first.add(row)
    assert len(first.read()) == 2  # of one that is killed here, what is written counts
    first.flush()
    second = Manifest(store)
    second.add(rows("done", "a")[0])
    second.close()
    found = {row["name"]: row["status"] for row in Manifest(store).read("status")}
    assert found == {"a": "done", "b": "failed", "c": "failed"}
    assert store.names("manifest.parts") == []
    third = Manifest(store)
    third.add(rows("done", "c")[0])
    third.close()
    told = {row["name"]: (row["status"], row["outputs"]) for row in Manifest(store).read()}
    assert told == {"a": ("done", ["a"]), "b": ("failed", ["b"]), "c": ("done", ["c"])}


def test_workers_are_as_many_as_there_is_room_for() -> None:
    nodes = [{"CPU": 3.0}, {"CPU": 16.0, "GPU": 2.0}, {"node:1": 1.0}]
    assert Spread().most(nodes) == 2  # one for each GPU
    assert Spread(gpus_per_worker=0.25).most(nodes) == 8
    assert Spread(gpus_per_worker=0.25, cpus_per_worker=4).most(nodes) == 4
    assert Spread().most(nodes, on_cpu=True) == 19
    assert Spread(cpus_per_worker=2).most(nodes[:1]) == 1
    assert Spread(workers=7).most(nodes) == 7
    with pytest.raises(ArgumentError, match="gpus_per_worker: expected at most .* 0, got 0.5"):
        Spread(gpus_per_worker=0.5).most(nodes[:1])
    with pytest.raises(ArgumentError, match="cpus_per_worker: expected at most .* 3, got 4"):
        Spread(cpus_per_worker=4).most(nodes[:1])


def test_what_is_no_cluster_is_one_line_and_ray_reports_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    asked: list[str] = []

    def absent(address: str, **options: object) -> None:
        asked.append(address)
        raise ConnectionError("no cluster\nhere")

    monkeypatch.setattr(ray, "init", absent)
    expected = "^ray: expected the address of a Ray cluster, got '{}': {}"
    with socket.create_server(("127.0.0.1", 0)) as listens:
        taken = f"127.0.0.1:{listens.getsockname()[1]}"
        for address in (taken, f"ray://{taken}", "auto"):
            told = expected.format(address, "no cluster here$")
            with pytest.raises(ArgumentError, match=told), cluster(address):
                pass
    with pytest.raises(RunError, match="^Ray does not start: no cluster here$"), cluster(None):
        pass
    assert asked == [taken, f"ray://{taken}", "auto", "local"]
    # Where nobody listens Ray is not asked: it would knock for minutes.
    for address, why in ((taken, ".*refused"), ("127.0.0.1:x", "invalid"), ("[::1]:99999", "")):
        told = expected.format(re.escape(address), why)
        with pytest.raises(ArgumentError, match=told), cluster(address):
            pass
    assert len(asked) == 4 and os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
