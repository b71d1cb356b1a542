"""What notebooks show: images that are small and true, captions that name their model."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from PIL import Image

from zero123lib import display
from zero123lib.display import live
from zero123lib.scenes import random_scene, render
from zero123lib.views.cameras import camera_to_world
from zero123lib.views.poses import Pose


@pytest.fixture
def shell() -> Iterator[None]:
    """IPython shows things only where there is a shell."""
    InteractiveShell.instance()
    yield
    InteractiveShell.clear_instance()


def shown(work: Any) -> list[dict[str, Any]]:
    """The bundles that a call displays."""
    with capture_output() as captured:
        work()
    return [output.data for output in captured.outputs]


def opened(data: bytes | str) -> Any:
    """A PNG, which a notebook holds in base 64."""
    return Image.open(io.BytesIO(data if isinstance(data, bytes) else base64.b64decode(data)))


def test_work_is_scaled_by_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, expected in ((None, 100), ("0", 100), ("", 100), ("1", 2)):
        if value is None:
            monkeypatch.delenv(display.FAST, raising=False)
        else:
            monkeypatch.setenv(display.FAST, value)
        assert display.scaled(100, 2) == expected


def test_images_keep_their_colours_and_white_stays_white() -> None:
    rgba = render(random_scene(7, "car"), [Pose(20, 30)], 96).rgba[0]
    on_white = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    image = opened(display.to_png(rgba))
    levels = torch.tensor(list(image.convert("RGB").get_flattened_data())).reshape(96, 96, 3)
    found = levels / 255
    assert image.mode == "P"
    assert (found - on_white).abs().mean() < 0.01
    assert bool((found[rgba[..., 3] == 0] == 1).all())


def test_a_image_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"image: expected \[H, W, 3 or 4\], got \[3, 8, 8\]"):
        display.as_image(torch.zeros(3, 8, 8))


@pytest.mark.usefixtures("shell")
def test_animations_have_all_their_frames_in_order() -> None:
    greys = (0.0, 0.4, 0.8)
    frames = [torch.full((16, 16, 3), grey) for grey in greys]
    image, caption = shown(lambda: display.animate(frames, "Three greys.", "some-model"))
    movie = opened(image["image/png"])
    assert movie.n_frames == len(greys)
    for index, grey in enumerate(greys):
        movie.seek(index)
        assert movie.convert("L").getpixel((8, 8)) == pytest.approx(255 * grey, abs=1)
    assert caption["text/markdown"] == "*Three greys. Made by the model `some-model`.*"


@pytest.mark.usefixtures("shell")
def test_captions_say_when_no_model_took_part() -> None:
    *_, caption = shown(lambda: display.show(torch.ones(8, 8, 3), "White."))
    assert caption["text/markdown"] == "*White. No model took part.*"


@pytest.mark.usefixtures("shell")
def test_rows_may_have_gaps_and_single_images() -> None:
    white, black = torch.ones(8, 8, 3), torch.zeros(8, 8, 3)
    rows = {"a": [white, None, black], "b": [black]}
    image, _ = shown(lambda: display.show_rows(rows, "Some.", titles=["1", "2", "3"]))
    assert opened(image["image/png"]).width > 3 * display.DPI
    assert len(shown(lambda: display.show_rows({"": [white]}, "One."))) == 2


@pytest.mark.usefixtures("shell")
def test_tables_round_numbers_and_refuse_other_widths() -> None:
    (bundle,) = shown(lambda: display.table(["what", "dB"], [["x", 1.005], ["y", 2]]))
    assert bundle["text/markdown"].splitlines() == [
        "| what | dB |", "| --- | --- |", "| x | 1.00 |", "| y | 2 |",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="rows: expected 2 cells each, got one of 1"):
        display.table(["what", "dB"], [["x"]])
    assert display.vector(torch.tensor([-0.0, 0.456, -1])) == "+0.00, +0.46, -1.00"


def test_cameras_stand_where_their_poses_say() -> None:
    poses = [Pose(20, 30, 1.85), Pose(-40, 200, 1.5)]
    figure = display.camera_sphere({"condition": poses[:1], "target": poses[1:]})
    parts: list[Any] = list(figure.axes[0].collections)
    drawn = [part._offsets3d for part in parts if hasattr(part, "_offsets3d")]
    assert len(drawn) == 2
    for (x, y, z), pose in zip(drawn, poses, strict=True):
        place = torch.tensor([float(x[0]), float(y[0]), float(z[0])])
        torch.testing.assert_close(place, camera_to_world(pose)[:3, 3])


@pytest.mark.usefixtures("shell")
def test_sliders_draw_the_camera_that_they_are_moved_to() -> None:
    asked = []

    def draw(pose: Pose) -> torch.Tensor:
        asked.append(pose)
        return torch.full((8, 8, 3), (pose.azimuth_deg + 180) / 360)

    boxes = []
    poses = [Pose(0, 0), Pose(20, -90)]
    bundles = shown(lambda: boxes.append(display.explore(draw, poses, "Greys.")))
    assert sum("image/png" in bundle for bundle in bundles) == len(poses)
    assert bundles[-1]["text/plain"] == "(run this notebook for the sliders)"
    elevation, azimuth, radius, image = boxes[0].children
    before = opened(bytes(image.value)).convert("L").getpixel((4, 4))
    azimuth.value = 90.0
    after = opened(bytes(image.value)).convert("L").getpixel((4, 4))
    assert (before, after) == (pytest.approx(64, abs=1), pytest.approx(191, abs=1))
    assert asked[-1] == Pose(elevation.value, 90, radius.value) == Pose(20, 90)


@pytest.mark.usefixtures("shell")
def test_watching_hands_on_every_step_and_draws_means(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    real = display.curves
    monkeypatch.setattr(
        live, "curves", lambda lines, *a, **k: (drawn.append(lines), real(lines, *a, **k))[1]
    )
    seen: list[int] = []
    steps = display.watch(range(5), lambda step: {"loss": float(step)}, "Losses.", every=2)
    shown(lambda: seen.extend(steps))
    assert seen == list(range(5))
    assert drawn[-1] == {"loss": ([2, 4], [0.5, 2.5])}
