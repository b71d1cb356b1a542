"""How fast novel views are made beside stock diffusers, and what each tier of speed gives up.

    python benchmarks/speed.py                              # the bundled model, 50 steps
    python benchmarks/speed.py --size full --steps 10       # published sizes, random weights
    python benchmarks/speed.py --views 2 --steps 4 --rounds 1 --objects 1   # a look, in a minute

*Stock* is diffusers as it comes, driven as the ports of Zero123 drive it: one view at a time, its
own DDIM, a pair of passes for guidance, stock attention. All ways run in turn, round after round,
and every ratio is of two of one round, so that a busy machine slows both. Memory is the process's
peak while one way runs (of the device, on a GPU), weights and all.

Operations are the UNet's, counted by torch as multiplications and additions; what a way computes
per second while it samples stands beside a square matrix product of the same type. Deviations are
from exact, with the same noise: random weights tell nothing of quality, so the bundled model's
views are compared with true ones of held-out objects too. It is asked for the steps and the
guidance that the published models are recommended with, not for its own two steps. Where --steps
is not 50, tiers take their share of it.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast, get_args

import diffusers
import torch
from _measuring import Stages, peak_bytes, reset_peak, seconds
from _published import published_pipeline
from _quality import GUIDANCE, PUBLISHED_STEPS, Views, compared, noise_of, show, tier_views
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from zero123lib._choices import Speed
from zero123lib.diffusion.deep_features import DeepFeatures
from zero123lib.diffusion.devices import pick_device
from zero123lib.diffusion.guidance import guided
from zero123lib.diffusion.model import clip_embedding, disable_one_token, enable_one_token
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.speed import TIERS
from zero123lib.evaluation.samples import scene_samples
from zero123lib.views.poses import RelativePose, encode_poses, orbit

SPEEDS: tuple[Speed, ...] = get_args(Speed)
# Large enough for the device to show its best.
PRODUCT_SIDE = {"cpu": 2048, "mps": 4096, "cuda": 8192}


def stock_views(pipe: Zero123Pipeline, steps: int) -> Views:
    """Make views one at a time, as the ports do: ``[N, 3, S, S]`` in [-1, 1]."""
    unet, vae = pipe.unet, cast(Any, pipe.vae)

    @torch.no_grad()
    def view(image: Tensor, pose: RelativePose, noise: Tensor, stages: Stages) -> Tensor:
        with stages("encode"):
            concat = vae.encode(image[None]).latent_dist.mode()
            embedding = clip_embedding(pipe.image_encoder, image[None])
            token = pipe.camera_projection(embedding, encode_poses([pose], "zero123").to(embedding))
        concats, tokens = (torch.cat([torch.zeros_like(one), one]) for one in (concat, token))
        with stages("sample"):
            scheduler = copy.deepcopy(pipe.scheduler)
            scheduler.set_timesteps(steps, device=pipe.device)
            x = noise * scheduler.init_noise_sigma
            for t in scheduler.timesteps:
                pair = torch.cat([scheduler.scale_model_input(torch.cat([x, x]), t), concats], 1)
                null, image_ = unet(pair, t, encoder_hidden_states=tokens).sample.chunk(2)
                x = scheduler.step(null + GUIDANCE * (image_ - null), t, x).prev_sample
        with stages("decode"):
            return vae.decode(x / vae.config["scaling_factor"]).sample.float().clamp(-1, 1)

    def views(image: Tensor, poses: Sequence[RelativePose], seed: int, stages: Stages) -> Tensor:
        noise = noise_of(pipe, len(poses), seed)
        image, noise = (one.to(pipe.device, unet.dtype) for one in (image, noise))
        disable_one_token(unet)
        try:
            made = [view(image, pose, noise[i : i + 1], stages) for i, pose in enumerate(poses)]
        finally:
            enable_one_token(unet)
        return torch.cat(made)

    return views


class Rows:
    """Counts rows of a UNet's batches: ``all``, and those for which the ``deep`` blocks ran."""

    def __init__(self) -> None:
        self.all, self.deep = 0, 0


