"""`zero123 train` on a GPU: the losses of the CPU, in each precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from tests.training.toy import NumberedPairs, toy_config
from zero123lib.training.loop import train
from zero123lib.training.state import start

pytestmark = pytest.mark.gpu


def losses(folder: Path, device: str, precision: str) -> list[float]:
    """Of six steps. Accelerate settles on a device once per process unless told to forget it."""
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        words = [f"compute.device={device}", f"compute.precision={precision}"]
        state = start(toy_config(folder, *words))
        assert state.accelerator.device.type == device
        return [step.loss for step in train(state, NumberedPairs())]
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_losses_are_those_of_the_cpu(device: torch.device, tmp_path: Path, precision: str) -> None:
    if precision == "fp16" and device.type == "cpu":
        pytest.skip("CPUs train in fp32 and bf16 alone")
    if precision != "fp32" and device.type == "mps":
        pytest.skip("training on MPS is in fp32")
    found = losses(tmp_path, device.type, precision)
    expected = losses(tmp_path, "cpu", "fp32")
    assert found == pytest.approx(expected, rel=1e-3 if precision == "fp32" else 0.05)
