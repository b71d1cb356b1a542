"""The protocol on known shapes: its baselines and distances in closed form, and a run of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from zero123lib.cli import main
from zero123lib.evaluation.reconstruction import ball_radius, score_recipe
from zero123lib.scenes import KINDS
from zero123lib.training.recipe import Architecture, tiny_pipeline
from zero123lib.views.cameras import camera_to_world, rays
from zero123lib.views.poses import Pose

QUICK = [
    "system.guidance.embedded.field.resolutions=[16]",
    "system.guidance.embedded.field.milestones=[]",
    "system.guidance.embedded.views.azimuths=2",
    "system.guidance.embedded.views.elevations_deg=[0.0]",
    "system.guidance.embedded.fit.steps=3",
    "system.guidance.embedded.fit.color_steps=1",
    "system.guidance.embedded.fit.rays=64",
    "system.guidance.embedded.outputs.mesh_resolution=24",
    "system.guidance.embedded.outputs.mesh_level=null",
]


@pytest.mark.parametrize(("radius", "distance"), [(0.3, 1.5), (0.5, 2.2)])
def test_the_ball_of_a_balls_silhouette_is_that_ball(radius: float, distance: float) -> None:
    origins, directions = rays(camera_to_world(Pose(10.0, 20.0, distance)), 256)
    nearest = torch.linalg.cross(origins, directions).norm(dim=-1)
    assert ball_radius((nearest < radius).float(), distance) == pytest.approx(radius, rel=0.01)


# The first two objects, and their hull's and ball's IoU, which have nothing to do with the model.
@pytest.mark.parametrize(
    ("first", "kind", "hull", "ball"), [("0", "truck", 0.21, 0.31), ("1", "plane", 0.17, 0.26)]
)
def test_a_run_of_the_protocol(
    first: str,
    kind: str,
    hull: float,
    ball: float,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipe = tiny_pipeline(
        Architecture(
            image_size=32, patch_size=4, block_out_channels=(16, 16), attention_heads=(2, 2),
            transformer_layers_per_block=1, clip_width=16, clip_layers=1, context_width=16,
        ),
        0,
    )  # fmt: skip
    pipe.save_pretrained(tmp_path / "model")
    words = ["evaluate", "reconstruction", "--model", str(tmp_path / "model"), "--encoding"]
    words += ["zero123", "--objects", "1", "--first", first, "--out", str(tmp_path / "report")]
    assert main([*words, *(word for one in QUICK for word in ("--set", one))]) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    (one,) = report["objects"]
    assert report["mean"]["iou"] == one["iou"]
    assert one["kind"] == kind
    assert report["kinds"] == list(KINDS) and " --kinds all --set " in report["command"]
    assert one["hull_iou"] == pytest.approx(hull, abs=0.03)
    assert one["ball_iou"] == pytest.approx(ball, abs=0.03)
    assert 0 <= one["iou"] <= 1 and not math.isnan(one["chamfer"] or 0)
    assert kind in capsys.readouterr().out
    assert (tmp_path / "report" / "sheet.png").stat().st_size > 0


def test_a_recipe_that_does_not_fit_is_refused_before_the_first_object() -> None:
    with pytest.raises(ValueError, match="did you mean 'lambda_rgb'"):
        score_recipe(None, "tiny-views", 1, overrides=["system.loss.lambda_rgbb=1"])  # pyright: ignore[reportArgumentType]
