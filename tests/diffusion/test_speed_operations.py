"""What the tiers leave out at the published sizes, counted: a gate that no busy machine moves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from _measuring import Stages
from _quality import tier_views
from speed import GUIDANCE, Rows, counted_rows, operations, row_operations, stock_views

from zero123lib._choices import Speed
from zero123lib.diffusion import checkpoints
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.poses import orbit

CONFIG = Path(checkpoints.__file__).parent / "configs" / "unet.json"
STEPS, VIEWS = 50, 8


@pytest.fixture(scope="module")
def per_row() -> dict[str, int]:
    return row_operations(json.loads(CONFIG.read_text()))


def rows(all_: int, deep: int) -> Rows:
    found = Rows()
    found.all, found.deep = all_, deep
    return found


def test_a_row_of_the_published_unet(per_row: dict[str, int]) -> None:
    """Stable Diffusion's UNet at 32 x 32: 88 billion multiplications, each with an addition."""
    assert 175e9 < per_row["stock"] < 178e9
    # Without queries and keys for the one token, and with the blocks of full resolution alone.
    assert per_row["full"] / per_row["stock"] == pytest.approx(0.964, abs=1e-3)
    assert per_row["shallow"] / per_row["full"] == pytest.approx(0.318, abs=1e-3)


@pytest.mark.parametrize(
    ("speed", "all_", "deep", "least"),
    [
        ("exact", 100, 100, 1.03),
        # 30 steps, of which 15 make both passes.
        ("balanced", 45, 45, 2.3),
        # 16 steps, of which 8 make both passes, with all blocks.
        ("fast", 24, 16, 5.5),
    ],
)
def test_operations_fall_as_declared(
    per_row: dict[str, int], speed: Speed, all_: int, deep: int, least: float
) -> None:
    stock = operations(rows(100 * VIEWS, 100 * VIEWS), True, per_row)
    made = operations(rows(all_ * VIEWS, deep * VIEWS), False, per_row)
    assert stock / made > least


@pytest.mark.parametrize(
    ("speed", "all_", "deep"), [("exact", 100, 100), ("balanced", 45, 45), ("fast", 24, 16)]
)
def test_rows_are_those_that_a_job_has(
    make_pipeline: Callable[..., Zero123Pipeline], image: torch.Tensor, speed: Speed, all_: int,
    deep: int,
) -> None:  # fmt: skip
    pipe = make_pipeline("published")
    with counted_rows(pipe.unet) as found:
        tier_views(pipe, speed, STEPS)(image, orbit(2), 0, Stages())
    assert (found.all, found.deep) == (2 * all_, 2 * deep)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.float16, 0.05)])
def test_stock_is_the_same_views_one_by_one(
    make_pipeline: Callable[..., Zero123Pipeline], image: torch.Tensor, dtype: torch.dtype,
    tolerance: float,
) -> None:  # fmt: skip
    """Where diffusers' own DDIM and ours visit the same timesteps, to rounding."""
    pipe = make_pipeline("bundled").to(dtype)
    stages = Stages()
    with counted_rows(pipe.unet) as found:
        stock = stock_views(pipe, 4)(image, orbit(3), 0, stages)
    assert (found.all, found.deep) == (24, 24)
    assert set(stages.seconds) == {"encode", "sample", "decode"} and GUIDANCE == 3.0
    torch.testing.assert_close(
        stock,
        tier_views(pipe, "exact", 4)(image, orbit(3), 0, Stages()),
        rtol=tolerance,
        atol=tolerance,
    )
