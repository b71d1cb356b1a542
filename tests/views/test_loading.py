"""Images from outside: every mode means the same colours, every defect is one clear line."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from zero123lib.views.loading import ImageError, load_image

SIDE = 16


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def ramp() -> np.ndarray:
    """uint8 [16, 12, 3] in which every pixel differs from every other, left from right."""
    y, x = np.mgrid[0:SIDE, 0:12]
    return np.stack([x * 20, y * 16, 255 - x * 10 - y * 5], axis=-1).astype(np.uint8)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def test_paths_bytes_pillow_and_arrays_are_the_same_image(tmp_path):
    values = ramp()
    image = Image.fromarray(values)
    image.save(tmp_path / "a.png")
    file = encode(image)
    for source in (
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        file,
        bytearray(file),
        io.BytesIO(file),
        image,
        values,
        torch.from_numpy(values),
        torch.from_numpy(values).permute(2, 0, 1),
        torch.from_numpy(values / 255).requires_grad_(),
    ):
        loaded = load_image(source)
        assert loaded.mode == "RGB" and np.array_equal(pixels(loaded), values)
    assert np.array_equal(pixels(load_image(values / 255.0)), values)
    assert np.array_equal(pixels(load_image(values.astype(np.uint16) * 257)), values)


def test_arrays_of_one_channel_are_grey_and_of_truth_black_and_white():
    grey = ramp()[..., 0]
    for source in (grey, grey[..., None], torch.from_numpy(grey)[None]):
        assert np.array_equal(pixels(load_image(source)), np.dstack([grey] * 3))
    truth = grey > 100
    for source in (truth, torch.from_numpy(truth)):
        assert np.array_equal(pixels(load_image(source))[..., 1], truth * np.uint8(255))
    half = torch.full((3, SIDE, SIDE), 0.5, dtype=torch.bfloat16)
    assert pixels(load_image(half)).tolist() == np.full((SIDE, SIDE, 3), 128).tolist()


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
    loaded = load_image(encode(Image.fromarray(ramp()), exif=exif))
    assert np.array_equal(pixels(loaded), upright[orientation](ramp()))
    assert not loaded.getexif()


def test_16_bit_grey_is_scaled_not_clipped():
    ramp = np.linspace(0, 65535, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint16)
    loaded = pixels(load_image(encode(Image.fromarray(ramp))))
    assert np.abs(loaded[..., 0] - ramp / 257.0).max() <= 0.5
    assert np.array_equal(loaded[..., 0], loaded[..., 2])


def test_16_bit_colour_is_scaled_not_clipped():
    # Pillow writes no 16-bit RGB.
    wide = ramp().astype(">u2") * np.array(257, ">u2")
    assert np.array_equal(pixels(load_image(raw_png(wide.tobytes(), 12, 16, 2))), ramp())


def raw_png(rows: bytes, width: int, bits: int, colour_type: int, key: bytes = b"") -> bytes:
    """A file of 16 rows by the PNG specification; the key is the transparent colour."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, SIDE, bits, colour_type, 0, 0, 0)
    length = len(rows) // SIDE
    lines = b"".join(b"\0" + rows[i : i + length] for i in range(0, len(rows), length))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"tRNS", key) if key else b"")
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_grey_is_so_at_every_depth(bits):
    # The upper half is white, the lower one black; white is the transparent colour.
    half = SIDE // 2 * SIDE * bits // 8
    key = struct.pack(">H", 2**bits - 1)
    loaded = load_image(raw_png(b"\xff" * half + bytes(half), SIDE, bits, 0, key))
    assert pixels(loaded)[:, 3].tolist() == [[255, 255, 255, 0]] * 8 + [[0, 0, 0, 255]] * 8


def test_a_transparent_colour_of_16_bits_is_so():
    rows = np.zeros((SIDE, SIDE, 3), ">u2")
    rows[:8] = 40000, 300, 7
    file = raw_png(rows.tobytes(), SIDE, 16, 2, struct.pack(">HHH", 40000, 300, 7))
    assert pixels(load_image(file))[:, 0, 3].tolist() == [0] * 8 + [255] * 8


def test_transparency_survives_in_every_form():
    grey, clear = ramp()[..., 0], np.zeros((SIDE, 12), np.uint8)
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
        encode(rgba, "TIFF"),
        encode(rgba, "GIF"),
        rgba.quantize(8),
        palette_with_alpha(clear),
        rgba.convert("RGBa"),
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


def palette_with_alpha(alpha: np.ndarray) -> Image.Image:
    image = Image.new("P", alpha.shape[::-1], 1)
    image.putpalette([0, 0, 0, 9, 99, 200])
    image = image.convert("PA")
    image.putalpha(Image.fromarray(alpha))
    return image


def test_cmyk_palette_and_one_bit_give_their_colours():
    red = Image.new("CMYK", (SIDE, SIDE), (0, 255, 255, 0))
    assert np.abs(pixels(load_image(encode(red, "JPEG"))) - np.array([255, 0, 0])).max() <= 3
    palette = Image.new("P", (SIDE, SIDE), 1)
    palette.putpalette([0, 0, 0, 12, 34, 56])
    assert pixels(load_image(encode(palette)))[0, 0].tolist() == [12, 34, 56]
    bits = Image.fromarray(ramp()[..., 0] > 100)
    assert np.array_equal(pixels(load_image(encode(bits)))[..., 1], (ramp()[..., 0] > 100) * 255)


