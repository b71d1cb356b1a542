"""Texture coordinates for any mesh: charts by xatlas, or a cell per pair of faces.

xatlas (Young, MIT licence, after thekla_atlas) takes non-manifold meshes, with which Open3D's
unwrapping hangs. It runs in a process of its own and for a limited time.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib._optional import require
from zero123lib.meshes.mesh import Material, Mesh
from zero123lib.meshes.settings import MAX_SIZE, MIN_SIZE

MAX_FACES = 1_000_000

# A cell of two triangles, that does not mix them when looked up bilinearly, is at least this wide.
_CELL = 4
# Larger charts have fewer seams and take longer: their time grows with the square of this.
_FACES_PER_CHART = 1000


class UnwrappingWarning(UserWarning):
    """Charts could not be made, and faces were laid out one by one."""


def unwrap(
    mesh: Mesh, size: int = 1024, *, padding: int | None = None, limit_s: float = 120.0
) -> Mesh:
    """Give a mesh texture coordinates that do not overlap.

    Charts by xatlas. If it does not come back within its time, or fails, each face gets the same
    triangle, two to a square cell (see `cells`), with a warning: that needs no time, but every edge
    is a seam and small faces waste room.

    Args:
        mesh: any; non-manifold, open and self-intersecting ones included.
        size: of the square texture that the coordinates are meant for, texels.
        padding: texels between charts; None takes 4, or less where the texture is tiny.
        limit_s: seconds after which charts are given up.

    Returns:
        The mesh with `uv` in [0, 1] and one plain material: textures of before do not fit. Faces
        without area have all three corners at one point of the atlas.

    Raises:
        ValueError: a number is out of range, there are too many faces to unwrap, or, where charts
            cannot be made, too many for the size.
        MissingExtraError: xatlas is not installed.
    """
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ArgumentError("size", f"{MIN_SIZE} to {MAX_SIZE} texels", str(size))
    padding = min(4, size // 8) if padding is None else padding
    if not 2 <= padding <= size // 8:
        raise ArgumentError("padding", f"2 to {size // 8} texels", str(padding))
    if len(mesh.faces) > MAX_FACES:
        raise ArgumentError(
            "mesh",
            f"at most {MAX_FACES} faces to unwrap",
            f"{len(mesh.faces)}: decimate it first, or colour its vertices",
        )
    require("xatlas", "meshes")
    try:
        uv = _charts(mesh, size, padding, limit_s)
    except (subprocess.SubprocessError, OSError) as error:
        late = isinstance(error, subprocess.TimeoutExpired)
        reason = f"took longer than {limit_s:g} s" if late else f"failed: {_last_line(error)}"
        message = f"xatlas {reason}; {len(mesh.faces)} faces are laid out one by one"
        warnings.warn(message, UnwrappingWarning, stacklevel=2)
        uv = cells(len(mesh.faces), size)
    uv = uv.to(mesh.vertices)
    return replace(mesh, uv=uv, materials=(Material(),), face_material=None)


def cells(count: int, size: int) -> Tensor:
    """Return coordinates ``[count, 3, 2]`` of faces laid out one by one, two to a square cell.

    Corners are at centres of texels, 2.8 texels from the other face of the cell.

    Raises:
        ValueError: the cells would be too small; it says which size is large enough.
    """
    across = math.ceil(math.sqrt(math.ceil(count / 2)))
    cell = size // across
    if cell < _CELL:
        raise ArgumentError(
            "size", f"at least {across * _CELL} texels for {count} faces", str(size)
        )
    far = cell - 2.5
    lower = torch.tensor([[0.5, 0.5], [far, 0.5], [0.5, far]], dtype=torch.float64)
    pair = torch.stack([lower, cell - lower])
    index = torch.arange(count)
    place = torch.div(index, 2, rounding_mode="floor")
    corner = torch.stack([place % across, torch.div(place, across, rounding_mode="floor")], -1)
    return ((pair[index % 2] + cell * corner.unsqueeze(1)) / size).float()


def _charts(mesh: Mesh, size: int, padding: int, limit_s: float) -> Tensor:
    """xatlas's coordinates ``[F, 3, 2]``."""
    # The child finds what this process finds, wherever its paths come from.
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "mesh.npz"), Path(folder, "uv.npz")
        np.savez(
            source,
            vertices=_unit(mesh.vertices.detach()).cpu().numpy().astype(np.float32),
            faces=mesh.faces.cpu().numpy().astype(np.uint32),
            size=size,
            padding=padding,
            faces_per_chart=_FACES_PER_CHART,
        )
        command = [sys.executable, "-P", "-m", "zero123lib.meshes.charts", source, target]
        # Ctrl-C, which a terminal sends to all of its session's foreground, is for this process.
        apart = os.name != "nt"
        subprocess.run(
            command, check=True, capture_output=True, timeout=limit_s, env=paths,
            start_new_session=apart,
        )  # fmt: skip
        with np.load(target) as made:
            inner = torch.from_numpy(made["uv"]) / float(made["extent"])
            placed = torch.from_numpy(made["placed"])
    # A margin on all sides, since textures repeat: a look-up at the border would mix both ends.
    margin = 0.5 * padding / size
    uv = margin + inner.clamp(0.0, 1.0) * (1.0 - 2.0 * margin)
    return _place_the_rest(uv, placed, mesh.faces.cpu(), len(mesh.vertices))


def _unit(vertices: Tensor) -> Tensor:
    """Return vertices at the size that xatlas's tolerances are made for."""
    vertices = vertices.double()
    low, high = vertices.amin(0), vertices.amax(0)
    return (vertices - low) / (high - low).max().clamp(min=1e-30)


def _place_the_rest(uv: Tensor, placed: Tensor, faces: Tensor, vertices: int) -> Tensor:
    """Put faces that xatlas has left out at one point where one of their vertices is."""
    rest = ~placed
    if not bool(rest.any()):
        return uv
    somewhere = torch.full((vertices, 2), -1.0)
    somewhere[faces[placed].flatten()] = uv[placed].flatten(0, 1)
    offers = somewhere[faces[rest]]
    chosen = offers[torch.arange(len(offers)), (offers[..., 0] >= 0.0).long().argmax(1)]
    return uv.index_put((rest,), chosen.clamp(min=0.0).unsqueeze(1).expand(-1, 3, -1))


def _last_line(error: Exception) -> str:
    """Return what a child process said last."""
    said = getattr(error, "stderr", b"") or str(error).encode()
    return said.decode(errors="replace").strip().rsplit("\n", 1)[-1][:200]
