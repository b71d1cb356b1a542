"""The app over the wire: a client gets what the library makes, or a line that says why not."""

from __future__ import annotations

import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.request import Request, urlopen

import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from zero123lib.app.examples import example_files
from zero123lib.app.view_service import planned
from zero123lib.diffusion.card import about_model
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.poses import RelativePose
from zero123lib.views.transforms import poses_from_transforms

BEAR, CAR, CHAIR, *_ = example_files()


@pytest.fixture(scope="module")
def client(url: str) -> Client:
    return Client(url, verbose=False)


def views(client: Client, image: str | None, *values: Any, **more: Any) -> list[np.ndarray]:
    """Pixels of the gallery that `/views` returns, after checking that they are PNG files."""
    upload = None if image is None else handle_file(image)
    gallery, *_ = client.predict(upload, *values, api_name="/views", **more)
    files = [Path(item["image"]) for item in gallery]
    assert all(file.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") for file in files)
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


def test_a_image_alone_gives_eight_views(client: Client, pipe: Zero123Pipeline) -> None:
    images = views(client, BEAR)
    assert [image.shape for image in images] == [(pipe.image_size, pipe.image_size, 3)] * 8
    assert len({image.tobytes() for image in images}) == 8


IMAGE_LAST = ["foreground_ratio", "recentre", "method"]
CAMERA = ["image", "elevation", "azimuth", "zoom", "guidance_scale"]
MANY = ["elevation", "zoom", "guidance_scale", "steps", "seed", "input_elevation", *IMAGE_LAST]
ENDPOINTS = {
    "/prepare": ["image", *IMAGE_LAST, "model"],
    "/preview": [*CAMERA, "seed", "input_elevation", *IMAGE_LAST, "model"],
    "/view": [*CAMERA, "steps", "seed", "input_elevation", *IMAGE_LAST, "model", "speed"],
    "/views": ["image", "azimuths", *MANY, "seeds", "transparent", "model", "upscale", "speed"],
    "/orbit": ["image", "count", *MANY, "seeds", "transparent", "model", "upscale", "speed"],
    "/path": ["image", "path", "count", *MANY, "seeds", "transparent", "model", "upscale", "speed"],
    "/model": ["model"],
    "/elevation": ["image", "method", "model"],
    "/reconstruct": [
        *["image", "recipe", "seed", "input_elevation", *IMAGE_LAST, "model"],
        *["max_faces", "texture_size"],
    ],
    "/stop": [],
}


def test_the_endpoints_are_named_as_promised_and_want_a_image_alone(client: Client) -> None:
    info = client.view_api(return_format="dict", print_info=False)
    assert isinstance(info, dict)
    found = info["named_endpoints"]
    names = {
        name: [parameter["parameter_name"] for parameter in endpoint["parameters"]]
        for name, endpoint in found.items()
    }
    assert names == ENDPOINTS and not info["unnamed_endpoints"]
    for endpoint in found.values():
        needed = [
            p["parameter_name"] for p in endpoint["parameters"] if not p["parameter_has_default"]
        ]
        assert needed in (["image"], [])
        assert endpoint["description"] and all(p["label"] for p in endpoint["parameters"])


def test_views_are_those_of_the_library(client: Client, pipe: Zero123Pipeline) -> None:
    images = views(client, CAR, "0, -30.5,90", 20, 0.1, 2.5, 3, 11)
    expected, *_ = pipe(
        CAR,
        [RelativePose(20, azimuth, 0.1) for azimuth in (0, -30.5, 90)],
        num_inference_steps=3,
        guidance_scale=2.5,
        generator=torch.Generator().manual_seed(11),
        return_dict=False,
    )
    for picture, image in zip(images, expected, strict=True):
        assert np.array_equal(picture, np.asarray(image))


def test_a_speed_is_chosen_and_said(client: Client, pipe: Zero123Pipeline) -> None:
    _, caption = client.predict(handle_file(CAR), 0, 90, speed="fast", api_name="/view")
    assert "· 2 steps, fast, " in caption  # a model of few steps keeps them
    *_, package = client.predict(handle_file(CAR), "90", speed="fast", api_name="/views")
    with zipfile.ZipFile(package) as archive:
        assert json.loads(archive.read("transforms.json"))["made_by"]["speed"] == "fast"


def test_a_tier_plans_steps_and_sampler_for_a_model_of_many() -> None:
    many = cast(Any, SimpleNamespace(config={"num_inference_steps": 50}))
    assert planned(many, "exact") == (50, "ddim")
    assert planned(many, "balanced") == (30, "dpmpp")
    assert planned(many, "fast") == (16, "dpmpp")


def test_azimuths_are_a_text_or_a_list(client: Client) -> None:
    for given in ([0, 90], "0, 90,", [0, "90"]):
        gallery, *_ = client.predict(handle_file(CAR), given, steps=1, api_name="/views")
        assert [item["caption"] for item in gallery] == ["0°", "90° right"]


def test_captions_say_where_the_camera_is(client: Client) -> None:
    gallery, *_ = client.predict(handle_file(CAR), "0, 90", 20, steps=1, api_name="/views")
    assert [item["caption"] for item in gallery] == ["0°, 20° up", "90° right, 20° up"]


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
        ("azimuths", "", "expected 1 to 36 numbers, got 0"),
        ("azimuths", "1," * 36 + "1", "expected 1 to 36 numbers, got 37"),
        ("azimuths", "0,,90", "finite numbers of degrees separated by commas, got ''"),
        ("azimuths", "1e400", "got '1e400'"),
        ("azimuths", [True], "got True"),
        ("azimuths", {"a": 1}, "finite numbers of degrees"),
        ("azimuths", [], "expected 1 to 36 numbers, got 0"),
        ("azimuths", "100000", "a number from -360 to 360, got 100000"),
        ("elevation", 10**60, "a number from -90 to 90, got 1000"),
        ("elevation", 91, "a number from -90 to 90, got 91"),
        ("elevation", "up", "a number from -90 to 90, got 'up'"),
        ("zoom", -2, "a number from -0.5 to 0.5, got -2"),
        ("guidance_scale", 31, "a number from 0 to 30, got 31"),
        ("steps", 201, "a whole number from 1 to 200, got 201"),
        ("steps", 2.5, "a whole number from 1 to 200, got 2.5"),
        ("seed", -1, "a whole number from 0"),
        ("seeds", 5, "a whole number from 1 to 4, got 5"),
        ("foreground_ratio", 0, "a number from 0.2 to 1, got 0"),
        ("recentre", "no", "true or false, got 'no'"),
        ("method", "magic", "one of auto, alpha, u2netp, rembg, none, got 'magic'"),
        ("model", "/etc", "tiny, got '/etc'"),
        ("speed", "warp", "one of exact, balanced, fast, got 'warp'"),
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


def test_a_wrong_image_is_one_line(client: Client, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    Image.new("RGBA", (64, 64), (9, 9, 9, 0)).save(tmp_path / "empty.png")
    reasons = {
        "text.png": "image: expected an image file (PNG, ",
        "one.png": "image: expected at least 8 x 8 pixels, got 1 x 1",
        "empty.png": "image: expected something visible",
    }
    for name, reason in reasons.items():
        with pytest.raises(AppError) as caught:
            views(client, str(tmp_path / name), steps=1)
        assert str(caught.value).startswith(reason) and str(tmp_path) not in str(caught.value)
    with pytest.raises(AppError, match="image: expected an uploaded image .*, got none"):
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


def test_an_orbit_comes_with_its_files(
    client: Client, pipe: Zero123Pipeline, tmp_path: Path
) -> None:
    image = handle_file(CAR)
    gallery, unsure, sheet, gif, mp4, package = client.predict(
        image, 3, 10, seeds=2, input_elevation=20, api_name="/orbit"
    )
    assert [item["caption"] for item in gallery] == [
        f"{label} · seed {seed}"
        for seed in (0, 1)
        for label in ("0°, 10° up", "120° right, 10° up", "120° left, 10° up")
    ]
    assert Image.open(sheet).width > 2 * pipe.image_size and Image.open(unsure).mode == "RGB"
    assert getattr(Image.open(gif), "n_frames") == 3  # noqa: B009 (only animations have it)
    assert Path(mp4).read_bytes()[4:8] == b"ftyp"
    with zipfile.ZipFile(package) as archive:
        transforms = json.loads(archive.read("transforms.json"))
        names = [frame["file_path"] for frame in transforms["frames"]]
        assert names == [f"{i:03d}.png" for i in range(6)]
        assert {*names, "transforms.json", "orbit.gif", "orbit.mp4"} < {*archive.namelist()}
        zipped = np.asarray(Image.open(archive.open("004.png")))
        assert np.array_equal(zipped, np.asarray(Image.open(gallery[4]["image"])))
    assert transforms["made_by"]["model"] == "tiny" and transforms["made_by"]["seeds"] == [0, 1]
    poses = poses_from_transforms(transforms)
    assert [round(pose.elevation_deg) for pose in poses] == [30] * 6
    assert [round(pose.azimuth_deg) % 360 for pose in poses] == [0, 120, 240] * 2


def test_a_seed_of_several_gives_the_views_of_that_seed_alone(client: Client) -> None:
    both = views(client, CAR, "0, 90", seed=4, seeds=2)
    alone = views(client, CAR, "0, 90", seed=5)
    assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(both[2:], alone, strict=True))


def test_an_enlarged_view_is_larger_and_says_by_what(client: Client) -> None:
    gallery, _, _, _, _, archive = client.predict(
        handle_file(CAR), "60", upscale=2, api_name="/views"
    )
    assert Image.open(gallery[0]["image"]).size == (256, 256)
    made_by = json.loads(zipfile.ZipFile(archive).read("transforms.json"))["made_by"]
    assert made_by["upscale"] == 2
    assert made_by["networks"] == ["Real-ESRGAN animevideov3 (BSD-3-Clause)"]
    with pytest.raises(AppError, match="upscale: expected one of 1, 2, 4, got '3'"):
        client.predict(handle_file(CAR), "60", upscale=3, api_name="/views")


def test_a_transparent_view_shows_the_view_and_lets_white_through(client: Client) -> None:
    gallery, *_ = client.predict(handle_file(CAR), "60", transparent=True, api_name="/views")
    view = Image.open(gallery[0]["image"])
    (plain,) = views(client, CAR, "60")
    alpha = np.asarray(view.getchannel("A"))
    assert alpha[0, 0] == 0 and alpha[64, 64] == 255
    assert np.array_equal(np.asarray(view.convert("RGB"))[alpha == 255], plain[alpha == 255])


def test_a_quick_preview_is_close_to_the_view_and_says_where_it_is(client: Client) -> None:
    quick, caption = client.predict(handle_file(CAR), 10, 30, api_name="/preview")
    full, full_caption = client.predict(handle_file(CAR), 10, 30, api_name="/view")
    assert caption.startswith("30° right, 10° up · 1 step,") and "tiny" in caption
    assert full_caption.startswith("30° right, 10° up · 2 steps,") and "apache-2.0" in full_caption
    difference = np.asarray(Image.open(quick), float) - np.asarray(Image.open(full), float)
    assert 0 < np.abs(difference).mean() < 20


def test_the_model_says_its_licence(client: Client, pipe: Zero123Pipeline) -> None:
    assert client.predict(api_name="/model") == about_model(pipe) + "."
    with pytest.raises(AppError, match="model: expected tiny, got 'zero123-xl'"):
        client.predict("zero123-xl", api_name="/model")