def test_an_embedded_colour_profile_is_converted_to_srgb():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(ramp())
    assert np.array_equal(pixels(load_image(encode(image, icc_profile=srgb))), ramp())
    linear = linear_profile(srgb)
    loaded = pixels(load_image(encode(image, icc_profile=linear))).astype(float)
    light = ramp() / 255.0
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(loaded - 255 * expected).max() <= 2.0
    assert np.array_equal(pixels(load_image(encode(image, icc_profile=b"broken" * 50))), ramp())


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
    text.write_text("not an image")
    whole = encode(
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    )
    truncated = tmp_path / "cut.png"
    truncated.write_bytes(whole[: len(whole) // 2])
    clear = Image.new("RGBA", (SIDE, SIDE), (9, 9, 9, 0))
    return {
        "missing": (tmp_path / "none.png", "no such file"),
        "folder": (tmp_path, "one image file, got the folder '.*': name a file in it"),
        "address": ("https://a.org/b.png", "got the address .*, which is not fetched: download"),
        "address, a path": (Path("https://a.org/b.png"), "got the address 'https:/a.org/b.png'"),
        "data address": ("data:image/png;base64," + "A" * 9999, r"got the address '.*\.\.\.'"),
        "long name": ("a" * 9999, "File name too long"),
        "device": ("/dev/null", "which is no regular file"),
        "text": (text, "none of them"),
        "ico": (encode(Image.new("RGB", (SIDE, SIDE)), "ICO"), "none of them"),
        "postscript": (encode(Image.new("RGB", (SIDE, SIDE)), "EPS"), "none of them"),
        "stream of text": (io.StringIO("a"), "a binary stream, got one of str"),
        "empty": (b"", "none of them"),
        "truncated": (truncated, "damaged"),
        "truncated, opened": (Image.open(truncated), "got a Pillow image, damaged"),
        "tiny": (encode(Image.new("RGB", (1, 1))), "at least 8 x 8 pixels, got 1 x 1"),
        "clear": (encode(clear), "got an empty image: every pixel is transparent"),
        "type": (7, "got int"),
        "shape": (np.zeros((SIDE, SIDE, 2), np.uint8), "got shape"),
        "no pixels": (np.zeros((0, SIDE, 3)), "got 16 x 0"),
        "range": (np.full((SIDE, SIDE, 3), 255.0), r"floats in \[0, 1\]"),
        "nan": (np.full((SIDE, SIDE, 3), np.nan), r"floats in \[0, 1\]"),
        "dtype": (np.zeros((SIDE, SIDE, 3), np.int64), "got int64"),
        "8 bits as 16": (ramp().astype(np.uint16), "65535 for white .*, got values from 0 to"),
        "8 bits as I": (Image.fromarray(ramp()).convert("L").convert("I"), "65535 for white"),
        "8 bits as I;16": (encode(Image.new("I;16", (SIDE, SIDE), 255)), "65535 for white"),
        "8 bits as F": (Image.fromarray(ramp()).convert("F"), r"floats in \[0, 1\]"),
        "32 bits": (Image.new("I", (SIDE, SIDE), 70000), "65535 for white .* got .* to 70000"),
    }


def test_what_is_no_image_is_one_line_that_names_the_argument(tmp_path):
    for name, (source, reason) in bad_sources(tmp_path).items():
        with pytest.raises(ImageError) as caught:
            load_image(source)  # pyright: ignore[reportArgumentType]
        said = str(caught.value)
        assert re.fullmatch(rf"image: expected .*{reason}.*", said), f"{name}: {said}"
        assert len(said) < 500, name


def test_errors_call_the_image_as_they_are_told(tmp_path):
    for source in (tmp_path / "none.png", tmp_path, b"no image"):
        with pytest.raises(ImageError) as caught:
            load_image(source, name="'mine.png'")
        assert "'mine.png'" in caught.value.got and str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("highest", [1, 10, 63])
@pytest.mark.parametrize("form", ["RGBA", "LA", "La", "array", "16 bits", "floats", "everywhere"])
def test_faint_alpha_is_refused_in_every_form(highest, form):
    alpha = np.zeros((SIDE, 12), np.uint8)
    alpha[4:, 4:] = highest
    values = np.dstack([ramp(), alpha])
    source = {
        "RGBA": lambda: encode(Image.fromarray(values)),
        "LA": lambda: encode(Image.fromarray(values).convert("LA")),
        "La": lambda: Image.fromarray(values).convert("LA").convert("La"),
        "array": lambda: values,
        "16 bits": lambda: values.astype(np.uint16) * 257,
        "floats": lambda: values / 255,
        "everywhere": lambda: np.dstack([ramp(), np.full_like(alpha, highest)]),
    }[form]()
    with pytest.raises(
        ImageError, match=f"alpha 64 to 255, got alpha of at most {highest}"
    ) as said:
        load_image(source)
    assert ("multiply a mask of 0 and 1 by 255" in str(said.value)) == (highest == 1)


def test_16_bit_alpha_of_a_mask_of_8_bits_is_refused():
    values = np.dstack([ramp().astype(np.uint16) * 257, np.full((SIDE, 12), 255, np.uint16)])
    with pytest.raises(ImageError, match="alpha of at most 1"):
        load_image(values)


def test_alpha_of_a_quarter_is_kept():
    values = np.dstack([ramp(), np.full((SIDE, 12), 64, np.uint8)])
    assert np.array_equal(pixels(load_image(values)), values)


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    # 8000 x 8001 pixels in 64 kB, just above the default limit.
    bomb = encode(Image.new("1", (8000, 8001)))
    assert len(bomb) < 100_000
    with pytest.raises(ImageError, match="at most 64000000 pixels, got 8000 x 8001"):
        load_image(bomb)
    with pytest.raises(ImageError, match="at most 100 pixels"):
        load_image(ramp(), max_pixels=100)
