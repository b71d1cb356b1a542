"""What the two small networks are worth: the cut-out of photographs, and enlarged views.

    python benchmarks/small_networks.py [--photos FOLDER] [--out FILE.json]

Photographs with transparency from FOLDER (the app's examples without one) are put before grounds of
four kinds and cut out again: IoU of the soft alpha with the true one. Held-out scenes are rendered
at 256 and at 1024 px, and the small rendering enlarged four times: PSNR and LPIPS to the large one,
beside bicubic enlargement; the same of a photograph. What a photo's pixels, not moved, are worth at
cameras beside its own, and the bundled model's view at its own. Then what enlarging costs a texture
from true views, and seconds, of the cut-out of 12 megapixels and of enlarging a view.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
import trimesh
from _measuring import ROUNDS, metric, seconds
from PIL import Image
from torch import Tensor

from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.evaluation.samples import scene_samples
from zero123lib.lpips import lpips_alex
from zero123lib.meshes.atlas import unwrap
from zero123lib.meshes.mesh import Camera, Mesh
from zero123lib.meshes.render import render
from zero123lib.meshes.shading import AMBIENT
from zero123lib.meshes.texture import bake
from zero123lib.meshes.texture_views import texture_from_views
from zero123lib.metrics import psnr
from zero123lib.scenes import render as ray_cast
from zero123lib.upscaling import upscaled
from zero123lib.views.cutout import cut_out
from zero123lib.views.poses import Pose, RelativePose

EXAMPLES = Path(__file__).parents[1] / "demo" / "examples"
OBJECTS, VIEWS, LARGE, SMALL = 4, 1, 1024, 256


def grounds(colors: np.ndarray, alpha: np.ndarray) -> dict[str, np.ndarray]:
    """Backgrounds for an object, ``[H, W, 3]``: plain, graded, wood, and its own mean colour.

    Args:
        colors: ``[H, W, 3]`` in [0, 1].
        alpha: ``[H, W]`` in [0, 1].
    """
    rng = np.random.default_rng(0)
    height, width = alpha.shape
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    ring = 0.5 + 0.5 * np.sin(40 * (y + 0.05 * np.sin(9 * x + 20 * y * x)))
    noise = rng.standard_normal((height, width, 1))
    mean = (colors * alpha[..., None]).sum((0, 1)) / alpha.sum()
    found = {
        "plain": np.broadcast_to((0.75, 0.78, 0.7), colors.shape),
        "gradient": (1 - y[..., None]) * (0.35, 0.5, 0.7) + y[..., None] * (0.9, 0.8, 0.65),
        "wood": (0.55, 0.38, 0.22) + ring[..., None] * (0.2, 0.16, 0.1) + 0.04 * noise,
        "same colour": mean + 0.05 * (y[..., None] - 0.5) + 0.02 * noise,
    }
    return {name: np.clip(ground, 0, 1) for name, ground in found.items()}


def photographs(folder: Path) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """File, ground, photo ``[H, W, 3]`` before it in 8 bits, and true alpha, of all with alpha."""
    for path in sorted(folder.glob("*.png")):
        image = Image.open(path)
        if image.mode != "RGBA":
            continue
        values = np.asarray(image) / 255.0
        colors, alpha = values[..., :3], values[..., 3]
        for name, ground in grounds(colors, alpha).items():
            photo = colors * alpha[..., None] + ground * (1 - alpha[..., None])
            yield path.name, name, np.rint(photo * 255).astype(np.uint8), alpha


def cut_out_iou(photo: np.ndarray, alpha: np.ndarray) -> float:
    """IoU of the soft alpha that is found with the true one."""
    found = np.asarray(cut_out(photo).image.getchannel("A")) / 255.0
    return float(np.minimum(found, alpha).sum() / np.maximum(found, alpha).sum())


def enlarged(small: Tensor, large: Tensor) -> dict[str, float]:
    """PSNR and LPIPS of images ``[B, 3, S, S]`` enlarged 4 times to large ones, by method."""
    made = {
        "Real-ESRGAN": upscaled(small, 4),
        "bicubic": F.interpolate(small, scale_factor=4, mode="bicubic").clamp(0, 1),
    }
    measures = {"PSNR": psnr, "LPIPS": lpips_alex()}
    return {
        f"{method}, {name}": float(measure(images, large).mean())
        for method, images in made.items()
        for name, measure in measures.items()
    }


def scenes() -> tuple[Tensor, Tensor]:
    """Held-out scenes at both sizes."""
    sizes = (scene_samples(OBJECTS, VIEWS, size) for size in (SMALL, LARGE))
    small, large = (torch.cat([one.targets for one in samples]) for samples in sizes)
    return small, large


def astronaut() -> tuple[Tensor, Tensor]:
    """scikit-image's photograph at 128 and 512 px."""
    photo = Image.fromarray(skimage.data.astronaut())
    sizes = (photo.resize((size, size), Image.Resampling.BOX) for size in (128, 512))
    small, large = (torch.from_numpy(np.array(one)).permute(2, 0, 1)[None] / 255 for one in sizes)
    return small, large


