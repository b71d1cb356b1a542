"""Meshes from the app: a small recipe runs to its files; one that is stopped keeps its result."""

from __future__ import annotations

import json
import math
import re
import time
import zipfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from tests.app.conftest import ENDLESS, ENOUGH, SMALL, served
from zero123lib.app import mesh_service, sampling
from zero123lib.app.examples import example_files
from zero123lib.app.looks import normals_at_vertices, write_looks
from zero123lib.app.mesh_service import CHOICES, OBJ_ZIP, STL, MeshService, recipe_for
from zero123lib.app.model_cache import ModelCache
from zero123lib.app.sessions import Session
from zero123lib.app.view_service import ViewService
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.meshes.load import load_mesh
from zero123lib.meshes.mesh import Mesh
from zero123lib.reconstruction.recipes import recipe_names
from zero123lib.views.poses import orbit

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


def test_a_mesh_that_waits_is_told_its_place_and_can_be_stopped(pipe: Zero123Pipeline) -> None:
    with served(pipe, ENDLESS) as url:
        first, second = (Client(url, verbose=False) for _ in range(2))
        running = first.submit(handle_file(DUCK), "quick", api_name="/reconstruct")
        while not any(steps(words)[0] for _, words, *_ in running.outputs()):
            assert not running.done()
            time.sleep(0.2)
        waiting = second.submit(handle_file(DUCK), "quick", api_name="/reconstruct")
        while not any(
            "Waiting: 1 request goes first" in words for _, words, *_ in waiting.outputs()
        ):
            assert not waiting.done()
            time.sleep(0.2)
        assert second.predict(api_name="/stop").startswith("Stopping")
        _, words, glb, *_ = waiting.result(timeout=60)
        assert words.startswith("Stopped before it began") and glb is None
        assert not running.done() and first.predict(api_name="/stop").startswith("Stopping")
        assert "Stopped early" in running.result(timeout=120)[1]


@pytest.fixture
def duck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An upload, for functions called without a server."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    copy = tmp_path / "duck.png"
    copy.write_bytes(Path(DUCK).read_bytes())
    return {"path": str(copy)}


def service(pipe: Zero123Pipeline, overrides: tuple[str, ...]) -> MeshService:
    model_cache = ModelCache(pipe, Zero123Pipeline.from_pretrained)
    return MeshService(ViewService(model_cache), overrides)


def test_the_mesh_comes_before_the_video_and_stop_skips_that(
    pipe: Zero123Pipeline, duck: dict[str, str]
) -> None:
    solid, session = service(pipe, SMALL.recipe_overrides), Session()
    answers = list(solid.reconstruct(session, duck))
    with_mesh = [answer for answer in answers if isinstance(answer[2], str)]
    assert len(with_mesh[0][2:]) == 4 and with_mesh[0][5] is None
    assert len(load_mesh(with_mesh[0][2]).faces) > 20 and "Stop skips it" in with_mesh[0][1]
    assert "Finished**" in answers[-1][1] and Path(answers[-1][5]).stat().st_size > 100

    skipped = []
    for answer in solid.reconstruct(session, duck):
        skipped.append(answer)
        if isinstance(answer[2], str):
            solid.stop(session)
    assert "Finished, without a video" in skipped[-1][1] and skipped[-1][5] is None
    assert Path(skipped[-1][2]).exists() and len(skipped) < len(answers)
    assert session.folder is not None and len(list(session.folder.glob("mesh-*"))) == 1


def test_a_mesh_has_the_faces_and_the_texture_that_are_asked_for(
    pipe: Zero123Pipeline, duck: dict[str, str]
) -> None:
    finer = [one for one in SMALL.recipe_overrides if "outputs." not in one]
    place = "system.guidance.embedded.outputs"
    solid = service(pipe, (*finer, f"{place}.frames=0", f"{place}.mesh_resolution=48"))
    session = Session()
    *_, (_, words, glb, *_) = solid.reconstruct(session, duck, max_faces=1000, texture_size=256)
    mesh = load_mesh(glb)
    assert 900 < len(mesh.faces) <= 1000, words
    (material,) = mesh.materials
    assert material.texture is not None and material.texture.shape[:2] == (256, 256)
    # What the page offers besides is the same mesh.
    for name in (STL, "normals.glb", "wireframe.glb"):
        assert len(load_mesh(str(solid.latest(session, name))).faces) == len(mesh.faces)
    with zipfile.ZipFile(str(solid.latest(session, OBJ_ZIP))) as archive:
        suffixes = {Path(name).suffix for name in archive.namelist()}
        assert suffixes == {".obj", ".mtl", ".png"}
    assert solid.latest(session, "no-such.glb") is None
    session.close()


