"""A texture from pictures of known cameras, by gradient descent on what the pictures show.

At fixed fragments a pixel is a weighted mean of texels: bilinear look-ups of its samples, in linear
light, as in `shading.look_up`. The shares are made once; then texels are changed until the pixels
are those of the pictures. The gradient is what the pixels lack, given back to the texels by their
shares; divided by what each texel counts in all pictures, a step neither needs a length nor
oscillates (SIRT: Gilbert 1972). Detail that the pictures do not hold stays as smooth as the start.

A pixel counts by how squarely its surface faces the camera, and less near silhouettes, of the mesh
and of the picture, where colours of the background and of what lies behind are mixed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from zero123lib._errors import ArgumentError
from zero123lib.meshes.atlas import unwrap
from zero123lib.meshes.filling import spread
from zero123lib.meshes.mesh import Camera, Material, Mesh
from zero123lib.meshes.rasterize import Fragments, rasterizer
from zero123lib.meshes.shading import to_linear, to_srgb
from zero123lib.meshes.texels import filled
from zero123lib.meshes.texture import atlas_texels, textured
from zero123lib.views.cameras import focal_px

# The samples of two neighbours are up to two pixels apart.
_STEP = 3.0


@dataclass(frozen=True)
class ViewFit:
    """How pictures become a texture.

    Attributes:
        steps: of the descent, all pictures each; 0 leaves each texel the mean of its pixels.
        sharpness: a pixel counts as much as its surface's cosine towards the camera to this power.
            High takes each texel from the picture that shows it best, low from the mean of all.
        least_cosine: surfaces seen flatter than this do not count.
        edge_px: pixels nearer than this to a silhouette count less.
        robust: pixels whose error, in sRGB, is above this count less, by as much, so that
            pictures that disagree do not blur (Charbonnier et al. 1994).
        least_weight: texels that all pictures together show less than this, a pixel within a
            silhouette being 1, are filled from around.
        supersample: samples along a pixel's side.
    """

    steps: int = 20
    sharpness: float = 4.0
    least_cosine: float = 0.15
    edge_px: float = 3.0
    robust: float = 0.1
    least_weight: float = 0.02
    supersample: int = 2

    def __post_init__(self) -> None:
        if self.steps < 0 or self.supersample < 1:
            name, least = ("steps", 0) if self.steps < 0 else ("supersample", 1)
            raise ArgumentError(name, f"at least {least}", str(getattr(self, name)))
        for name in ("robust", "edge_px", "least_weight"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise ArgumentError(name, "a number above 0", str(getattr(self, name)))
        if not 0.0 <= self.sharpness < float("inf"):
            raise ArgumentError("sharpness", "at least 0", str(self.sharpness))
        if not 0.0 < self.least_cosine < 1.0:
            raise ArgumentError("least_cosine", "0 to 1", str(self.least_cosine))


@dataclass(frozen=True, eq=False)
class Samples:
    """What the pixels of pictures show of a texture.

    Attributes:
        texels: indices of texels, row after row of the texture ``[P, K]``.
        shares: what each adds to the pixel ``[P, K]``, sum 1.
        targets: the pixels' colours, sRGB ``[P, 3]``.
        inner: 1 within silhouettes, less near them ``[P]``, above 0.
        facing: cosine of the surface towards the camera ``[P]``.
        worth: how much their pictures count ``[P]``.
    """

    texels: Tensor
    shares: Tensor
    targets: Tensor
    inner: Tensor
    facing: Tensor
    worth: Tensor

    def predicted(self, texture: Tensor) -> Tensor:
        """Colours of the pixels ``[P, C]`` by those of the texels ``[T, C]``, both linear."""
        return F.embedding_bag(self.texels, texture, per_sample_weights=self.shares, mode="sum")

    def returner(self, count: int) -> Callable[[Tensor], Tensor]:
        """The transpose of `predicted`: values of pixels ``[P, C]`` to texels ``[count, C]``."""
        flat = self.texels.flatten()
        order = torch.argsort(flat, stable=True)
        pixel = torch.div(order, self.texels.shape[1], rounding_mode="floor")
        shares = self.shares.flatten()[order]
        counts = torch.bincount(flat, minlength=count)
        starts = counts.cumsum(0) - counts

        def give_back(values: Tensor) -> Tensor:
            return F.embedding_bag(pixel, values, starts, per_sample_weights=shares, mode="sum")

        return give_back


def texture_from_views(
    mesh: Mesh,
    images: Tensor,
    cameras: Sequence[Camera],
    size: int = 1024,
    fit: ViewFit | None = None,
    backend: str = "auto",
    *,
    worth: Tensor | None = None,
) -> Mesh:
    """Give a mesh the texture that pictures show. Their light becomes part of it.

    Texels that no picture shows well are filled from around them on the surface, those between the
    charts from the nearest chart.

    Args:
        mesh: its texture coordinates are used where it has some, else it is unwrapped.
        images: sRGB in [0, 1] ``[V, S, S, 3]``, or with straight alpha ``[V, S, S, 4]``, which
            says what is not the object.
        cameras: of the pictures, each of their size.
        size: of the square texture, texels.
        fit: see `ViewFit`.
        backend: of `rasterizer`.
        worth: how much each picture counts, above 0 ``[V]``; None counts all alike.

    Returns:
        The mesh with an opaque uint8 texture ``[size, size, 4]``; to be shown with
        `shading.AMBIENT`.

    Raises:
        ValueError: shapes do not fit, the pictures are not finite, or none shows the mesh.
        MissingExtraError: a backend, or xatlas, is not installed.
    """
    fit = fit or ViewFit()
    check_views(images, cameras)
    worth = check_worth(worth, len(images))
    mesh = mesh if mesh.uv is not None else unwrap(mesh, size)
    texels = atlas_texels(mesh, size)
    samples = sample_views(mesh, images, cameras, size, fit, backend, worth)
    used, compact = torch.unique(samples.texels, return_inverse=True)
    samples = replace(samples, texels=compact)
    texture = mesh.vertices.new_zeros(size * size, 3)
    texture[used] = to_srgb(fit_texels(samples, len(used), fit))
    seen = torch.zeros(size * size, dtype=torch.bool, device=texture.device)
    seen[used] = samples.returner(len(used))(samples.inner[:, None])[:, 0] >= fit.least_weight
    near = texels.face_ids >= 0
    seen = seen.reshape(size, size) & near
    if not bool(seen.any()):
        raise ArgumentError("images", "pictures that show the mesh", "none that does")
    whole = spread(mesh, texels, texture.reshape(size, size, 3), seen)
    return textured(mesh, filled(whole, near))


def check_views(images: Tensor, cameras: Sequence[Camera]) -> None:
    """Raise ValueError where pictures and cameras do not fit together."""
    shape = list(images.shape)
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] not in (3, 4) or 0 in shape:
        raise ArgumentError("images", "a shape [V, S, S, 3 or 4]", str(shape))
    if not images.is_floating_point() or not bool(((images >= 0.0) & (images <= 1.0)).all()):
        raise ArgumentError("images", "floating numbers in [0, 1]", "others")
    if len(cameras) != shape[0]:
        raise ArgumentError("cameras", f"one per picture ({shape[0]})", str(len(cameras)))
    for camera in cameras:
        if camera.size != shape[1]:
            raise ArgumentError("cameras", f"size {shape[1]}, as the pictures'", str(camera.size))


def check_worth(worth: Tensor | None, count: int) -> Tensor:
    """How much each of `count` pictures counts, with mean 1; or ValueError."""
    worth = torch.ones(count) if worth is None else worth.detach().float().cpu()
    if list(worth.shape) != [count] or not bool(((worth > 0.0) & worth.isfinite()).all()):
        raise ArgumentError("worth", f"{count} numbers above 0, one per picture", str(worth))
    return worth / worth.mean()


def sample_views(
    mesh: Mesh,
    images: Tensor,
    cameras: Sequence[Camera],
    size: int,
    fit: ViewFit,
    backend: str,
    worth: Tensor,
) -> Samples:
    """What pictures show of a texture of that size: see `Samples`."""
    solid = replace(mesh, materials=(Material(),), face_material=None)
    look = rasterizer(solid, backend)
    parts = []
    pairs = zip(images.to(mesh.vertices), cameras, worth.tolist(), strict=True)
    for image, camera, value in tqdm(pairs, "views", len(images), delay=2, disable=None):
        fine = replace(camera, size=camera.size * fit.supersample)
        parts.append(_samples(mesh, image, fine, look(fine), size, fit, value))
    joined = {
        name: torch.cat([getattr(part, name) for part in parts])
        for name in ("texels", "shares", "targets", "inner", "facing", "worth")
    }
    if not len(joined["inner"]):
        raise ArgumentError("images", "pictures that show the mesh", "none that does")
    return Samples(**joined)


def footprint(uv: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The four texels that a bilinear look-up mixes, and their shares: both ``[N, 4]``.

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
    """How much pixels count by their distance to silhouettes ``[S, S]``, 0 to 1.

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
    worth: float,
) -> Samples:
    """The samples of one picture."""
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
    worths = torch.full_like(inner[use], worth)
    return Samples(texels, shares, image[..., :3][use], inner[use], cosine[use], worths)


