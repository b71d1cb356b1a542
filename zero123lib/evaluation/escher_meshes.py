"""EscherNet's protocol on meshes, as its authors published it (metrics/eval_3D_GSO.py, metrics.py).

Truth and prediction are each scaled and centred to the unit box, in the axes of their files. The
Chamfer distance is between the vertices as trimesh reads them, however they are spread over the
surface; volumes are compared on a grid of 64 in [-1, 1], by parity along x.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zero123lib._errors import ArgumentError
from zero123lib._optional import require
from zero123lib.evaluation.cells import cell, write_cell
from zero123lib.evaluation.sync_meshes import MeshPair, unit_ball
from zero123lib.evaluation.view_pairs import ObjectScores, known_scores
from zero123lib.meshes.mesh import Mesh
from zero123lib.meshes.solid import solid_grid
from zero123lib.metrics import chamfer_distance, volume_iou

ABOUT = "EscherNet's eval_3D_GSO.py (Kong et al. 2024): vertices of meshes scaled to the unit box"
NOTES = (
    "predictions are in the truth's axes, as EscherNet's own; other methods it turns by rules of "
    "their own",
)
# Counts up when our code comes to score otherwise, so that no old file is read then.
_SCORING = 1


def score_meshes(pair: MeshPair, cells: Path | None = None) -> ObjectScores:
    """Score one object's mesh, and the ball of the unit box.

    Raises:
        ArgumentError: a mesh cannot be read, or has no size.
    """
    made, true = raw_mesh(pair.prediction, "predictions"), raw_mesh(pair.truth, "truth")
    file = None if cells is None else cell(cells, _key(pair.name, made, true))
    if file is not None and (known := known_scores(file)) is not None:
        return known
    scored = {name: _scores(mesh, true) for name, mesh in _answers(made).items()}
    found = ObjectScores(pair.name, ["mesh"], scored)
    if file is not None:
        write_cell(file, asdict(found))
    return found


def shown(pair: MeshPair) -> tuple[Mesh, Mesh]:
    """Return prediction and truth as they are compared."""
    made, true = raw_mesh(pair.prediction, "predictions"), raw_mesh(pair.truth, "truth")
    return _mesh(*made), _mesh(*true)


def raw_mesh(path: Path, argument: str) -> tuple[np.ndarray, np.ndarray]:
    """Read vertices ``[V, 3]``, in the unit box, and faces ``[F, 3]``, as trimesh has them."""
    trimesh: Any = require("trimesh", "meshes")
    try:
        mesh = trimesh.load(path, force="mesh")
        vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    except Exception as error:  # damaged files meet trimesh with errors of any type
        reason = " ".join(str(error).split())
        raise ArgumentError(argument, "meshes", f"{str(path)!r} ({reason})") from error
    if not len(faces) or not np.isfinite(vertices).all() or not np.ptp(vertices, axis=0).any():
        raise ArgumentError(argument, "finite meshes with faces", repr(str(path)))
    return unit_box(vertices), faces


def unit_box(vertices: np.ndarray) -> np.ndarray:
    """Scale vertices so that their box's longest side is 1, then centre the box."""
    vertices = vertices * (1 / np.ptp(vertices, axis=0).max())
    return vertices - (vertices.max(0) + vertices.min(0)) / 2


def _answers(made: tuple[np.ndarray, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    ball = unit_ball()
    return {"prediction": made, "ball": (ball.vertices.double().numpy(), ball.faces.numpy())}


def _scores(
    made: tuple[np.ndarray, np.ndarray], true: tuple[np.ndarray, np.ndarray]
) -> dict[str, list[float]]:
    solids = [torch.from_numpy(solid_grid(*one)) for one in (made, true)]
    return {
        "chamfer": [chamfer_distance(true[0], made[0])],
        "volume_iou": [float(volume_iou(*solids))],
    }


def _mesh(vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    return Mesh(torch.from_numpy(vertices).float(), torch.from_numpy(faces))


def _key(name: str, *meshes: tuple[np.ndarray, np.ndarray]) -> list[Any]:
    digest = hashlib.sha256()
    for array in (one for mesh in meshes for one in mesh):
        digest.update(f"{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return ["eschernet meshes", _SCORING, name, digest.hexdigest()]