def test_normals_are_the_colours_of_a_mesh_that_shows_them(tmp_path: Path) -> None:
    corners = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0, -1, 0], [0, 0, -1]])
    around = [(0, 1), (1, 3), (3, 4), (4, 0)]
    faces = [(a, b, 2) for a, b in around] + [(b, a, 5) for a, b in around]
    octahedron = Mesh(corners, torch.tensor(faces))
    assert torch.allclose(normals_at_vertices(octahedron), corners, atol=1e-5)
    write_looks(tmp_path, octahedron)
    shown = load_mesh(tmp_path / "normals.glb")
    assert shown.vertex_colors is not None
    for vertex, color in zip(shown.vertices, shown.vertex_colors, strict=True):
        assert torch.allclose(color[:3], (vertex.sign() + 1) / 2, atol=1e-3)
    content = (tmp_path / "normals.glb").read_bytes()
    assert len(content) == int.from_bytes(content[8:12], "little") and len(content) % 4 == 0
    tree = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])
    assert tree["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}
    assert tree["extensionsUsed"] == ["KHR_materials_unlit"]


def zipped(service: ViewService, session: Session, image: dict[str, str], up: float) -> set[str]:
    asked = service.asked(session, image, None, 1, 0, up, (None, True, "auto"), None)
    *_, (_, *files) = service.many(session, asked, orbit(2), 1, False, 1, gr.Progress())
    with zipfile.ZipFile(files[-1]) as archive:
        return {*archive.namelist()}


def test_views_of_what_has_a_mesh_come_with_its_gaussians_and_for_colmap(
    pipe: Zero123Pipeline, duck: dict[str, str]
) -> None:
    solid, session = service(pipe, SMALL.recipe_overrides), Session()
    colmap = {f"sparse/0/{name}.txt" for name in ("cameras", "images", "points3D")}
    before = zipped(solid.view_service, session, duck, 20.0)
    assert {"000.png", "transforms.json", *colmap} < before
    for answer in solid.reconstruct(session, duck, input_elevation=20.0):
        if isinstance(answer[2], str):
            solid.stop(session)  # there is no need of a video
    after = zipped(solid.view_service, session, duck, 20.0)
    assert after - before == {"gaussians.ply"}
    # In another world, as of another picture, it is another object.
    assert zipped(solid.view_service, session, duck, 10.0) == before
    # A later run may take its place at any moment.
    assert session.mesh is not None
    session.mesh[1].unlink()
    assert zipped(solid.view_service, session, duck, 20.0) == before
    session.close()


def lends(monkeypatch: pytest.MonkeyPatch, seconds: float, taken_at: str = "never") -> None:
    """Have a GPU lent for so long; it is taken away once a run says so."""

    class Spaces:
        @staticmethod
        def GPU(duration: Any) -> Any:
            def lent(function: Any) -> Any:
                def until_then(*arguments: Any) -> Iterator[Any]:
                    for grown in function(*arguments):
                        yield grown
                        if taken_at in grown.words:
                            raise RuntimeError("GPU task aborted")

                return until_then

            return lent

    monkeypatch.setattr(sampling, "SPACES", Spaces)
    monkeypatch.setattr(sampling, "GPU_MOST_S", seconds)


def test_a_run_longer_than_its_lease_of_a_gpu_ends_with_what_is_there(
    pipe: Zero123Pipeline, duck: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lends(monkeypatch, 3.0)
    looks = count()  # a clock by which every machine is as fast: each step looks at it
    monkeypatch.setattr(
        mesh_service, "time", SimpleNamespace(monotonic=lambda: next(looks) / (2 * ENOUGH))
    )
    solid = service(pipe, ENDLESS.recipe_overrides)
    *_, (_, words, glb, *_, video) = solid.reconstruct(Session(), duck)
    assert len(load_mesh(glb).faces) > 20 and Path(video).exists()
    assert "Ended early, with the GPU's time" in words


def test_where_no_gpu_is_lent_a_run_has_all_the_time_it_wants() -> None:
    pytest.importorskip("spaces")  # which a Space without ZeroGPU has too
    assert sampling.lease_s() == math.inf


def test_a_lease_that_ends_in_the_video_leaves_the_mesh(
    pipe: Zero123Pipeline, duck: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lends(monkeypatch, 600.0, taken_at="video 2 of")
    solid = service(pipe, SMALL.recipe_overrides)
    *_, (_, words, glb, *_, video) = solid.reconstruct(Session(), duck)
    assert len(load_mesh(glb).faces) > 20 and video is None
    assert "but for the video" in words


def test_wrong_input_is_one_line(url: str) -> None:
    client = Client(url, verbose=False)
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"recipe": "magic"}, "recipe: expected one of quick, views, sds, got 'magic'"),
        ({"recipe": [1]}, r"recipe: expected one of quick, views, sds, got '\[1\]'"),
        ({"recipe": None}, "recipe: expected one of quick, views, sds, got 'None'"),
        ({"seed": -1}, "seed: expected a whole number from 0"),
        ({"input_elevation": 91}, "input_elevation: expected a number from -90 to 90"),
        ({"max_faces": 10}, "max_faces: expected a whole number from 1000 to 100000, got 10"),
        ({"texture_size": 1.5}, "texture_size: expected a whole number from 256 to 2048, got 1.5"),
    )
    for arguments, message in wrong:
        with pytest.raises(AppError, match=message):
            client.predict(handle_file(DUCK), api_name="/reconstruct", **arguments)


def test_every_choice_is_a_packaged_recipe(pipe: Zero123Pipeline, told: Zero123Pipeline) -> None:
    names = {recipe_for(choice, one) for choice in CHOICES for one in (pipe, told)}
    assert names < {*recipe_names()} and "stable-zero123-sds" in names


def test_a_run_ends_with_its_visitor(pipe: Zero123Pipeline, duck: dict[str, str]) -> None:
    session = Session()
    running = service(pipe, ENDLESS.recipe_overrides).reconstruct(session, duck)
    next(running)
    folder = session.folder
    assert folder is not None and folder.exists()
    session.close()
    list(running)
    assert not folder.exists()
