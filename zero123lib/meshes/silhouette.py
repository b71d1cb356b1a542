"""How much of each pixel a mesh covers, with a gradient to the places of its vertices.

Rasterisers say which pixels are covered, a step function. Here the pixels along a silhouette are
covered by the area that a straight edge leaves them: one half where the edge runs through a pixel's
centre, more or less by its distance in pixels. That is exact for an edge along the image's axes,
and gives vertices of the edge a gradient on either rasteriser.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import KDTree
from torch import Tensor

from zero123lib.meshes.mesh import Camera
from zero123lib.views.cameras import focal_px

# So many pairs of a pixel and an edge at once.
_PAIRS = 2**22
# Half the length in pixels from which on edges are few.
_SHORT = 4.0


@dataclass(frozen=True, eq=False)
class EdgeTensors:
    """The edges of faces, each once; `topology.Edges` has them as arrays, by half edges.

    Attributes:
        ends: int64 ``[E, 2]``, indices of vertices.
        sides: int64 ``[F * 3]``, the edge of each face's side.
        pairs: int64 ``[N, 2]``, faces that share an edge; all such pairs that follow each other
            around it.
    """

    ends: Tensor
    sides: Tensor
    pairs: Tensor


def edges_of(faces: Tensor) -> EdgeTensors:
    """Return the edges of faces ``[F, 3]``."""
    ends = torch.stack([faces, faces.roll(-1, 1)], -1).flatten(0, 1).sort(-1).values
    unique, sides = torch.unique(ends, dim=0, return_inverse=True)
    order = torch.argsort(sides, stable=True)
    same = sides[order[1:]] == sides[order[:-1]]
    pairs = torch.stack([order[:-1][same], order[1:][same]], -1)
    return EdgeTensors(unique, sides, torch.div(pairs, 3, rounding_mode="floor"))


def contour(positions: Tensor, faces: Tensor, edges: EdgeTensors, centre: Tensor) -> Tensor:
    """Tell which edges may be on the silhouette seen from `centre` ``[3]``: bool ``[E]``.

    Those of one face alone, and those between a face that looks at the camera and one that looks
    away.
    """
    a, b, c = positions[faces].unbind(1)
    towards = (torch.linalg.cross(b - a, c - a) * (centre - a)).sum(-1) > 0.0
    facing = towards.repeat_interleave(3).long()
    count = torch.bincount(edges.sides, minlength=len(edges.ends))
    front = torch.zeros_like(count).index_add_(0, edges.sides, facing)
    return (count == 1) | ((front > 0) & (front < count))


def coverage(
    positions: Tensor, faces: Tensor, edges: EdgeTensors, camera: Camera, covered: Tensor
) -> Tensor:
    """Return the share of each pixel that the mesh covers ``[S, S]``, differentiable.

    Args:
        positions: ``[P, 3]``.
        faces: ``[F, 3]``.
        edges: of the faces.
        covered: bool ``[S, S]``, whether a face covers the pixel's centre, as rasterised.

    Raises:
        ValueError: the mesh is not wholly before the camera.
    """
    c2w = camera.camera_to_world.to(positions)
    local = (positions - c2w[:3, 3]) @ c2w[:3, :3]
    nearest = float(-local[:, 2].detach().max())
    if nearest < camera.near:
        raise ValueError(
            f"cameras: expected the mesh at least {camera.near:g} before them, got {nearest:g}"
        )
    focal = focal_px(camera.size, camera.fov_deg)
    # Pixels' centres at whole numbers, x right and y down.
    flipped = local[:, :2] * local.new_tensor([1.0, -1.0]) / -local[:, 2:]
    screen = flipped * focal + 0.5 * (camera.size - 1)
    on_contour = contour(positions.detach(), faces, edges, c2w[:3, 3])
    segments = screen[edges.ends[on_contour]]
    result = covered.to(positions)
    rows, columns = torch.nonzero(_border(covered), as_tuple=True)
    if not len(rows) or not len(segments):
        return result
    pixels = torch.stack([columns, rows], -1).to(positions)
    near, chosen = _nearest(segments.detach(), pixels)
    rows, columns = rows[near], columns[near]
    away = _distance(segments[chosen], pixels[near])
    sign = torch.where(covered[rows, columns], 1.0, -1.0)
    return result.index_put((rows, columns), (0.5 + sign * away).clamp(0.0, 1.0))


def _border(covered: Tensor) -> Tensor:
    """Return pixels with both covered and uncovered ones among the nine around them."""
    around = covered.float()[None, None]
    most = F.max_pool2d(around, 3, 1, 1)[0, 0]
    least = -F.max_pool2d(-around, 3, 1, 1)[0, 0]
    return most != least


def _nearest(segments: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return pixels, of ``[N, 2]``, and which segment ``[E, 2, 2]`` is nearest to each.

    Pixels that all segments are half a pixel away from, which are covered wholly or not at all, may
    be left out. Fine meshes have many short segments: theirs are looked for around the pixels.
    """
    half = 0.5 * float((segments[:, 1] - segments[:, 0]).square().sum(-1).max().sqrt())
    if half < _SHORT:
        around = KDTree(pixels.cpu().numpy())
        middles = KDTree(segments.mean(1).cpu().numpy())
        pairs = around.sparse_distance_matrix(middles, half + 0.5 + 1e-3, output_type="ndarray")
        pixel, segment = (torch.from_numpy(pairs[name]).to(pixels.device) for name in ("i", "j"))
        away = _distance(segments[segment], pixels[pixel])
        order = np.lexsort([one.cpu().numpy() for one in (segment, away, pixel)])
        pixel, segment = pixel[order], segment[order]
        first = torch.ones_like(pixel, dtype=torch.bool)
        first[1:] = pixel[1:] != pixel[:-1]
        return pixel[first], segment[first]
    found = []
    for part in pixels.split(max(_PAIRS // len(segments), 1)):
        away = _distance(segments.unsqueeze(0), part.unsqueeze(1))
        found.append(away.argmin(1))
    return torch.arange(len(pixels), device=pixels.device), torch.cat(found)


def _distance(segments: Tensor, points: Tensor) -> Tensor:
    """Measure from points ``[..., 2]`` to segments ``[..., 2, 2]``."""
    start, side = segments[..., 0, :], segments[..., 1, :] - segments[..., 0, :]
    towards = points - start
    along = (towards * side).sum(-1) / side.square().sum(-1).clamp(min=1e-12)
    off = towards - along.clamp(0.0, 1.0).unsqueeze(-1) * side
    # The clamp keeps the root's slope finite on the segment itself.
    return off.square().sum(-1).clamp(min=1e-12).sqrt()