def beside_the_photo() -> dict[str, float]:
    """PSNR and LPIPS to scenes at 512 px, of their photo as it is and of what is enlarged."""
    pipe = Zero123Pipeline.from_pretrained("tiny")
    pipe.set_progress_bar_config(disable=True)
    turns = (0.0, 1.0, 2.0, 5.0)
    pairs: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for sample in scene_samples(OBJECTS, VIEWS, pipe.image_size):
        own = sample.condition_pose
        poses = [Pose(own.elevation_deg, own.azimuth_deg + turn, own.radius) for turn in turns]
        seen = ray_cast(sample.scene, poses, 4 * pipe.image_size, background="white")
        true = seen.rgba[..., :3].movedim(-1, 1).contiguous()
        photo, noise = true[:1], torch.Generator().manual_seed(0)
        views = pipe.views(pipe.encode(pipe.prepare(sample.condition)), [RelativePose()],
                           num_inference_steps=25, generator=noise)  # fmt: skip
        pairs.setdefault("the model's at 0", []).append((upscaled((views + 1) / 2, 4), photo))
        for turn, view in zip(turns, true.split(1), strict=True):
            small = F.interpolate(view, scale_factor=0.25, mode="area")
            pairs.setdefault(f"true, enlarged, at {turn:g}", []).append((upscaled(small, 4), view))
            if turn:
                pairs.setdefault(f"the photo at {turn:g}", []).append((photo, view))
    lpips = lpips_alex()
    scores = {}
    for name, found in pairs.items():
        made, true = (torch.cat(side) for side in zip(*found, strict=True))
        scores[f"{name} degrees, PSNR"] = float(psnr(made, true).mean())
        scores[f"{name} degrees, LPIPS"] = float(lpips(made, true).mean())
    return scores


def texture_psnr() -> dict[int, float]:
    """PSNR of a dotted ball painted from eight images of 64 px, by how much they were enlarged."""

    def dots(points: Tensor) -> Tensor:
        dark = (((points * 5).frac().abs() - 0.5).norm(dim=-1, keepdim=True) < 0.55).float()
        return torch.cat([0.8 * dark + 0.1, 0.3 * dark + 0.4, 0.9 - 0.7 * dark], -1)

    def seen(mesh: Mesh, poses: list[Pose], size: int) -> Tensor:
        views = [render(mesh, Camera.at(pose, size), AMBIENT, 2).color for pose in poses]
        return torch.stack(views)

    ball = trimesh.creation.icosphere(4, 0.45)
    bare = Mesh(torch.from_numpy(ball.vertices).float(), torch.from_numpy(ball.faces).long())
    truth = bake(unwrap(bare, 256), dots, 256)
    poses = [Pose(up, turn, 1.85) for up in (-35.0, 35.0) for turn in (0.0, 90.0, 180.0, 270.0)]
    images, wanted = seen(truth, poses, 64), seen(truth, poses[:2], 256)
    cameras = [Camera.at(pose, 64) for pose in poses]
    scores = {}
    for factor in (1, 2, 4):
        made = texture_from_views(bare, images, cameras, 256, upscale=factor)
        error = (seen(made, poses[:2], 256) - wanted)[..., :3].square().mean()
        scores[factor] = float(-10 * error.log10())
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=EXAMPLES)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    lines = []
    found: dict[str, list[float]] = {}
    for _, ground, photo, alpha in photographs(options.photos):
        found.setdefault(ground, []).append(cut_out_iou(photo, alpha))
    for ground, ious in found.items():
        name = f"cut out before {ground}, {len(ious)} photos"
        lines.append(metric(f"{name}: mean IoU", float(np.mean(ious)), "", "higher"))
        lines.append(metric(f"{name}: lowest IoU", min(ious), "", "higher"))
    for subject, pair in (("scenes, 256 px x 4", scenes()), ("a photo, 128 px x 4", astronaut())):
        for name, value in enlarged(*pair).items():
            unit, better = ("dB", "higher") if "PSNR" in name else ("", "lower")
            lines.append(metric(f"{subject}, {name}", value, unit, better))
    for name, value in beside_the_photo().items():
        unit, better = ("dB", "higher") if "PSNR" in name else ("", "lower")
        lines.append(metric(f"beside the photo: {name}", value, unit, better))
    for factor, value in texture_psnr().items():
        lines.append(metric(f"texture from views x {factor}, PSNR", value, "dB", "higher"))
    large = Image.open(EXAMPLES / "car.png").convert("RGB").resize((4000, 3000))
    view = torch.rand(3, SMALL, SMALL, generator=torch.Generator().manual_seed(0))
    pairs = {
        "cut-out of 12 megapixels": lambda: cut_out(large),
        "enlarging a view of 256 px": lambda: upscaled(view, 4),
    }
    for name, action in pairs.items():
        action()
        best = min(seconds(action) for _ in range(ROUNDS))
        lines.append(metric(f"{name}, fastest of {ROUNDS}", best, "s", "lower"))
    options.out.write_text(json.dumps(lines, indent=2) + "\n")


if __name__ == "__main__":
    main()
