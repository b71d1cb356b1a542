"""The app over the wire: a client gets what the library makes, or a line that says why not."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import gradio as gr
import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import app
from demo import callbacks, inputs, settings
from demo.examples import EXAMPLES, example_files, example_picture
from demo.layout import build
from zero123lib.diffusion.card import about_model
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.poses import PRESETS, RelativePose, camera_label

BEAR, CAR, CHAIR, *_ = example_files()


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Gradio's folder of uploads, for functions called without a server."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def client(url: str) -> Client:
    return Client(url, verbose=False)


def views(client: Client, image: str | None, *values: Any, **more: Any) -> list[np.ndarray]:
    """Pixels of the gallery that `/views` returns, after checking that they are PNG files."""
    upload = None if image is None else handle_file(image)
    gallery = client.predict(upload, *values, api_name="/views", **more)
    files = [Path(item["image"]) for item in gallery]
    assert all(file.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") for file in files)
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


def test_a_picture_alone_gives_eight_views(client: Client, pipe: Zero123Pipeline) -> None:
    pictures = views(client, BEAR)
    assert [picture.shape for picture in pictures] == [(pipe.image_size, pipe.image_size, 3)] * 8
    assert len({picture.tobytes() for picture in pictures}) == 8


def test_the_endpoint_is_the_only_public_one_and_named_as_promised(client: Client) -> None:
    info = client.view_api(return_format="dict", print_info=False)
    assert isinstance(info, dict)
    (endpoint,) = info["named_endpoints"].items()
    assert endpoint[0] == "/views" and not info["unnamed_endpoints"]
    names = ["image", "azimuths", "elevation", "zoom", "guidance_scale", "steps", "seed"]
    parameters = endpoint[1]["parameters"]
    assert [parameter["parameter_name"] for parameter in parameters] == names
    assert [parameter["parameter_has_default"] for parameter in parameters] == [False] + [True] * 6


def test_views_are_those_of_the_library(client: Client, pipe: Zero123Pipeline) -> None:
    pictures = views(client, CAR, "0, -30.5,90", 20, 0.1, 2.5, 3, 11)
    expected, *_ = pipe(
        CAR,
        [RelativePose(20, azimuth, 0.1) for azimuth in (0, -30.5, 90)],
        num_inference_steps=3,
        guidance_scale=2.5,
        generator=torch.Generator().manual_seed(11),
        return_dict=False,
    )
    for picture, image in zip(pictures, expected, strict=True):
        assert np.array_equal(picture, np.asarray(image))


def test_captions_say_where_the_camera_is(client: Client) -> None:
    gallery = client.predict(handle_file(CAR), "0, 90", 20, steps=1, api_name="/views")
    assert [item["caption"] for item in gallery] == ["0°, 20° up", "90°, 20° up"]


def test_clients_at_the_same_time_get_their_own_views(url: str) -> None:
    asked = [(BEAR, "0, 90", 0, 0), (CHAIR, "45", 20, 1), (CAR, "0, 90", 0, 0)]

    def ask(question: tuple[str, str, float, int]) -> list[np.ndarray]:
        image, azimuths, elevation, seed = question
        client = Client(url, verbose=False)
        return views(client, image, azimuths, elevation, steps=3, seed=seed)

    alone = [ask(question) for question in asked]
    with ThreadPoolExecutor(len(asked)) as pool:
        together = list(pool.map(ask, asked))
    for first, second in zip(alone, together, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(together[0][0], together[2][0])


@pytest.mark.parametrize(
    ("argument", "value", "reason"),
    [
        ("azimuths", "0, nan", "finite numbers of degrees separated by commas, got 'nan'"),
        ("azimuths", "left", "got 'left'"),
        ("azimuths", "", "expected 1 to 16 numbers, got 0"),
        ("azimuths", "1," * 16 + "1", "expected 1 to 16 numbers, got 17"),
        ("elevation", 91, "a number from -90 to 90, got 91"),
        ("elevation", "up", "a number from -90 to 90, got 'up'"),
        ("zoom", -2, "a number from -0.5 to 0.5, got -2"),
        ("guidance_scale", 31, "a number from 0 to 30, got 31"),
        ("steps", 201, "a whole number from 1 to 200, got 201"),
        ("steps", 2.5, "a whole number from 1 to 200, got 2.5"),
        ("seed", -1, "a whole number from 0"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it(
    client: Client, argument: str, value: Any, reason: str
) -> None:
    with pytest.raises(AppError) as caught:
        client.predict(handle_file(BEAR), api_name="/views", **{argument: value})
    message = str(caught.value)
    assert message.startswith(f"{argument}: expected ") and reason in message
    assert "\n" not in message


def test_a_wrong_picture_is_one_line(client: Client, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    Image.new("RGBA", (64, 64), (9, 9, 9, 0)).save(tmp_path / "empty.png")
    reasons = {
        "text.png": "image: expected a PNG, JPEG or WebP picture, got 'text.png'",
        "one.png": "image: expected at least 8 x 8 pixels, got 1 x 1",
        "empty.png": "image: expected something visible",
    }
    for name, reason in reasons.items():
        with pytest.raises(AppError) as caught:
            views(client, str(tmp_path / name), steps=1)
        assert str(caught.value).startswith(reason) and str(tmp_path) not in str(caught.value)
    with pytest.raises(AppError, match="image: expected an uploaded .* picture, got none"):
        views(client, None, steps=1)


def test_a_file_of_the_server_is_no_upload(url: str, tmp_path: Path) -> None:
    private = tmp_path / "private.png"
    private.write_bytes(Path(BEAR).read_bytes())
    for upload in (
        {"path": str(private), "meta": {"_type": "gradio.FileData"}},
        {"path": str(private)},
    ):
        call = f"{url}gradio_api/call/views"
        body = json.dumps({"data": [upload, "0", 0, 0, 1, 1, 0]}).encode()
        request = Request(call, body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as response:
            event = json.load(response)["event_id"]
        with urlopen(f"{call}/{event}", timeout=60) as response:
            answer = response.read().decode()
        assert answer.startswith("event: error")


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


def test_the_preview_shows_the_cut_out_and_says_how(pipe: Zero123Pipeline, uploads: Path) -> None:
    preview = callbacks.make_preview(pipe)
    picture, note = preview(upload(uploads, BEAR))
    assert picture.size == (pipe.image_size,) * 2 and picture.mode == "RGBA"
    assert "own transparency" in note
    assert preview(None) == (None, "")
    with pytest.raises(gr.Error, match="image: expected a PNG, JPEG or WebP picture"):
        preview(upload(uploads, __file__))


def test_the_preview_says_when_the_model_does_not_know_such_pictures(
    pipe: Zero123Pipeline, shared_data: Path, uploads: Path
) -> None:
    preview = callbacks.make_preview(pipe)
    _, note = preview(upload(uploads, shared_data / "images" / "teddy.png"))
    assert "unlike" in note and "unlike" not in preview(upload(uploads, BEAR))[1]


def test_presets_set_the_sliders_to_the_official_cameras() -> None:
    for name, pose in PRESETS.items():
        elevation, azimuth, zoom, count, azimuths = callbacks.preset(name)
        assert (elevation, azimuth, zoom) == (pose.elevation_deg, pose.azimuth_deg, pose.radius)
        assert count == 1 and inputs.azimuths(azimuths) == [pose.azimuth_deg]
    drawn = [callbacks.preset("random") for _ in range(8)]
    assert len(set(drawn)) > 1
    assert all(
        -90 <= elevation <= 90 and -180 <= azimuth <= 180 for elevation, azimuth, *_ in drawn
    )


def test_views_evenly_around() -> None:
    assert callbacks.around(0, 8) == settings.DEFAULT_AZIMUTHS
    assert inputs.azimuths(callbacks.around(-30, 3)) == [-30, 90, 210]


def test_examples_are_rendered_by_the_project() -> None:
    for file, example in zip(example_files(), EXAMPLES, strict=True):
        shipped = np.asarray(Image.open(file), float)
        rendered = np.asarray(example_picture(*example), float)
        assert np.abs(shipped - rendered).mean() < 0.5, file
        assert Path(file).stat().st_size < 60_000


def labels(blocks: gr.Blocks) -> list[str]:
    return [str(block["props"].get("label")) for block in blocks.config["components"]]


def test_a_model_that_needs_the_inputs_elevation_asks_for_it(
    pipe: Zero123Pipeline, told: Zero123Pipeline, uploads: Path
) -> None:
    asked = "Elevation of your picture's camera, degrees"
    assert asked in labels(build(told)) and asked not in labels(build(pipe))
    make, picture = callbacks.make_views(told), upload(uploads, CAR)
    values = ("60", 0, 0, 2.0, 2, 5)
    for nothing in (None, "", " "):
        with pytest.raises(gr.Error) as caught:
            make(picture, *values, nothing)
        assert caught.value.message == (
            "input_elevation: expected the elevation of the camera that took the picture, in "
            "degrees, as the model told is conditioned on it; got none"
        )
    for wrong in (91, "91", "up", "nan", [1]):
        with pytest.raises(gr.Error, match="input_elevation: expected a number from -90 to 90"):
            make(picture, *values, wrong)
    ((view, label),) = make(picture, *values, "35")
    assert view.tobytes() == make(picture, *values, 35)[0][0].tobytes()
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
    assert line.startswith("tiny: licence ") and pipe.config["domain"] in line
    pages = [str(block["props"].get("value")) for block in build(pipe).config["components"]]
    assert any(line in page for page in pages)


def launched(monkeypatch: pytest.MonkeyPatch, *words: str) -> dict[str, Any]:
    """What `app.py` with these arguments hands to `launch`."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr("sys.argv", ["app.py", *words])
    monkeypatch.setattr(gr.Blocks, "launch", lambda self, **options: seen.update(options))
    app.main()
    return seen


def test_no_public_link_and_this_machine_alone_unless_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = launched(monkeypatch)
    assert options["share"] is False
    assert options["server_name"] is None  # Gradio's own: GRADIO_SERVER_NAME, else 127.0.0.1
    asked = launched(monkeypatch, "--share", "--host", "0.0.0.0", "--port", "7999")
    assert (asked["share"], asked["server_name"], asked["server_port"]) == (True, "0.0.0.0", 7999)


def test_a_model_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        launched(monkeypatch, "--model", "huge")
    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and line.startswith("app.py: error: --model: expected ")


def test_on_zerogpu_a_request_borrows_the_gpu(
    pipe: Zero123Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Spaces:
        @staticmethod
        def GPU(duration: int) -> Any:
            return lambda function: (function, duration)

    monkeypatch.setattr(callbacks, "SPACES", Spaces)
    function, duration = callbacks.make_views(pipe)  # type: ignore[misc]
    assert callable(function) and duration == settings.GPU_SECONDS
