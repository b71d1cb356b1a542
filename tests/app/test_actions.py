"""What is behind the endpoints, without a server: sessions, framing, limits, flags."""

from __future__ import annotations

import math
import sys
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from pathlib import Path
from threading import Event
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from zero123lib.app import callbacks, inputs, outputs, sampling, settings
from zero123lib.app.callbacks import Actions
from zero123lib.app.examples import EXAMPLES, example_files, example_image
from zero123lib.app.layout import build
from zero123lib.app.model_cache import ModelCache, about
from zero123lib.app.opening import EXAMPLE, FRAMES, Opening
from zero123lib.app.sessions import Session
from zero123lib.diffusion.card import about_model
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.poses import PRESETS, RelativePose, camera_label

BEAR, CAR, *_ = example_files()


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Gradio's folder of uploads, for functions called without a server."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


def test_numbers_that_json_need_not_have_are_refused() -> None:
    for value in (float("nan"), float("inf"), None, True, "3"):
        with pytest.raises(ValueError, match="zoom: expected a number"):
            inputs.number("zoom", value, -1, 1)
        with pytest.raises(ValueError, match="steps: expected a whole number"):
            inputs.whole("steps", value, 1, 200)
    assert inputs.whole("steps", 3.0, 1, 200) == 3


def upload(folder: Path, file: str | Path) -> dict[str, str]:
    copy = folder / Path(file).name
    copy.write_bytes(Path(file).read_bytes())
    return {"path": str(copy)}


@pytest.fixture(scope="module")
def actions(pipe: Zero123Pipeline) -> Actions:
    """The endpoints without a server."""
    return Actions(ModelCache(pipe, Zero123Pipeline.from_pretrained))


def test_the_cut_out_is_shown_with_how_it_was_made(
    actions: Actions, pipe: Zero123Pipeline, uploads: Path
) -> None:
    (before, after), note, framed = actions.prepare(Session(), upload(uploads, BEAR))
    assert framed.size == (pipe.image_size,) * 2 and framed.mode == "RGBA"
    assert before.size == after.size and before.mode == after.mode == "RGB"
    assert "own transparency" in note
    assert actions.prepare(Session(), None) == (None, "", None)
    with pytest.raises(gr.Error, match="image: expected an image file"):
        actions.prepare(Session(), upload(uploads, __file__))


def test_of_an_animation_the_first_frame_is_taken_and_that_is_said(
    actions: Actions, uploads: Path
) -> None:
    frames = [Image.open(file) for file in (BEAR, CAR)]
    frames[0].save(uploads / "turn.gif", save_all=True, append_images=frames[1:])
    _, note, framed = actions.prepare(Session(), {"path": str(uploads / "turn.gif")})
    assert "own transparency, the first of its frames." in note
    frames[0].save(uploads / "still.gif")
    _, note, still = actions.prepare(Session(), {"path": str(uploads / "still.gif")})
    assert "frames" not in note and still.tobytes() == framed.tobytes()


def test_what_is_said_of_an_upload_never_tells_where_it_lies(uploads: Path) -> None:
    (uploads / "a'b.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    for name in ("gone.png", "a'b.heic"):
        with pytest.raises(ValueError) as caught:
            inputs.uploaded_image({"path": str(uploads / name), "orig_name": "mine.png"})
        assert "'mine.png'" in str(caught.value) and str(uploads) not in str(caught.value)


def test_the_page_frames_as_the_library_does_and_keeps_a_frame_on_demand(
    actions: Actions, pipe: Zero123Pipeline, uploads: Path
) -> None:
    image = upload(uploads, BEAR)
    *_, framed = actions.prepare(Session(), image)
    assert framed.tobytes() == pipe.prepare(BEAR).rgba.tobytes()
    *_, smaller = actions.prepare(Session(), image, 0.3)
    assert smaller.tobytes() == pipe.prepare(BEAR, foreground_ratio=0.3).rgba.tobytes()
    *_, kept = actions.prepare(Session(), image, recentre=False)
    assert kept.tobytes() == pipe.prepare(BEAR, "none").rgba.tobytes()


def test_the_note_says_when_the_model_does_not_know_such_images(
    actions: Actions, tmp_path: Path, uploads: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 4), np.uint8)
    noise[..., 3] = 255 * (np.hypot(*np.mgrid[-64:64, -64:64]) < 50)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    _, note, _ = actions.prepare(Session(), upload(uploads, tmp_path / "noise.png"))
    assert "unlike" in note
    assert "unlike" not in actions.prepare(Session(), upload(uploads, BEAR))[1]


