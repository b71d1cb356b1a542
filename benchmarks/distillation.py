"""What a step of score distillation costs, and where its time goes.

    python benchmarks/distillation.py [--threads N] [--full yes|no|only] [--out FILE]

Ratios compare two ways of doing the same within one run with the bundled model. The published
architecture runs with made-up weights, which changes no time: one step of one view, at 256 px, in
its own process, so that the peak of its memory is its own. It needs 8 GB free, and is left out
where there is less; seconds are this machine's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _measuring import metric, ratio, seconds
from _published import published_pipeline

from zero123lib.diffusion.distillation.variants import Variant
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.sds import Guidance
from zero123lib.metrics import psnr
from zero123lib.scenes import HELD_OUT_SEED, random_scene, render
from zero123lib.views.images import prepare
from zero123lib.views.poses import Pose, RelativePose, orbit

STEPS = 60
FIT_POSES = [RelativePose(10, 45), RelativePose(0, 180), RelativePose(30, -90)]
FULL_NEEDS_BYTES = 8e9


def bundled() -> list[dict]:
    """Ratios, with the bundled model on a drawn object."""
    pipe = Zero123Pipeline.from_pretrained("tiny")
    rgba = render(random_scene(HELD_OUT_SEED), [Pose()], pipe.image_size, background="white").rgba
    prepared = prepare(rgba[0, ..., :3].numpy(), pipe.image_size, "none")
    guidance = Guidance(pipe, prepared)
    poses = orbit(8)

    def step(count: int = 8, variant: Variant = "sds", scale: float = 3.0) -> None:
        rgb = torch.rand(count, 3, 64, 64, requires_grad=True)
        guidance(rgb, poses[:count], variant=variant, guidance_scale=scale).loss.backward()

    singles, batch = ratio(lambda: [step(1) for _ in poses], step)
    found = [metric("bundled model, SDS on 8 views", batch, "s", "lower")]
    found.append(metric("8 steps of 1 view / 1 step of 8", singles / batch, "x", "higher"))
    slow, fast = ratio(step, lambda: step(scale=1.0))
    found.append(metric("guidance 3 / guidance 1", slow / fast, "x", "higher"))
    slow, fast = ratio(lambda: step(variant="ism"), step)
    found.append(metric("ISM / SDS", slow / fast, "x", "lower"))
    for variant in ("sds", "sjc", "csd", "ism"):
        title = f"{variant.upper()}: PSNR of {STEPS} steps from grey, to the truth"
        found.append(metric(title, fitted(guidance, variant), "dB", "higher"))
    return found


def fitted(guidance: Guidance, variant: Variant) -> float:
    """PSNR to the true views of images that were distilled from grey, dB."""
    size = guidance.pipe.image_size
    views = [Pose().moved(pose) for pose in FIT_POSES]
    rgba = render(random_scene(HELD_OUT_SEED), views, size, background="white").rgba
    truth = rgba[..., :3].permute(0, 3, 1, 2)
    rgb = torch.full_like(truth, 0.8).requires_grad_()
    optimizer = torch.optim.Adam([rgb], lr=0.02, betas=(0.9, 0.99))
    generator = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        left = 1 - step / STEPS
        optimizer.param_groups[0]["lr"] = 0.002 + 0.018 * left
        optimizer.zero_grad()
        found = guidance(
            rgb, FIT_POSES, timesteps=(0.2, 0.3 + 0.65 * left), guidance_scale=1.0,
            variant=variant, weighting="sigma2", generator=generator,
        )  # fmt: skip
        found.loss.backward()
        optimizer.step()
        with torch.no_grad():
            rgb.clamp_(0, 1)
    return float(psnr(rgb.detach(), truth).mean())


def full_size() -> list[dict]:
    """One SDS step of one view with the published architecture, in this process."""
    torch.manual_seed(0)
    pipe = published_pipeline()
    spent = {"UNet": 0.0, "VAE": 0.0}

    def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = call(*args, **kwargs)
            spent[name] += time.perf_counter() - start
            return result

        return run

    image = torch.rand(3, 256, 256) * 2 - 1
    guidance = Guidance(pipe, pipe.prepare(image, "none"))
    pipe.unet.forward = timed("UNet", pipe.unet.forward)
    pipe.vae.encode = timed("VAE", pipe.vae.encode)
    rgb = torch.rand(1, 3, 64, 64, requires_grad=True)
    start = time.perf_counter()
    found = guidance(rgb, [RelativePose(20.0, 45.0)])
    spent["VAE"] += seconds(found.loss.backward)  # nothing else is on the way back
    total = time.perf_counter() - start
    assert rgb.grad is not None and bool(torch.isfinite(rgb.grad).all()), "a finite gradient"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return [
        metric("published sizes, float32: SDS on 1 view", total, "s", "lower"),
        metric("of it in the UNet", 100 * spent["UNet"] / total, "%", "lower"),
        metric("of it in the VAE's encoder and back", 100 * spent["VAE"] / total, "%", "lower"),
        metric("peak memory, weights and all", peak / 1e9, "GB", "lower"),
    ]  # fmt: skip


def apart(threads: int, out: Path) -> list[dict]:
    """:func:`full_size` in a process of its own, where there is memory for it."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if free < FULL_NEEDS_BYTES:
        print(f"published sizes left out: {free / 1e9:.1f} GB free of {FULL_NEEDS_BYTES / 1e9:.0f}")
        return []
    part = out.with_suffix(".full.json")
    command = [sys.executable, __file__, "--full", "only", "--threads", str(threads)]
    subprocess.run([*command, "--out", str(part)], check=True)
    found = json.loads(part.read_text())["metrics"]
    part.unlink()
    return found


def main() -> None:
    """Print the metrics and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--full", choices=["yes", "no", "only"], default="yes")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.full == "only":
        metrics = full_size()
    else:
        metrics = bundled()
        metrics += apart(options.threads, options.out) if options.full == "yes" else []
    report = {
        "machine": f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}",
        "metrics": metrics,
    }
    options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
