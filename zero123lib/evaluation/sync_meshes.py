"""SyncDreamer's protocol on meshes, quirks and all (its eval_mesh.py).

Points of the truth come from 16 depth images of 16 bits, back-projected at whole pixel indices;
those of the prediction from depths rendered from the same cameras, interpolated affinely on the
screen, sampled at pixels' centres but back-projected at whole indices, too. Both are thinned to
voxels of 0.01. What cannot be seen from 30 degrees above never counts. The prediction is neither
normalised nor aligned. Volumes are compared on a grid of 64 in [-1, 1], by parity along x.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib._optional import require
from zero123lib.evaluation.cells import cell, write_cell
from zero123lib.evaluation.protocols import SYNC_FOCAL_PX, SYNC_RIG
from zero123lib.evaluation.view_pairs import ObjectScores, known_scores
from zero123lib.meshes.axes import FORMATS
from zero123lib.meshes.load import MeshError, load_mesh
from zero123lib.meshes.mesh import Camera, Mesh
from zero123lib.meshes.rasterize import rasterizer
from zero123lib.meshes.solid import solid_grid
from zero123lib.metrics import (
    chamfer_distance,
    f_score,
    normal_consistency,
    surface_points,
    volume_iou,
)
from zero123lib.views.cameras import camera_to_world, opengl_to_opencv

NOTES = ("F-score and normal consistency are beside the protocol, of points on surfaces",)
ABOUT = "SyncDreamer's eval_mesh.py (Liu et al. 2023): points seen from 16 cameras, 30 degrees high"
PUBLISHED = {
    "Zero123, NeuS on its views": {"chamfer": 0.0339, "volume_iou": 0.5035},
    "One-2-3-45": {"chamfer": 0.0629, "volume_iou": 0.4086},
    "SyncDreamer": {"chamfer": 0.0261, "volume_iou": 0.5421},
    "HarmonyView": {"chamfer": 0.0187, "volume_iou": 0.6401},
}
DEPTH_RANGE, DEPTH_KEPT, VOXEL = (0.6, 2.4), (0.63, 2.37), 0.01
F_THRESHOLD, _SURFACE_POINTS = 0.02, 20_000
# By how much the objects of the published set were turned when they were rendered, degrees.
TURNED_DEG = {
    "sofa": -90.0,
    **dict.fromkeys(
        ("blocks", "alarm", "backpack", "chicken", "soap", "grandfather", "grandmother", "lion",
         "lunch_bag", "mario", "oil"), 270.0
    ),
    **dict.fromkeys(("elephant", "school_bus1"), 180.0),
    **dict.fromkeys(("school_bus2", "shoe", "train", "turtle"), 225.0),
    "sorter": 112.5,
}  # fmt: skip
# Counts up when our code comes to score otherwise, so that no old file is read then.
_SCORING = 1
FOV_DEG = 2 * math.degrees(math.atan(SYNC_RIG.size_px / 2 / SYNC_FOCAL_PX))
_ALIGNED = "mesh_aligned.ply"
_TRUE_MESHES = (_ALIGNED, "meshes/model.obj", "model.obj", "mesh.obj")


@dataclass(frozen=True)
class MeshPair:
    """Files of one object.

    Attributes:
        name: of the object.
        prediction: its mesh.
        truth: the true mesh; ``mesh_aligned.ply`` is taken as it is, others are normalised and
            turned by :data:`TURNED_DEG`.
        depths: 16 images; none where they are to be rendered from the true mesh.
    """

    name: str
    prediction: Path
    truth: Path
    depths: tuple[Path, ...]


def find_meshes(
    predictions: Path, truth: Path, objects: Collection[str] | None = None
) -> list[MeshPair]:
    """Find what the protocol compares.

    Args:
        predictions: a folder of ``OBJECT.ply`` or ``OBJECT/mesh.ply``, or of another format.
        truth: a folder of objects with their meshes, and depths where they are at hand.
        objects: names of those that count; None takes all of the truth's.

    Raises:
        ArgumentError: there is no truth, or an object of it was not predicted.
    """
    for name, folder in (("predictions", predictions), ("truth", truth)):
        if not folder.is_dir():
            raise ArgumentError(name, "a folder of objects", repr(str(folder)))
    true = find_true_meshes(truth)
    if not true:
        expected = f"a folder of objects with one of {', '.join(_TRUE_MESHES)}"
        raise ArgumentError("truth", expected, f"none in {str(truth)!r}")
    if objects is not None and (unknown := sorted(set(objects) - set(true))):
        raise ArgumentError("objects", f"some of {', '.join(true)}", unknown[0])
    return [
        MeshPair(name, _predicted(predictions, name), mesh, _depths(truth / name))
        for name, mesh in true.items()
        if objects is None or name in objects
    ]


def find_true_meshes(truth: Path) -> dict[str, Path]:
    """Map the names of a folder's objects to their meshes; objects without one are left out."""
    folders = [one for one in sorted(truth.iterdir()) if one.is_dir()]
    places = {one.name: [one / name for name in _TRUE_MESHES] for one in folders}
    found = {name: [file for file in files if file.is_file()] for name, files in places.items()}
    return {name: files[0] for name, files in found.items() if files}


