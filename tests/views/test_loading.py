"""Pictures from outside: every mode means the same colours, every defect is one clear line."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from zero123lib.views.loading import ImageError, load_image

SIDE = 16


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture() -> np.ndarray:
    """uint8 [16, 12, 3] in which every pixel differs from every other, left from right."""
    y, x = np.mgrid[0:SIDE, 0:12]
    return np.stack([x * 20, y * 16, 255 - x * 10 - y * 5], axis=-1).astype(np.uint8)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def test_paths_bytes_pillow_and_arrays_are_the_same_picture(tmp_path):
    values = picture()
    image = Image.fromarray(values)
    image.save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), encode(image), image, values):
        loaded = load_image(source)
        assert loaded.mode == "RGB" and np.array_equal(pixels(loaded), values)
    assert np.array_equal(pixels(load_image(values / 255.0)), values)
    assert np.array_equal(pixels(load_image(values.astype(np.uint16) * 257)), values)


@pytest.mark.parametrize("kind, tolerance", [("JPEG", 12), ("WEBP", 0)])
def test_jpeg_and_webp_are_read(kind, tolerance):
    smooth = np.asarray(Image.fromarray(picture()).resize((48, 64), Image.Resampling.BICUBIC))
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {"lossless": True}
    loaded = pixels(load_image(encode(Image.fromarray(smooth), kind, **options)))
    assert np.abs(loaded.astype(int) - smooth).max() <= tolerance


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    # What a viewer must do to the stored pixels for each value of the tag, as numpy operations.
    upright = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a.transpose(1, 0, 2), 2),
        8: lambda a: np.rot90(a),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    loaded = load_image(encode(Image.fromarray(picture()), exif=exif))
    assert np.array_equal(pixels(loaded), upright[orientation](picture()))
    assert not loaded.getexif()


def test_16_bit_grey_is_scaled_not_clipped():
    ramp = np.linspace(0, 65535, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint16)
    loaded = pixels(load_image(encode(Image.fromarray(ramp))))
    assert np.abs(loaded[..., 0] - ramp / 257.0).max() <= 0.5
    assert np.array_equal(loaded[..., 0], loaded[..., 2])


def test_16_bit_colour_is_scaled_not_clipped():
    # Pillow writes no 16-bit RGB, so the file is put together here (PNG specification, 2nd ed.).
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    wide = picture().astype(">u2") * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    header = struct.pack(">IIBBBBB", wide.shape[1], wide.shape[0], 16, 2, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
    assert np.array_equal(pixels(load_image(file + chunk(b"IEND", b""))), picture())


def test_transparency_survives_in_every_form():
    grey, clear = picture()[..., 0], np.zeros((SIDE, 12), np.uint8)
    clear[:, 6:] = 255
    rgba = Image.merge("RGBA", [Image.fromarray(c) for c in (grey, grey, grey, clear)])
    palette = Image.fromarray((clear // 255).copy(), "P")
    palette.putpalette([10, 20, 30, 200, 100, 50])
    for file in (
        encode(rgba),
        encode(rgba.convert("LA")),
        encode(rgba, "WEBP", lossless=True),
        encode(palette, transparency=0),
        encode(Image.fromarray(clear), transparency=0),
        encode(Image.fromarray(clear.astype(np.uint16) * 257), transparency=0),
    ):
        loaded = load_image(file)
        assert loaded.mode == "RGBA"
        assert np.array_equal(pixels(loaded)[..., 3], clear)
    assert pixels(load_image(encode(palette, transparency=0)))[0, -1].tolist() == [
        200,
        100,
        50,
        255,
    ]
    assert np.array_equal(pixels(load_image(rgba.convert("LA").convert("La")))[..., 3], clear)


def test_cmyk_palette_and_one_bit_give_their_colours():
    red = Image.new("CMYK", (SIDE, SIDE), (0, 255, 255, 0))
    assert np.abs(pixels(load_image(encode(red, "JPEG"))) - np.array([255, 0, 0])).max() <= 3
    palette = Image.new("P", (SIDE, SIDE), 1)
    palette.putpalette([0, 0, 0, 12, 34, 56])
    assert pixels(load_image(encode(palette)))[0, 0].tolist() == [12, 34, 56]
    bits = Image.fromarray(picture()[..., 0] > 100)
    assert np.array_equal(pixels(load_image(encode(bits)))[..., 1], (picture()[..., 0] > 100) * 255)


def test_an_embedded_colour_profile_is_converted_to_srgb():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(picture())
    assert np.array_equal(pixels(load_image(encode(image, icc_profile=srgb))), picture())
    linear = linear_profile(srgb)
    loaded = pixels(load_image(encode(image, icc_profile=linear))).astype(float)
    light = picture() / 255.0
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(loaded - 255 * expected).max() <= 2.0
    assert np.array_equal(pixels(load_image(encode(image, icc_profile=b"broken" * 50))), picture())


def linear_profile(srgb: bytes) -> bytes:
    """sRGB's profile with tone curves of gamma 1 and another description."""
    count = int.from_bytes(srgb[128:132], "big")
    entries = [srgb[132 + 12 * i : 144 + 12 * i] for i in range(count)]
    data = bytearray(srgb.replace("sRGB".encode("utf-16-be"), "flat".encode("utf-16-be")))
    for entry in entries:
        if entry[:4] in (b"rTRC", b"gTRC", b"bTRC"):
            at = int.from_bytes(entry[4:8], "big")
            # A parametric curve of type 0, y = x ** gamma, gamma 1.0 as s15Fixed16.
            data[at : at + 16] = b"para\0\0\0\0\0\0\0\0\0\1\0\0"
    return bytes(data)


