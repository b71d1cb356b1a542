"""A mesh refined against images, shape and colours together, by differentiable rasterising.

As in the second stage of DreamGaussian (Tang et al. 2023, section 3.3), with images given. Three
things move vertices: silhouettes (see `silhouette`), colours, through the points at which pixels
see their faces, and regularisers, which hold the shape together. Topology stays. Either rasteriser
does: PyTorch3D, on a GPU, or Open3D.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import coo_array, diags_array, eye_array
from scipy.sparse.linalg import splu
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.meshes.cleanup import Cleaning, clean
from zero123lib.meshes.mesh import Camera, Material, Mesh
from zero123lib.meshes.normals import crease_normals
from zero123lib.meshes.rasterize import (
    Fragments,
    check_backend,
    choose_backend,
    meet,
    rasterizer,
)
from zero123lib.meshes.settings import RefineSettings as RefineSettings
from zero123lib.meshes.shading import look_up, to_linear, to_srgb
from zero123lib.meshes.silhouette import EdgeTensors, coverage, edges_of
from zero123lib.meshes.texture_views import check_view_weights, check_views
from zero123lib.views.cameras import rays
from zero123lib.views.eight_bits import to_uint8

_BETAS = (0.9, 0.99)


@dataclass(frozen=True, eq=False)
class Refinement:
    """One step.

    Attributes:
        step: from 1 to `total`.
        losses: before the step, weighted: "color", "mask", "laplacian", "edges", "normals".
        mesh: the refined mesh with the last step; None before.
    """

    step: int
    total: int
    losses: Mapping[str, float]
    mesh: Mesh | None


def refine(
    mesh: Mesh,
    images: Tensor,
    cameras: Sequence[Camera],
    settings: RefineSettings | None = None,
    *,
    seed: int = 0,
    backend: str = "auto",
    view_weights: Tensor | None = None,
) -> Iterator[Refinement]:
    """Refine a mesh against images; colours are compared unlit.

    Vertices at one place move as one, so that seams stay closed.

    Args:
        mesh: of one opaque material; its texture is refined where it has one, else its vertices'
            colours. float32.
        images: sRGB with straight alpha in [0, 1] ``[V, S, S, 4]``.
        cameras: of the images, each of their size, with the whole mesh before it.
        settings: see `RefineSettings`.
        seed: of the order of images.
        backend: of `rasterizer`.
        view_weights: how much each image counts, above 0 ``[V]``; None counts all alike.

    Yields:
        After each step; the last one has the mesh.

    Raises:
        ValueError: shapes do not fit, there are several materials, or a camera is within the mesh.
        MissingExtraError: the backend is not installed.
    """
    settings = settings or RefineSettings()
    check_backend(choose_backend(backend, mesh.device))
    check_views(images, cameras)
    if images.shape[3] != 4:
        raise ArgumentError("images", "alpha, which the silhouette is taken from", "none")
    if len(mesh.materials) != 1:
        raise ArgumentError("mesh", "one material", f"{len(mesh.materials)}: bake it first")
    values = check_view_weights(view_weights, len(images)).tolist()
    rgba = images.to(mesh.vertices)
    model = _Model(mesh, settings.smoothness)
    return _steps(model, rgba, cameras, values, settings, seed, backend)


def fixed(mesh: Mesh) -> Mesh:
    """Return a refined mesh without faces that have lost their area, as closed as it was."""
    return clean(mesh, Cleaning(min_share=0.0, max_hole=0.0, fill_cavities=False)).mesh


class _Model:
    """What is refined: places of vertices and colours of texels or vertices, in sRGB."""

    def __init__(self, mesh: Mesh, smoothness: float) -> None:
        self.mesh = mesh
        self.start, self.place = torch.unique(mesh.vertices.detach(), dim=0, return_inverse=True)
        self.faces = self.place[mesh.faces]
        self.extent = float((self.start.amax(0) - self.start.amin(0)).max())
        self.raw = torch.zeros_like(self.start, requires_grad=True)
        texture = mesh.materials[0].texture if mesh.uv is not None else None
        self.textured = texture is not None
        if texture is not None:
            colors = texture if texture.is_floating_point() else texture / 255.0
            colors = colors.to(self.start)[..., :3]
        elif mesh.vertex_colors is not None:
            colors = mesh.vertex_colors[:, :3]
        else:
            colors = mesh.vertices.new_ones(len(mesh.vertices), 3)
        # What multiplies them goes into them.
        linear = to_linear(colors) * colors.new_tensor(mesh.materials[0].color[:3])
        self.colors = to_srgb(linear).detach().clone().requires_grad_()

        self.edges = edges_of(self.faces)
        sides = (self.start[one] for one in self.edges.ends.unbind(1))
        edge = float(torch.linalg.vector_norm(torch.sub(*sides), dim=-1).mean())
        reach = smoothness * self.extent / edge
        self._solve = diffusion(self.edges, len(self.start), reach)

    def moved(self) -> Tensor:
        """Solve for what the places have moved by, over the longest side ``[P, 3]``.

        The solution is costly, and so is its gradient: ask once per step.
        """
        made: Any = _Diffused.apply(self.raw, self._solve)
        return made

    def positions(self, moved: Tensor) -> Tensor:
        """Return the places ``[P, 3]`` after `moved`."""
        return self.start + moved * self.extent

    def color(self, face_ids: Tensor, weights: Tensor) -> Tensor:
        """Return sRGB ``[N, 3]`` of points on faces."""
        if self.textured:
            assert self.mesh.uv is not None
            uv = (weights.unsqueeze(-1) * self.mesh.uv[face_ids]).sum(1)
            opaque = F.pad(self.colors.clamp(0.0, 1.0), (0, 1), value=1.0)
            return to_srgb(look_up(opaque, uv))[:, :3]
        corners = to_linear(self.colors.clamp(0.0, 1.0))[self.mesh.faces[face_ids]]
        return to_srgb((weights.unsqueeze(-1) * corners).sum(1))

    def result(self) -> Mesh:
        """Return the mesh as it is now."""
        vertices = self.positions(self.moved()).detach()[self.place]
        colors = self.colors.detach().clamp(0.0, 1.0)
        opaque = torch.cat([colors, torch.ones_like(colors[..., :1])], -1)
        normals = None
        if self.mesh.normals is not None:
            normals = crease_normals(vertices, self.mesh.faces)
        texture = to_uint8(opaque) if self.textured else None
        return replace(
            self.mesh,
            vertices=vertices,
            normals=normals,
            materials=(Material(texture=texture),),
            vertex_colors=None if self.textured else opaque,
        )


def _steps(
    model: _Model,
    images: Tensor,
    cameras: Sequence[Camera],
    view_weights: Sequence[float],
    settings: RefineSettings,
    seed: int,
    backend: str,
) -> Iterator[Refinement]:
    draw = torch.Generator().manual_seed(seed)
    shaping = _AdamUniform(model.raw, settings.vertex_rate)
    coloring = torch.optim.Adam([model.colors], settings.color_rate, betas=_BETAS)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(coloring, settings.steps)
    order: list[int] = []
    count = min(settings.views_per_step, len(images))
    for step in range(1, settings.steps + 1):
        if len(order) < count:
            order += torch.randperm(len(images), generator=draw).tolist()
        these, order = order[:count], order[count:]
        model.raw.grad = None
        coloring.zero_grad()
        moved = model.moved()
        positions = model.positions(moved)
        losses = _regularisers(model, moved, positions, settings)
        look = rasterizer(Mesh(positions.detach(), model.faces), backend)
        for view in these:
            camera = cameras[view]
            color, mask = _image_losses(model, positions, images[view], look(camera), camera)
            share = view_weights[view] / count
            losses["color"] = losses.get("color", 0.0) + settings.color * share * color
            losses["mask"] = losses.get("mask", 0.0) + settings.mask * share * mask
        torch.stack(list(losses.values())).sum().backward()
        shaping.step(0.5 + 0.5 * math.cos(math.pi * (step - 1) / settings.steps))
        coloring.step()
        schedule.step()
        numbers = {name: float(loss.detach()) for name, loss in losses.items()}
        last = model.result() if step == settings.steps else None
        yield Refinement(step, settings.steps, numbers, last)


class _Diffused(torch.autograd.Function):
    """A symmetric linear map, and its gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, solve: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.solve = solve
        return solve(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.solve(gradients[0]), None


def diffusion(edges: EdgeTensors, count: int, reach: float) -> Callable[[Tensor], Tensor]:
    """Return (I + reach^2 L)^-1 for values of vertices ``[count, 3]``, L the graph's Laplacian.

    Reach is in edges. Steps in what it is applied to are smooth on the surface, however fine the
    mesh (Nicolet et al. 2021, "Large steps in inverse rendering of geometry").
    """
    first, second = edges.ends.cpu().numpy().T
    ones = np.ones(len(first))
    adjacent = coo_array((ones, (first, second)), shape=(count, count))
    adjacent = (adjacent + adjacent.T).tocsc()
    laplacian = diags_array(adjacent.sum(0)) - adjacent
    solver = splu((eye_array(count) + reach**2 * laplacian).tocsc())

    def solve(values: Tensor) -> Tensor:
        made = solver.solve(values.detach().cpu().numpy().astype(np.float64))
        return torch.from_numpy(made).to(values)

    return solve


class _AdamUniform:
    """Adam with one length of steps for all numbers, as in Nicolet et al.: smooth gradients make
    smooth steps."""

    def __init__(self, values: Tensor, rate: float) -> None:
        self._values, self._rate, self._count = values, rate, 0
        self._mean, self._square = torch.zeros_like(values), torch.zeros_like(values)

    def step(self, share: float) -> None:
        """Take a step with a share of the rate."""
        gradient = self._values.grad
        assert gradient is not None, "a loss was brought back to the values"
        self._count += 1
        self._mean.lerp_(gradient, 1.0 - _BETAS[0])
        self._square.lerp_(gradient.square(), 1.0 - _BETAS[1])
        mean, square = (
            value / (1.0 - beta**self._count)
            for value, beta in zip((self._mean, self._square), _BETAS, strict=True)
        )
        length = square.max().sqrt() + 1e-12
        with torch.no_grad():
            self._values -= share * self._rate * mean / length


def _image_losses(
    model: _Model, positions: Tensor, image: Tensor, fragments: Fragments, camera: Camera
) -> tuple[Tensor, Tensor]:
    """Mean squared errors of colour, over pixels of the object that the mesh covers, and mask."""
    face_ids = fragments.face_ids[0]
    share = coverage(positions, model.faces, model.edges, camera, face_ids >= 0)
    mask = (share - image[..., 3]).square().mean()
    row, column = torch.nonzero((face_ids >= 0) & (image[..., 3] > 0.99), as_tuple=True)
    faces = face_ids[row, column]
    if not len(faces):
        return mask * 0.0, mask
    c2w = camera.camera_to_world.to(positions)
    origins, directions = (part[row, column] for part in rays(c2w, camera.size, camera.fov_deg))
    weights = meet(positions[model.faces[faces]], origins, directions)
    error = model.color(faces, weights) - image[row, column, :3]
    return error.square().mean(), mask


def _regularisers(
    model: _Model, moved: Tensor, positions: Tensor, settings: RefineSettings
) -> dict[str, Tensor]:
    """Return what holds the shape together, weighted."""
    edges = model.edges
    first, second = edges.ends.unbind(1)
    before = torch.linalg.vector_norm(model.start[first] - model.start[second], dim=-1)
    change = (_length(positions[first] - positions[second]) - before) / before.mean()
    return {
        "laplacian": settings.laplacian * laplacian_loss(moved, edges),
        "edges": settings.edges * change.square().mean(),
        "normals": settings.normals * normal_loss(positions, model.faces, edges),
    }


def laplacian_loss(values: Tensor, edges: EdgeTensors) -> Tensor:
    """Mean distance of vertices' values ``[P, 3]`` from the mean of their neighbours'.

    PyTorch3D's `mesh_laplacian_smoothing(method="uniform")` (Nealen et al. 2006).
    """
    first, second = edges.ends.unbind(1)
    total = torch.zeros_like(values).index_add(0, first, values[second])
    total = total.index_add(0, second, values[first])
    count = torch.bincount(edges.ends.flatten(), minlength=len(values)).clamp(min=1)
    return _length(total / count.unsqueeze(-1) - values).mean()


def normal_loss(positions: Tensor, faces: Tensor, edges: EdgeTensors) -> Tensor:
    """Mean of 1 - cosine between normals of faces that share an edge.

    PyTorch3D's `mesh_normal_consistency`, for meshes whose edges have two faces at most.
    """
    a, b, c = positions[faces].unbind(1)
    normals = F.normalize(torch.linalg.cross(b - a, c - a), dim=-1, eps=1e-12)
    if not len(edges.pairs):
        return positions.sum() * 0.0
    one, other = normals[edges.pairs].unbind(1)
    return (1.0 - (one * other).sum(-1)).mean()


def _length(vectors: Tensor) -> Tensor:
    """Measure vectors ``[..., 3]``, with a finite slope at 0."""
    return (vectors.square().sum(-1) + 1e-24).sqrt()