def _predicted(folder: Path, name: str) -> Path:
    places = [f"{stem}{suffix}" for stem in (name, f"{name}/mesh") for suffix in FORMATS]
    for place in places:
        if (folder / place).is_file():
            return folder / place
    expected = f"a mesh {name}.ply or {name}/mesh.ply in {str(folder)!r}"
    raise ArgumentError("predictions", expected, "none")


def _depths(folder: Path) -> tuple[Path, ...]:
    files = [folder / f"{view:03d}-depth.png" for view in range(len(SYNC_RIG.poses))]
    there = [file for file in files if file.is_file()]
    if there and len(there) < len(files):
        missing = next(file for file in files if file not in there)
        raise ArgumentError("truth", f"{len(files)} depth images", f"no {str(missing)!r}")
    return tuple(there)


def score_meshes(pair: MeshPair, cells: Path | None = None) -> ObjectScores:
    """Score one object's mesh, and those of two baselines.

    ``truth``: the true mesh as if it were predicted, which tells what the protocol's quirks cost;
    ``ball``: the ball of the unit box. F-score and normal consistency are of 20,000 points on
    either surface, beside the protocol.

    Raises:
        ArgumentError: a mesh or a depth image is not what the protocol takes.
    """
    made, true = read_mesh(pair.prediction, "predictions"), true_mesh(pair.name, pair.truth)
    file = None if cells is None else cell(cells, _key(pair, made, true))
    if file is not None and (known := known_scores(file)) is not None:
        return known
    cloud = true_cloud(pair, true)
    answers = {"prediction": made, "truth": true, "ball": unit_ball()}
    scored = {name: _scores(mesh, true, cloud) for name, mesh in answers.items()}
    found = ObjectScores(pair.name, ["mesh"], scored, _note(pair))
    if file is not None:
        write_cell(file, asdict(found))
    return found


def shown(pair: MeshPair) -> tuple[Mesh, Mesh]:
    """Return prediction and truth as they are compared."""
    return read_mesh(pair.prediction, "predictions"), true_mesh(pair.name, pair.truth)


def _note(pair: MeshPair) -> str:
    notes = [] if pair.depths else ["depth images are rendered from the true mesh"]
    if degrees := _turn_deg(pair.name, pair.truth):
        notes.append(f"the true mesh is turned by {degrees:g} degrees about z, by its name")
    return "; ".join(notes)


def _turn_deg(name: str, file: Path) -> float:
    """Tell by how much the true mesh is turned about z, counterclockwise."""
    return 0.0 if file.name == _ALIGNED else -TURNED_DEG.get(name, 0.0)


