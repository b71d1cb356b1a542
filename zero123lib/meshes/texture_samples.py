"""What the pixels of posed images show of a texture.

At fixed fragments a pixel is a weighted mean of texels: bilinear look-ups of its samples, in linear
light, as in `shading.look_up`. A pixel counts by how squarely its surface faces the camera, and
less near silhouettes, of the mesh and of the image, where colours of the background and of what
lies behind are mixed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from zero123lib._errors import ArgumentError
from zero123lib.meshes.mesh import Camera, Material, Mesh
from zero123lib.meshes.rasterize import Fragments, rasterizer
from zero123lib.views.cameras import focal_px

# The samples of two neighbours are up to two pixels apart.
_STEP = 3.0


@dataclass(frozen=True)
class ViewFit:
    """Says how images become a texture.

    Attributes:
        steps: of the descent, all images each; 0 leaves each texel the mean of its pixels. None
            takes as many as bring the texture nearest to images that it was not made from.
        sharpness: a pixel counts as much as its surface's cosine towards the camera to this power.
            High takes each texel from the image that shows it best, low from the mean of all.
        least_cosine: surfaces seen flatter than this do not count.
        edge_px: pixels nearer than this to a silhouette count less.
        robust: pixels whose error, in sRGB, is above this count less, by as much, so that
            images that disagree do not blur (Charbonnier et al. 1994).
        least_weight: texels that all images together show less than this, a pixel within a
            silhouette being 1, are filled from around.
        supersample: samples along a pixel's side.
    """

    steps: int | None = 20
    sharpness: float = 4.0
    least_cosine: float = 0.15
    edge_px: float = 3.0
    robust: float = 0.1
    least_weight: float = 0.02
    supersample: int = 2

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("supersample", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ArgumentError(name, f"at least {least}", str(value))
        for name in ("robust", "edge_px", "least_weight"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise ArgumentError(name, "a number above 0", str(getattr(self, name)))
        if not 0.0 <= self.sharpness < float("inf"):
            raise ArgumentError("sharpness", "at least 0", str(self.sharpness))
        if not 0.0 < self.least_cosine < 1.0:
            raise ArgumentError("least_cosine", "0 to 1", str(self.least_cosine))


@dataclass(frozen=True, eq=False)
class Samples:
    """Holds what the pixels of images show of a texture.

    Attributes:
        texels: indices of texels, row after row of the texture ``[P, K]``.
        shares: what each adds to the pixel ``[P, K]``, sum 1.
        targets: the pixels' colours, sRGB ``[P, 3]``.
        inner: 1 within silhouettes, less near them ``[P]``, above 0.
        facing: cosine of the surface towards the camera ``[P]``.
        views: int64, the numbers of their images ``[P]``.
    """

    texels: Tensor
    shares: Tensor
    targets: Tensor
    inner: Tensor
    facing: Tensor
    views: Tensor

    def predicted(self, texture: Tensor) -> Tensor:
        """Return colours of pixels ``[P, C]`` by those of texels ``[T, C]``, both linear."""
        return F.embedding_bag(self.texels, texture, per_sample_weights=self.shares, mode="sum")

    def adjoint(self, count: int) -> Callable[[Tensor], Tensor]:
        """Return the transpose of `predicted`: of pixels ``[P, C]`` to texels ``[count, C]``."""
        flat = self.texels.flatten()
        order = torch.argsort(flat, stable=True)
        pixel = torch.div(order, self.texels.shape[1], rounding_mode="floor")
        shares = self.shares.flatten()[order]
        counts = torch.bincount(flat, minlength=count)
        starts = counts.cumsum(0) - counts

        def scattered(values: Tensor) -> Tensor:
            return F.embedding_bag(pixel, values, starts, per_sample_weights=shares, mode="sum")

        return scattered

    def those(self, pixels: Tensor) -> Samples:
        """Keep some pixels, by a mask ``[P]``."""
        return Samples(*(getattr(self, one.name)[pixels] for one in fields(self)))


def sample_views(
    mesh: Mesh,
    images: Tensor,
    cameras: Sequence[Camera],
    size: int,
    fit: ViewFit,
    backend: str,
) -> Samples:
    """Return what images show of a texture of that size: see `Samples`."""
    solid = replace(mesh, materials=(Material(),), face_material=None)
    look = rasterizer(solid, backend)
    parts = []
    pairs = zip(images.to(mesh.vertices), cameras, strict=True)
    for number, (image, camera) in enumerate(
        tqdm(pairs, "views", len(images), delay=2, disable=None)
    ):
        fine = replace(camera, size=camera.size * fit.supersample)
        parts.append(_samples(mesh, image, fine, look(fine), size, fit, number))
    joined = Samples(
        *(torch.cat([getattr(part, one.name) for part in parts]) for one in fields(Samples))
    )
    if not len(joined.inner):
        raise ArgumentError("images", "some that show the mesh", "none that does")
    return joined


def footprint(uv: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the four texels that a bilinear look-up mixes, and their shares: both ``[N, 4]``.

    As in `shading.look_up`, but at the borders of the texture the last texel goes on.
    """
    at = torch.stack([uv[:, 0] * size, (1.0 - uv[:, 1]) * size], -1) - 0.5
    first = at.floor()
    share = at - first
    first = first.long()
    texels, shares = [], []
    for down in (0, 1):
        for right in (0, 1):
            column, row = ((first[:, i] + s).clamp(0, size - 1) for i, s in ((0, right), (1, down)))
            texels.append(row * size + column)
            across = share[:, 0] if right else 1.0 - share[:, 0]
            shares.append(across * (share[:, 1] if down else 1.0 - share[:, 1]))
    return torch.stack(texels, -1), torch.stack(shares, -1)