def test_a_session_cuts_out_once_and_its_files_go_with_it(actions: Actions, uploads: Path) -> None:
    session, image = Session(), upload(uploads, CAR)
    found = actions.view_service.prepared(
        session, actions.model_cache.default, image, (None, True, "auto")
    )
    again = actions.view_service.prepared(
        session, actions.model_cache.default, image, (0.4, True, "auto")
    )
    assert again[0] is found[0] and again[1] is not found[1]
    *_, last = actions.orbit(session, image, 2, steps=1)
    assert session.folder is not None and Path(last[-1]).is_relative_to(session.folder)
    folder = session.folder
    session.close()
    assert not folder.exists() and session.folder is None


def test_memory_is_bounded_over_all_visitors(actions: Actions, uploads: Path) -> None:
    image = upload(uploads, CAR)
    pipe, framing = actions.model_cache.default, (None, True, "auto")
    visitors = [Session() for _ in range(settings.MAX_REMEMBERED)]
    made = [actions.view_service.condition(one, pipe, image, framing) for one in visitors]
    assert sum(len(one._latest) for one in visitors) <= settings.MAX_REMEMBERED
    assert not visitors[0]._latest and visitors[-1]._latest
    again = actions.view_service.condition(visitors[0], pipe, image, framing)
    assert again is not made[0] and again.rgba.tobytes() == made[0].rgba.tobytes()
    for one in visitors:
        one.close()
        assert not one._latest


