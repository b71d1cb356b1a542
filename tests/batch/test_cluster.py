"""Batches on Ray: workers and nodes that are killed, Ctrl-C, second runs, and the verbs."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import Inverted, write_images
from nodes import ray_cluster
from PIL import Image, ImageDraw

from zero123lib import cli
from zero123lib.batch.cluster import Spread
from zero123lib.batch.items import Kind, find_items
from zero123lib.batch.manifest import Manifest
from zero123lib.batch.running import Ended, run_batch
from zero123lib.batch.storage import Store

pytest.importorskip("ray", reason="ray is not installed: pip install 'zero123lib[cluster]'")

ROOT = Path(__file__).resolve().parents[2]
IMAGES = Kind("image", (".png",))
# Ray's nodes and workers give up within seconds that a busy machine does not have for them: the
# passes of a batch are tested without them in test_running.py.
pytestmark = [pytest.mark.long, pytest.mark.soak]


@pytest.fixture(scope="module")
def address(s3_server: str) -> Iterator[str]:
    """A cluster of one node of two cores, whose workers know the S3 server."""
    with ray_cluster(2) as (address, _, _):
        yield address


@pytest.fixture
def work(tmp_path: Path) -> Inverted:
    (tmp_path / "log").mkdir()
    return Inverted(tmp_path / "log")


def run(work: Inverted, folder: Path, out: str, address: str, **more: Any) -> Ended:
    spread = Spread(ray=address, workers=2)
    items = find_items([str(folder)], IMAGES)
    return run_batch(items, work, out, {"about": "inverted"}, spread=spread, **more)


def manifest(out: str) -> dict[str, dict[str, Any]]:
    """Rows by name, each of which the file itself has once."""
    import io

    import pyarrow.parquet as pq

    content = Store(out).read("manifest.parquet")
    rows = pq.read_table(io.BytesIO(content or b"")).to_pylist()
    assert max(Counter(row["name"] for row in rows).values()) == 1
    assert Store(out).names("manifest.parts") == []
    return {row["name"]: row for row in rows}


def test_killed_workers_cost_no_other_item_and_a_second_run_does_what_is_left(
    tmp_path: Path, work: Inverted, address: str, s3: str
) -> None:
    good = [f"{n}.png" for n in range(6)]
    names = [*good, "broken.png", "deadly.png", "killed.png", "shaky.png"]
    photos, out = write_images(tmp_path / "in", *names), f"{s3}/out"
    told: list[str] = []
    ended = run(work, photos, out, address, retries=1, tell=lambda row: told.append(row["name"]))
    assert sorted(told) == sorted(names)
    assert (ended.done, ended.failed, ended.kept, ended.items) == (8, 2, 0, 10)
    rows = manifest(out)
    assert sorted(rows) == sorted(names)
    failed = {name: row["error"] for name, row in rows.items() if row["status"] == "failed"}
    assert failed.keys() == {"broken.png", "deadly.png"}
    assert failed["deadly.png"].startswith("its worker was lost ")
    assert rows["killed.png"]["attempts"] >= 2 and work.attempts("killed") == 2
    for name, row in rows.items():
        there = Store(out).read(f"{name}/item.json") is not None
        assert there == (row["status"] == "done")
        assert all(Store(out).read(output) for output in row["outputs"])
    before = {name: work.attempts(name[:-4]) for name in good}
    # What failed may be mended, and is tried again; nothing else is.
    write_images(photos, "deadly.png")
    Image.new("L", (8, 8), 7).save(photos / "broken.png")
    again = run(Inverted(work.log), photos, out, address, retries=0)
    assert (again.done, again.failed, again.kept) == (1, 1, 8)
    assert manifest(out)["broken.png"]["status"] == "done"
    assert {name: work.attempts(name[:-4]) for name in good} == before
    with pytest.raises(ValueError, match="out: expected a new folder or the settings of .* seed 0"):
        run(work, photos, out, address, seed=1)


INTERRUPTED = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from made import Inverted
from zero123lib.batch.cluster import Spread
from zero123lib.batch.items import Kind, find_items
from zero123lib.batch.running import run_batch
log, photos, out, address = sys.argv[3:]
items = find_items([photos], Kind("image", (".png",)))
ended = run_batch(items, Inverted(Path(log), 0.2), out, {"about": "inverted"},
                  spread=Spread(ray=address, workers=2), tell=lambda row: print("row", flush=True))
print(ended)
sys.exit(130 if ended.interrupted else 0)
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_is_gone_on_with(
    tmp_path: Path, work: Inverted, address: str, stop: signal.Signals
) -> None:
    photos = write_images(tmp_path / "in", *[f"{n}.png" for n in range(40)])
    out = str(tmp_path / "out")
    words = [str(ROOT), str(Path(__file__).parent), str(work.log), str(photos), out, address]
    deaf = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    driver = subprocess.Popen(
        [sys.executable, "-c", deaf + INTERRUPTED, *words], stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    for _ in range(3):
        assert driver.stdout.readline() == "row\n"
    driver.send_signal(stop)
    driver.communicate(timeout=300)
    rows = {row["name"] for row in Manifest(Store(out)).read()}
    if stop == signal.SIGINT:
        assert driver.returncode == 130 and 3 <= len(rows) < 40
    whole = {path.parent.name for path in (tmp_path / "out").rglob("item.json")}
    assert rows <= whole
    ended = run(work, photos, out, address)
    assert ended.done + ended.kept == 40 and ended.kept == len(rows)
    assert len(manifest(out)) == 40
    # What was whole when the first run ended was not made again.
    assert all(work.attempts(name[:-4]) == 1 for name in whole)
    assert not (tmp_path / "out/.scratch").exists()


def drawn(folder: Path, names: list[str], side: int = 96) -> Path:
    """Draw simple objects on white."""
    folder.mkdir()
    draw = random.Random(0)
    for name in names:
        image = Image.new("RGB", (side, side), "white")
        color = tuple(draw.randrange(40, 200) for _ in range(3))
        box = [draw.randrange(15, 30), 20, draw.randrange(60, 80), 75]
        ImageDraw.Draw(image).ellipse(box, fill=color)
        image.save(folder / name)
    return folder


def test_the_verb_makes_what_the_verb_of_one_image_makes(
    tmp_path: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = drawn(tmp_path / "in", ["a.png", "b.png"])
    (photos / "broken.png").write_text("no image")
    asked = ["--azimuth", "30", "--steps", "1", "--device", "cpu"]
    out = str(tmp_path / "out")
    batch = ["batch", "views", str(photos), "--out", out, "--ray", address, "--workers", "1"]
    assert cli.main([*batch, *asked, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["done"], told["failed"], told["per_second"] > 0) == (2, 1, True)
    rows = manifest(out)
    assert rows["broken.png"]["error"].startswith("image: expected an image file")
    assert str(photos / "broken.png") in rows["broken.png"]["error"]
    assert len({row["worker"] for row in rows.values()}) == 1  # and so one model
    row = rows["a.png"]
    alone = ["views", str(photos / "a.png"), "--out", str(tmp_path / "alone"), *asked]
    assert cli.main([*alone, "--seed", str(row["seed"])]) == 0
    one, other = (
        np.asarray(Image.open(folder / "000.png")).astype(int)
        for folder in (tmp_path / "out/a.png", tmp_path / "alone")
    )
    assert np.abs(one - other).max() <= 1  # threads move rounding alone


def views(photos: Path | str, out: str, *more: str) -> list[str]:
    asked = ["--azimuth", "30", "--steps", "1", "--device", "cpu", "--retries", "5", "--json"]
    return ["batch", "views", str(photos), "--out", out, *asked, *more]


def test_200_images_on_a_cluster_that_loses_two_nodes(
    tmp_path: Path, s3: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{n:03d}.png" for n in range(195)]
    photos = drawn(tmp_path / "in", names)
    for n in range(5):
        (photos / f"broken{n}.png").write_text("no image")
    few = drawn(tmp_path / "few", names[:20])
    with ray_cluster(0, 1, 1, 1, 1) as (address, nodes, cluster):
        assert cli.main(views(few, f"{s3}/one", "--ray", address, "--workers", "1")) == 0
        one = json.loads(capsys.readouterr().out)

        def kill() -> None:
            for node, least in zip(nodes[:2], (30, 70), strict=True):
                while len(Manifest(Store(f"{s3}/out")).read()) < least:
                    time.sleep(1)
                cluster.remove_node(node, allow_graceful=False)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        assert cli.main(views(photos, f"{s3}/out", "--ray", address)) == 1
        killer.join(timeout=60)
        assert not killer.is_alive(), "two nodes were to be killed in mid-run"
    told = json.loads(capsys.readouterr().out)
    print({"one worker": one["per_second"], "all": told})
    assert (told["done"], told["failed"], told["workers"]) == (195, 5, 4)
    rows = manifest(f"{s3}/out")
    assert sorted(rows) == sorted(one.name for one in photos.iterdir())
    failed = {name: row["error"] for name, row in rows.items() if row["status"] == "failed"}
    assert failed.keys() == {f"broken{n}.png" for n in range(5)}
    assert all("expected an image file" in error for error in failed.values())
    for name in names:
        record = json.loads(Store(f"{s3}/out").read(f"{name}/item.json") or b"")
        for file, nbytes in record["files"].items():
            assert len(Store(f"{s3}/out").read(f"{name}/{file}") or b"") == nbytes
