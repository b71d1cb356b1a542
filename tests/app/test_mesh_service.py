"""Meshes from the app: a small recipe runs to its files; one that is stopped keeps its result."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from tests.app.conftest import ENDLESS, ENOUGH, served
from zero123lib.app.examples import example_files
from zero123lib.app.mesh_service import CHOICES, MeshService, recipe_for
from zero123lib.app.model_cache import ModelCache
from zero123lib.app.sessions import Session
from zero123lib.app.view_service import ViewService
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.meshes.load import load_mesh
from zero123lib.reconstruction.recipes import recipe_names

DUCK = example_files()[3]


def steps(words: str) -> tuple[int, int]:
    """Of fitting, in a table or a line on the way; zeros where it has not begun."""
    found = re.search(r"Fitting\W+(\d+) of (\d+)", words)
    return (0, 0) if found is None else (int(found[1]), int(found[2]))


def test_a_quick_recipe_gives_a_mesh_in_every_format(url: str) -> None:
    client = Client(url, verbose=False)
    image, stats, glb, obj, ply, video = client.predict(
        handle_file(DUCK), "quick", input_elevation=20, api_name="/reconstruct"
    )
    counts = {len(load_mesh(file).faces) for file in (glb, obj, ply)}
    assert len(counts) == 1 and min(counts) > 20
    assert f"{min(counts):,} faces" in stats and "apache-2.0" in stats
    assert "**Finished**" in stats
    taken, total = steps(stats)
    assert taken == total >= 30
    assert Path(video).suffix == ".mp4" and Path(image).exists()


def test_a_mesh_that_is_stopped_keeps_what_is_there_and_views_go_on(pipe: Zero123Pipeline) -> None:
    with served(pipe, ENDLESS) as url:
        client = Client(url, verbose=False)
        assert client.predict(api_name="/stop") == "Nothing is being made."
        job = client.submit(handle_file(DUCK), "quick", api_name="/reconstruct")
        while not any(steps(words)[0] >= ENOUGH for _, words, *_ in job.outputs()):
            assert not job.done()
            time.sleep(0.2)
        other = Client(url, verbose=False)
        assert other.predict(handle_file(DUCK), 0, 30, api_name="/preview")
        assert other.predict(api_name="/stop") == "Nothing is being made."
        assert client.predict(api_name="/stop").startswith("Stopping")
        _, stats, glb, *_ = job.result(timeout=120)
    taken, total = steps(stats)
    assert "Stopped early" in stats and ENOUGH <= taken < total
    assert len(load_mesh(glb).faces) > 20


def test_wrong_input_is_one_line(url: str) -> None:
    client = Client(url, verbose=False)
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"recipe": "magic"}, "recipe: expected one of quick, views, sds, got 'magic'"),
        ({"seed": -1}, "seed: expected a whole number from 0"),
        ({"input_elevation": 91}, "input_elevation: expected a number from -90 to 90"),
    )
    for arguments, message in wrong:
        with pytest.raises(AppError, match=message):
            client.predict(handle_file(DUCK), api_name="/reconstruct", **arguments)


def test_every_choice_is_a_packaged_recipe(pipe: Zero123Pipeline, told: Zero123Pipeline) -> None:
    names = {recipe_for(choice, one) for choice in CHOICES for one in (pipe, told)}
    assert names < {*recipe_names()} and "stable-zero123-sds" in names


def test_a_run_ends_with_its_visitor(
    pipe: Zero123Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    copy = tmp_path / "duck.png"
    copy.write_bytes(Path(DUCK).read_bytes())
    session = Session()
    view_service = ViewService(ModelCache(pipe, Zero123Pipeline.from_pretrained))
    solid = MeshService(view_service, ENDLESS.recipe_overrides)
    running = solid.reconstruct(session, {"path": str(copy)})
    next(running)
    folder = session.folder
    assert folder is not None and folder.exists()
    session.close()
    list(running)
    assert not folder.exists()
