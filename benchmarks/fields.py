"""What fitting a field costs, and what each of its short cuts is worth.

    python benchmarks/fields.py [--threads N] [--out FILE]

Ratios compare two ways of doing the same within one run; seconds are this machine's and stand
beside them for orientation. The two sides of a ratio run in turn, and each counts its fastest
round, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import replace
from pathlib import Path

import torch
from _measuring import metric, ratio, seconds
from torch import Tensor, nn
from torch.nn import functional

from zero123lib.fields.fitting import FitSettings, Fitting
from zero123lib.fields.regularisers import total_variation
from zero123lib.fields.volume import render
from zero123lib.fields.voxels import VoxelField, VoxelSettings
from zero123lib.scenes import HELD_OUT_SEED, random_scene
from zero123lib.scenes import render as render_scene
from zero123lib.views.cameras import FOV_DEG, camera_to_world, rays
from zero123lib.views.poses import Pose

VIEWS = [Pose(elevation, 45.0 * k - 180, 1.85) for elevation in (-10, 15, 45) for k in range(8)]
POINTS, RESOLUTION, COMPONENTS = 40_000, 96, 16


class Planes(nn.Module):
    """What a lookup costs in a TensoRF-like field: products of planes and lines, then a matrix."""

    def __init__(self, resolution: int, components: int) -> None:
        super().__init__()
        side = (resolution, resolution)
        self.planes = nn.Parameter(torch.randn(3, components, *side) / 10)
        self.lines = nn.Parameter(torch.randn(3, components, resolution, 1) / 10)
        self.mix = nn.Linear(3 * components, 4)

    def forward(self, places: Tensor) -> Tensor:
        """``[P, 4]`` at places ``[P, 3]`` in [-1, 1]."""
        x, y, z = places.unbind(-1)
        on_planes = torch.stack([torch.stack(pair, -1) for pair in ((x, y), (y, z), (z, x))])
        zero = torch.zeros_like(x)
        on_lines = torch.stack([torch.stack((zero, c), -1) for c in (z, x, y)])
        kinds = {"align_corners": True, "mode": "bilinear"}
        planes = functional.grid_sample(self.planes, on_planes[:, :, None], **kinds)[..., 0]
        lines = functional.grid_sample(self.lines, on_lines[:, :, None], **kinds)[..., 0]
        return self.mix((planes * lines).reshape(-1, len(places)).T)


def lookups() -> dict:
    """Planes against dense grids, value and gradient at points near a sphere."""
    random = torch.Generator().manual_seed(0)
    points = functional.normalize(torch.randn(POINTS, 3, generator=random), dim=-1)
    points = points * (0.3 + 0.03 * torch.randn(POINTS, 1, generator=random))
    planes = Planes(RESOLUTION, COMPONENTS)
    dense = VoxelField(VoxelSettings(RESOLUTION))

    def look_dense() -> None:
        dense.zero_grad()
        (dense.density(points).sum() + dense.color(points).sum()).backward()

    def look_planes() -> None:
        planes.zero_grad()
        planes(points / 0.6).sum().backward()

    slow, fast = ratio(look_planes, look_dense)
    name = f"3 x {COMPONENTS} planes and lines / dense grids, {RESOLUTION}^3"
    return metric(name, slow / fast, "x", "higher")


def smoothing() -> dict:
    """Total variation by autograd's own gradient against ours."""
    grid = torch.randn(1, 4, 96, 96, 96).requires_grad_()

    def plain() -> None:
        grid.grad = None
        torch.stack([grid.diff(dim=axis).square().mean() for axis in (2, 3, 4)]).sum().backward()

    def ours() -> None:
        grid.grad = None
        total_variation(grid).backward()

    slow, fast = ratio(plain, ours)
    return metric("total variation, autograd's gradient / ours", slow / fast, "x", "higher")


def measure() -> list[dict]:
    """All metrics."""
    scene = random_scene(HELD_OUT_SEED + 1)
    images, cameras = render_scene(scene, VIEWS, 128).rgba, camera_to_world(VIEWS)
    fitting = Fitting(images, cameras, FOV_DEG, FitSettings())
    taken = seconds(lambda: [fitting.advance() for _ in range(fitting.settings.steps)])
    count = f"{len(VIEWS)} views of 128 px, {fitting.settings.steps} steps"
    metrics = [metric(f"fit, {count}", taken, "s", "lower"), lookups(), smoothing()]
    origins, directions = (part.reshape(-1, 3)[::8] for part in rays(cameras[8], 128))
    field = fitting.field

    def image(**options) -> None:
        field.zero_grad()
        seen = render(field, origins, directions, samples=128, **options)
        seen.rgb.square().sum().backward()

    skipping = {"occupancy": fitting.occupancy}
    slow, fast = ratio(image, lambda: image(**skipping))
    metrics.append(metric("all samples / occupied ones", slow / fast, "x", "higher"))
    slow, fast = ratio(lambda: image(**skipping), lambda: image(**skipping, negligible=1e-4))
    metrics.append(metric("occupied samples / visible ones", slow / fast, "x", "higher"))
    whole = VoxelField(replace(field.settings, box=None))
    slow, fast = (sum(grid.numel() for grid in one.parameters()) for one in (whole, field))
    metrics.append(metric("nodes of the cube / of the cropped box", slow / fast, "x", "higher"))
    return metrics


def main() -> None:
    """Print the metrics and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report = {
        "machine": f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}",
        "metrics": measure(),
    }
    options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
