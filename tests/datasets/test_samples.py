"""One view: its image on white, its camera, and what is refused."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from zero123lib.datasets.samples import (
    SampleError,
    camera_complaint,
    image_tensor,
    read_image,
    read_matrix,
    read_pose,
    world_to_camera,
)
from zero123lib.views.poses import Pose, wrap_azimuth_deg


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def lanczos(source: int, target: int) -> np.ndarray:
    """[target, source] weights of Lanczos resampling (a = 3) with antialiasing, by definition."""
    scale = max(source / target, 1.0)
    centres = (np.arange(target) + 0.5) * source / target
    away = (np.arange(source) + 0.5 - centres[:, None]) / scale
    weights = np.where(np.abs(away) < 3.0, np.sinc(away) * np.sinc(away / 3.0), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("source", "target"), [(64, 24), (32, 32), (20, 33)])
def test_image_is_a_premultiplied_resize_put_on_white(source: int, target: int) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (source, source, 4)).astype(np.uint8)
    colour, alpha = rgba[..., :3] / 255.0, rgba[..., 3:] / 255.0
    weights = lanczos(source, target)

    def resize(plane: np.ndarray) -> np.ndarray:
        return np.einsum("ai,bj,ijc->abc", weights, weights, plane)

    expected = np.clip(resize(colour * alpha) + 1.0 - resize(alpha), 0.0, 1.0)
    got = image_tensor(Image.fromarray(rgba), target)
    assert got.shape == (3, target, target) and got.dtype == torch.float32
    assert np.abs(got.permute(1, 2, 0).numpy() - (2.0 * expected - 1.0)).max() < 1e-5


def test_colour_of_what_is_see_through_does_not_show() -> None:
    rgba = np.full((32, 32, 4), 255, np.uint8)
    rgba[8:24, 8:24, :3] = 40
    rgba[..., 3] = 0
    rgba[8:24, 8:24, 3] = 255
    dirty = rgba.copy()
    dirty[rgba[..., 3] == 0, :3] = 0
    assert torch.equal(
        image_tensor(Image.fromarray(rgba), 12), image_tensor(Image.fromarray(dirty), 12)
    )


def test_opaque_image_is_taken_as_it_is() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    got = image_tensor(read_image(png(rgb)), 16)
    assert np.array_equal(((got + 1.0) * 127.5).round().permute(1, 2, 0).numpy(), rgb)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "damaged|none of them"),
        (b"\x89PNG\r\n\x1a\n and no more", "damaged|none of them"),
        (png(np.full((16, 16, 4), 99, np.uint8))[:60], "damaged"),
        (png(np.zeros((16, 16, 4), np.uint8)), "transparent"),
        (png(np.full((16, 24, 4), 99, np.uint8)), "square"),
    ],
)
def test_images_that_cannot_be_used(content: bytes, complaint: str) -> None:
    with pytest.raises(SampleError, match=complaint):
        read_image(content)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_camera_survives_its_file(dtype: type) -> None:
    tolerance = {np.float64: 1e-5, np.float32: 1e-4, np.float16: 0.2}[dtype]
    random = np.random.default_rng(1)
    for elevation, azimuth, radius in random.uniform((-89, -180, 1.5), (89, 180, 2.2), (50, 3)):
        pose = read_pose(npy(world_to_camera(Pose(elevation, azimuth, radius)).astype(dtype)))
        assert pose.elevation_deg == pytest.approx(elevation, abs=tolerance)
        across = wrap_azimuth_deg(pose.azimuth_deg - azimuth) * np.cos(np.radians(elevation))
        assert across == pytest.approx(0.0, abs=tolerance)
        assert pose.radius == pytest.approx(radius, abs=tolerance)


def test_cameras_over_the_poles_are_taken() -> None:
    for elevation in (-90.0, 90.0):
        pose = read_pose(npy(world_to_camera(Pose(elevation, 70.0, 2.0))))
        assert pose.elevation_deg == pytest.approx(elevation, abs=1e-4)
        assert pose.azimuth_deg == pytest.approx(70.0, abs=1e-4)


W2C = world_to_camera(Pose(20.0, 30.0, 1.8))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "0 other bytes"),
        (b"not a matrix at all", "other bytes"),
        (npy(W2C)[:-8], "whole"),
        (npy(W2C) + bytes(5000), "bytes"),
        (npy(np.eye(4)), "shape"),
        (npy(W2C[None]), "shape"),
        (npy(np.ones((3, 4), int)), "int64"),
        (npy(np.where(np.eye(3, 4), np.nan, W2C)), "NaN"),
        (npy(np.where(np.eye(3, 4), np.inf, W2C)), "infinity"),
    ],
)
def test_files_that_are_no_camera(content: bytes, complaint: str) -> None:
    with pytest.raises(SampleError, match=complaint):
        read_pose(content)


def test_pickled_array_is_not_opened() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([[print] * 4] * 3, dtype=object), allow_pickle=True)
    with pytest.raises(SampleError, match="object"):
        read_matrix(buffer.getvalue())


def test_header_that_claims_much_is_refused_before_its_numbers() -> None:
    buffer = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**12, 4)}
    np.lib.format.write_array_header_1_0(buffer, header)
    with pytest.raises(SampleError, match="shape .1000000000000, 4."):
        read_matrix(buffer.getvalue() + bytes(96))


def inverse(w2c: np.ndarray) -> np.ndarray:
    return np.concatenate([w2c[:, :3].T, -w2c[:, :3].T @ w2c[:, 3:]], axis=1)


def rolled(w2c: np.ndarray, degrees: float) -> np.ndarray:
    """The camera turned about its look direction."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ w2c


OPENCV = np.diag([1.0, -1.0, -1.0])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda w2c: w2c, None),
        (lambda w2c: rolled(w2c, 5.0), None),
        (lambda w2c: rolled(w2c, 90.0), "rolled by 90 degrees"),
        (lambda w2c: rolled(w2c, 180.0), "upside down"),
        (lambda w2c: OPENCV @ w2c, "OpenCV's axes (y down"),
        (inverse, "a camera-to-world matrix, where"),
        (lambda w2c: inverse(OPENCV @ w2c), "a camera-to-world matrix in OpenCV's axes"),
        (lambda w2c: np.diag([-1.0, 1.0, 1.0]) @ w2c, "reflection"),
        (lambda w2c: 1e200 * w2c, "numbers of at most 1e+06"),
        (lambda w2c: 1.1 * w2c, "not orthonormal"),
        (lambda w2c: w2c * [1.0, 1.0, 1.0, 0.0], "away from the origin, got one at it"),
        (lambda w2c: w2c + np.outer([0.9, 0.0, 0.0], [0, 0, 0, 1]), "degrees past it"),
    ],
)
def test_what_a_camera_is_called(
    change: Callable[[np.ndarray], np.ndarray], complaint: str | None
) -> None:
    random = np.random.default_rng(2)
    for elevation, azimuth, radius in random.uniform((-60, -180, 1.5), (60, 180, 2.2), (20, 3)):
        found = camera_complaint(change(world_to_camera(Pose(elevation, azimuth, radius))))
        assert found == complaint or (complaint and complaint in str(found))
