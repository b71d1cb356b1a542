"""The passes of a batch, where a list of workers stands for Ray: who is lost, kept, or to blame."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from made import Inverted, write_images

from zero123lib.batch import running
from zero123lib.batch.items import Item, Kind, find_items
from zero123lib.batch.manifest import Manifest
from zero123lib.batch.storage import Store
from zero123lib.batch.worker import Order, Worker
from zero123lib.cli import main
from zero123lib.cli.batch import Batch

for name in ("fsspec", "pyarrow", "ray"):
    pytest.importorskip(name, reason=f"{name} is not installed: pip install 'zero123lib[cluster]'")


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names that every pass is given; workers of "deadly" ones die, once with the next."""
    seen: list[list[str]] = []

    @contextmanager
    def cluster(address: str | None) -> Iterator[list[dict[str, Any]]]:
        yield [{"CPU": 2.0}]

    def one_pass(
        items: Sequence[tuple[Item, int]], order: Order, *rest: object
    ) -> Iterator[dict[str, Any]]:
        seen.append([item.name for item, _ in items])
        print("(raylet) Raylet is terminated.")  # as Ray does where a machine is lost
        lost = False
        for item, tries in items:
            if item.name == "stop.png" and len(seen) == 1:
                raise KeyboardInterrupt
            if not lost and not item.name.startswith("deadly"):
                yield Worker(order).row(item, tries)
            lost = item.name.startswith("deadly") and len(seen) == 1

    monkeypatch.setattr(running, "cluster", cluster)
    monkeypatch.setattr(running, "one_pass", one_pass)
    return seen


def run(tmp_path: Path, *names: str, retries: int = 1) -> running.Ended:
    (tmp_path / "log").mkdir(exist_ok=True)
    items = find_items([str(write_images(tmp_path / "in", *names))], Kind("image", (".png",)))
    out = str(tmp_path / "out")
    return running.run_batch(items, Inverted(tmp_path / "log"), out, {"about": 1}, retries=retries)


def rows(tmp_path: Path) -> dict[str, tuple[str, int]]:
    found = Manifest(Store(str(tmp_path / "out"))).read("status", "attempts")
    return {row["name"]: (row["status"], row["attempts"]) for row in found}


def test_who_waits_for_a_worker_that_another_item_kills_is_not_to_blame(
    tmp_path: Path, passes: list[list[str]]
) -> None:
    ended = run(tmp_path, "a.png", "deadly.png", "e.png", "f.png")
    # The last two passes are barren: one retry.
    guilty = ["deadly.png"]
    assert passes == [["a.png", *guilty, "e.png", "f.png"], [*guilty, "e.png"], guilty, guilty]
    assert (ended.done, ended.failed, ended.lost) == (3, 1, 5)
    told = rows(tmp_path)
    assert (told["a.png"], told["e.png"]) == (("done", 1), ("done", 2))
    assert told["deadly.png"] == ("failed", 4)


def test_a_run_that_is_interrupted_keeps_what_is_done(
    tmp_path: Path, passes: list[list[str]]
) -> None:
    ended = run(tmp_path, "a.png", "b.png", "stop.png")
    assert ended.interrupted and ended.done == 2
    assert rows(tmp_path) == {"a.png": ("done", 1), "b.png": ("done", 1)}
    again = run(tmp_path, "a.png", "b.png", "stop.png")
    assert (again.kept, again.done, again.interrupted) == (2, 1, False)
    assert passes[1:] == [["stop.png"]]
    once_more = run(tmp_path, "a.png", "b.png", "stop.png")
    assert (once_more.kept, once_more.done, len(passes)) == (3, 0, 2)


def test_other_settings_are_refused(tmp_path: Path, passes: list[list[str]]) -> None:
    run(tmp_path, "a.png")
    items = find_items([str(tmp_path / "in")], Kind("image", (".png",)))
    with pytest.raises(ValueError, match=r"out: expected a new folder or .* about 1, now 2"):
        running.run_batch(items, Inverted(tmp_path / "log"), str(tmp_path / "out"), {"about": 2})


def test_an_image_is_not_mistaken_for_another_of_its_name(
    tmp_path: Path, passes: list[list[str]]
) -> None:
    run(tmp_path, "a.png", "broken.png")
    there, kind = tmp_path / "elsewhere", Kind("image", (".png",))
    work, out = Inverted(tmp_path / "log"), str(tmp_path / "out")
    items = find_items([str(write_images(there, "a.png"))], kind)
    told = rf"inputs: expected inputs whose .* '{out}', got '{there}/a.png' after '.*/in/a.png'"
    with pytest.raises(ValueError, match=told):
        running.run_batch(items, work, out, {"about": 1})
    # What has failed may be another file now.
    (there / "a.png").rename(there / "broken.png")
    items = find_items([str(there)], kind)
    assert running.run_batch(items, work, out, {"about": 1}).done == 1


def test_what_ray_prints_is_not_in_the_result(
    tmp_path: Path, passes: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.obj").write_text("no mesh")
    words = ["batch", "render", str(tmp_path / "broken.obj"), "--out", str(tmp_path / "out")]
    assert main([*words, "--retries", "0", "--json"]) == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["failed"] == 1 and len(passes) == 1
    assert "Raylet" in told.err


def test_a_recipe_is_not_mistaken_for_a_folder_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("omegaconf", reason="omegaconf is not installed: no recipes")
    seen: list[Any] = []
    monkeypatch.setattr(Batch, "run", lambda self, verb, *rest: seen.append(verb) or 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny-views").mkdir()  # as of outputs
    (tmp_path / "own.yaml").write_text("{}")
    for config in ("tiny-views", "own.yaml"):
        words = ["batch", "reconstruct", "in", "--config", config, "--model", "tiny"]
        assert main([*words, "--out", "out"]) == 0
    assert [verb.options["config"] for verb in seen] == ["tiny-views", str(tmp_path / "own.yaml")]


@pytest.mark.parametrize("word", ["--mask", "--cameras"])
def test_what_tells_of_one_image_is_no_option_of_many(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("views", "orbit"):
        assert main(["batch", verb, "in", word, "file", "--out", "out"]) == 2
        assert f"{word}: expected an option of zero123 batch {verb}, got" in capsys.readouterr().err
