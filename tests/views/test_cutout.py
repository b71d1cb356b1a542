"""Cutting out: by the image's own alpha, by a mask, by the bundled network, by rembg."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from small_networks import cut_out_iou, photographs

from zero123lib._optional import MissingExtraError
from zero123lib.views import cutout, segment
from zero123lib.views.cutout import cut_out, has_meaningful_alpha, rembg_model
from zero123lib.views.loading import ImageError


@pytest.fixture(autouse=True)
def without_rembg(monkeypatch, tmp_path):
    """No test here depends on what this machine has of rembg."""
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    cutout._rembg_session.cache_clear()


def disc(size: int = 96, radius: float = 0.3) -> np.ndarray:
    """Alpha [size, size] of an antialiased disc in the middle."""
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size - 0.5
    return np.clip((radius - np.hypot(x, y)) * size + 0.5, 0.0, 1.0)


def over(alpha: np.ndarray, colour, background) -> np.ndarray:
    """uint8 [H, W, 3] of a colour over a background, both broadcast."""
    mixed = alpha[..., None] * np.array(colour) + (1 - alpha[..., None]) * background
    return np.rint(mixed * 255).astype(np.uint8)


def iou(found: np.ndarray, true: np.ndarray) -> float:
    return float((found & true).sum() / (found | true).sum())


def alpha_of(image: Image.Image) -> np.ndarray:
    return np.asarray(image.getchannel("A")) / 255.0


def test_own_alpha_is_kept_to_the_bit():
    rgba = np.dstack([np.full((96, 96, 3), 90, np.uint8), np.rint(disc() * 255).astype(np.uint8)])
    cut = cut_out(rgba)
    assert cut.method == "alpha" and np.array_equal(np.asarray(cut.image), rgba)
    assert cut.foreground_fraction == pytest.approx(np.pi * 0.3**2, abs=2e-3)


@pytest.mark.parametrize("cleared, meaningful", [(0.0, False), (0.005, False), (0.02, True)])
def test_alpha_counts_when_some_of_the_image_is_clear(cleared, meaningful):
    alpha = np.full((100, 100), 255, np.uint8)
    alpha.flat[: round(cleared * 10_000)] = 0
    image = Image.new("RGBA", (100, 100), "red")
    image.putalpha(Image.fromarray(alpha))
    assert has_meaningful_alpha(image) is meaningful
    assert not has_meaningful_alpha(Image.new("RGBA", (100, 100), (255, 0, 0, 100)))
    assert not has_meaningful_alpha(image.convert("RGB"))


def test_methods_that_do_not_apply_are_refused():
    opaque = over(disc(), (1, 0, 0), (1, 1, 1))
    with pytest.raises(ImageError, match="image: expected an image with transparency"):
        cut_out(opaque, "alpha")
    with pytest.raises(ValueError, match=r"method: expected one of .* got 'grabcut'"):
        cut_out(opaque, "grabcut")  # pyright: ignore[reportArgumentType]
    none = cut_out(opaque, "none")
    assert none.method == "none" and none.foreground_fraction == 1.0


@pytest.mark.parametrize("colour", [(0.8, 0.1, 0.1), (0.1, 0.1, 0.1), (0.9, 0.85, 0.3)])
@pytest.mark.parametrize("kind", ["plain", "gradient", "noisy"])
def test_a_disc_is_found_before_smooth_backgrounds(colour, kind):
    y = np.linspace(0, 1, 96)[:, None, None]
    background = {"plain": np.full((1, 1, 3), 0.55), "gradient": 0.4 + 0.3 * y}.get(kind)
    if background is None:
        rng = np.random.default_rng(0)
        background = np.clip(0.55 + 0.1 * y + rng.normal(0, 0.03, (96, 96, 3)), 0, 1)
    cut = cut_out(over(disc(), colour, background))
    assert cut.method == "u2netp"
    assert iou(alpha_of(cut.image) > 0.5, disc() > 0.5) > 0.96
    assert np.abs(alpha_of(cut.image) - disc()).mean() < 0.02


def test_alpha_is_soft_across_an_edge_and_hard_away_from_it():
    alpha = alpha_of(cut_out(over(disc(), (0.8, 0.1, 0.1), np.full(3, 0.6))).image)
    y, x = (np.mgrid[0:96, 0:96] + 0.5) / 96 - 0.5
    inside, outside = np.hypot(x, y) < 0.26, np.hypot(x, y) > 0.34
    assert alpha[inside].min() > 0.99 and alpha[outside].max() < 0.01
    assert ((alpha > 0.1) & (alpha < 0.9)).any()


def test_of_two_objects_the_larger_is_cut_out():
    alpha = np.zeros((96, 160))
    alpha[:, :96] = disc(radius=0.35)
    small = disc(radius=0.12)
    alpha[:, 96:] = small[:, 16:80]
    cut = alpha_of(cut_out(over(alpha, (0.8, 0.1, 0.1), np.full(3, 0.7))).image)
    assert iou(cut[:, :96] > 0.5, alpha[:, :96] > 0.5) > 0.96 and cut[:, 104:].max() == 0


def test_a_wall_and_a_floor_are_both_background():
    rng = np.random.default_rng(0)
    wall_and_floor = np.full((96, 96, 3), (0.8, 0.82, 0.85))
    wall_and_floor[60:] = (0.5, 0.38, 0.28)
    background = np.clip(wall_and_floor + rng.normal(0, 0.01, (96, 96, 3)), 0, 1)
    cut = cut_out(over(disc(), (0.1, 0.5, 0.2), background))
    assert iou(alpha_of(cut.image) > 0.5, disc() > 0.5) > 0.95


@pytest.mark.parametrize("value", [0, 128, 255])
def test_nothing_to_find_is_an_error(value):
    with pytest.raises(ImageError, match="image: expected an object that stands out"):
        cut_out(np.full((64, 64, 3), value, np.uint8))


def scores_before_grounds(folder: Path, every: int) -> dict[str, list[float]]:
    """By ground, the IoU of the soft alpha with the true one of every so many photographs."""
    scores: dict[str, list[float]] = {}
    for _, ground, photo, alpha in islice(photographs(folder), 0, None, every):
        scores.setdefault(ground, []).append(cut_out_iou(photo, alpha))
    return scores


def test_photographs_are_cut_out_whatever_is_behind_them(shared_data: Path):
    # Every ninth of 44, so that each ground is there.
    scores = scores_before_grounds(shared_data / "images", every=9)
    assert len(scores) == 4 and all(min(found) >= 0.95 for found in scores.values()), scores


@pytest.mark.soak
def test_all_photographs_are_cut_out_on_all_grounds(shared_data: Path):
    scores = scores_before_grounds(shared_data / "images", every=1)
    assert [len(found) for found in scores.values()] == [11] * 4
    for ground, found in scores.items():
        assert np.mean(found) >= 0.97 and min(found) >= 0.9, (ground, found)


@pytest.mark.parametrize("name", ["coffee", "chelsea", "astronaut"])
def test_photographs_of_things_in_rooms_are_cut_out(name):
    import skimage.data

    photo = getattr(skimage.data, name)()
    alpha = alpha_of(cut_out(photo).image)
    inside = {"coffee": (200, 280), "chelsea": (150, 250), "astronaut": (400, 250)}[name]
    outside = {"coffee": (20, 560), "chelsea": (40, 430), "astronaut": (60, 330)}[name]
    assert alpha[inside] == 1 and alpha[outside] < 0.02 and 0.4 < alpha.mean() < 0.75


def masonry(rng: np.random.Generator) -> np.ndarray:
    """Courses of bricks in many reds ``[480, 640, 3]``, in [0, 1]."""
    y, x = np.mgrid[0:480, 0:640]
    x = x + 40 * (y // 40 % 2)
    reds = (0.6, 0.28, 0.2) * (0.7 + 0.5 * rng.random((12, 9, 1)))[y // 40, x // 80]
    mortar = (y % 40 < 4) | (x % 80 < 4)
    wall = np.where(mortar[..., None], (0.75, 0.73, 0.7), reds)
    return np.clip(wall + 0.03 * rng.standard_normal((480, 640, 3)), 0, 1)


@pytest.mark.parametrize("what", ["sky", "noise", "grass", "gravel", "brick", "masonry"])
def test_a_photograph_of_no_object_is_refused(what):
    import skimage.data

    y = np.linspace(0, 1, 120)[:, None, None]
    photo = {
        "sky": np.broadcast_to((0.3, 0.5, 0.8) + 0.2 * y, (120, 160, 3)),
        "noise": np.random.default_rng(0).random((120, 160, 3)),
        "masonry": masonry(np.random.default_rng(0)),
    }.get(what)
    if photo is None:
        photo = np.repeat(getattr(skimage.data, what)()[..., None] / 255, 3, 2)
    with pytest.raises(ImageError, match="image: expected an object that stands out"):
        cut_out(np.rint(photo * 255).astype(np.uint8))


def test_haze_beside_the_object_is_dropped_and_what_is_sure_near_it_kept():
    soft = np.zeros((256, 256), np.float32)
    soft[60:200, 60:160] = 1.0
    soft[100:180, 160:200] = 0.4  # haze along its side
    soft[20:50, 60:120] = 0.6  # haze above
    soft[20:60, 140:142] = 0.4  # a hair
    soft[205:215, 100:140] = 1.0  # a part of it, a gap away
    drawn = segment._largest(soft)
    assert np.array_equal(drawn[60:200, 60:160], soft[60:200, 60:160])
    assert np.array_equal(drawn[205:215, 100:140], soft[205:215, 100:140])
    assert np.array_equal(drawn[:60, 138:144], soft[:60, 138:144])
    assert drawn[100:180, 163:].max() == 0 and drawn[:50, :130].max() == 0
    assert drawn[120, 161] == np.float32(0.4)  # as an edge may be soft


@pytest.mark.parametrize("shape", [(400, 24), (24, 400), (3, 900), (900, 3), (1, 40), (1, 1)])
def test_no_aspect_is_too_much(shape):
    photo = np.full((*shape, 3), 190, np.uint8)
    edges = [length // 3 if length > 3 else 0 for length in shape]
    middle = tuple(slice(edge, length - edge) for edge, length in zip(edges, shape, strict=True))
    photo[middle] = (180, 20, 20)
    image = Image.fromarray(photo)
    assert segment.foreground(image).size == image.size
    soft = np.zeros(shape, np.float32)
    soft[middle] = 1
    alpha = (
        np.asarray(segment._drawn_to_edges(segment._largest(soft), photo / np.float32(255), image))
        / 255
    )
    assert np.abs(alpha - soft).mean() < 0.25 and alpha[middle].mean() > 0.5


def test_strips_are_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, (150, 700, 3), np.uint8))
    soft = np.linspace(0, 1, 70, dtype=np.float32)[None].repeat(15, 0)
    guide = segment._values(photo)
    whole = segment._drawn_to_edges(soft, guide, photo)
    monkeypatch.setattr(segment, "_STRIP_PX", 700 * 7)
    assert np.array_equal(
        np.asarray(segment._drawn_to_edges(soft, guide, photo)), np.asarray(whole)
    )
    # Rows are made one by one as torch makes them all together.
    lines = rng.random((15, 70, 4), np.float32)
    together = segment._resized(segment._resized(lines, 150, 70), 150, 700)
    strips = [segment._strip(lines, top, top + 30, 150) for top in range(0, 150, 30)]
    made = segment._resized(np.concatenate(strips), 150, 700)
    assert np.allclose(made, together, atol=1e-5)


def test_the_teapot_on_grey_is_cut_out_with_its_handle_open(shared_data: Path):
    cut = cut_out(shared_data / "images" / "red_teapot_graybg.png")
    alpha = alpha_of(cut.image)
    assert cut.method == "u2netp" and cut.image.size == (512, 512)
    red = np.asarray(cut.image)[..., 0].astype(int) - np.asarray(cut.image)[..., 2] > 60
    assert (alpha[red] > 0.5).mean() > 0.995  # the glazed body, by its colour
    assert alpha[250, 410] < 0.05  # grey seen through the handle
    assert alpha[:80].max() == alpha[420:].max() == 0.0


class FakeSession:
    """The part of rembg's sessions that a version of it has had since 2023."""

    def __init__(self, model_name: str, sess_opts: object) -> None:
        self.model = self.download_models()

    @classmethod
    def name(cls) -> str:
        return "u2net"

    @classmethod
    def download_models(cls) -> str:
        raise AssertionError("a download was about to start")


