"""What views, meshes and training runs cost at the published sizes, and what binds at which size.

    python benchmarks/scale.py                                  # benchmarks/scale.json, docs
    python benchmarks/scale.py --counts benchmarks/scale.json   # do not count and measure again
    python benchmarks/scale.py --gpu-hour 2 --utilisation 0.5   # own prices: shown alone

Operations are *counted* by torch on the meta device, which computes nothing; bytes and processor
time are *measured* here, on objects that are made up; prices, a GPU's rate and its utilisation are
*assumed*, as options; the rest is *derived* from these. No number is of a cluster: several machines
are simulated, by a ring's all-reduce of the gradients that hides behind nothing.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import time
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from _published import CONFIGS, published_pipeline
from PIL import Image
from speed import row_operations
from torch.utils.flop_counter import FlopCounterMode

from zero123lib.datasets.folder import write_object
from zero123lib.datasets.pairs import open_pairs
from zero123lib.diffusion.model import clip_embedding
from zero123lib.meshes.export import write_mesh
from zero123lib.meshes.mesh import Material, Mesh
from zero123lib.scenes import random_camera, random_scene, render
from zero123lib.training.config_files import read_config
from zero123lib.training.recipe import TrainedModel
from zero123lib.views.eight_bits import to_uint8

ROOT = Path(__file__).parents[1]
REPORT, PAGE = ROOT / "benchmarks" / "scale.json", ROOT / "docs" / "scale.md"
BEGIN, END = "<!-- of benchmarks/scale.py -->", "<!-- end -->"
# Rows of the UNet with all blocks, and with the shallow ones alone, for a view: 50 steps with
# guidance; tests/diffusion/test_speed_operations.py holds that tiers have so many. The student's
# four steps need no guidance.
ROWS = {"exact": (100, 0), "balanced": (45, 0), "fast": (16, 8), "a student's 4 steps": (4, 0)}
# zero123-sds: steps and views in each, of threestudio's three stages.
SDS_VIEWS = 200 * 12 + 100 * 4 + 300 * 2
MESH_VIEWS = 36
OBJECT_VIEWS = 12
WEEK_S, HOUR_S = 7 * 86400, 3600


@dataclass(frozen=True)
class Assumed:
    """What is not known here. Prices in US dollars.

    Attributes:
        gpu_tflops: of a GPU, dense bfloat16; an H100 SXM's by its maker.
        utilisation: share of it that the networks reach.
        network_gbit: of a machine; eight adapters of 400.
        fit_gpu_s, mesh_core_s: of a field that is fitted to views, and of its mesh and texture.
        puts_per_s: that a prefix of the store takes.
        start_s: until a worker has its machine, libraries and model.
        failure_gpu_hours: between two; the Llama team (2024) told of 419 in 54 days on 16,384.
        views: of an image.
    """

    gpu_tflops: float = 989.0
    utilisation: float = 0.35
    gpu_hour: float = 3.0
    gpus_per_machine: int = 8
    network_gbit: float = 3200.0
    core_hour: float = 0.04
    fit_gpu_s: float = 60.0
    mesh_core_s: float = 120.0
    store_tb_month: float = 23.0
    put_million: float = 5.0
    puts_per_s: float = 3500.0
    start_s: float = 120.0
    failure_gpu_hours: float = 50000.0
    views: int = 8

    @property
    def rate(self) -> float:
        """Operations per second of a GPU at work."""
        return self.gpu_tflops * 1e12 * self.utilisation


def count() -> dict[str, int]:
    """Count operations (multiplications and additions) and weights at the published sizes."""
    rows = row_operations(json.loads((CONFIGS / "unet.json").read_text()))
    pipe: Any = published_pipeline("meta")
    image, x = torch.empty(1, 3, 256, 256, device="meta"), torch.empty(1, 4, 32, 32, device="meta")
    one, pose = torch.ones(1, device="meta"), torch.empty(1, 4, device="meta")
    counts = {f"unet_{name}": value for name, value in rows.items()}

    def counted(name: str, action: Any) -> None:
        with FlopCounterMode(display=False) as counter:
            action()
        counts[name] = counter.get_total_flops()

    with torch.no_grad():
        counted("vae_encode", lambda: pipe.vae.encode(image))
        counted("vae_decode", lambda: pipe.vae.decode(x))
        counted("clip", lambda: clip_embedding(pipe.image_encoder, image))
    for network in (pipe.vae, pipe.image_encoder):
        network.requires_grad_(False)
    model = TrainedModel(pipe.unet, None, pipe.camera_projection)
    embedding = torch.empty(1, 768, device="meta")
    inputs = torch.cat([x, x], 1), one.long(), embedding, pose, one, one
    counted("unet_train", lambda: model(*inputs).sum().backward())
    watched = image.requires_grad_()
    counted(
        "vae_encode_train", lambda: pipe.vae.encode(watched).latent_dist.mode().sum().backward()
    )
    counts["weights"] = sum(p.numel() for p in model.parameters())
    return counts


def measure() -> dict[str, float]:
    """Measure bytes of what is written and processor time of what is read; made-up objects."""
    images, poses = [], []
    for seed in range(4):
        random = torch.Generator().manual_seed(seed)
        cameras = [random_camera(random) for _ in range(3)]
        made = render(random_scene(seed), cameras, 256)
        images += [to_uint8(one).numpy() for one in made.rgba]
        poses += cameras
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_object(folder / "renders" / "0", images, poses)
        files = [path.stat().st_size for path in (folder / "renders" / "0").iterdir()]
        source = open_pairs(folder / "renders", 256)
        start, pairs = time.process_time(), 32
        for _ in islice(source.batches(0, 1, 1), pairs):
            pass
        read = (time.process_time() - start) / pairs
        write_mesh(folder / "mesh.glb", _ball(images))
        glb = (folder / "mesh.glb").stat().st_size
    views = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).convert("RGB").save(file, "PNG")
        views.append(file.tell())
    return {
        "view_bytes": round(sum(views) / len(views)),
        # Each file has a header in its tar, and fills blocks of 512 bytes.
        "object_bytes": sum(512 + 512 * math.ceil(size / 512) for size in files),
        "glb_bytes": glb,
        "pair_core_ms": round(1000 * read, 2),
    }


def _ball(images: list[Any]) -> Mesh:
    """Make 20,000 faces with a texture of 1024 x 1024, which is of views."""
    rows, columns = 100, 101
    v, u = torch.meshgrid(torch.linspace(0, 1, rows), torch.linspace(0, 1, columns), indexing="ij")
    up, around = (v - 0.5) * math.pi, u * 2 * math.pi
    points = torch.stack([up.cos() * around.cos(), up.cos() * around.sin(), up.sin()], -1) / 2
    corner = (torch.arange(rows - 1)[:, None] * columns + torch.arange(columns - 1)).flatten()
    lower = torch.stack([corner, corner + 1, corner + columns], 1)
    upper = torch.stack([corner + 1, corner + columns + 1, corner + columns], 1)
    faces = torch.cat([lower, upper])
    tiles = [torch.from_numpy(images[i % len(images)]) for i in range(16)]
    texture = torch.cat([torch.cat(tiles[i : i + 4], 1) for i in range(0, 16, 4)])
    uv = torch.stack([u, v], -1).flatten(0, 1)[faces]
    return Mesh(points.flatten(0, 1), faces, (Material(texture=texture),), uv=uv)


def derive(c: dict[str, Any], a: Assumed) -> dict[str, Any]:
    """Return the tables, from what was counted and measured, and what is assumed."""
    views, per_view = [], {}
    for tier, (whole, shallow) in ROWS.items():
        unet = whole * c["unet_full"] + shallow * c["unet_shallow"]
        per_view[tier] = unet + c["vae_decode"]
        seconds = 1000 * per_view[tier] / a.rate
        dollars = seconds / HOUR_S * a.gpu_hour
        views.append([tier, per_view[tier] / 1e12, seconds, dollars])
    encode = c["vae_encode"] + c["clip"]
    distilled = SDS_VIEWS * (2 * c["unet_full"] + c["vae_encode_train"])
    meshes = []
    for name, work, fit in (
        ("`views`, tier fast", MESH_VIEWS * per_view["fast"] + encode, a.fit_gpu_s),
        ("`zero123-sds`", distilled + encode, 10 * a.fit_gpu_s),
    ):
        model = work / a.rate
        dollars = (model + fit) / HOUR_S * a.gpu_hour + a.mesh_core_s / HOUR_S * a.core_hour
        meshes.append([name, work / 1e12, model, fit, a.mesh_core_s, dollars])
    return {
        "views": views,
        "meshes": meshes,
        "training": _training(c, a),
        "orders": [_order(10**n, per_view["balanced"], encode, c, a) for n in range(3, 10)],
    }


def _training(c: dict[str, Any], a: Assumed) -> list[list[float]]:
    """The paper's recipe on so many GPUs: what a step takes, and what it wants of the others."""
    config = read_config("zero123", [("data.path", "renders/")])
    batch, steps = config.batch.size, config.budget.steps or 0
    pair = c["unet_train"] + 2 * c["vae_encode"] + c["clip"]
    rows = []
    for gpus in (8, 64, 256, 768):
        machines = gpus / a.gpus_per_machine
        computing = batch * pair / gpus / a.rate
        # Machines send each gradient around a ring once to add and once to tell.
        sent = 2 * (machines - 1) / machines * 4 * c["weights"]
        talking = sent * 8 / (a.network_gbit * 1e9)
        step = computing + talking
        rate = batch / step
        days = steps * step / 86400
        rows.append([
            gpus, 100 * computing / step, days, days * 24 * gpus * a.gpu_hour,
            rate * c["pair_core_ms"] / 1000, rate * c["object_bytes"] / 1e9,
            days * 24 * gpus / a.failure_gpu_hours,
        ])  # fmt: skip
    return rows


