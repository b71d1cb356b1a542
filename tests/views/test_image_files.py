"""Files of every kind that is read: the same pixels, upright, the first frame, whole or refused."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from zero123lib.views.loading import FIRST_FRAME, FORMATS, SUFFIXES, ImageError, load_image
from zero123lib.views.sources import named_images

# How each kind is written without loss, or nearly, and how far its values may then be off.
WRITTEN = {
    "PNG": ({}, 0),
    "JPEG": ({"quality": 100, "subsampling": 0}, 12),
    "WEBP": ({"lossless": True}, 0),
    "GIF": ({}, 40),
    "BMP": ({}, 0),
    "TIFF": ({}, 0),
    "AVIF": ({"quality": 100, "subsampling": "4:4:4"}, 6),
    "HEIF": ({"quality": -1, "chroma": 444}, 6),
}


def smooth(width: int = 48, height: int = 64) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    values = np.stack([x * 5, y * 3, 255 - x * 2 - y * 2], axis=-1)
    return Image.fromarray(values.astype(np.uint8))


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    if kind == "HEIF":
        pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
        heif = pillow_heif.HeifFile()
        for frame in [image, *options.pop("append_images", [])]:
            heif.add_from_pillow(frame)
        heif.save(buffer, **options)
    else:
        image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_every_kind_has_its_test():
    assert set(WRITTEN) == {*FORMATS, "HEIF"}


@pytest.mark.parametrize("kind", WRITTEN)
def test_files_give_their_pixels(kind, tmp_path):
    options, tolerance = WRITTEN[kind]
    file = encode(smooth(), kind, **options)
    # The name decides nothing.
    (tmp_path / "image.data").write_bytes(file)
    for source in (file, tmp_path / "image.data"):
        loaded = load_image(source)
        assert loaded.mode == "RGB" and FIRST_FRAME not in loaded.info
        assert np.abs(np.asarray(loaded, int) - np.asarray(smooth())).max() <= tolerance


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_files_are_turned_upright_once(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {**WRITTEN[kind][0], "exif": exif.tobytes() if kind == "HEIF" else exif}
    loaded = np.asarray(load_image(encode(smooth(), kind, **options)), int)
    upright = np.rot90(np.asarray(smooth()), {3: 2, 6: -1}[orientation])
    assert loaded.shape == upright.shape and np.abs(loaded - upright).max() <= 12


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_of_several_frames_the_first_is_read_and_marked(kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
    loaded = load_image(encode(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert loaded.info == {FIRST_FRAME: True}
    assert np.abs(np.asarray(loaded, int) - (255, 0, 0)).max() <= 3


def test_the_previews_that_a_camera_adds_to_a_jpeg_are_no_frames():
    both = encode(smooth(), "MPO", save_all=True, append_images=[smooth(24, 32)])
    assert load_image(both).info == {}


@pytest.mark.parametrize("kind", WRITTEN)
def test_damaged_files_are_an_image_or_an_image_error(kind):
    rng = np.random.default_rng(0)
    whole = encode(smooth(32, 32), kind)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 4):
            damaged[place] = rng.integers(256)
        try:
            assert load_image(bytes(damaged[: rng.integers(1, 2 * len(whole))])).mode[:3] == "RGB"
        except ImageError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("kind", WRITTEN)
def test_half_a_file_is_refused(kind):
    whole = encode(smooth(), kind, **WRITTEN[kind][0])
    with pytest.raises(ImageError, match=r"^image: expected an image file \(PNG, .* HEIC\), got "):
        load_image(whole[: len(whole) // 2])


@pytest.mark.parametrize("kind", WRITTEN)
def test_too_many_pixels_are_refused_in_every_kind(kind):
    with pytest.raises(ImageError, match="at most 100 pixels, got 48 x 64"):
        load_image(encode(smooth(), kind), max_pixels=100)


def test_heic_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    head = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)
    reason = r"got 88 bytes, a HEIC file, but pillow_heif is not .*zero123lib\[heic\]"
    with pytest.raises(ImageError, match=reason):
        load_image(head)


def test_a_folder_stands_for_its_images(tmp_path):
    for name in ("b.PNG", "a.jpg", "notes.txt", ".hidden.png", "sub.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "sub.png").unlink()
    (tmp_path / "sub.png").mkdir()
    found = named_images([tmp_path / "b.PNG", str(tmp_path)])
    assert [image.source for image in found] == [
        tmp_path / name for name in ("b.PNG", "a.jpg", "b.PNG")
    ]
    assert [image.stem for image in found] == ["b", "a", "b"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="image: expected a folder with images .*, which has none"):
        named_images([tmp_path / "empty"])


def test_every_suffix_of_a_kind_counts():
    known = Image.registered_extensions()
    assert {known[suffix] for suffix in SUFFIXES if suffix in known} >= set(FORMATS)


def test_a_dash_is_standard_input_read_once():
    file = encode(smooth(), "PNG")
    (image,) = named_images(["-"], io.BytesIO(file))
    assert (image.source, image.label, image.stem) == (file, "standard input", "stdin")
    assert load_image(image.source, name=image.label).size == smooth().size
    with pytest.raises(ImageError, match="image: expected - for standard input once, got it"):
        named_images(["-", "-"], io.BytesIO(file))
    with pytest.raises(ImageError, match="image: expected .* on standard input, got nothing"):
        named_images(["-"], io.BytesIO())


def test_other_words_are_paths_as_they_were_written():
    (image,) = named_images(["no/such.png"])
    assert image.label == "no/such.png" and image.stem == "such"
    with pytest.raises(ImageError, match="got 'no/such.png', and there is no such file"):
        load_image(image.source)


def test_pillow_adds_no_lines_of_its_own(tmp_path):
    (tmp_path / "cut.tif").write_bytes(encode(smooth(), "TIFF")[:-60])
    Image.new("1", (10_000, 10_000)).save(tmp_path / "large.png")
    code = (
        "import sys; from zero123lib.views.loading import ImageError, load_image\n"
        "for path in sys.argv[1:]:\n"
        "    try: load_image(path)\n"
        "    except ImageError as error: print(error)"
    )
    command = [sys.executable, "-c", code, tmp_path / "cut.tif", tmp_path / "large.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == "" and len(done.stdout.splitlines()) == 2