@pytest.fixture
def fake_rembg(monkeypatch):
    """rembg as it is when installed: its call signature, without its network."""
    rembg, sessions, onnxruntime = map(ModuleType, ("rembg", "rembg.sessions", "onnxruntime"))

    def remove(data: Image.Image, session: FakeSession, only_mask: bool) -> Image.Image:
        assert only_mask and session.model.endswith("u2net.onnx")
        return Image.fromarray(np.rint(disc(data.width) * 255).astype(np.uint8))

    rembg.__dict__.update(remove=remove, __spec__=object())
    sessions.__dict__.update(sessions_class=[FakeSession])
    onnxruntime.__dict__.update(SessionOptions=object)
    for module in (rembg, sessions, onnxruntime):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def test_rembg_is_used_only_with_a_model_at_hand_and_never_downloads(fake_rembg, tmp_path):
    image = over(disc(), (0.8, 0.1, 0.1), np.full(3, 0.6))
    assert rembg_model() is None and cut_out(image).method == "u2netp"
    with pytest.raises(ValueError, match="method: expected a rembg model on disk"):
        cut_out(image, "rembg")
    (tmp_path / "u2net.onnx").write_bytes(b"weights")
    assert rembg_model() == tmp_path / "u2net.onnx"
    assert cut_out(image).method == "u2netp"  # the larger one only when it is asked for
    cut = cut_out(image, "rembg")
    assert cut.method == "rembg"
    assert np.abs(alpha_of(cut.image) - disc()).max() <= 0.5 / 255 + 1e-9
    assert np.array_equal(np.asarray(cut.image)[..., :3], image)


def test_rembg_asked_for_and_absent_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "rembg", None)
    with pytest.raises(MissingExtraError, match=r"rembg .*zero123lib\[cutout\]"):
        cut_out(over(disc(), (1, 0, 0), (1, 1, 1)), "rembg")