def _order(images: int, view: float, encode: float, c: dict[str, Any], a: Assumed) -> list[Any]:
    """So many images, each with its views by tier balanced, within a week."""
    hours = images * (a.views * view + encode) / a.rate / HOUR_S
    gpus = math.ceil(hours * HOUR_S / WEEK_S)
    puts = images * (a.views + 1)
    per_s = puts / min(WEEK_S, hours * HOUR_S + a.start_s)
    stored = images * a.views * c["view_bytes"] / 1e12
    failures = hours / a.failure_gpu_hours
    if a.start_s > 0.1 * hours * HOUR_S:
        binds = "start"
    elif gpus == 1:
        binds = "GPU"
    elif per_s > a.puts_per_s:
        binds = "requests"
    else:
        binds = "GPUs"
    return [
        images, hours, gpus, hours * a.gpu_hour, stored, stored * a.store_tb_month, per_s,
        puts / 1e6 * a.put_million, failures, binds,
    ]  # fmt: skip


def short(value: Any) -> str:
    """Three digits that count, with separators."""
    if isinstance(value, str):
        return value
    if value >= 100:
        digits = 2 - math.floor(math.log10(value))
        return f"{round(value, digits):,.0f}"
    return f"{value:.3g}"


HEADS = {
    "views": [
        "tier", "TFLOP a view (counted)", "GPU s per 1,000 (derived)", "$ per 1,000 (derived)",
    ],
    "meshes": [
        "recipe", "TFLOP of the model (counted)", "its GPU s (derived)",
        "GPU s of the field (assumed)", "core s of the mesh (assumed)", "$ a mesh (derived)",
    ],
    "training": [
        "GPUs", "efficiency, % (simulated)", "days (derived)", "$ (derived)",
        "cores that read pairs (derived)", "GB/s of shards, each read once (derived)",
        "failures (derived)",
    ],
    "orders": [
        "images", "GPU hours", "GPUs, within a week", "$ of GPUs", "TB of views", "$ a month",
        "objects/s, a file a view", "$ of these requests", "failures", "what binds",
    ],
}  # fmt: skip


