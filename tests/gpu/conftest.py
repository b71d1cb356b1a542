"""The suite `-m gpu`: what a GPU makes, in half precision, beside the CPU's float32.

It runs on the first GPU that is here, CUDA or MPS, and skips elsewhere. ZERO123_TEST_DEVICE names
another device: `cpu` runs the same code against the CPU itself.
"""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

from zero123lib.diffusion.devices import devices_here
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.evaluation.samples import Sample, scene_samples
from zero123lib.views.poses import RelativePose

VARIABLE = "ZERO123_TEST_DEVICE"
HALF = torch.float16


@pytest.fixture(scope="session", autouse=True)
def device() -> torch.device:
    """Where the suite runs; before all else, so that where it does not nothing is made."""
    name = os.environ.get(VARIABLE) or devices_here()[0]
    if name == "cpu" and VARIABLE not in os.environ:
        pytest.skip(f"no CUDA or MPS device here; {VARIABLE}=cpu runs this on the CPU")
    return torch.device(name)


@pytest.fixture(scope="session")
def cuda(device: torch.device) -> torch.device:
    """The device, where it is one of NVIDIA's."""
    if device.type != "cuda":
        pytest.skip(f"needs a CUDA device, the suite runs on {device}")
    return device


@pytest.fixture(scope="session")
def sample() -> Sample:
    """A held-out drawn object of the bundled model's kinds, and two true views."""
    (one,) = scene_samples(1, 2, 128, kinds=["mug"])
    return one


@pytest.fixture(scope="session")
def poses(sample: Sample) -> list[RelativePose]:
    return [pose.relative_to(sample.condition_pose) for pose in sample.target_poses]


@pytest.fixture(scope="session")
def on_cpu() -> Zero123Pipeline:
    """The bundled model in float32 on the CPU: what is right."""
    return loaded(torch.device("cpu"), torch.float32)


@pytest.fixture
def pipe(device: torch.device) -> Zero123Pipeline:
    """The same in half precision where the suite runs; each test may change its own."""
    return loaded(device, HALF)


def loaded(device: torch.device, dtype: torch.dtype) -> Zero123Pipeline:
    made = Zero123Pipeline.from_pretrained("tiny", torch_dtype=dtype, device=device)
    made.set_progress_bar_config(disable=True)
    return made


def views_of(
    pipe: Zero123Pipeline, sample: Sample, poses: list[RelativePose], **options: object
) -> Tensor:
    """Views ``[N, 3, S, S]`` in [0, 1] on the CPU, from the same noise on every device."""
    noise = torch.Generator().manual_seed(0)
    asked = {"num_inference_steps": 4, "guidance_scale": 2.0, "generator": noise, **options}
    condition = pipe.encode(pipe.prepare(sample.condition, "none"))
    return (pipe.views(condition, poses, **asked).cpu() + 1) / 2