def true_mesh(name: str, file: Path) -> Mesh:
    """Read an object's true mesh as the protocol places it: z up, its box's longest side 1."""
    mesh = read_mesh(file, "truth")
    if file.name == _ALIGNED:
        return mesh
    vertices = mesh.vertices.double()
    low, high = vertices.amin(0), vertices.amax(0)
    vertices = (vertices - (low + high) / 2) / (high - low).max()
    angle = math.radians(_turn_deg(name, file))
    turn = torch.tensor(
        [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]],
        dtype=torch.float64,
    )
    return replace(mesh, vertices=(vertices @ turn.T).float(), normals=None)


def true_cloud(pair: MeshPair, mesh: Mesh) -> np.ndarray:
    """Compute the truth's points ``[N, 3]``, of its depth images or of its mesh's depths."""
    if pair.depths:
        images = [_read_depth(file) for file in pair.depths]
    else:
        depths = _each_camera(mesh, lambda _, depth: depth)
        images = [quantised(depth) for depth in depths]
    span = DEPTH_RANGE[1] - DEPTH_RANGE[0]
    depths = [image.astype(np.float32) / 65535 * span + DEPTH_RANGE[0] for image in images]
    kept = [(one > DEPTH_KEPT[0]) & (one < DEPTH_KEPT[1]) for one in depths]
    return _cloud(depths, kept)


def quantised(depth: np.ndarray) -> np.ndarray:
    """Write depths ``[S, S]``, infinite where there is nothing, as the protocol's 16 bits."""
    share = (depth - DEPTH_RANGE[0]) / (DEPTH_RANGE[1] - DEPTH_RANGE[0])
    return np.round(np.clip(share, 0, 1) * 65535).astype(np.uint16)


def predicted_cloud(mesh: Mesh) -> np.ndarray:
    """Compute a prediction's points ``[N, 3]``."""
    depths = _each_camera(mesh, lambda affine, _: affine)
    return _cloud(depths, [np.isfinite(one) for one in depths])


def _each_camera(
    mesh: Mesh, choose: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> list[np.ndarray]:
    """Affine and true depth ``[S, S]`` from each camera, of which one is chosen."""
    look = rasterizer(mesh, "auto")
    found = []
    for pose in SYNC_RIG.poses:
        camera = Camera(camera_to_world(pose), SYNC_RIG.size_px, FOV_DEG)
        fragments = look(camera)
        affine = affine_depth(mesh, camera, fragments.face_ids[0])
        found.append(choose(affine.numpy(), fragments.depth[0].numpy()))
    return found


def affine_depth(mesh: Mesh, camera: Camera, face_ids: Tensor) -> Tensor:
    """Interpolate depth linearly on the screen at the pixels' centres, infinite without a face.

    Args:
        face_ids: ``[S, S]``, -1 where there is no face.
    """
    world_to_camera = torch.linalg.inv(opengl_to_opencv(camera.camera_to_world.double()))
    points = mesh.vertices.double() @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
    focal = SYNC_FOCAL_PX
    screen = points[:, :2] / points[:, 2:] * focal + camera.size / 2
    row, column = torch.nonzero(face_ids >= 0, as_tuple=True)
    corners = mesh.faces[face_ids[row, column]]
    a, b, c = (screen[corners[:, k]] for k in range(3))
    at = torch.stack([column, row], -1) + 0.5

    def area(one: Tensor, other: Tensor) -> Tensor:
        return one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]

    whole = area(b - a, c - a)
    v, w = area(at - a, c - a) / whole, area(b - a, at - a) / whole
    weights = torch.stack([1 - v - w, v, w], -1).nan_to_num(1 / 3)
    depth = torch.full(face_ids.shape, math.inf, dtype=torch.float64)
    depth[row, column] = (weights * points[corners, 2]).sum(-1)
    return depth


