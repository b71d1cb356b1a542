"""Framing an image for the model, and turning tensors back into images."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from zero123lib.views.cutout import HOW
from zero123lib.views.images import (
    CutOutMethod,
    ImageError,
    composite,
    contact_sheet,
    prepare,
    recenter,
    to_pil,
    to_pils,
    to_tensor,
)
from zero123lib.views.loading import load_image


def rectangle(canvas: tuple[int, int], box: tuple[int, int, int, int], colour="red") -> Image.Image:
    """RGBA: an opaque rectangle on nothing; what is clear is black, as programs leave it."""
    image = Image.new("RGBA", canvas, (0, 0, 0, 0))
    image.paste(Image.new("RGBA", (box[2] - box[0], box[3] - box[1]), colour), box[:2])
    return image


def box_of(image: Image.Image) -> tuple[int, int, int, int]:
    """Left, top, right, bottom where alpha is above one half."""
    box = Image.fromarray(np.asarray(image.getchannel("A")) > 127).getbbox()
    assert box is not None
    return box


@pytest.mark.parametrize("ratio", [0.25, 200 / 256, 1.0])
@pytest.mark.parametrize(
    "canvas, box",
    [
        ((300, 200), (20, 30, 60, 50)),  # grows
        ((900, 700), (0, 0, 800, 400)),  # shrinks, touching two edges
        ((64, 400), (10, 5, 20, 395)),  # tall
        ((64, 64), (0, 0, 64, 64)),  # fills the image
    ],
)
def test_recenter_reaches_the_ratio_in_the_middle_and_keeps_the_aspect(canvas, box, ratio):
    framed = recenter(rectangle(canvas, box), 256, ratio)
    assert framed.size == (256, 256)
    left, top, right, bottom = box_of(framed)
    width, height = box[2] - box[0], box[3] - box[1]
    scale = ratio * 256 / max(width, height)
    assert right - left == pytest.approx(scale * width, abs=1.0)
    assert bottom - top == pytest.approx(scale * height, abs=1.0)
    assert (left + right) / 2 == pytest.approx(128, abs=0.5)
    assert (top + bottom) / 2 == pytest.approx(128, abs=0.5)


def test_recenter_leaves_a_image_that_is_in_place_as_it_is():
    placed = rectangle((256, 256), (28, 78, 228, 178))
    assert np.array_equal(np.asarray(recenter(placed)), np.asarray(placed))


def test_resampling_gives_edges_no_dark_rim():
    # Red over clear black: any mix that ignores alpha darkens the edge.
    framed = np.asarray(recenter(rectangle((100, 100), (31, 30, 64, 60)), 256))
    edge = (framed[..., 3] > 20) & (framed[..., 3] < 235)
    assert edge.sum() > 50
    assert (framed[edge][:, 0] >= 250).all() and framed[edge][:, 1:3].max() <= 5
    white = np.asarray(composite(Image.fromarray(framed))).astype(int)
    assert white[..., 0].min() >= 250  # white to red never loses red


def test_faint_surroundings_come_along_without_moving_the_object():
    with_haze = np.array(rectangle((100, 100), (40, 40, 60, 60)))
    with_haze[40:60, 60:70] = (255, 0, 0, 40)
    framed = recenter(Image.fromarray(with_haze), 128, 0.5)
    assert box_of(framed) == (32, 32, 96, 96)
    assert np.asarray(framed)[64, 110, 3] == 40


@pytest.mark.parametrize("ratio", [0.0, -1.0, 1.01, float("nan")])
def test_the_foreground_ratio_is_checked(ratio):
    with pytest.raises(ValueError, match=r"foreground_ratio: expected a number in \(0, 1\]"):
        recenter(rectangle((32, 32), (8, 8, 16, 16)), 64, ratio)


def test_recenter_refuses_the_empty_and_the_opaque():
    with pytest.raises(ImageError, match="rgba: .*empty"):
        recenter(Image.new("RGBA", (32, 32)))
    with pytest.raises(ImageError, match="rgba: expected an RGBA image"):
        recenter(Image.new("RGB", (32, 32)))


def test_composite_is_the_over_formula():
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 256, (32, 32, 4), np.uint8)
    colour, alpha = rgba[..., :3].astype(float), rgba[..., 3:] / 255.0
    for background in ((255, 255, 255), (10, 200, 30)):
        ours = np.asarray(composite(Image.fromarray(rgba), background))
        assert np.abs(ours - (alpha * colour + (1 - alpha) * np.array(background))).max() <= 1.0


def test_tensors_and_images_round_trip():
    values = np.arange(8 * 32 * 3, dtype=np.uint8).reshape(8, 32, 3)
    tensor = to_tensor(Image.fromarray(values))
    assert tensor.shape == (3, 8, 32) and tensor.dtype == torch.float32
    assert tensor.min() == -1.0 and tensor.max() == 1.0
    assert np.array_equal(np.asarray(to_pil(tensor)), values)
    batch = torch.stack([tensor, -tensor]).unsqueeze(0)
    assert [p.tobytes() for p in to_pils(batch)] == [to_pil(t).tobytes() for t in batch[0]]
    assert np.asarray(to_pil(torch.full((3, 1, 1), 7.0))).tolist() == [[[255, 255, 255]]]


def test_tensors_that_are_no_images_are_refused():
    with pytest.raises(
        ImageError, match=r"image: expected a tensor \[3, H, W\], got \[1, 3, 8, 8\]"
    ):
        to_pil(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ImageError, match="image: expected finite values"):
        to_pil(torch.full((3, 8, 8), float("nan")))
    with pytest.raises(ImageError, match="image: expected an RGB image, got mode RGBA"):
        to_tensor(Image.new("RGBA", (8, 8)))


def test_contact_sheet_places_every_image_and_keeps_its_pixels():
    colours = ["red", "lime", "blue", "black", "cyan"]
    images = [Image.new("RGB", (10, 8), colour) for colour in colours]
    sheet = contact_sheet(images, columns=2, gap_px=3)
    assert sheet.size == (3 + 2 * 13, 3 + 3 * 11)
    corners = [(3, 3), (16, 3), (3, 14), (16, 14), (3, 25)]
    for (x, y), image in zip(corners, images, strict=True):
        assert sheet.crop((x, y, x + 10, y + 8)).tobytes() == image.tobytes()
    assert sheet.getpixel((16, 25)) == (255, 255, 255)
    assert contact_sheet(images[:4], gap_px=0).size == (20, 16)


def test_contact_sheet_writes_labels_below_and_checks_its_arguments():
    image = Image.new("RGB", (64, 64), "red")
    sheet = contact_sheet([image], labels=["20 deg"], gap_px=0)
    assert sheet.crop((0, 0, 64, 64)).tobytes() == image.tobytes()
    assert np.asarray(sheet.crop((0, 64, 64, sheet.height))).min() < 100
    with pytest.raises(ValueError, match="images: expected at least one"):
        contact_sheet([])
    with pytest.raises(ValueError, match="labels: expected one per image"):
        contact_sheet([image], labels=[])
    with pytest.raises(ValueError, match="columns"):
        contact_sheet([image], columns=0)


def test_auto_frames_the_object_on_white():
    prepared = prepare(rectangle((300, 200), (20, 30, 120, 80)), 128)
    assert prepared.image.mode == "RGB" and prepared.image.size == (128, 128)
    assert (prepared.method, prepared.preprocess) == ("alpha", "auto")
    assert box_of(prepared.rgba) == (14, 39, 114, 89)
    assert prepared.image.getpixel((5, 5)) == (255, 255, 255)
    assert prepared.image.getpixel((64, 64)) == (255, 0, 0)
    assert prepared.foreground_fraction == pytest.approx(100 * 50 / 128**2, abs=1e-3)
    assert torch.equal(prepared.tensor, to_tensor(prepared.image))


def test_official_framing_never_enlarges_and_resizes_to_the_model():
    small = rectangle((80, 80), (10, 20, 60, 50))
    framed = prepare(small, 256, "official")
    assert box_of(framed.rgba) == (103, 113, 153, 143)
    assert box_of(prepare(small, 128, "official").rgba) == pytest.approx((51, 56, 77, 72), abs=1)
    with pytest.raises(ImageError, match="rgba: expected something opaque"):
        haze = np.array(small)
        haze[..., 3] //= 3
        prepare(haze, 256, "official")


def test_none_leaves_a_prepared_image_alone():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    prepared = prepare(image, 64, "none")
    assert prepared.image.tobytes() == image.tobytes() and prepared.method == "none"
    clear = rectangle((64, 64), (16, 16, 48, 48))
    assert prepare(clear, 64, "none").image.getpixel((0, 0)) == (255, 255, 255)
    assert prepare(image, 32, "none").image.size == (32, 32)
    with pytest.raises(ImageError, match="image: expected a square image .* got 64 x 32"):
        prepare(image.crop((0, 0, 64, 32)), 64, "none")


def test_a_prepared_tensor_passes_unchanged():
    condition = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    prepared = prepare(condition, 32)
    assert torch.equal(prepared.tensor, condition) and prepared.preprocess == "none"
    assert torch.equal(to_tensor(prepared.image), to_tensor(to_pil(condition)))
    with pytest.raises(ImageError, match=r"image: expected a tensor \[3, 64, 64\]"):
        prepare(condition, 64)
    with pytest.raises(ImageError, match=r"image: expected tensor values in \[-1, 1\], got .*3"):
        prepare(torch.ones_like(condition) * 3, 32)


def test_a_tensor_with_its_channels_last_or_of_bytes_is_an_image():
    values = np.array(rectangle((64, 64), (16, 16, 48, 48)))
    expected = prepare(values, 64).tensor
    for tensor in (
        torch.from_numpy(values),
        torch.from_numpy(values).permute(2, 0, 1),
        torch.from_numpy(values).float() / 255,
    ):
        assert torch.equal(prepare(tensor, 64).tensor, expected)


def test_what_does_not_show_on_white_is_refused():
    white = rectangle((64, 64), (16, 16, 48, 48), "white")
    for source, preprocess in (
        (white, "auto"),
        (white, "official"),
        (white, "none"),
        (Image.new("RGB", (64, 64), (250, 250, 250)), "none"),
    ):
        with pytest.raises(ImageError, match="image: expected an object that shows on white"):
            prepare(source, 64, preprocess)  # pyright: ignore[reportArgumentType]
    pale = rectangle((64, 64), (16, 16, 48, 48), "#f0f0f0")
    assert prepare(pale, 64).image.getpixel((32, 32)) == (240, 240, 240)


def test_arguments_of_prepare_are_checked():
    image = rectangle((32, 32), (8, 8, 24, 24))
    with pytest.raises(ValueError, match=r"preprocess: expected .* got 'crop'"):
        prepare(image, 64, "crop")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="size: expected at least 8 pixels, got 0"):
        prepare(image, 0)
    with pytest.raises(ValueError, match="foreground_ratio"):
        prepare(image, 64, foreground_ratio=2.0)


@pytest.mark.parametrize("preprocess", ["auto", "none"])
def test_the_detail_is_the_same_framing_with_the_sources_pixels(preprocess):
    y, x = np.mgrid[0:600, 0:600]
    inside = np.hypot(x - 300, y - 310) < 200
    stripes = 127 + 120 * np.sin(x / 1.2) * inside
    rgba = np.dstack([*[stripes] * 3, 255 * inside]).astype(np.uint8)
    prepared = prepare(rgba, 128, preprocess)
    detail = prepared.detail
    assert detail is not None and detail.width == (512 if preprocess == "auto" else 640)
    small = np.asarray(detail.resize((128, 128), Image.Resampling.BOX), float)
    assert np.abs(small - np.asarray(prepared.rgba, float))[..., 3].mean() < 2
    # The stripes are there, which 128 pixels cannot show.
    assert (
        np.asarray(detail)[256, 200:300, 0].std()
        > 40
        > np.asarray(prepared.rgba)[64, 45:80, 0].std()
    )
    assert prepare(rgba, 512, preprocess).detail.size == (512, 512)  # pyright: ignore[reportOptionalMemberAccess]


def test_the_detail_of_a_large_photograph_is_the_photographs():
    y, x = np.mgrid[0:2000, 0:3000]
    inside = np.hypot(x - 1400, y - 900) < 300
    stripes = 127 + 120 * np.sin(x / 1.2)
    rgba = np.dstack([*[stripes] * 3, 255 * inside]).astype(np.uint8)
    detail = prepare(rgba, 128, "auto").detail
    assert detail is not None and detail.size == (768, 768)  # 600 px over 200/256
    middle = np.asarray(detail)[380, 200:560]
    assert middle[:, 0].std() > 60 and middle[:, 3].min() == 255
    alpha = np.asarray(detail.getchannel("A"))
    rows = np.flatnonzero((alpha > 127).any(axis=1))
    assert [rows[0], rows[-1]] == pytest.approx([84, 683], abs=2)  # in the middle, 600 px


def test_a_large_image_is_framed_like_the_same_image_small():
    large = rectangle((4000, 3000), (1000, 500, 3000, 1500))
    small = rectangle((400, 300), (100, 50, 300, 150))
    difference = to_tensor(prepare(large, 128).image) - to_tensor(prepare(small, 128).image)
    assert difference.abs().mean() < 0.01


def test_a_long_image_may_be_thin_once_it_is_bounded():
    long = rectangle((4000, 12), (1000, 2, 3000, 10))
    for size in ((4000, 12), (12, 4000)):
        image = long if size[0] == 4000 else long.transpose(Image.Transpose.ROTATE_90)
        assert image.size == size
        for preprocess in ("auto", "official"):
            red, green, _ = prepare(image, 256, preprocess).tensor
            assert red.min() > 0.99 and green.min() < 0.2  # red on white, hardly a pixel thick
        with pytest.raises(ImageError, match=f"square image .* got {size[0]} x {size[1]}"):
            prepare(image, 256, "none")
    with pytest.raises(ImageError, match="at least 8 x 8 pixels, got 4000 x 7"):
        prepare(long.crop((0, 0, 4000, 7)))


def test_the_condition_is_not_rounded_to_8_bits():
    shade = Image.new("RGBA", (64, 64), (10, 20, 30, 99))
    over_white = (99 * np.array([10, 20, 30]) + 156 * 255) / 255
    for preprocess in ("auto", "none"):
        prepared = prepare(shade, 64, preprocess, foreground_ratio=1.0, method="alpha")
        found = (prepared.tensor[:, 32, 32].double() + 1) * 127.5
        assert found.tolist() == pytest.approx(over_white.tolist(), abs=1e-4)
        assert prepared.image.getpixel((32, 32)) == tuple(np.rint(over_white))


def test_how_a_image_was_cut_out_is_told_in_words():
    clear = rectangle((64, 64), (16, 16, 48, 48))
    assert prepare(clear, 64).how == "cut out by its own transparency"
    assert "by U2-Net-p (Apache-2.0)" in prepare(composite(clear), 64).how
    assert prepare(clear, 64, "none").how == "taken as it is"
    assert set(HOW) == set(get_args(CutOutMethod)) - {"auto"} | {"mask"}


def test_that_the_first_of_several_frames_was_taken_is_told(tmp_path):
    frames = [rectangle((64, 64), (16, 16, 48, 48), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    prepared = prepare(tmp_path / "a.png", 64)
    assert prepared.first_frame and prepared.image.getpixel((32, 32)) == (255, 0, 0)
    assert prepared.how == "cut out by its own transparency, the first of its frames"
    frames[0].save(tmp_path / "a.png")
    assert not prepare(tmp_path / "a.png", 64).first_frame


def test_every_shared_image_fills_the_ratio_and_is_centred(shared_data: Path):
    for path in sorted((shared_data / "images").glob("*.png")):
        prepared = prepare(path, 128)
        left, top, right, bottom = box_of(prepared.rgba)
        assert max(right - left, bottom - top) == pytest.approx(100, abs=2), path.name
        assert (left + right) / 2 == pytest.approx(64, abs=1), path.name
        assert (top + bottom) / 2 == pytest.approx(64, abs=1), path.name
        assert prepared.method == ("u2netp" if "graybg" in path.name else "alpha")


def test_a_pillow_image_that_was_loaded_stays_the_first_of_its_frames(tmp_path):
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert prepare(load_image(tmp_path / "a.gif"), 64, "none").first_frame


def test_a_pointer_of_git_lfs_is_told_as_such(tmp_path):
    (tmp_path / "a.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ValueError, match="a Git LFS pointer: run git lfs pull"):
        load_image(tmp_path / "a.png")