@contextmanager
def counted_rows(unet: Any) -> Iterator[Rows]:
    """Count while the context lasts."""
    rows = Rows()

    def whole(_: Any, args: tuple) -> None:
        rows.all += len(args[0])

    def deep(_: Any, args: tuple) -> None:
        rows.deep += len(args[0])

    # The middle block itself is called in a shallow pass, too; what is in it is not.
    handles = [unet.conv_in.register_forward_pre_hook(whole)]
    handles += [unet.mid_block.resnets[0].register_forward_pre_hook(deep)]
    try:
        yield rows
    finally:
        for handle in handles:
            handle.remove()


def row_operations(config: Any) -> dict[str, int]:
    """Operations of one row through a UNet of a config: stock, full (one token) and shallow.

    On the meta device, which computes nothing, so published sizes take no memory.
    """
    with torch.device("meta"):
        unet = cast(Any, UNet2DConditionModel.from_config(config)).eval()
        size, channels = int(config["sample_size"]), int(config["out_channels"])
        x = torch.empty(1, channels, size, size)
        token, t = torch.empty(1, 1, int(config["cross_attention_dim"])), torch.empty(())
    deep, counts = DeepFeatures(unet), {}
    for name in ("stock", "full", "shallow"):
        (disable_one_token if name == "stock" else enable_one_token)(unet)
        deep.shallow = name == "shallow"
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            guided(unet, x, t, x, token, [1.0], 1, deep)
        counts[name] = counter.get_total_flops()
    return counts


def operations(rows: Rows, stock: bool, per_row: dict[str, int]) -> int:
    """Return what all rows of a job take."""
    if stock:
        return rows.all * per_row["stock"]
    return rows.all * per_row["shallow"] + rows.deep * (per_row["full"] - per_row["shallow"])


def product_rate(device: torch.device, dtype: torch.dtype, rounds: int) -> float:
    """Operations per second of a square matrix product, the fastest of some."""
    side = PRODUCT_SIDE[device.type]
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))

    def multiply() -> None:
        torch.mm(a, b)
        _wait(device)

    multiply()
    return 2 * side**3 / min(seconds(multiply) for _ in range(max(rounds, 3)))


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def time_ways(
    pipe: Zero123Pipeline, ways: dict[str, Views], image: Tensor, views: int, rounds: int
) -> dict[str, dict[str, Any]]:
    """Run all ways in turn; return seconds, stages, rows and memory of each, by round."""
    poses, device = orbit(views), pipe.device
    found: dict[str, dict[str, Any]] = {
        name: {"seconds": [], "stages": [], "peak": 0} for name in ways
    }
    for round_ in range(-1, rounds):  # the first warms up, and counts rows
        for name, make in ways.items():
            stages = Stages(lambda: _wait(device))
            reset_peak(device)
            with counted_rows(pipe.unet) as rows:
                spent = seconds(lambda make=make, stages=stages: make(image, poses, 0, stages))
            print(f"round {round_ + 1} of {rounds}, {name}: {spent:.2f} s", flush=True)
            found[name] |= {"rows": rows}
            if round_ >= 0 or rounds == 0:
                found[name]["seconds"].append(spent)
                found[name]["stages"].append(stages.seconds)
                found[name]["peak"] = max(found[name]["peak"], peak_bytes(device))
    return found