def test_rembg_is_not_imported_where_its_model_is_missing(
    actions: Actions, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (uploads / "rembg.py").write_text("raise SystemExit('it was imported')")
    monkeypatch.syspath_prepend(str(uploads))
    monkeypatch.delitem(sys.modules, "rembg", raising=False)
    monkeypatch.setenv("U2NET_HOME", str(uploads))
    with pytest.raises(gr.Error, match="method: expected a rembg model on disk"):
        actions.view(Session(), upload(uploads, CAR), method="rembg").__next__()


def test_presets_set_the_sliders_to_the_official_cameras() -> None:
    for name, pose in PRESETS.items():
        assert callbacks.preset(name) == (pose.elevation_deg, pose.azimuth_deg, pose.radius)
    assert callbacks.preset("above", 20)[0] == 70 and callbacks.preset("below", 20)[0] == -90
    drawn = [callbacks.preset("random") for _ in range(8)]
    assert len(set(drawn)) > 1
    assert all(-90 <= up <= 90 and -180 <= azimuth <= 180 for up, azimuth, _ in drawn)


def test_front_is_the_images_own_camera_and_random_goes_far_from_where_one_is() -> None:
    assert callbacks.preset("front", 20, -30, 145) == (0, 0, 0)
    for input_up, up, azimuth in ((0, 0, 0), (20, 60, -170), (-45, -45, 10)):
        for _ in range(40):
            to_up, to_azimuth, zoom = callbacks.preset("random", input_up, up, azimuth)
            here, there = (math.radians(input_up + angle) for angle in (up, to_up))
            cosine = math.sin(here) * math.sin(there) + math.cos(here) * math.cos(there) * math.cos(
                math.radians(azimuth - to_azimuth)
            )
            assert math.degrees(math.acos(min(1.0, cosine))) >= 40 and zoom == 0


def test_the_spread_of_two_seeds_is_half_their_difference() -> None:
    black, white, grey = (Image.new("RGB", (4, 4), (level,) * 3) for level in (0, 255, 51))
    assert np.allclose(outputs.std_over_seeds([black, white]), 0.5)
    assert np.allclose(outputs.std_over_seeds([black, grey]), 0.1)
    assert outputs.heat(np.zeros((2, 2))).getpixel((0, 0)) == (13, 8, 60)
    assert outputs.heat(np.ones((2, 2))).getpixel((0, 0)) == (252, 253, 191)


def test_a_late_preview_does_not_take_the_place_of_the_view(
    actions: Actions, uploads: Path
) -> None:
    session, picture = Session(), upload(uploads, CAR)
    here, there = (10, 30, 0), (10, 40, 0)
    rest = (None, 0, None, None, True, "auto", "tiny")
    list(actions.show(session, picture, *here, None, None, *rest[1:]))
    assert actions.follow(session, picture, *here, *rest)[0] == gr.skip()
    image, caption = actions.follow(session, picture, *there, *rest)
    assert isinstance(image, Image.Image) and caption.startswith("40° right")
    assert actions.follow(session, None, *here, *rest) == (gr.skip(), gr.skip())


def test_who_waits_for_a_view_is_told_how_many_go_first(actions: Actions, uploads: Path) -> None:
    with actions.view_service.line.join(interactive=True) as other:
        at_work = other.slices(range(2))
        next(at_work)
        shown = actions.view(Session(), upload(uploads, CAR), 0, 30)
        assert next(shown) == (gr.skip(), "30° right · Waiting: 1 request goes first")
        list(at_work)
    *_, (image, caption) = shown
    assert isinstance(image, Image.Image) and caption.startswith("30° right · 2 steps")


def test_a_visitor_chooses_among_what_the_server_offers(pipe: Zero123Pipeline) -> None:
    asked: list[str] = []

    def load(name: str) -> Zero123Pipeline:
        asked.append(name)
        return copy(pipe)

    model_cache = ModelCache(pipe, load, ("small", "large"))
    assert (
        model_cache.names() == ["tiny", "small", "large"]
        and model_cache.get("") is model_cache.get("tiny") is pipe
    )
    small = model_cache.get("small")
    assert small is model_cache.get("small") is not pipe and asked == ["small"]
    model_cache.get("large")
    assert model_cache.get("small") is small, "whoever works with one keeps it"
    del small
    assert model_cache.is_loaded("large") and not model_cache.is_loaded("small")
    with pytest.raises(ValueError, match="model: expected tiny or small or large, got '../x'"):
        model_cache.get("../x")
    anything = ModelCache(pipe, load, "any")
    assert "zero123-xl" in anything.names() and anything.get("../x") is not pipe


def test_who_has_a_model_does_not_wait_for_another_ones_download(pipe: Zero123Pipeline) -> None:
    begun, go = Event(), Event()

    def load(name: str) -> Zero123Pipeline:
        if name == "large":
            begun.set()
            assert go.wait(60)
        return copy(pipe)

    model_cache = ModelCache(pipe, load, ("small", "large"))
    small = model_cache.get("small")
    with ThreadPoolExecutor(1) as pool:
        large = pool.submit(model_cache.get, "large")
        assert begun.wait(60)
        assert model_cache.get("small") is small and model_cache.get(None) is pipe
        go.set()
        assert large.result() is model_cache.get("large")


def test_the_first_films_frames_are_the_examples_whoever_asks(
    actions: Actions, uploads: Path
) -> None:
    opening = Opening(actions.view_service)
    mine = upload(uploads, CAR)
    assert opening.film(mine) == {} == opening.film(None)
    example = upload(uploads, str(EXAMPLE))
    film = opening.film(example)
    assert len(film["frames"]) == FRAMES and film["path"] == example["path"]
    assert opening.film(mine) == {}


def test_an_orbit_that_waits_can_be_stopped(actions: Actions, uploads: Path) -> None:
    with actions.view_service.line.join() as other:
        at_work = other.slices(range(2))
        next(at_work)
        orbit: Any = actions.orbit(Session(), upload(uploads, CAR), 2, steps=1)
        assert next(orbit) == (gr.skip(),) * 6
        orbit.close()
        list(at_work)
    with actions.view_service.line.join() as later:
        assert list(later.wait()) == []


def test_a_run_ends_without_taking_what_others_make_or_made() -> None:
    session = Session()
    with session.run() as growing:
        with session.run() as waiting:
            session.halt()
        assert growing.is_dir() and not waiting.exists()
        (growing / "mesh.glb").touch()
    with session.run() as refused:
        pass
    assert (growing / "mesh.glb").exists() and not refused.exists()
    with session.run() as next_one:
        (next_one / "mesh.glb").touch()
    assert next_one.is_dir() and not growing.exists()
    session.close()


@pytest.mark.parametrize(
    ("strokes", "got"),
    [
        ({"layers": [{}] * 9}, "got 9"),
        ({"layers": "x"}, "got 'x'"),
        ([1], "image: expected"),
        (3, "3"),
    ],
)
def test_strokes_of_no_editor_are_one_line(
    actions: Actions, uploads: Path, strokes: Any, got: str
) -> None:
    with pytest.raises(gr.Error, match=got):
        actions.fix(Session(), upload(uploads, CAR), "auto", strokes)


def test_a_choice_of_a_list_is_the_lists_own_value() -> None:
    assert type(inputs.one_of("upscale", 2.0, (1, 2, 4))) is int


def test_a_choice_tells_what_loading_it_would_bring_and_loads_nothing(
    pipe: Zero123Pipeline, tmp_path: Path
) -> None:
    asked: list[str] = []

    def load(name: str) -> Zero123Pipeline:
        asked.append(name)
        return copy(pipe)

    model_cache = ModelCache(pipe, load, "any", about)
    actions = Actions(model_cache)
    assert "2.5 GB to download" in actions.about("zero123-xl")
    assert "15.5 GB to download" in actions.about("cvlab/zero123-weights/105000.ckpt")
    assert "8.58 GB to download" in actions.about("stable-zero123-c")
    assert "Community License" in actions.about("stable-zero123-c")
    assert "https://huggingface.co/owner/name" in actions.about("owner/name")
    (tmp_path / "mine").mkdir()
    assert "a folder with a model_index.json" in actions.about(str(tmp_path / "mine"))
    (tmp_path / "mine" / "model_index.json").touch()
    (tmp_path / "mine" / "README.md").write_text("---\nlicense: mit\n---\n")
    (tmp_path / "mine" / "weights.safetensors").write_bytes(bytes(12_000_000))
    assert actions.about(str(tmp_path / "mine")) == "On this disk, 12 MB. Licence: mit."
    assert actions.about("tiny") == f"{about_model(pipe)}."
    assert actions.about("no-such").startswith("model: expected a model's name (")
    assert asked == []

    session = Session()
    actions.model(session, str(tmp_path / "mine"))
    with pytest.raises(gr.Error, match="model: expected a model's name"):
        actions.model(session, "no-such")
    assert session.model == str(tmp_path / "mine") == asked[0]
    assert model_cache.is_loaded(asked[0]), "a wrong name took its place"


def test_examples_are_rendered_by_the_project() -> None:
    for file, example in zip(example_files(), EXAMPLES, strict=True):
        shipped = np.asarray(Image.open(file), float)
        rendered = np.asarray(example_image(*example), float)
        assert np.abs(shipped - rendered).mean() < 0.5, file
        assert Path(file).stat().st_size < 60_000


def infos(blocks: gr.Blocks) -> str:
    return " ".join(str(block["props"].get("info")) for block in blocks.config["components"])


def test_a_model_that_needs_the_inputs_elevation_asks_for_it(
    pipe: Zero123Pipeline, told: Zero123Pipeline, uploads: Path
) -> None:
    assert "has to be told" in infos(build(told)) and "has to be told" not in infos(build(pipe))
    actions = Actions(ModelCache(told, Zero123Pipeline.from_pretrained))
    session, image = Session(), upload(uploads, CAR)

    def make(elevation: Any) -> list[tuple[Image.Image, str]]:
        *_, (gallery, *_) = actions.views(session, image, "60", 0, 0, 2.0, 2, 5, elevation)
        return gallery

    for nothing in (None, "", " "):
        with pytest.raises(gr.Error) as caught:
            make(nothing)
        assert caught.value.message == (
            "input_elevation: expected the elevation of the camera that took the image, in "
            "degrees, as the model told is conditioned on it, got none"
        )
    for wrong in (91, "91", "up", "nan", [1]):
        with pytest.raises(gr.Error, match="input_elevation: expected a number from -90 to 90"):
            make(wrong)
    ((view, label),) = make("35")
    assert view.tobytes() == make(35)[0][0].tobytes()
    expected, *_ = told(
        CAR,
        [RelativePose(azimuth_deg=60)],
        num_inference_steps=2,
        guidance_scale=2.0,
        generator=torch.Generator().manual_seed(5),
        condition_elevation_deg=35,
        return_dict=False,
    )
    assert np.array_equal(np.asarray(view), np.asarray(expected[0]))
    assert label == camera_label(RelativePose(azimuth_deg=60))


def test_the_page_says_which_model_it_has(pipe: Zero123Pipeline) -> None:
    line = about_model(pipe)
    assert line.startswith("tiny: licence ") and pipe.trained_on["domain"] in line
    pages = [str(block["props"].get("value")) for block in build(pipe).config["components"]]
    assert any(line in page for page in pages)


def test_on_zerogpu_a_request_borrows_the_gpu_for_its_views_and_steps(
    pipe: Zero123Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Spaces:
        @staticmethod
        def GPU(duration: Any) -> Any:
            return lambda function: (function, duration)

    monkeypatch.setattr(sampling, "SPACES", Spaces)
    borrowed: Any = sampling.make_sampler(ModelCache(pipe, Zero123Pipeline.from_pretrained))
    function, duration = borrowed

    def seconds(views: int, steps: int, guidance_scale: float = 3.0, **more: Any) -> int:
        poses = [RelativePose()] * views
        what = sampling.Sampling(poses, [0], steps, guidance_scale, **more)
        return duration("tiny", None, what)

    assert callable(function)
    assert seconds(1, 50) < seconds(8, 50) < seconds(36, 200) == settings.GPU_MOST_S
    assert seconds(8, 50, 1.0) < seconds(8, 50) < seconds(8, 50, upscale=2)
    assert seconds(8, 50, upscale=2) == seconds(8, 50, upscale=4)  # the network does the same