def _cloud(depths: list[np.ndarray], kept: list[np.ndarray]) -> np.ndarray:
    """Back-project depths at whole pixel indices, and thin the points to voxels."""
    middle = SYNC_RIG.size_px / 2
    clouds = []
    for pose, depth, mask in zip(SYNC_RIG.poses, depths, kept, strict=True):
        row, column = np.nonzero(mask)
        distance = depth[row, column].astype(np.float64)
        across = [(index - middle) / SYNC_FOCAL_PX * distance for index in (column, row)]
        points = np.stack([*across, distance], -1)
        c2w = opengl_to_opencv(camera_to_world(pose).double()).numpy()
        clouds.append(points @ c2w[:3, :3].T + c2w[:3, 3])
    points = np.concatenate(clouds).astype(np.float32)
    if not len(points):
        return points
    open3d: Any = require("open3d", "meshes")
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points.astype(np.float64)))
    return np.asarray(cloud.voxel_down_sample(VOXEL).points, np.float32)


def _scores(mesh: Mesh, true: Mesh, cloud: np.ndarray) -> dict[str, list[float]]:
    found = predicted_cloud(mesh)
    if not len(found) or not len(cloud):
        name = "truth" if not len(cloud) else "predictions"
        raise ArgumentError(name, "meshes that the protocol's cameras see", "one that none sees")
    solids = [torch.from_numpy(solid_grid(*_arrays(one))) for one in (mesh, true)]
    (a, a_normals), (b, b_normals) = (
        surface_points(*_arrays(one), _SURFACE_POINTS, seed)
        for seed, one in enumerate((mesh, true))
    )
    return {
        "chamfer": [chamfer_distance(found, cloud)],
        "volume_iou": [float(volume_iou(*solids))],
        "f_score": [f_score(a, b, F_THRESHOLD)],
        "normal_consistency": [normal_consistency(a, a_normals, b, b_normals)],
    }


def _arrays(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    return mesh.vertices.double().numpy(), mesh.faces.numpy()


def read_mesh(path: Path, argument: str) -> Mesh:
    """Read a mesh with its numbers as they are; glTF, which has y up, is stood upright."""
    try:
        up = "auto" if path.suffix.lower() in (".glb", ".gltf") else "z"
        return load_mesh(path, up=up, normalise=False, textures="readable")
    except MeshError as error:
        raise ArgumentError(argument, "meshes", str(error)) from error


def _read_depth(file: Path) -> np.ndarray:
    side = SYNC_RIG.size_px
    try:
        with Image.open(file, formats=["PNG"]) as opened:
            pixels = np.asarray(opened)
    except Exception as error:  # damaged files meet Pillow with errors of any type
        reason = " ".join(str(error).split())
        raise ArgumentError("truth", "depth images", f"{str(file)!r} ({reason})") from error
    if pixels.shape != (side, side) or pixels.dtype not in (np.uint16, np.int32):
        got = f"{list(pixels.shape)} {pixels.dtype} in {str(file)!r}"
        raise ArgumentError("truth", f"depth images of 16 bits, {side} x {side} px", got)
    return pixels.astype(np.uint16)


def unit_ball() -> Mesh:
    """Return the ball of the unit box, 64 by 32 faces of a globe."""
    turn, rise = np.meshgrid(
        np.arange(64) / 64 * 2 * np.pi, (np.arange(33) / 32 - 0.5) * np.pi, indexing="ij"
    )
    points = np.stack([np.cos(rise) * np.cos(turn), np.cos(rise) * np.sin(turn), np.sin(rise)], -1)
    i, j = (one.ravel() for one in np.meshgrid(np.arange(64), np.arange(32), indexing="ij"))
    here, there = i * 33 + j, (i + 1) % 64 * 33 + j
    faces = np.concatenate(
        [np.stack([here, there, there + 1], -1), np.stack([here, there + 1, here + 1], -1)]
    )
    return Mesh(
        torch.from_numpy(0.5 * points.reshape(-1, 3)).float(), torch.from_numpy(faces.astype(int))
    )


def _key(pair: MeshPair, made: Mesh, true: Mesh) -> list[Any]:
    """Name what the scores depend on: of meshes the numbers, since a .gltf has them elsewhere."""
    digest = hashlib.sha256()
    for array in (*_arrays(made), *_arrays(true)):
        digest.update(f"{array.shape}".encode())
        digest.update(array.tobytes())
    for file in pair.depths:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return ["syncdreamer meshes", _SCORING, pair.name, pair.truth.name, digest.hexdigest()]