def table(
    pipe: Zero123Pipeline, timed: dict[str, dict[str, Any]], views: int, rates: dict[str, float]
) -> list[dict[str, Any]]:
    """Return a row per way, ratios first."""
    per_row = row_operations(pipe.unet.config)
    stock = timed["stock"]
    lines = []
    for name, one in timed.items():
        ratios = [a / b for a, b in zip(stock["seconds"], one["seconds"], strict=True)]
        spent = {
            stage: statistics.median(times[stage] for times in one["stages"])
            for stage in ("encode", "sample", "decode")
        }
        work = operations(one["rows"], name == "stock", per_row)
        work_of_stock = operations(stock["rows"], True, per_row)
        kind = str(_type_of(name, pipe)).removeprefix("torch.")
        lines.append(
            {
                "way": name,
                "times as fast as stock": round(statistics.median(ratios), 3),
                "from": round(min(ratios), 3),
                "to": round(max(ratios), 3),
                "operations of stock's": round(work / work_of_stock, 4),
                "type": kind,
                "of the product's rate": round(work / spent["sample"] / rates[kind], 3),
                "GFLOP/s": round(work / spent["sample"] / 1e9, 1),
                "seconds, median": round(statistics.median(one["seconds"]), 3),
                "seconds, from": round(min(one["seconds"]), 3),
                "seconds, to": round(max(one["seconds"]), 3),
                "views per second": round(views / statistics.median(one["seconds"]), 3),
                "peak memory, GB": round(one["peak"] / 1e9, 2),
                **{
                    f"{stage}, share": round(t / sum(spent.values()), 3)
                    for stage, t in spent.items()
                },
            }
        )
    return lines


def _type_of(way: str, pipe: Zero123Pipeline) -> torch.dtype:
    tier = TIERS.get(cast(Any, way))
    narrow = None if tier is None else tier.precision(pipe.device.type)
    return narrow or pipe.unet.dtype


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the whole report."""
    device, tiny = pick_device(options.device), options.size == "tiny"
    dtype = getattr(torch, options.dtype)
    torch.manual_seed(0)
    if tiny:
        pipe = Zero123Pipeline.from_pretrained("tiny", torch_dtype=dtype, device=device)
    else:
        pipe = published_pipeline(device).to(dtype)
    pipe.set_progress_bar_config(disable=True)
    kinds = pipe.trained_on.get("scene_kinds")
    samples = list(scene_samples(max(options.objects, 1), 2, pipe.image_size, kinds=kinds))
    ways = {"stock": stock_views(pipe, options.steps)}
    ways |= {speed: tier_views(pipe, speed, options.steps) for speed in options.speeds}
    types = {_type_of(name, pipe) for name in ways}
    rates = {
        str(one).removeprefix("torch."): product_rate(pipe.device, one, options.rounds)
        for one in types
    }
    timed = time_ways(pipe, ways, samples[0].condition, options.views, options.rounds)
    return {
        "asked": {
            "size": options.size, "views": options.views, "steps": options.steps,
            "guidance": GUIDANCE, "rounds": options.rounds, "precision": options.dtype,
        },
        "machine": {
            "device": _device_name(pipe.device), "processor": platform.machine(),
            "threads": torch.get_num_threads(),
        },
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__,
            "diffusers": diffusers.__version__,
        },
        "matrix product, GFLOP/s": {name: round(rate / 1e9, 1) for name, rate in rates.items()},
        "speed": table(pipe, timed, options.views, rates),
        "quality": compared(ways, samples, pipe.model_name == "tiny") if options.objects else [],
    }  # fmt: skip


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def main() -> None:
    """Print the tables and write the report as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=("tiny", "full"), default="tiny")
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--steps", type=int, default=PUBLISHED_STEPS)
    parser.add_argument("--speeds", nargs="+", choices=SPEEDS, default=SPEEDS)
    parser.add_argument("--rounds", type=int, default=3, help="0 takes the first run as it is")
    parser.add_argument("--objects", type=int, default=8, help="to compare views of; 0 for none")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    for name in ("views", "steps", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name}: expected at least 1, got {getattr(options, name)}")
    if options.objects and "exact" not in options.speeds:
        parser.error("--objects: expected 0 without exact among --speeds, to compare with")
    torch.set_num_threads(options.threads)
    report = measure(options)
    show(report["speed"])
    show(report["quality"])
    options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
