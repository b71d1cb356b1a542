"""Views of known objects to fit, and what came of it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from zero123lib.fields.fitting import FitSettings, Fitting
from zero123lib.fields.hull import visual_hull
from zero123lib.fields.occupancy import evaluate, lattice
from zero123lib.fields.volume import render_camera
from zero123lib.metrics import psnr, volume_iou
from zero123lib.scenes import Scene, render
from zero123lib.views.cameras import FOV_DEG, camera_to_world, opencv_to_opengl
from zero123lib.views.poses import Pose

# As the recipe `views` makes them: rings of azimuths at its elevations.
RINGS = ((-10.0, 0.0), (15.0, 15.0), (45.0, 0.0))
HELD_OUT = (2, 6, 10, 14)  # of the sixteen views of a scanned object


def ring_poses(azimuths: int) -> list[Pose]:
    """``azimuths`` cameras on each ring, at the official distance."""
    return [
        Pose(elevation, (first + 360 * k / azimuths + 180) % 360 - 180, 1.85)
        for elevation, first in RINGS
        for k in range(azimuths)
    ]


def views_of(scene: Scene, poses: list[Pose], size: int) -> tuple[Tensor, Tensor]:
    """True views ``[V, H, H, 4]`` and their cameras."""
    return render(scene, poses, size).rgba, camera_to_world(poses)


@dataclass(frozen=True)
class Shapes:
    """Volume IoU with the truth: of the fitted field, and of the hull of the same views."""

    field: float
    hull: float


def shapes(scene: Scene, fitting: Fitting, images: Tensor, cameras: Tensor, cells: int) -> Shapes:
    """At the level that the fit finds; what no space reaches from outside is inside."""
    centers = lattice(cells, 0.6, centers=True)
    truth = scene.inside(centers.double())
    dense = evaluate(fitting.field.density, centers) > fitting.level()
    solid = torch.from_numpy(ndimage.binary_fill_holes(dense.numpy()))
    hull = visual_hull(images[..., 3], cameras, FOV_DEG, cells)
    return Shapes(float(volume_iou(solid, truth)), float(volume_iou(hull, truth)))


def scanned(folder: Path, name: str, size: int) -> tuple[Tensor, Tensor, float]:
    """Sixteen views ``[16, S, S, 4]`` of a scanned object, straight alpha, cameras, fov."""
    told = json.loads((folder / "cameras.json").read_text())
    rows = torch.tensor(told["world_to_camera_opencv_3x4"], dtype=torch.float64)
    last = rows.new_tensor([0, 0, 0, 1]).expand(len(rows), 1, 4)
    cameras = opencv_to_opengl(torch.linalg.inv(torch.cat([rows, last], 1))).float()
    images = [Image.open(folder / name / f"{k:03d}.png").convert("RGBA") for k in range(16)]
    rgba = torch.stack([torch.from_numpy(np.asarray(p, np.float32) / 255) for p in images])
    factor = rgba.shape[1] // size
    cells = rgba.reshape(16, size, factor, size, factor, 4)
    alpha = cells[..., 3:].mean((2, 4))
    rgb = (cells[..., :3] * cells[..., 3:]).mean((2, 4)) / alpha.clamp_min(1e-6)
    fov_deg = 2 * math.degrees(math.atan(0.5 * told["image_size"] / told["K"][0][0]))
    return torch.cat([rgb, alpha], -1), cameras, fov_deg


def fit_scanned(folder: Path, name: str, size: int, settings: FitSettings) -> float:
    """Mean PSNR, dB on white, of the held-out views after a fit of the twelve others."""
    images, cameras, fov_deg = scanned(folder, name, size)
    kept = [k for k in range(16) if k not in HELD_OUT]
    fitting = Fitting(images[kept], cameras[kept], fov_deg, settings)
    while not fitting.finished:
        fitting.advance()
    values = []
    for k in HELD_OUT:
        with torch.no_grad():
            seen = render_camera(
                fitting.field, cameras[k], size, fov_deg, samples=256, occupancy=fitting.occupancy
            )
        rgb, alpha = images[k, ..., :3], images[k, ..., 3:]
        true = rgb * alpha + 1 - alpha
        values.append(float(psnr(seen.rgb.permute(2, 0, 1), true.permute(2, 0, 1))))
    return sum(values) / len(values)
