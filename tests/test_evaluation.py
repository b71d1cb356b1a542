"""The questions are fixed and fair, and the scores are those of the answers given."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from zero123lib import evaluation
from zero123lib.metrics import psnr
from zero123lib.scenes import HELD_OUT_SEED, random_scene, render

SIZE = 32


class Echo:
    """Answers every question with the input, and remembers what it was asked."""

    image_size = SIZE

    def __init__(self) -> None:
        self.asked: list[SimpleNamespace] = []

    def __call__(self, condition, poses, **options):
        self.asked.append(SimpleNamespace(condition=condition, poses=poses, **options))
        return [((condition + 1) / 2).expand(len(poses), -1, -1, -1)]


def test_questions_are_held_out_and_always_the_same():
    once = list(evaluation.held_out_questions(3, 2, SIZE))
    again = list(evaluation.held_out_questions(3, 2, SIZE))
    for index, (a, b) in enumerate(zip(once, again, strict=True)):
        assert torch.equal(a.targets, b.targets) and a.target_poses == b.target_poses
        scene = random_scene(HELD_OUT_SEED + index)
        truth = render(scene, a.target_poses, SIZE, background="white").rgba
        assert torch.allclose(a.targets, truth[..., :3].permute(0, 3, 1, 2), atol=1e-6)
        for view, inside in zip(a.targets, a.inside, strict=True):
            drawn = (view < 0.999).any(0) | (a.condition < 0.998).any(0)
            assert (inside | ~drawn).all() and 0 < inside.float().mean() < 1


def test_poses_asked_for_lead_from_the_input_to_the_target():
    echo: Any = Echo()
    evaluation.evaluate_scenes(echo, 2, 3, num_inference_steps=7, guidance_scale=2.0)
    questions = evaluation.held_out_questions(2, 3, SIZE)
    for asked, question in zip(echo.asked, questions, strict=True):
        assert torch.equal(asked.condition, question.condition)
        assert (asked.num_inference_steps, asked.guidance_scale) == (7, 2.0)
        for pose, target in zip(asked.poses, question.target_poses, strict=True):
            moved = question.condition_pose.moved(pose)
            assert moved.elevation_deg == pytest.approx(target.elevation_deg)
            turn = moved.azimuth_deg - target.azimuth_deg
            assert (turn + 180) % 360 - 180 == pytest.approx(0, abs=1e-9)
            assert moved.radius == pytest.approx(target.radius)


def test_an_echo_scores_what_the_input_scores():
    echo: Any = Echo()
    report = evaluation.evaluate_scenes(echo, 3, 2)
    baselines = report["baselines"]
    assert report["psnr_db"] == baselines["input"]["psnr_db"]
    assert report["inside"] == baselines["input"]["inside"]
    assert set(baselines) == {"input", "blank", "mean"}
    blank = [
        psnr(torch.ones_like(question.targets), question.targets)
        for question in evaluation.held_out_questions(3, 2, SIZE)
    ]
    assert baselines["blank"]["psnr_db"] == pytest.approx(float(torch.cat(blank).mean()), abs=0.01)
    assert all(entry["inside"]["psnr_db"] < entry["psnr_db"] for entry in baselines.values())
