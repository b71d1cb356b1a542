"""The numbers are the official ones: the same weights, image and noise through both codes.

`small.npz` holds what the official code computed (see `make_reference.py`). Here the same weights
come as a file of the original layout, through the public loader.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.parity import case
from tests.parity.agreement import assert_agrees, noise_prediction, views
from tests.parity.checkpoint import read_layout, write_checkpoint
from zero123lib import Zero123Pipeline
from zero123lib.diffusion.pipeline import Condition
from zero123lib.diffusion.schedule import Schedule
from zero123lib.views.poses import encode_poses

HERE = Path(__file__).parent
WEIGHTS = ["ema", "raw"]

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def reference() -> Mapping[str, np.ndarray]:
    return dict(np.load(HERE / "small.npz"))


@pytest.fixture(scope="module")
def pipes(
    reference: Mapping[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Zero123Pipeline]:
    """Loaded from one file of 140 MB, gone by then: the averaged UNet, and the other."""
    path = tmp_path_factory.mktemp("parity") / "official.ckpt"
    write_checkpoint(path, read_layout(reference))
    loaded = {name: load(path, use_ema=name == "ema") for name in WEIGHTS}
    path.unlink()
    return loaded


def load(path: Path, **options: Any) -> Zero123Pipeline:
    pipe = Zero123Pipeline.from_pretrained(
        path, original_config=HERE / "small.yaml", encoding="zero123", **options
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def condition(pipes: dict[str, Zero123Pipeline]) -> Condition:
    """Of the image; the UNet has no part in it."""
    pipe = pipes["ema"]
    return pipe.encode(pipe.prepare(case.image(pipe.image_size)))


def start(reference: Mapping[str, np.ndarray]) -> Tensor:
    return torch.from_numpy(reference["start"])


def test_noise_is_drawn_as_for_the_reference(reference: Mapping[str, np.ndarray]) -> None:
    assert_agrees(case.start_noise(8), reference["start"])


def test_pose_vector(reference: Mapping[str, np.ndarray]) -> None:
    assert_agrees(encode_poses([case.POSE])[0], reference["pose"])


def test_clip_embedding(condition: Condition, reference: Mapping[str, np.ndarray]) -> None:
    assert_agrees(condition.embedding[0], reference["embedding"])


def test_concat_latent(condition: Condition, reference: Mapping[str, np.ndarray]) -> None:
    assert_agrees(condition.concat[0], reference["concat"])


def test_posed_context(
    pipes: dict[str, Zero123Pipeline],
    condition: Condition,
    reference: Mapping[str, np.ndarray],
) -> None:
    with torch.no_grad():
        context = pipes["ema"].camera_projection(condition.embedding, encode_poses([case.POSE]))
    assert_agrees(context[0, 0], reference["context"])


@pytest.mark.parametrize("weighted", WEIGHTS)
@pytest.mark.parametrize(("branch", "guidance_scale"), [("uncond", 0.0), ("cond", 1.0)])
def test_noise_prediction(
    weighted: str,
    branch: str,
    guidance_scale: float,
    pipes: dict[str, Zero123Pipeline],
    condition: Condition,
    reference: Mapping[str, np.ndarray],
) -> None:
    eps = noise_prediction(pipes[weighted], condition, start(reference), guidance_scale)
    assert_agrees(eps[0], reference[f"eps_{branch}_{weighted}"])


@pytest.mark.parametrize("count", case.ALL_NUM_STEPS)
def test_timesteps(
    count: int, pipes: dict[str, Zero123Pipeline], reference: Mapping[str, np.ndarray]
) -> None:
    schedule = Schedule.from_scheduler(pipes["ema"].scheduler)
    assert schedule.official_timesteps(count) == reference[f"timesteps_{count}"].tolist()


@pytest.mark.parametrize("weighted", WEIGHTS)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_final_latents(
    weighted: str,
    eta: float,
    pipes: dict[str, Zero123Pipeline],
    reference: Mapping[str, np.ndarray],
) -> None:
    latents = views(pipes[weighted], start(reference), eta, "latent")
    assert_agrees(latents[0], reference[f"latents_{weighted}_eta{eta:g}"])


def test_image(pipes: dict[str, Zero123Pipeline], reference: Mapping[str, np.ndarray]) -> None:
    images = views(pipes["ema"], start(reference), 0.0, "pt")
    assert_agrees(images[0], reference["image"])


@pytest.mark.parametrize(
    "leaf", ["norm2.weight", "norm2.bias", "attn2.to_q.weight", "attn2.to_k.weight"]
)
@pytest.mark.parametrize(
    ("ours", "official"),
    [
        ("down_blocks", "input_blocks"),
        ("mid_block", "middle_block"),
        ("up_blocks", "output_blocks"),
    ],
)
def test_weights_that_one_token_hides(
    ours: str,
    official: str,
    leaf: str,
    pipes: dict[str, Zero123Pipeline],
    reference: Mapping[str, np.ndarray],
) -> None:
    """No number depends on the queries and keys of an attention to a single token."""
    layout, leaf = read_layout(reference), f"transformer_blocks.0.{leaf}"
    names = [n for n in layout.shapes if n.startswith(f"model.diffusion_model.{official}")]
    expected = [torch.from_numpy(layout.value(n)) for n in names if n.endswith(leaf)]
    weights = dict(pipes["raw"].unet.named_parameters())
    found = [w for n, w in weights.items() if n.startswith(ours) and n.endswith(leaf)]
    assert found and len(found) == len(expected)
    assert all(torch.equal(w, e) for w, e in zip(found, expected, strict=True))