def bad_sources(tmp_path: Path) -> dict[str, tuple[object, str]]:
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    whole = encode(
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    )
    truncated = tmp_path / "cut.png"
    truncated.write_bytes(whole[: len(whole) // 2])
    clear = Image.new("RGBA", (SIDE, SIDE), (9, 9, 9, 0))
    return {
        "missing": (tmp_path / "none.png", "no such file"),
        "folder": (tmp_path, "no such file"),
        "text": (text, "none of them"),
        "gif": (encode(Image.new("RGB", (SIDE, SIDE)), "GIF"), "none of them"),
        "empty": (b"", "none of them"),
        "truncated": (truncated, "damaged"),
        "truncated, opened": (Image.open(truncated), "got a Pillow image, damaged"),
        "tiny": (encode(Image.new("RGB", (1, 1))), "at least 8 x 8 pixels, got 1 x 1"),
        "clear": (encode(clear), "empty"),
        "type": (7, "got int"),
        "shape": (np.zeros((SIDE, SIDE, 2), np.uint8), "got shape"),
        "no pixels": (np.zeros((0, SIDE, 3)), "got 16 x 0"),
        "range": (np.full((SIDE, SIDE, 3), 255.0), r"floats in \[0, 1\]"),
        "nan": (np.full((SIDE, SIDE, 3), np.nan), r"floats in \[0, 1\]"),
        "dtype": (np.zeros((SIDE, SIDE, 3), np.int64), "got int64"),
    }


BAD = [
    "missing",
    "folder",
    "text",
    "gif",
    "empty",
    "truncated",
    "truncated, opened",
    "tiny",
    "clear",
]
BAD += ["type", "shape", "no pixels", "range", "nan", "dtype"]


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture_is_one_line_that_names_the_argument(tmp_path, name):
    source, reason = bad_sources(tmp_path)[name]
    with pytest.raises(ImageError, match=f"^image: expected [^\n]*{reason}[^\n]*$"):
        load_image(source)  # pyright: ignore[reportArgumentType]


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    # 8000 x 8001 pixels in 64 kB, just above the default limit.
    bomb = encode(Image.new("1", (8000, 8001)))
    assert len(bomb) < 100_000
    with pytest.raises(ImageError, match="at most 64000000 pixels, got 8000 x 8001"):
        load_image(bomb)
    with pytest.raises(ImageError, match="at most 100 pixels"):
        load_image(picture(), max_pixels=100)


def test_damaged_files_are_an_image_or_an_image_error():
    rng = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "WEBP"):
        whole = encode(Image.fromarray(picture()).resize((32, 32)), kind)
        for _ in range(60):
            damaged = bytearray(whole)
            for place in rng.integers(0, len(whole), 4):
                damaged[place] = rng.integers(256)
            try:
                assert (
                    load_image(bytes(damaged[: rng.integers(1, 2 * len(whole))])).mode[:3] == "RGB"
                )
            except ImageError as error:
                assert "\n" not in str(error)
