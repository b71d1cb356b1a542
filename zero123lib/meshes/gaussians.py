"""3D Gaussians that begin on a mesh, as the PLY that Gaussian splatting tools open.

The file has the properties of the official code (``save_ply`` in gaussian-splatting's
``scene/gaussian_model.py``), each as it is before its activation: scales are logarithms, opacities
logits, colours the constant of the spherical harmonics, rotations quaternions (w, x, y, z). Kerbl
et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering", SIGGRAPH 2023.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from zero123lib._errors import ArgumentError
from zero123lib._files import write_bytes
from zero123lib.meshes.mesh import Mesh
from zero123lib.meshes.shading import base_color, to_srgb

# Y_0^0: colour = 0.5 + SH_C0 * f_dc.
SH_C0 = 0.5 / math.sqrt(math.pi)
# Of the harmonics of degree 1 to 3, for three colours; they begin at 0.
_REST = 45
_OPACITY = 0.95
# Standard deviations over the mean distance of neighbours: within the surface, and across it.
_WITHIN, _ACROSS = 0.6, 0.1
PROPERTIES = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"),
    *(f"f_rest_{index}" for index in range(_REST)),
    *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Gaussians in our world, z-up.

    Attributes:
        centers: ``[N, 3]``.
        normals: unit, of the surface there ``[N, 3]``; the Gaussians are thin along them.
        colors: sRGB in [0, 1] ``[N, 3]``.
        opacities: in (0, 1) ``[N]``.
        scales: standard deviations along their axes ``[N, 3]``.
        rotations: unit quaternions (w, x, y, z) from their axes to the world ``[N, 4]``.
    """

    centers: np.ndarray
    normals: np.ndarray
    colors: np.ndarray
    opacities: np.ndarray
    scales: np.ndarray
    rotations: np.ndarray


def gaussians_of(mesh: Mesh, count: int = 20_000, seed: int = 0) -> Gaussians:
    """Lay Gaussians on a mesh, evenly over its area, flat and as wide as they lie apart.

    Args:
        mesh: with at least one face that has an area.
        count: how many.
        seed: of the places.

    Raises:
        ArgumentError: the mesh has no area, or fewer than one is asked for.
    """
    from scipy.spatial.transform import Rotation

    if count < 1:
        raise ArgumentError("count", "at least 1 Gaussian", str(count))
    triangles = mesh.vertices.detach().cpu().double()[mesh.faces.cpu()].numpy()
    sides = triangles[:, 1:] - triangles[:, :1]
    cross = np.cross(sides[:, 0], sides[:, 1])
    areas = 0.5 * np.linalg.norm(cross, axis=1)
    total = float(areas.sum())
    if not total > 0.0:
        raise ArgumentError("mesh", "faces with an area", f"{len(areas)} faces of area 0")
    generator = np.random.default_rng(seed)
    # One in each of `count` shares of the area: more even than any draw of faces.
    places = (np.arange(count) + generator.uniform(size=count)) / count * total
    faces = np.minimum(np.searchsorted(np.cumsum(areas), places, side="right"), len(areas) - 1)
    # Osada et al., "Shape Distributions", 2002: uniform within a triangle.
    root, share = np.sqrt(generator.uniform(size=count)), generator.uniform(size=count)
    weights = np.stack([1.0 - root, root * (1.0 - share), root * share], axis=1)
    centers = np.einsum("nc,ncd->nd", weights, triangles[faces])
    normals = cross[faces] / np.linalg.norm(cross[faces], axis=1, keepdims=True)
    colors = base_color(
        mesh.to("cpu"), torch.from_numpy(faces), torch.from_numpy(weights).to(mesh.vertices.dtype)
    )
    apart = math.sqrt(total / count)
    scales = np.tile([_WITHIN * apart, _WITHIN * apart, _ACROSS * apart], (count, 1))
    return Gaussians(
        centers,
        normals,
        to_srgb(colors.detach())[:, :3].double().numpy(),
        np.full(count, _OPACITY),
        scales,
        Rotation.from_matrix(_frames(normals)).as_quat()[:, [3, 0, 1, 2]],
    )


def write_gaussians(path: str | Path, gaussians: Gaussians) -> None:
    """Write a binary PLY, whole or not at all."""
    content = np.zeros((len(gaussians.centers), len(PROPERTIES)), "<f4")
    opacity = np.log(gaussians.opacities / (1.0 - gaussians.opacities))
    content[:, :3], content[:, 3:6] = gaussians.centers, gaussians.normals
    content[:, 6:9] = (gaussians.colors - 0.5) / SH_C0
    content[:, 9 + _REST] = opacity
    content[:, 10 + _REST : 13 + _REST] = np.log(gaussians.scales)
    content[:, 13 + _REST :] = gaussians.rotations
    head = [
        "ply",
        "format binary_little_endian 1.0",
        f"element vertex {len(content)}",
        *(f"property float {name}" for name in PROPERTIES),
        "end_header\n",
    ]
    write_bytes(Path(path), "\n".join(head).encode() + content.tobytes())


def _frames(normals: np.ndarray) -> np.ndarray:
    """Return rotations ``[N, 3, 3]`` whose third axis is a unit normal ``[N, 3]``.

    Duff et al., "Building an Orthonormal Basis, Revisited", JCGT 6, 2017.
    """
    x, y, z = normals.T
    sign = np.where(z >= 0.0, 1.0, -1.0)
    a = -1.0 / (sign + z)
    b = x * y * a
    first = np.stack([1.0 + sign * x * x * a, sign * b, -sign * x], axis=1)
    second = np.stack([b, sign + y * y * a, -y], axis=1)
    return np.stack([first, second, normals], axis=2)
