"""Closed forms of the image metrics, and SSIM as torchmetrics has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from zero123lib.metrics import (
    SILHOUETTE_THRESHOLD,
    azimuth_error_deg,
    psnr,
    psnr_single,
    rotation_error_deg,
    silhouette,
    silhouette_iou,
    ssim,
    ssim_map,
    ssim_single,
    ssim_uniform,
    ssim_zero_padded,
)


def random_images(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_psnr_of_a_constant_error():
    target = random_images(0, 4, 3, 8, 8) * 0.5
    assert torch.allclose(psnr(target + 0.1, target), torch.full((4,), 20.0, dtype=torch.float64))
    assert psnr(target, target).isinf().all()


def test_masked_psnr_sees_only_the_mask():
    target = torch.zeros(3, 4, 4)
    prediction = torch.zeros(3, 4, 4)
    prediction[:, :2] = 0.1
    prediction[:, 2:] = 1.0
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[:2] = True
    assert float(psnr(prediction, target, mask)) == pytest.approx(20)
    assert float(psnr(prediction, target, ~mask)) == pytest.approx(0)
    assert psnr(prediction, target, torch.zeros(4, 4, dtype=torch.bool)).isnan()


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_every_image_has_its_own_mask(metric):
    target, prediction = random_images(22, 3, 3, 8, 8), random_images(23, 3, 3, 8, 8)
    masks = random_images(24, 3, 8, 8) > torch.tensor([0.2, 0.5, 0.9])[:, None, None]
    found = metric(prediction, target, masks)
    for one, *each in zip(found, prediction, target, masks, strict=True):
        assert float(one) == pytest.approx(float(metric(*each)))


@pytest.mark.parametrize("noise", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("size", [(6, 11), (32, 32), (40, 23)])
def test_ssim_is_that_of_torchmetrics(noise, size):
    target = random_images(1, 5, 3, *size) * 0.7 + 0.1
    prediction = (target + noise * (random_images(2, 5, 3, *size) - 0.5)).clamp(0, 1)
    ours = ssim(prediction, target)
    for index in range(5):
        theirs: Any = structural_similarity_index_measure(
            prediction[index, None], target[index, None]
        )
        assert float(ours[index]) == pytest.approx(float(theirs), abs=1e-5)


def test_constants_of_ssim_grow_with_the_range_of_the_values():
    target = random_images(20, 3, 16, 16) * 0.05
    prediction = target + 0.02 * random_images(21, 3, 16, 16)
    theirs: Any = structural_similarity_index_measure(prediction[None], target[None])
    assert float(ssim(prediction, target)) == pytest.approx(float(theirs), abs=1e-4)
    assert float(ssim(20 * prediction, 20 * target)) == pytest.approx(float(theirs), abs=1e-4)


def test_the_map_is_that_of_torchmetrics():
    target = random_images(3, 1, 3, 24, 24).double()
    prediction = random_images(4, 1, 3, 24, 24).double()
    _, theirs = structural_similarity_index_measure(prediction, target, return_full_image=True)
    ours = ssim_map(prediction, target)
    assert torch.allclose(ours, theirs.mean(1), atol=1e-5)
    mask = random_images(5, 1, 24, 24) > 0.5
    assert float(ssim(prediction, target, mask)) == pytest.approx(float(ours[mask].mean()))


def test_ssim_of_a_image_with_itself_its_negative_and_a_flat_one():
    image = random_images(6, 3, 16, 16)
    assert float(ssim(image, image)) == pytest.approx(1)
    assert float(ssim(1 - image, image)) < 0
    flat, darker = torch.full((3, 16, 16), 0.8), torch.full((3, 16, 16), 0.4)
    assert float(ssim(flat, flat)) == pytest.approx(1)
    # Without contrast the luminance term alone is left: Wang et al. 2004, equation 6.
    expected = (2 * 0.8 * 0.4 + 1e-4) / (0.8**2 + 0.4**2 + 1e-4)
    assert float(ssim(flat, darker)) == pytest.approx(expected)


def test_a_silhouette_is_what_differs_from_white():
    image = torch.ones(2, 3, 4, 4)
    image[0, 1, 1, 2] = 1 - SILHOUETTE_THRESHOLD - 0.01
    image[1, :, 0, 0] = 1 - SILHOUETTE_THRESHOLD + 0.01
    found = silhouette(image)
    assert found.nonzero().tolist() == [[0, 1, 2]]
    assert silhouette(image, 0.01).sum() == 2
    assert torch.equal(silhouette(image[0]), found[0])
    assert silhouette(torch.tensor([0.75, 0.5]).expand(3, 1, 2), 0.25).tolist() == [[False, True]]


def test_iou_of_shifted_squares():
    first, second = (torch.zeros(12, 12, dtype=torch.bool) for _ in range(2))
    first[2:8, 2:8], second[2:8, 4:10] = True, True
    assert float(silhouette_iou(first, second)) == pytest.approx(24 / 48)
    assert float(silhouette_iou(first, first)) == 1
    assert float(silhouette_iou(first, ~first)) == 0
    together = silhouette_iou(torch.stack([first, second, first]), torch.stack([first] * 3))
    assert together.tolist() == [1, pytest.approx(0.5), 1]
    left = torch.zeros_like(first)
    left[:, :5] = True
    assert float(silhouette_iou(first, second, left)) == pytest.approx(6 / 18)
    empty = torch.zeros_like(first)
    assert silhouette_iou(torch.stack([empty, first]), torch.stack([empty, empty])).tolist() == [
        1,
        0,
    ]


def test_a_rotation_is_as_far_as_its_angle_says():
    angles = np.radians([0.0, 1.0, 90.0, 179.0, 180.0, 270.0]).reshape(2, 3)
    turns = np.zeros((2, 3, 3, 3))
    turns[..., 0, 0] = turns[..., 1, 1] = np.cos(angles)
    turns[..., 1, 0], turns[..., 0, 1], turns[..., 2, 2] = np.sin(angles), -np.sin(angles), 1
    tilted = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    found = rotation_error_deg(turns @ tilted, np.broadcast_to(tilted, turns.shape))
    assert found == pytest.approx(np.array([[0, 1, 90], [179, 180, 90]]), abs=1e-5)
    # Rounding takes traces beyond what a rotation has.
    for grown, angle in ((1 + 1e-6, 0), (-1 - 1e-6, 180)):
        whole = np.diag([1.0, grown, grown])
        assert rotation_error_deg(whole, np.eye(3)) == angle


def test_azimuths_are_compared_the_short_way_round():
    found = torch.tensor([10.0, 350.0, 0.0, 180.0, -170.0, 725.0])
    true = torch.tensor([350.0, 10.0, 180.0, -180.0, 170.0, 0.0])
    assert azimuth_error_deg(found, true).tolist() == [20, 20, 180, 0, 20, 5]


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (
            lambda: psnr(torch.zeros(3, 4, 4), torch.zeros(3, 8, 8)),
            r"prediction: expected the target's shape \[3, 8, 8\], got \[3, 4, 4\]",
        ),
        (
            lambda: ssim(torch.zeros(3, 16, 16), torch.zeros(1, 3, 16, 16)),
            r"prediction: expected the target's shape \[1, 3, 16, 16\]",
        ),
        (
            lambda: psnr(torch.zeros(3, 4, 4), torch.zeros(3, 4, 4), torch.ones(1, 4, 4) > 0),
            r"mask: expected \[4, 4\], got \[1, 4, 4\]",
        ),
        (
            lambda: ssim(torch.zeros(3, 9, 9), torch.zeros(3, 9, 9), torch.ones(1, 9, 9) > 0),
            r"mask: expected \[9, 9\], got \[1, 9, 9\]",
        ),
        (
            lambda: psnr(torch.zeros(8, 8), torch.zeros(8, 8)),
            r"target: expected \[..., 3, H, W\], got \[8, 8\]",
        ),
        (
            lambda: ssim(torch.zeros(3, 5, 20), torch.zeros(3, 5, 20)),
            "prediction: expected at least 6 x 6 pixels, got 20 x 5",
        ),
        (lambda: silhouette(torch.zeros(4, 4)), r"image: expected \[..., 3, H, W\]"),
        (
            lambda: silhouette_iou(torch.ones(2, 2) > 0, torch.ones(3, 2) > 0),
            r"prediction: expected the target's shape \[3, 2\]",
        ),
        (
            lambda: silhouette_iou(torch.ones(2, 2), torch.ones(2, 2) > 0),
            "prediction: expected a boolean mask, got torch.float32",
        ),
        (
            lambda: silhouette_iou(torch.ones(2, 2) > 0, torch.ones(2, 2)),
            "target: expected a boolean mask, got torch.float32",
        ),
        (
            lambda: silhouette_iou(torch.ones(2, 2) > 0, torch.ones(2, 2) > 0, torch.ones(2) > 0),
            r"mask: expected the target's shape \[2, 2\], got \[2\]",
        ),
        (lambda: silhouette(torch.zeros(3, 4)), r"image: expected .*, got \[3, 4\]"),
        (lambda: silhouette(torch.zeros(4, 3, 4)), r"image: expected .*, got \[4, 3, 4\]"),
        (
            lambda: psnr_single(torch.zeros(3, 4, 4), torch.zeros(3, 8, 8)),
            r"prediction: expected the target's shape \[3, 8, 8\]",
        ),
        (
            lambda: psnr(torch.zeros(4, 8, 8), torch.zeros(4, 8, 8)),
            r"target: expected \[..., 3, H, W\], got \[4, 8, 8\]",
        ),
        (
            lambda: ssim_single(torch.zeros(3, 20, 5), torch.zeros(3, 20, 5)),
            "prediction: expected at least 6 x 6 pixels, got 5 x 20",
        ),
        (
            lambda: ssim_zero_padded(torch.zeros(1, 8, 8), torch.zeros(1, 8, 8)),
            r"target: expected \[..., 3, H, W\]",
        ),
        (
            lambda: ssim_uniform(torch.zeros(3, 20, 6), torch.zeros(3, 20, 6)),
            "prediction: expected at least 7 x 7 pixels, got 6 x 20",
        ),
        (
            lambda: ssim_uniform(torch.zeros(1, 8, 8), torch.zeros(1, 8, 8)),
            r"target: expected \[..., 3, H, W\]",
        ),
        (
            lambda: rotation_error_deg(np.zeros((2, 3, 3)), np.zeros((3, 3))),
            r"found: expected shape \[3, 3\], got \[2, 3, 3\]",
        ),
        (
            lambda: azimuth_error_deg(torch.zeros(2), torch.zeros(3)),
            r"found_deg: expected the target's shape \[3\], got \[2\]",
        ),
    ],
)
def test_other_shapes_are_refused(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()


@pytest.mark.parametrize("window", [7, 11])
@pytest.mark.parametrize("size", [(11, 16), (40, 23)])
def test_the_uniform_window_is_that_of_scikit_image_on_eight_bits(window, size):
    target = (random_images(7, 2, 3, *size) * 255).to(torch.uint8)
    prediction = (target.float() * 0.8 + 20 * random_images(8, 2, 3, *size)).to(torch.uint8)
    ours = ssim_uniform(prediction / 255, target / 255, window)
    for index in range(2):
        theirs: Any = structural_similarity(
            prediction[index].numpy(), target[index].numpy(), win_size=window, channel_axis=0
        )
        assert float(ours[index]) == pytest.approx(float(theirs), abs=1e-5)


def test_zero_padding_changes_the_border_alone():
    target, prediction = (random_images(seed, 3, 32, 32).double() for seed in (9, 10))
    assert float(ssim_zero_padded(target, target)) == pytest.approx(1)
    flat, darker = torch.full((3, 64, 64), 0.8), torch.full((3, 64, 64), 0.4)
    # Half of a window lies beyond an edge: means of half the values, and a contrast with black.
    whole = float(ssim_zero_padded(darker, flat))
    inner = (2 * 0.8 * 0.4 + 1e-4) / (0.8**2 + 0.4**2 + 1e-4)
    assert whole != pytest.approx(inner, abs=1e-3)
    window = torch.exp(-0.5 * ((torch.arange(11, dtype=torch.float64) - 5) / 1.5) ** 2)
    kernel = torch.outer(window, window) / window.sum() ** 2

    def mean(image):
        kernels = kernel.expand(3, 1, 11, 11)
        return torch.nn.functional.conv2d(image[None].double(), kernels, padding=5, groups=3)[0]

    x, y = mean(prediction), mean(target)
    xx = mean(prediction.double() ** 2) - x**2
    yy, xy = mean(target.double() ** 2) - y**2, mean(prediction.double() * target) - x * y
    expected = (2 * x * y + 1e-4) * (2 * xy + 9e-4)
    expected = (expected / ((x**2 + y**2 + 1e-4) * (xx + yy + 9e-4))).mean()
    assert float(ssim_zero_padded(prediction, target)) == pytest.approx(float(expected), abs=1e-9)


# On 0.7, unlike on white, rounding leaves variances below 0 beside the object.
@pytest.mark.parametrize("ground", [1.0, 0.7])
def test_in_single_precision_it_is_torchmetrics_to_the_last_digits(ground):
    target = torch.full((3, 96, 96), ground)
    target[:, 30:60, 30:60] = random_images(11, 3, 30, 30)
    noise = 0.1 * random_images(12, 3, 96, 96) * (target != ground)
    prediction = (target + noise).clamp(0, 1)
    theirs: Any = structural_similarity_index_measure(prediction[None], target[None])
    assert float(ssim_single(prediction, target)) == pytest.approx(float(theirs), abs=1e-6)


def test_errors_summed_in_single_precision_are_those_of_numpy():
    # So many that the order of the sum is seen; colours of a pixel lie together, as in files.
    target, prediction = random_images(13, 3, 256, 256), random_images(14, 3, 256, 256)
    turned = [one.permute(1, 2, 0).contiguous() for one in (target, prediction)]
    pixels = [one.reshape(-1, 3).numpy() for one in turned]
    mse = np.mean(np.mean((pixels[0] - pixels[1]) ** 2, 0))
    assert float(psnr_single(prediction, target)) == pytest.approx(10 * np.log10(1 / mse), abs=5e-6)
    assert float(psnr_single(prediction, target)) == pytest.approx(
        float(psnr(prediction, target)), abs=1e-3
    )


def test_equal_images_are_infinitely_alike_in_single_precision_without_a_warning(recwarn):
    image = random_images(15, 3, 8, 8)
    assert float(psnr_single(image, image)) == np.inf
    assert [str(one.message) for one in recwarn] == []


@pytest.mark.parametrize(
    "metric", [psnr, psnr_single, ssim, ssim_single, ssim_zero_padded, ssim_uniform]
)
def test_metrics_of_many_images_are_those_of_each(metric):
    target, prediction = (random_images(seed, 2, 3, 3, 12, 9) for seed in (16, 17))
    found = metric(prediction, target)
    assert found.shape == (2, 3) and found.dtype == torch.float64
    for i, j in np.ndindex(2, 3):
        assert float(found[i, j]) == pytest.approx(float(metric(prediction[i, j], target[i, j])))


def test_the_uniform_window_is_seven_pixels_unless_told():
    target, prediction = (random_images(seed, 3, 11, 12) for seed in (18, 19))
    assert float(ssim_uniform(prediction, target)) == float(ssim_uniform(prediction, target, 7))
    assert float(ssim_uniform(prediction, target)) != float(ssim_uniform(prediction, target, 9))
    assert ssim_uniform(prediction, target, 11).isfinite()  # as small as the window
