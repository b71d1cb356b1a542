"""The published scripts' own digits, on images, meshes and cameras that are made here.

Each number is what the script of that protocol's repository gave on the same files, run on a CPU:
SyncDreamer's eval_nvs.py and eval_mesh.py (nvdiffrast replaced by a rasteriser in numpy of the same
rules, its search for nearest points by a k-d tree), EscherNet's eval_2D_NVS.py, eval_3D_GSO.py and
metrics.py, iFusion's eval.py, Free3D's evaluation.py without its LPIPS and FID.
"""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zero123lib.evaluation.escher_meshes import score_meshes as score_escher
from zero123lib.evaluation.folders import find_pairs, read_views
from zero123lib.evaluation.pose_pairs import PosesRun
from zero123lib.evaluation.protocols import PROTOCOLS, SYNC_RIG
from zero123lib.evaluation.sync_meshes import MeshPair, score_meshes
from zero123lib.evaluation.view_pairs import score_images
from zero123lib.lpips import lpips_alex

SIZE = 256


def true_view(number: int) -> np.ndarray:
    """A disc of stripes with a soft edge, RGBA."""
    y, x = np.mgrid[:SIZE, :SIZE]
    away = (x - 128 - 3 * (number % 5)) ** 2 + (y - 128) ** 2
    alpha = np.clip(8100 - away, 0, 2550) // 10
    colors = [3 * x + 17 * number, 5 * y + x + 29 * number, x * y // 64 + 41 * number]
    return np.stack([*(one % 256 for one in colors), alpha], -1).astype(np.uint8)


def made_view(number: int) -> np.ndarray:
    """The same with other colours, its edge moved by 4 px."""
    y, x = np.mgrid[:SIZE, :SIZE]
    pixels = true_view(number).astype(int)
    pixels[..., :3] += ((7 * x + 13 * y + 11 * number) % 61 - 30)[..., None]
    pixels[..., 3] = np.roll(pixels[..., 3], 4, axis=1)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def write_views(folder: Path, count: int) -> None:
    for side, view in (("true", true_view), ("made", made_view)):
        (folder / side).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(view(number)).save(folder / side / f"{number:03d}.png")


# PSNR and SSIM to 5 digits, LPIPS to 4.
VIEWS = {
    "syncdreamer": (25.82143, 0.78782, None),
    "eschernet": (6.87816, 0.21248, 0.6430),
    "ifusion": (20.99633, 0.75366, None),
    "free3d": (23.49189, 0.57894, None),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views(name: str, tmp_path: Path) -> None:
    protocol = PROTOCOLS[name]
    assert protocol.views is not None
    write_views(tmp_path, protocol.views.stop)
    (pair,) = find_pairs(protocol, tmp_path / "made", tmp_path / "true")
    made, true = read_views(protocol, pair)
    psnr_db, ssim, lpips = VIEWS[name]
    # LPIPS on AlexNet of fewer views would be another number than the script's.
    found = score_images(protocol, made, true, None if lpips is None else lpips_alex())
    means = {metric: float(np.mean(values)) for metric, values in found.items()}
    assert means["psnr_db"] == pytest.approx(psnr_db, abs=6e-6)
    assert means["ssim"] == pytest.approx(ssim, abs=6e-6)
    if lpips is not None:
        assert means["lpips"] == pytest.approx(lpips, abs=1e-4)


def globe(bump: float, stretch: float) -> tuple[np.ndarray, np.ndarray]:
    """A closed surface of 48 by 32 quads about the origin, bumpy and stretched along x."""
    turn, rise = np.meshgrid(np.arange(48) / 48 * 2 * np.pi, np.arange(1, 32) / 32 * np.pi)
    radius = 0.5 * (1 + bump * np.sin(3 * turn) * np.sin(rise) ** 2)
    ways = np.stack([np.sin(rise) * np.cos(turn), np.sin(rise) * np.sin(turn), np.cos(rise)], -1)
    rings = (radius[..., None] * ways).reshape(-1, 3)
    points = np.concatenate([rings, [[0, 0, 0.5], [0, 0, -0.5]]]) * [stretch, 1, 1]
    quads = []
    for j in range(48):
        following = (j + 1) % 48
        quads += [[len(rings), j, following], [len(rings) + 1, 30 * 48 + following, 30 * 48 + j]]
        for i in range(30):
            a, b, c, d = (48 * r + s for r, s in
                          ((i, j), (i + 1, j), (i + 1, following), (i, following)))  # fmt: skip
            quads += [[a, b, c], [a, c, d]]
    return points, np.array(quads)


def write_ply(file: Path, points: np.ndarray, faces: np.ndarray) -> Path:
    lines = [
        f"ply\nformat ascii 1.0\nelement vertex {len(points)}",
        *(f"property float {axis}" for axis in "xyz"),
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header",
        *(f"{x:.6f} {y:.6f} {z:.6f}" for x, y, z in points),
        *(f"3 {a} {b} {c}" for a, b, c in faces),
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines))
    return file


def write_depths(folder: Path) -> tuple[Path, ...]:
    """Depth images of 16 bits of a ball of radius 0.5, from the protocol's cameras."""
    middle = (np.arange(SIZE) + 0.5 - SIZE / 2) / 280
    across, down = np.meshgrid(middle, middle)
    files = []
    for number in range(len(SYNC_RIG.poses)):
        ways = np.stack([across, down, np.ones_like(down)], -1)
        length = np.linalg.norm(ways, axis=-1)
        nearest = 1.5 / length  # the camera looks at the ball's centre, 1.5 away
        inside = 0.5**2 - (1.5**2 - nearest**2)
        depth = (nearest - np.sqrt(np.clip(inside, 0, None))) / length
        shares = np.where(inside > 0, (depth - 0.6) / 1.8, 1)
        files.append(folder / f"{number:03d}-depth.png")
        Image.fromarray(np.round(shares * 65535).astype(np.uint16)).save(files[-1])
    return tuple(files)


def write_meshes(folder: Path) -> MeshPair:
    made = write_ply(folder / "made.ply", *globe(0.1, 1.1))
    true = write_ply(folder / "true" / "mesh_aligned.ply", *globe(0.0, 1.0))
    return MeshPair("ball", made, true, write_depths(folder / "true"))


def test_meshes(tmp_path: Path) -> None:
    pair = write_meshes(tmp_path)
    for score, chamfer, iou in (
        (score_meshes, 0.02853, 0.85946),
        (score_escher, 0.0575294, 0.7249264),
    ):
        found = score(pair).answers["prediction"]
        assert found["chamfer"][0] == pytest.approx(chamfer, abs=1e-5)
        assert found["volume_iou"][0] == pytest.approx(iou, abs=1e-5)


def rotation(axis: np.ndarray, degrees: float) -> np.ndarray:
    """Rodrigues' formula."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def write_cameras(folder: Path) -> None:
    """Two scenes, of which each estimate is turned by up to 12 degrees and moved."""

    def write(file: Path, matrices: list[np.ndarray]) -> None:
        file.parent.mkdir(parents=True)
        frames = [{"transform_matrix": one.tolist()} for one in matrices]
        file.write_text(json.dumps({"frames": frames}))

    random = np.random.default_rng(7)
    for scene in ("a", "b"):
        true = []
        for _ in range(5):
            matrix = np.eye(4)
            matrix[:3, :3] = rotation(random.normal(size=3), random.uniform(0, 180))
            matrix[:3, 3] = random.normal(size=3)
            true.append(matrix)
        write(folder / "true" / scene / "train" / "transform.json", true)
        for i, j in permutations(range(5), 2):
            found = true[j].copy()
            found[:3, :3] = found[:3, :3] @ rotation(random.normal(size=3), random.uniform(0, 12))
            found[:3, 3] += 0.1 * random.normal(size=3)
            write(folder / "made" / scene / f"{i},{j}" / "transform.json", [true[i], found])


def test_cameras(tmp_path: Path) -> None:
    write_cameras(tmp_path)
    run = PosesRun.of(tmp_path / "made", tmp_path / "true")
    scored = list(run.scores())
    errors = {
        metric: [value for one in scored for value in one.answers["prediction"][metric]]
        for metric in ("rotation_deg", "translation", "recall")
    }
    assert np.median(errors["rotation_deg"]) == pytest.approx(5.12752, abs=1e-4)
    assert np.median(errors["translation"]) == pytest.approx(0.144413, abs=1e-5)
    assert np.mean(errors["recall"]) == 0.475
    report = run.report(scored)
    assert "prediction, as published: median rotation error 5.1275 degrees" in report.notes[0]
    assert "recall at 5 degrees 0.4750" in report.notes[0]
