"""A data set's held-out objects are measured as scenes are, and training never sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zero123lib.datasets.drawing import is_held_out
from zero123lib.datasets.folder import write_object
from zero123lib.evaluation import Setting, predict, report_predictions, stored_samples
from zero123lib.views.poses import Pose

SIZE, SHARE = 32, 0.5


def view(seed: int) -> np.ndarray:
    """A square of one colour in the middle of a transparent image."""
    image = np.zeros((SIZE, SIZE, 4), np.uint8)
    image[8:24, 8:24] = [*np.random.default_rng(seed).integers(0, 200, 3), 255]
    return image


@pytest.fixture(scope="module")
def renders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("renders")
    for index in range(12):
        views = range(3 if index else 2)
        poses = [Pose(10.0 * v, 30.0 * v, 1.8) for v in views]
        write_object(root / f"thing{index}", [view(10 * index + v) for v in views], poses)
    return root


def test_held_out_objects_are_those_that_training_leaves_out(renders: Path) -> None:
    found = list(stored_samples(renders, 99, 2, SIZE, SHARE))
    names = {f"thing{i}" for i in range(1, 12) if is_held_out(f"thing{i}", SHARE)}
    assert {sample.name for sample in found} == names and 1 < len(names) < 11
    few = list(stored_samples(renders, 2, 2, SIZE, SHARE))
    assert [one.fingerprint() for one in few] == [one.fingerprint() for one in found[:2]]
    assert len(list(stored_samples(renders, 99, 2, SIZE))) == 11  # thing0 has one target only


def test_a_sample_has_the_views_of_its_folder(renders: Path) -> None:
    for sample in stored_samples(renders, 3, 2, SIZE):
        index = int(sample.name.removeprefix("thing"))
        white = [view(10 * index + v) for v in range(3)]
        for image, target in zip(white[1:], sample.targets, strict=True):
            expected = np.where(image[..., 3:] > 0, image[..., :3], 255) / 255
            assert torch.allclose(target, torch.from_numpy(expected).float().permute(2, 0, 1))
        assert sample.condition_pose.azimuth_deg == pytest.approx(0)
        assert [p.azimuth_deg for p in sample.target_poses] == pytest.approx([30, 60])
        assert sample.silhouettes.sum() == 2 * 16 * 16


def test_the_report_has_no_azimuths_and_the_mean_of_training_objects(echo, renders: Path) -> None:
    samples = list(stored_samples(renders, 4, 2, SIZE, SHARE))
    known = [i for i in range(12) if not is_held_out(f"thing{i}", SHARE)]
    first = np.stack([view(10 * i) for i in known])
    white = np.where(first[..., 3:] > 0, first[..., :3], 255).mean(0) / 255
    assert torch.allclose(samples[0].mean, torch.from_numpy(white).float().permute(2, 0, 1))
    setting = Setting.of(echo)
    report = report_predictions(echo, setting, predict(echo, setting, samples)).to_dict()
    assert report["protocol"] == "objects" and report["objects"] == 4 and report["views"] == 2
    assert report["azimuth_error_deg"] is None and report["azimuth_views"] == 0
    assert report["psnr_db"] == report["baselines"]["input"]["psnr_db"]
    assert report["lpips"] == report["baselines"]["input"]["lpips"] > 0


def test_nothing_to_measure_is_one_line(renders: Path) -> None:
    with pytest.raises(ValueError, match=r"held_out: expected a share .*, got 1e-09"):
        next(stored_samples(renders, 1, 1, SIZE, 1e-9))
    with pytest.raises(ValueError, match=r"views: expected at most 2, the targets .*, got 7"):
        next(stored_samples(renders, 1, 7, SIZE))
    with pytest.raises(ValueError, match=r"objects: expected at least 1, got 0"):
        next(stored_samples(renders, 0, 1, SIZE))


def test_images_without_cameras_are_told_as_such(tmp_path: Path) -> None:
    """As a folder of predictions is, whose number of views is not what is wrong."""
    (tmp_path / "cup").mkdir()
    for number in range(8):
        Image.new("RGB", (SIZE, SIZE)).save(tmp_path / "cup" / f"{number:03d}.png")
    with pytest.raises(ValueError, match=r"path: expected objects with two views, .*000.npy.*none"):
        next(stored_samples(tmp_path, 1, 4, SIZE))
