"""Run the official code on seeded weights, and keep its numbers for the tests.

    python -m tests.parity.make_reference --official CLONE --size small --out tests/parity/small.npz
    python -m tests.parity.make_reference --official CLONE --size full --out tests/parity/full.npz

CLONE is a clone of the official repository; what else must be on the Python path, see
`official.py`. The full size takes 13 GB of memory.

The file holds, beside the numbers, the names and shapes of all tensors of the official
``state_dict``, and the values of those that are constants: see :mod:`tests.parity.checkpoint`.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity import case, official, weights
from tests.parity.official import Official

FULL_CONFIG = "zero123/configs/sd-objaverse-finetune-c_concat-256.yaml"
SMALL_CONFIG = Path(__file__).parent / "small.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the official code, keep its numbers.")
    parser.add_argument("--official", type=Path, required=True, help="clone of the repository")
    parser.add_argument("--size", choices=["small", "full"], required=True)
    parser.add_argument("--out", type=Path, required=True, help=".npz to write")
    arguments = parser.parse_args()

    small = arguments.size == "small"
    code = official.load(arguments.official, official.SMALL_CLIP if small else official.VIT_L_14)
    config = SMALL_CONFIG if small else arguments.official / FULL_CONFIG
    omegaconf: Any = importlib.import_module("omegaconf")
    model = code.model_from_config(omegaconf.OmegaConf.load(config).model).eval()
    found: dict[str, Any] = {**fill(model)}
    for use_ema, eta in product((True, False), (0.0, 1.0)):
        found |= numbers(code, model, use_ema, eta, stride=1 if small else case.PIXEL_STRIDE)
    if small:
        found |= {
            f"timesteps_{count}": timesteps(code, model, count) for count in case.ALL_NUM_STEPS
        }
    np.savez_compressed(arguments.out, **found)


@torch.no_grad()
def fill(model: Any) -> dict[str, np.ndarray]:
    """Give all but the constants their seeded values; the description of the ``state_dict``."""
    trained = {name for name, _ in model.named_parameters()}
    averages = {f"model_ema.{name}" for name in model.model_ema.m_name2s_name.values()}
    state = model.state_dict()
    constants = {}
    for name, value in state.items():
        if name in trained | averages:
            assert value.dtype == torch.float32, "as tests.parity.checkpoint takes for granted"
            value.copy_(torch.from_numpy(weights.tensor(name, tuple(value.shape))))
        else:
            constants[f"constant/{name}"] = value.numpy()
    return {
        "names": np.array(list(state)),
        "shapes": np.array([",".join(map(str, value.shape)) for value in state.values()]),
        **constants,
    }


def numbers(
    code: Official, model: Any, use_ema: bool, eta: float, stride: int
) -> dict[str, np.ndarray]:
    """One run of the official demo's `sample_model`, and what passes through it."""
    model.use_ema = use_ema
    size = model.image_size
    sampler = _Sampler(code.sampler(model), case.start_noise(size))
    picture = case.image(size * 8)[None]
    torch.manual_seed(case.STEPS_SEED)
    with spied(model.cc_projection) as projections, spied(model.model) as predictions:
        image = code.sample_model(
            picture, model, sampler, "fp32", size * 8, size * 8, case.NUM_STEPS, 1,
            case.GUIDANCE_SCALE, eta, -case.POSE.elevation_deg, case.POSE.azimuth_deg,
            case.POSE.radius,
        )  # fmt: skip
    (joined, context), (_, first) = projections[0], predictions[0]
    weighted = "ema" if use_ema else "raw"
    eps_uncond, eps_cond = first.chunk(2)
    found = {
        "start": sampler.start,
        "embedding": joined[0, 0, :-4],
        "pose": joined[0, 0, -4:],
        "context": context[0, 0],
        "concat": sampler.concat[0],
        f"eps_uncond_{weighted}": eps_uncond[0],
        f"eps_cond_{weighted}": eps_cond[0],
        f"latents_{weighted}_eta{eta:g}": sampler.latents[0],
    }
    if use_ema and not eta:
        found["image"] = image[0, :, ::stride, ::stride]
    return {name: value.numpy() for name, value in found.items()}


def timesteps(code: Official, model: Any, count: int) -> np.ndarray:
    """Where the official sampler asks its model, of which only the schedule is kept."""
    asked: list[int] = []

    class Recorder:
        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

        def apply_model(self, x: Tensor, t: Tensor, condition: Any) -> Tensor:
            asked.append(int(t[0]))
            return torch.zeros_like(x)

    sampler: Any = code.sampler(Recorder())
    sampler.sample(S=count, batch_size=1, shape=[4, 1, 1], verbose=False)
    return np.array(asked)


class _Sampler:
    """The official sampler with its start given, as the demo cannot, and its latents kept."""

    def __init__(self, sampler: Any, start: Tensor) -> None:
        self.sampler, self.start = sampler, start
        self.concat = self.latents = torch.empty(0)

    def sample(self, *, conditioning: Any, **arguments: Any) -> tuple[Tensor, Any]:
        self.concat = conditioning["c_concat"][0]
        arguments["x_T"] = self.start
        self.latents, rest = self.sampler.sample(conditioning=conditioning, **arguments)
        return self.latents, rest


@contextmanager
def spied(module: torch.nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Every (first input, output) of a module, as it is called."""
    calls: list[tuple[Tensor, Tensor]] = []

    def keep(module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append((inputs[0], output))

    handle = module.register_forward_hook(keep)
    yield calls
    handle.remove()


if __name__ == "__main__":
    main()
