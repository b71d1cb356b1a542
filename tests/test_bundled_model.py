"""The model that ships: whole, small, described, and better than trivial answers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from zero123lib import RelativePose, Zero123Pipeline
from zero123lib.diffusion.checkpoints.sources import MODELS
from zero123lib.evaluation import evaluate_scenes
from zero123lib.scenes import HELD_OUT_SEED, random_scene, render
from zero123lib.views.poses import Pose

TINY = MODELS / "tiny"


@pytest.fixture(scope="module")
def pipe() -> Zero123Pipeline:
    tiny = Zero123Pipeline.from_pretrained("tiny")
    tiny.set_progress_bar_config(disable=True)
    return tiny


def weights() -> list[Path]:
    return sorted(TINY.rglob("*.safetensors"))


def test_files_are_small_half_precision_safetensors():
    sizes = [path.stat().st_size for path in weights()]
    assert sizes and max(sizes) < 9_000_000 and sum(sizes) <= 24_000_000
    files = [path for path in TINY.rglob("*") if path.is_file() and path.name != "pipeline.py"]
    assert {path.suffix for path in files} == {".json", ".md", ".safetensors"}
    for path in weights():
        with safe_open(path, framework="pt") as file:
            assert {file.get_tensor(name).dtype for name in list(file.keys())} == {torch.float16}


def test_card_states_what_the_files_are(pipe):
    card = (TINY / "README.md").read_text()
    stated = float(re.search(r"([\d.]+) MB", card)[1])  # pyright: ignore[reportOptionalSubscript]
    assert stated == pytest.approx(sum(p.stat().st_size for p in weights()) / 1e6, abs=0.06)
    assert all(f"`{name}`" in card for name in pipe.components)
    for phrase in ("license: apache-2.0", "trained jointly", "zero123 evaluate scenes"):
        assert phrase in card


def test_better_than_the_best_trivial_answer(pipe):
    """A sample of what the card reports on 100 objects."""
    report = evaluate_scenes(pipe, objects=8, views=4)
    assert min(report.margin_db) > 2
    made, unturned = (e.whole.azimuth_error_deg for e in (report.entry, report.baselines["input"]))
    assert made is not None and unturned is not None and made < unturned


def test_the_object_turns_with_the_camera(pipe):
    """A view to one side resembles the truth there more than the truth on the other side."""
    right = []
    for index in range(12):
        kind = ("car", "bear", "duck", "chair")[index % 4]
        scene, source = random_scene(HELD_OUT_SEED + 300 + index, kind), Pose(20, 0, 1.7)
        turns = [RelativePose(azimuth_deg=angle) for angle in (-60, 60)]
        cameras = [source, *(source.moved(turn) for turn in turns)]
        rgba = render(scene, cameras, pipe.image_size, background="white").rgba
        truth = rgba[..., :3].permute(0, 3, 1, 2)
        made = pipe(
            truth[0] * 2 - 1,
            turns,
            generator=torch.Generator().manual_seed(index),
            output_type="pt",
        ).images
        for side in (0, 1):
            error = (made[side] - truth[1:]).square().mean((1, 2, 3))
            right.append(bool(error[side] < error[1 - side]))
    assert sum(right) >= 18, f"{sum(right)} of {len(right)} turned the right way"


def test_says_which_images_are_far_from_its_world(pipe):
    """Scenes that it does not know are near, most of them; what is no object at all is far."""
    silent = 0
    for seed in range(HELD_OUT_SEED + 400, HELD_OUT_SEED + 440):
        rgba = render(random_scene(seed), [Pose(20, 30, 1.8)], 256).rgba[0].numpy()
        silent += pipe.notice(pipe.prepare(rgba)) is None
    assert silent >= 30
    random = np.random.default_rng(0)
    stripes = np.kron(np.eye(2)[np.arange(32) % 2][:, :1], np.ones((4, 128)))
    for pattern in (random.random((128, 128)), stripes):
        rgba = np.ones((128, 128, 4))
        rgba[..., :3] = pattern[..., None]
        assert pipe.notice(pipe.prepare(rgba, "none"))


@pytest.mark.soak
def test_card_reports_what_the_evaluation_gives(pipe):
    """The table of scenes of all kinds, at full size."""
    card = (TINY / "README.md").read_text()
    (table,) = re.findall(r"^\| scenes of all kinds \|.*?\n\n", card, re.M | re.S)
    report = evaluate_scenes(pipe)
    entries = {pipe.model_name: report.entry, **report.baselines}
    for name, entry in entries.items():
        whole = entry.whole
        numbers = (whole.lpips, whole.psnr_db, whole.ssim, whole.silhouette_iou)
        (row,) = re.findall(rf"^\| {name} \|(.*)\|$", table, re.M)
        stated = [float(cell) for cell in row.split("|")]
        assert stated == pytest.approx([*numbers, whole.azimuth_error_deg], rel=0.02)