def tables(report: dict[str, Any]) -> dict[str, str]:
    """Return each table as Markdown."""
    made = {}
    for name, rows in report["derived"].items():
        lines = [HEADS[name], ["---"] * len(HEADS[name])]
        lines += [[f"{row[0]:,}" if isinstance(row[0], int) else row[0],
                   *map(short, row[1:])] for row in rows]  # fmt: skip
        made[name] = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    known = [["what", "value", "how"], ["---"] * 3]
    kinds = (("counted", "counts"), ("measured", "measured"), ("assumed", "assumed"))
    for how, section in kinds:
        known += [[f"`{key}`", f"{value:,}", how] for key, value in report[section].items()]
    made["known"] = "".join(f"| {' | '.join(line)} |\n" for line in known)
    return made


def written(page: str, made: dict[str, str]) -> str:
    """Return the page with the tables in their places."""
    for name, table in made.items():
        begin = BEGIN.replace("of ", f"{name}, of ")
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(END)
        page = f"{before}{begin}\n{table}{END}{after}"
    return page


def main() -> None:
    """Count, measure, derive, and write the report and the page's tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--counts", type=Path, help="a report to take what was counted from")
    parser.add_argument("--out", type=Path, help="report to write (with these prices, our own)")
    parser.add_argument("--page", type=Path, help="page to write the tables into (likewise)")
    for one in fields(Assumed):
        kind: Any = type(one.default)
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=kind, default=one.default)
    options = vars(parser.parse_args())
    assumed = Assumed(**{one.name: options[one.name] for one in fields(Assumed)})
    if options["counts"]:
        known = json.loads(options["counts"].read_text())
    else:
        known = {"counts": count(), "measured": measure()}
    report: dict[str, Any] = {
        "counts": known["counts"], "measured": known["measured"], "assumed": asdict(assumed)
    }  # fmt: skip
    report["derived"] = derive(known["counts"] | known["measured"], assumed)
    ours = assumed == Assumed()
    if out := options["out"] or (REPORT if ours else None):
        out.write_text(json.dumps(report, indent=1) + "\n")
    if page := options["page"] or (PAGE if ours else None):
        page.write_text(written(page.read_text(encoding="utf-8"), tables(report)), encoding="utf-8")
    print("\n".join(tables(report).values()))


if __name__ == "__main__":
    main()
