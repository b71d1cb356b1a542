"""compute.precision "auto": what the device computes in, and nothing that it only imitates."""

from __future__ import annotations

import pytest
import torch

from tests.training.toy import toy_config
from zero123lib.training import precision
from zero123lib.training.config import ComputeConfig
from zero123lib.training.state import start


@pytest.mark.parametrize(
    ("found", "expected"),
    [({"avx2": True}, "fp32"), ({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16")],
)
def test_a_cpu_takes_bfloat16_where_it_has_instructions_for_it(monkeypatch, found, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    config = ComputeConfig(device="cpu", precision="auto", channels_last=True)
    decided = precision.with_precision(config)
    assert (decided.precision, decided.channels_last) == (expected, True)


def test_a_torch_that_does_not_say_gets_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    config = ComputeConfig(device="cpu", precision="auto")
    assert precision.with_precision(config).precision == "fp32"


@pytest.mark.parametrize("told", ["fp32", "bf16", "fp16"])
def test_what_is_told_stays(told):
    assert precision.with_precision(ComputeConfig(precision=told)).precision == told


def test_a_run_knows_what_was_decided(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)
    state = start(toy_config(tmp_path, "compute.precision=auto", "compute.device=cpu"))
    assert state.config.compute.precision == "fp32"