def edge_weights(
    valid: Tensor, depths: Tensor, cosine: Tensor, focal: float, edge_px: float
) -> Tensor:
    """Tell how much pixels count by their distance to silhouettes ``[S, S]``, 0 to 1.

    A silhouette is where `valid` ends, and where the depths of two neighbours' samples are farther
    apart than one surface explains.

    Args:
        valid: bool ``[S, S]``.
        depths: of the samples of each pixel ``[S, S, K]``.
        cosine: of the surface towards the camera ``[S, S]``.
        focal: in pixels.
        edge_px: from how many pixels on all count the same.
    """
    from scipy.ndimage import distance_transform_edt

    low, high = depths.amin(-1), depths.amax(-1)
    # A surface is at most so much deeper one pixel on.
    slope = low / focal / cosine.clamp(min=1e-3)
    inner, count = valid.clone(), len(valid) - 1
    for axis in (0, 1):
        far = torch.maximum(high.narrow(axis, 0, count), high.narrow(axis, 1, count))
        near = torch.minimum(low.narrow(axis, 0, count), low.narrow(axis, 1, count))
        steepest = torch.maximum(slope.narrow(axis, 0, count), slope.narrow(axis, 1, count))
        one = far - near <= _STEP * steepest
        inner.narrow(axis, 0, count).logical_and_(one)
        inner.narrow(axis, 1, count).logical_and_(one)
    away = torch.from_numpy(distance_transform_edt(inner.cpu().numpy())).to(depths)
    return (away / edge_px).clamp(max=1.0).square()


def _samples(
    mesh: Mesh,
    image: Tensor,
    fine: Camera,
    fragments: Fragments,
    size: int,
    fit: ViewFit,
    number: int,
) -> Samples:
    """Sample one image."""
    factor = fit.supersample
    side = fine.size // factor
    face_ids, weights = fragments.face_ids[0], fragments.barycentrics[0]
    triangles = mesh.vertices[mesh.faces[face_ids.clamp(min=0)]].detach()
    a, b, c = triangles.unbind(-2)
    normal = F.normalize(torch.linalg.cross(b - a, c - a), dim=-1, eps=1e-30)
    centre = fine.camera_to_world.to(mesh.vertices)[:3, 3]
    point = (weights.detach().unsqueeze(-1) * triangles).sum(-2)
    cosine = (normal * F.normalize(centre - point, dim=-1)).sum(-1).abs()
    cosine = _by_pixel(cosine, factor).mean(-1)
    covered = (_by_pixel(face_ids, factor) >= 0).all(-1)
    depths = _by_pixel(fragments.depth[0].detach(), factor)
    opaque = image[..., 3] > 0.99 if image.shape[-1] == 4 else torch.ones_like(covered)
    valid = covered & opaque
    # Where nothing is, the silhouette is that of `valid`.
    depths = depths.masked_fill(~covered.unsqueeze(-1), 0.0)
    inner = edge_weights(valid, depths, cosine, focal_px(side, fine.fov_deg), fit.edge_px)
    use = (inner > 0.0) & (cosine >= fit.least_cosine)
    assert mesh.uv is not None
    uv = (weights.unsqueeze(-1) * mesh.uv[face_ids.clamp(min=0)]).sum(-2).detach()
    u, v = (_by_pixel(part, factor)[use] for part in uv.unbind(-1))
    texels, shares = footprint(torch.stack([u.flatten(), v.flatten()], -1), size)
    per_pixel = 4 * factor**2
    shares = shares.reshape(-1, per_pixel) / factor**2
    texels = texels.reshape(-1, per_pixel)
    views = torch.full_like(inner[use], number, dtype=torch.int64)
    return Samples(texels, shares, image[..., :3][use], inner[use], cosine[use], views)


def _by_pixel(samples: Tensor, factor: int) -> Tensor:
    """Return values ``[S * factor, S * factor]`` of samples as ``[S, S, factor * factor]``."""
    side = len(samples) // factor
    return samples.reshape(side, factor, side, factor).transpose(1, 2).flatten(2)
