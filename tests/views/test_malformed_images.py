"""Hundreds of malformed and odd images, drawn from a seed: read, or refused in one line."""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zero123lib.views.errors import ImageError
from zero123lib.views.images import prepare
from zero123lib.views.loading import load_image

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")
MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "I", "F")
GROWTH_MB = 200
Draw = Callable[[np.random.Generator], Any]


def picture(random: np.random.Generator, mode: str = "RGB") -> Image.Image:
    """A disc of noise on nothing, of a drawn size."""
    height, width = random.integers(1, 97, 2)
    pixels = random.integers(0, 256, (height, width, 4), dtype=np.uint8)
    y, x = np.mgrid[:height, :width]
    pixels[..., 3] = 255 * (np.hypot(y - height / 2, x - width / 2) < 0.4 * min(height, width))
    image = Image.fromarray(pixels)
    if mode in ("I;16", "I", "F"):
        grey = np.asarray(image.convert("L"))
        kinds = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
        return Image.fromarray(grey.astype(kinds[mode]) * 257)
    return image.convert(mode)


def encoded(random: np.random.Generator, **options: Any) -> bytes:
    """A picture of a drawn mode in a drawn format that takes it."""
    while True:
        mode, form = str(random.choice(MODES)), str(random.choice(FORMATS))
        stream = io.BytesIO()
        try:
            picture(random, mode).save(stream, form, **options)
        except (OSError, ValueError, KeyError):
            continue  # the format does not take the mode
        return stream.getvalue()


def truncated(random: np.random.Generator) -> bytes:
    content = encoded(random)
    return content[: int(random.integers(0, len(content)))]


def flipped(random: np.random.Generator) -> bytes:
    content = bytearray(encoded(random))
    for at in random.integers(0, len(content), int(random.integers(1, 20))):
        content[at] ^= 1 << int(random.integers(0, 8))
    return bytes(content)


def joined(random: np.random.Generator) -> bytes:
    """The head of one file and the tail of another."""
    a, b = encoded(random), encoded(random)
    return a[: int(random.integers(0, len(a)))] + b[int(random.integers(0, len(b))) :]


def noise(random: np.random.Generator) -> bytes:
    return random.bytes(int(random.integers(0, 4096)))


def bomb(random: np.random.Generator) -> bytes:
    """A PNG of a few bytes that claims thousands of pixels a side, with or without them."""
    side = int(random.choice([20_000, 40_000, 65_535, 2**31 - 1]))

    def chunk(kind: bytes, content: bytes) -> bytes:
        whole = kind + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    data = zlib.compress(bytes(100_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def long_and_thin(random: np.random.Generator) -> Image.Image:
    shape = (1, 20_000) if random.random() < 0.5 else (20_000, 1)
    return Image.fromarray(random.integers(0, 256, (*shape, 3), dtype=np.uint8))


def one_pixel(random: np.random.Generator) -> Image.Image:
    return Image.new(str(random.choice(["RGB", "RGBA", "L", "1", "CMYK"])), (1, 1))


def transparent(random: np.random.Generator) -> Image.Image:
    image = picture(random, "RGBA")
    image.putalpha(int(random.integers(0, 3)))
    return image


def animated(random: np.random.Generator) -> bytes:
    frames = [picture(random).resize((24, 24)) for _ in range(int(random.integers(2, 6)))]
    stream = io.BytesIO()
    frames[0].save(stream, str(random.choice(["GIF", "WEBP", "PNG", "TIFF"])), save_all=True,
                   append_images=frames[1:])  # fmt: skip
    return stream.getvalue()


def with_exif(random: np.random.Generator) -> bytes:
    """A JPEG whose EXIF is right, of another type, or noise."""
    exif: Any = Image.Exif()
    exif[0x0112] = int(random.integers(0, 12))
    told = exif.tobytes() if random.random() < 0.5 else b"Exif\x00\x00" + random.bytes(200)
    stream = io.BytesIO()
    picture(random).save(stream, "JPEG", exif=told)
    return stream.getvalue()


def array(random: np.random.Generator) -> np.ndarray:
    """An array of a type, shape and content that may be none of an image."""
    shape = tuple(random.integers(0, 40, int(random.integers(0, 5))))
    values = random.normal(0.5, 1.0, shape)
    if values.size and random.random() < 0.5:
        values.flat[int(random.integers(0, values.size))] = random.choice([np.nan, np.inf, -np.inf])
    kind = str(random.choice(["f2", "f4", "f8", "u1", "u2", "i8", "b", "c8", "O", "U3"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NaN as a whole number is part of the malformed
        return values.astype(kind)


KINDS: tuple[Draw, ...] = (
    encoded, truncated, flipped, joined, noise, bomb, long_and_thin, one_pixel, transparent,
    animated, with_exif, array,
)  # fmt: skip


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def take(case: Any, number: int, folder: Path) -> str:
    """Load a case, and prepare it; bytes come as they are or as a file of any suffix."""
    if isinstance(case, bytes) and number % 2:
        file = folder / f"case{(number % 5) * '.png' or '.jpg'}"
        file.write_bytes(case)
        case = file
    try:
        image = load_image(case)
    except ImageError as error:
        assert str(error) and "\n" not in str(error), error
        return "refused"
    assert image.mode in ("RGB", "RGBA") and min(image.size) >= 1
    try:
        # Without the network that cuts out, which has tests of its own.
        method = "alpha" if image.mode == "RGBA" else "none"
        prepared = prepare(image, 32, method=method).tensor
    except ImageError as error:
        assert "\n" not in str(error), error
        return "not prepared"
    assert prepared.shape == (3, 32, 32) and prepared.isfinite().all()
    assert prepared.min() >= -1 and prepared.max() <= 1
    return "prepared"


@pytest.mark.parametrize("count", [48, pytest.param(500, marks=pytest.mark.soak)])
def test_malformed_and_odd_images_are_read_or_refused_in_one_line(
    count: int, tmp_path: Path
) -> None:
    random = np.random.default_rng(24)
    before, found = resident_mb(), []
    for number in range(count):
        draw = KINDS[number % len(KINDS)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's on damaged files
            found.append(take(draw(random), number, tmp_path))
    assert {"refused", "prepared"} <= set(found)
    assert resident_mb() - before < GROWTH_MB


def test_pillow_says_nothing_beside_our_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It logs an error of a TIFF that says to have 19 values a pixel; nobody listens to the log."""
    stream = io.BytesIO()
    Image.new("RGB", (9, 8)).save(stream, "TIFF")
    three, many = (struct.pack("<HHII", 277, 3, 1, count) for count in (3, 19))
    assert three in stream.getvalue()
    monkeypatch.setattr(logging.root, "handlers", [])
    with pytest.raises(ImageError):
        load_image(stream.getvalue().replace(three, many))
    assert capsys.readouterr().err == ""
