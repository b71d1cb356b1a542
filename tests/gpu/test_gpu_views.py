"""`zero123 views` and `orbit`, the upscaler and the scores of `evaluate`, on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.gpu.conftest import HALF, loaded, views_of
from zero123lib.cli import main
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.sds import Guidance
from zero123lib.diffusion.speed import TIERS, Tier
from zero123lib.evaluation.samples import Sample
from zero123lib.lpips import lpips_alex
from zero123lib.metrics import psnr
from zero123lib.upscaling import upscaled
from zero123lib.views.poses import RelativePose

pytestmark = pytest.mark.gpu

# Half precision rounds by 2^-11 per operation: far below what is seen in 8 bits.
VIEWS_DB, FLOAT32_DB = 35.0, 60.0
Poses = list[RelativePose]
PHOTO = Path(__file__).parents[2] / "demo" / "examples" / "car.png"


@pytest.mark.parametrize("sampler", [None, "dpmpp", "unipc", "official"])
def test_views_in_half_precision(
    pipe: Zero123Pipeline, on_cpu: Zero123Pipeline, sample: Sample, poses: Poses, sampler: Any
) -> None:
    made, right = (views_of(one, sample, poses, sampler=sampler) for one in (pipe, on_cpu))
    assert float(psnr(made, right).min()) > VIEWS_DB


def test_views_in_float32(
    device: torch.device, on_cpu: Zero123Pipeline, sample: Sample, poses: Poses
) -> None:
    made = views_of(loaded(device, torch.float32), sample, poses)
    assert float(psnr(made, views_of(on_cpu, sample, poses)).min()) > FLOAT32_DB


@pytest.mark.parametrize(
    "tier", [TIERS["balanced"], TIERS["fast"], Tier(deep_every=2), Tier(guidance_every=2)]
)
def test_tiers_leave_out_the_same_everywhere(
    pipe: Zero123Pipeline, on_cpu: Zero123Pipeline, sample: Sample, poses: Poses, tier: Tier
) -> None:
    made, right = (views_of(one, sample, poses, speed=tier) for one in (pipe, on_cpu))
    assert float(psnr(made, right).min()) > VIEWS_DB


def test_a_tier_of_a_float32_model_multiplies_in_bfloat16(
    device: torch.device, on_cpu: Zero123Pipeline, sample: Sample, poses: Poses
) -> None:
    tier = Tier(bfloat16=True)
    if tier.precision(device.type) is None:
        pytest.skip(f"{device} has no instructions for bfloat16")
    pipe, seen = loaded(device, torch.float32), []
    pipe.unet.conv_in.register_forward_hook(lambda *call: seen.append(call[-1].dtype))
    made = views_of(pipe, sample, poses, speed=tier)
    assert set(seen) == {torch.bfloat16}
    assert float(psnr(made, views_of(on_cpu, sample, poses)).min()) > 30.0


OFFLOADS: dict[str, Callable[[Zero123Pipeline, torch.device], Any]] = {
    "model": lambda pipe, device: pipe.enable_model_cpu_offload(device=device),
    "sequential": lambda pipe, device: pipe.enable_sequential_cpu_offload(device=device),
    "group": lambda pipe, device: pipe.enable_group_offload(device, offload_type="leaf_level"),
    "blocks": lambda pipe, device: pipe.enable_group_offload(
        device, offload_type="block_level", num_blocks_per_group=1
    ),
}


@pytest.mark.parametrize("offload", OFFLOADS)
@pytest.mark.parametrize("speed", ["exact", Tier(deep_every=2)])
def test_offloaded_models_make_the_same_views(
    cuda: torch.device, on_cpu: Zero123Pipeline, sample: Sample, poses: Poses, offload: str,
    speed: Any,
) -> None:  # fmt: skip
    pipe = loaded(torch.device("cpu"), HALF)
    OFFLOADS[offload](pipe, cuda)
    made, right = (views_of(one, sample, poses, speed=speed) for one in (pipe, on_cpu))
    assert float(psnr(made, right).min()) > VIEWS_DB


def test_offloading_takes_less_of_the_gpu(cuda: torch.device, sample: Sample, poses: Poses) -> None:
    peaks = []
    for offload in (None, "sequential"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(cuda)
        before = torch.cuda.memory_allocated(cuda)
        pipe = loaded(torch.device("cpu"), HALF)
        pipe.to(cuda) if offload is None else OFFLOADS[offload](pipe, cuda)
        views_of(pipe, sample, poses)
        peaks.append(torch.cuda.max_memory_allocated(cuda) - before)
        del pipe
    assert peaks[1] < peaks[0]


def test_compiled_blocks_make_the_same_views(
    cuda: torch.device, on_cpu: Zero123Pipeline, sample: Sample, poses: Poses
) -> None:
    pytest.importorskip("triton", reason="torch.compile needs Triton on CUDA")
    pipe = loaded(cuda, HALF)
    pipe.unet.compile_repeated_blocks()
    made, right = (views_of(one, sample, poses) for one in (pipe, on_cpu))
    assert float(psnr(made, right).min()) > VIEWS_DB


def test_views_are_enlarged_and_scored(device: torch.device, sample: Sample) -> None:
    images = sample.targets[:1]
    made = upscaled(images.to(device), 2).cpu()
    assert float(psnr(made, upscaled(images, 2)).min()) > 50.0
    lpips, noisy = lpips_alex(), images * 0.9
    expected = lpips(noisy, images)
    found = lpips.to(device)(noisy.to(device), images.to(device)).cpu()
    lpips.to("cpu")
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("variant", ["sds", "sjc", "csd", "ism"])
def test_distillation_has_the_gradient_of_the_cpu(
    pipe: Zero123Pipeline, on_cpu: Zero123Pipeline, sample: Sample, poses: Poses, variant: Any
) -> None:
    found = []
    for one in (pipe, on_cpu):
        guidance = Guidance(one, one.prepare(sample.condition, "none"), posterior="mode")
        rgb = sample.targets.clone().to(one.device).requires_grad_()
        made = guidance(
            rgb, poses, variant=variant, guidance_scale=2.0, timesteps=(0.4, 0.6),
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        made.loss.backward()
        assert rgb.grad is not None and made.not_finite == 0
        found.append(rgb.grad.cpu().flatten())
    assert float(torch.cosine_similarity(*found, dim=0)) > 0.99


def test_the_command_runs_there(device: torch.device, tmp_path, capfd) -> None:
    words = [
        "views",
        str(PHOTO),
        "--azimuth",
        "45",
        "--speed",
        "fast",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*words, "--device", device.type]) == 0
    assert (tmp_path / "out" / "000.png").is_file()
    told = "".join(capfd.readouterr())
    assert f"fast, on {device.type}" in told
