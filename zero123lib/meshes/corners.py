"""Corners of faces that are the same: what formats with one index per vertex are made of."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from zero123lib.meshes.colors import first_corners
from zero123lib.meshes.mesh import Mesh


def per_vertex(values: Tensor | None, mesh: Mesh) -> Tensor | None:
    """Return corners' values ``[F, 3, D]`` as the vertices' ``[V, D]``, None where they differ.

    Vertices without faces have 0.
    """
    if values is None:
        return None
    corner = first_corners(mesh.faces, len(mesh.vertices))
    flat = values.reshape(-1, values.shape[-1])
    result = torch.where((corner >= 0).unsqueeze(-1), flat[corner.clamp(min=0)], 0.0)
    return result if bool((result[mesh.faces] == values).all()) else None


def distinct_corners(mesh: Mesh, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Return the kinds of corners of faces: same vertex, texture coordinates and normal.

    Args:
        faces: int64 ``[N]``, numbers of faces.

    Returns:
        Of each kind one corner, ``3 * face + place``, int64 ``[K]``, in the order of the vertices;
        and the faces' kinds, int64 ``[N, 3]``.
    """
    corners = (faces[:, None] * 3 + torch.arange(3)).flatten()
    columns = [mesh.faces.flatten()[corners]]
    for values in (mesh.uv, mesh.normals):
        # What is the same all around each vertex tells no corners apart.
        if values is not None and per_vertex(values, mesh) is None:
            columns += list(values.reshape(-1, values.shape[-1])[corners].unbind(-1))
    kinds, firsts = number_rows([column.numpy() for column in columns])
    return corners[torch.from_numpy(firsts)], torch.from_numpy(kinds.reshape(-1, 3))


def number_rows(columns: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return number rows ``[N]``, equal ones alike, ascending with the columns.

    Returns:
        The numbers, and the rows' first positions ``[K]``.
    """
    order = np.lexsort(columns[::-1])
    new = np.zeros(len(order), bool)
    new[:1] = True
    for column in columns:
        ordered = column[order]
        new[1:] |= ordered[1:] != ordered[:-1]
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(new) - 1
    return numbers, order[new]
