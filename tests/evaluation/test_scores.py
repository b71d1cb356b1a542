"""The scores are those of the answers given."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict

import pytest
import torch

from zero123lib.evaluation import evaluate_scenes, predict_scenes, report_predictions, scene_samples
from zero123lib.evaluation.predictions import Setting, baseline_predictions
from zero123lib.evaluation.scores import Scores, ViewScore, score_predictions, summarize
from zero123lib.metrics import psnr, silhouette, silhouette_iou, ssim
from zero123lib.views.poses import wrap_azimuth_deg

NUMBERS = {"psnr_db", "ssim", "lpips", "silhouette_iou", "azimuth_error_deg"}


def test_poses_asked_for_lead_from_the_input_to_the_target(echo):
    evaluate_scenes(echo, 2, 3, num_inference_steps=7, guidance_scale=2.0, sampler="unipc", seed=5)
    samples = scene_samples(2, 3, echo.image_size)
    for asked, sample in zip(echo.asked, samples, strict=True):
        assert torch.equal(asked.condition, sample.condition)
        assert (asked.num_inference_steps, asked.guidance_scale) == (7, 2.0)
        assert asked.sampler == "unipc"
        assert asked.condition_elevation_deg == sample.condition_pose.elevation_deg
        for pose, target in zip(asked.poses, sample.target_poses, strict=True):
            moved = sample.condition_pose.moved(pose)
            assert moved.elevation_deg == pytest.approx(target.elevation_deg)
            turn = wrap_azimuth_deg(moved.azimuth_deg - target.azimuth_deg)
            assert turn == pytest.approx(0, abs=1e-9)
            assert moved.radius == pytest.approx(target.radius)


def test_an_objects_noise_follows_from_its_seed_and_the_given_one(echo):
    for objects, seed in ((2, 0), (1, 0), (1, 1)):
        evaluate_scenes(echo, objects, 1, seed=seed)
    noises = [float(torch.rand(1, generator=asked.generator)) for asked in echo.asked]
    assert noises[0] == noises[2] and len(set(noises)) == 3
    assert (echo.asked[0].num_inference_steps, echo.asked[0].guidance_scale) == (9, 1.5)


def test_an_echo_scores_what_the_input_scores(echo):
    report = evaluate_scenes(echo, 3, 2).to_dict()
    baselines = report["baselines"]
    assert set(baselines) == {"input", "blank", "mean"}
    for entry in (report, *baselines.values()):
        assert entry.keys() >= NUMBERS and entry["inside"].keys() == NUMBERS
        assert entry["inside"]["psnr_db"] < entry["psnr_db"]
    assert {name: report[name] for name in (*NUMBERS, "inside")} == baselines["input"]
    samples = list(scene_samples(3, 2, echo.image_size))
    blank = torch.cat([psnr(torch.ones_like(q.targets), q.targets) for q in samples])
    assert baselines["blank"]["psnr_db"] == pytest.approx(float(blank.mean()), abs=1e-4)
    assert baselines["blank"]["silhouette_iou"] == 0
    same = [((q.condition + 1) / 2).expand_as(q.targets) for q in samples]
    inside = [ssim(s, q.targets, q.inside) for s, q in zip(same, samples, strict=True)]
    assert report["inside"]["ssim"] == pytest.approx(float(torch.cat(inside).mean()), abs=1e-4)
    shapes = [
        silhouette_iou(silhouette(s), q.silhouettes) for s, q in zip(same, samples, strict=True)
    ]
    assert report["silhouette_iou"] == pytest.approx(float(torch.cat(shapes).mean()), abs=1e-4)


def test_an_echo_errs_by_the_turn_and_an_oracle_not_at_all(echo, oracle):
    turns, errors = [], []
    for answered in predict_scenes(echo, Setting.of(echo), 4, 2):
        sample = answered.sample
        for asked, score in zip(echo.asked[-1].poses, answered.scores["model"], strict=True):
            # Where the elevation changes much, the best match may lie anywhere.
            if score.tells_azimuth and abs(asked.elevation_deg) < 25:
                turns.append(abs(asked.azimuth_deg))
                errors.append(score.whole.azimuth_error_deg)
        assert sample.name
    assert len(turns) >= 3
    assert statistics.median(errors) == pytest.approx(statistics.median(turns), abs=25)

    report = evaluate_scenes(oracle, 4, 2)
    content = report.to_dict()
    assert content["psnr_db"] == content["inside"]["psnr_db"] == 100
    assert content["ssim"] == content["inside"]["ssim"] == 1
    assert content["silhouette_iou"] > 0.98
    assert content["azimuth_error_deg"] < 1 and content["inside"]["azimuth_error_deg"] < 1
    assert 0 < content["azimuth_views"] <= 8 and content["objects"] == 4 and content["views"] == 2
    assert min(report.margin_db) > 50
    json.dumps(content, allow_nan=False)
    assert f"the {content['azimuth_views']} of 8 views" in report.table()


def test_the_first_objects_score_the_same_however_many_follow(oracle):
    def scores(objects):
        return [a.scores for a in predict_scenes(oracle, Setting(1, 1.0), objects, 2)]

    assert scores(2) == scores(3)[:2]


def row(psnr_db: float, azimuth_error_deg: float, tells: bool) -> ViewScore:
    return ViewScore(
        Scores(psnr_db, 0.5, 0.125, 0.25, azimuth_error_deg),
        Scores(1.0, 0.0, None, 1.0, 3.0),
        tells,
    )


def test_azimuths_are_a_median_over_the_views_that_can_tell():
    rows = [row(10, 2, True), row(20, 4, True), row(30, 180, False), row(20, 100, True)]
    entry = summarize(rows)
    assert entry.whole == Scores(20.0, 0.5, 0.125, 0.25, 4)
    assert entry.inside == Scores(1.0, 0.0, None, 1.0, 3.0)
    silent = summarize([row(10, 2, False)])
    assert silent.to_dict()["azimuth_error_deg"] is None
    assert [ViewScore.from_dict(asdict(r)) for r in rows] == rows
    with pytest.raises(ValueError, match="scores: expected at least one view, got none"):
        summarize([])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_answer_that_is_no_image_is_refused(value):
    sample = next(scene_samples(1, 2, 16))
    made = sample.targets.clone()
    made[1, 2, 3, 4] = value
    with pytest.raises(ValueError, match="model: expected finite images, got NaN or infinity"):
        score_predictions(sample, {"model": made})


def test_an_answer_of_another_shape_is_refused(echo):
    sample = next(scene_samples(1, 2, 16))
    with pytest.raises(ValueError, match=r"model: expected images \[2, 3, 16, 16\], got \[3, 8"):
        score_predictions(sample, {"model": torch.zeros(3, 8, 8)})
    with pytest.raises(ValueError, match="objects: expected at least 1, got 0"):
        evaluate_scenes(echo, 0)
    with pytest.raises(ValueError, match="scores: expected at least one view"):
        report_predictions(echo, Setting(1, 1.0), [])


@pytest.mark.soak
def test_at_full_size_the_truth_scores_as_such_and_trivial_answers_do_not():
    """100 objects of 8 views, as the model card has them, at half the pixels along each side."""
    scores: dict[str, list[ViewScore]] = {}
    seeds = []
    for sample in scene_samples(100, 8, 64):
        seeds.append(sample.seed)
        assert (sample.silhouettes.double().mean((1, 2)) >= 0.15).all()
        answers = {"true": sample.targets, **baseline_predictions(sample)}
        for name, rows in score_predictions(sample, answers).items():
            scores.setdefault(name, []).extend(rows)
    assert len(set(seeds)) == 100 and seeds[-1] - seeds[0] < 150
    entries = {name: summarize(rows) for name, rows in scores.items()}
    true = entries.pop("true").whole
    assert (true.psnr_db, true.ssim) == (100, pytest.approx(1)) and true.silhouette_iou > 0.99
    assert true.azimuth_error_deg is not None and true.azimuth_error_deg < 1
    assert sum(row.tells_azimuth for row in scores["input"]) > 600
    for entry in entries.values():
        assert entry.whole.psnr_db < 20 and entry.whole.silhouette_iou < 0.8
        assert 60 < (entry.whole.azimuth_error_deg or 0) < 120