def _by_pixel(samples: Tensor, factor: int) -> Tensor:
    """Values ``[S * factor, S * factor]`` of samples as ``[S, S, factor * factor]``."""
    side = len(samples) // factor
    return samples.reshape(side, factor, side, factor).transpose(1, 2).flatten(2)


def fit_texels(samples: Samples, count: int, fit: ViewFit) -> Tensor:
    """Linear colours ``[count, 3]`` of texels whose pixels are those of the pictures."""
    give_back = samples.returner(count)
    weights = (samples.worth * samples.inner * samples.facing**fit.sharpness).unsqueeze(-1)
    colors = to_linear(give_back(weights * samples.targets) / _at_least(give_back(weights)))
    goal = to_linear(samples.targets)
    for _ in tqdm(range(fit.steps), "texture", delay=2, disable=None):
        pixels = samples.predicted(colors)
        error = (to_srgb(pixels) - samples.targets).square().sum(-1, keepdim=True)
        trusted = weights / (1.0 + error / fit.robust**2).sqrt()
        change = give_back(trusted * (goal - pixels)) / _at_least(give_back(trusted))
        colors = (colors + change).clamp(0.0, 1.0)
    return colors


def _at_least(weights: Tensor) -> Tensor:
    """Weights to divide by; where they are 0, so is what is divided."""
    return weights.clamp(min=1e-20)
