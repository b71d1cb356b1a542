"""Fitting a voxel field to views with alpha: coarse to fine, inside their visual hull.

The hull of the silhouettes is where the field starts and all that it can ever fill, so that only
rays and samples that meet it are computed. Each milestone doubles or so the grid's resolution,
narrows the hull to what the field has found, and starts the optimiser anew (as Sun et al. 2022,
"Direct Voxel Grid Optimization", go from coarse to fine).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from zero123lib._config import Count, Number, Positive, Whole, settings
from zero123lib.fields import regularisers
from zero123lib.fields.hull import view_consensus
from zero123lib.fields.levels import silhouette_iso_level
from zero123lib.fields.occupancy import OccupancyGrid, evaluate, lattice
from zero123lib.fields.sampling import cube_spans
from zero123lib.fields.settings import Stages
from zero123lib.fields.silhouettes import Silhouette, with_silhouette
from zero123lib.fields.volume import render
from zero123lib.fields.voxels import VoxelField, VoxelSettings
from zero123lib.views.cameras import rays

Schedule = Number | Callable[[int], float]


@settings
class FitSettings(Stages):
    """Says how views are fitted. Where a `Schedule` is a function, it is of the step, from 0.

    Attributes:
        steps: in all.
        rays: per step.
        density_rate, color_rate: Adam's, of the raw grids, before the decay.
        rate_decay: what is left of them at the end; they fall by equal factors.
        rgb, mask, opaque, density_variation, color_variation: weights of the losses.
        robust: colour errors above this count linearly, not squared (Huber 1964).
        hull_tolerance: share of the views that may disagree with the hull.
        hull_margin_px: silhouettes are grown by this for the hull, so that it loses no thin parts.
        hull_density: where the field starts within the hull, per world unit.
        least_density: what the fit takes as empty, per world unit.
    """

    steps: Count = 400
    rays: Count = 2048
    density_rate: Schedule = 0.3
    color_rate: Schedule = 0.15
    rate_decay: Number = 0.1
    rgb: Schedule = 1.0
    mask: Schedule = 0.5
    opaque: Schedule = 0.0
    density_variation: Schedule = 1e-4
    color_variation: Schedule = 1e-4
    robust: Positive = 1.0
    hull_tolerance: Number = Field(default=0.0, ge=0, lt=1)
    hull_margin_px: Whole = 1
    hull_density: Positive = 150.0
    least_density: Positive = 0.5


@dataclass(frozen=True, eq=False)
class FitStep:
    """One step that was taken.

    Attributes:
        step: from 1 to ``total``.
        losses: by name, unweighted; ``"total"`` is the weighted sum.
        field: as it stands; another object after each milestone.
    """

    step: int
    total: int
    losses: Mapping[str, float]
    field: VoxelField


def fit_views(
    images: Tensor,
    cameras_to_world: Tensor,
    fov_deg: float,
    settings: FitSettings | None = None,
    *,
    seed: int = 0,
    field: VoxelField | None = None,
    view_weights: Tensor | None = None,
    silhouette: Silhouette | None = None,
) -> Iterator[FitStep]:
    """Fit a field, step by step; arguments as :class:`Fitting` takes them."""
    fitting = Fitting(
        images,
        cameras_to_world,
        fov_deg,
        settings,
        seed=seed,
        field=field,
        view_weights=view_weights,
        silhouette=silhouette,
    )
    while not fitting.finished:
        yield fitting.advance()


class Fitting:
    """A fit under way, on the device of the images.

    The same seed gives the same field, to the bit on one machine's CPU.

    ``state_dict()`` and ``load_state_dict()`` go on from any step to the same bits; the object is
    made from the same views and settings first.

    Attributes:
        field: as it stands.
        occupancy: outside it the field is empty, to ``least_density``; for rendering it faster.
        step: how many steps were taken.
    """

    def __init__(
        self,
        images: Tensor,
        cameras_to_world: Tensor,
        fov_deg: float,
        settings: FitSettings | None = None,
        *,
        seed: int = 0,
        field: VoxelField | None = None,
        view_weights: Tensor | None = None,
        silhouette: Silhouette | None = None,
    ) -> None:
        """Start from the hull of the views.

        Args:
            images: ``[V, H, H, 4]`` in [0, 1], straight alpha; all else goes where they are.
            cameras_to_world: OpenGL, ``[V, 4, 4]``.
            fov_deg: of all views.
            seed: of the rays drawn and the places along them.
            field: start from this in place of the hull; stages of a lower resolution keep its own.
            view_weights: ``[V]`` >= 0, how much each view's pixels count; None is 1 for all.
            silhouette: one that is known. The hull has it, however many views disagree: see
                :func:`zero123lib.fields.silhouettes.with_silhouette`.

        Raises:
            ValueError: shapes that do not fit, numbers that are not finite, or views whose
                silhouettes leave nothing to fit.
        """
        self.settings = settings or FitSettings()
        _check_views(images, cameras_to_world, view_weights)
        self._device = device = images.device
        self._images, self._fov_deg = images, fov_deg
        self._cameras = cameras_to_world.to(device)
        weights = torch.ones(len(images)) if view_weights is None else view_weights.float()
        self._weights = weights.to(device)
        self._silhouette = None if silhouette is None else silhouette.to(device)
        self._generator = torch.Generator(device).manual_seed(seed)
        self.step = 0
        resolution = self.settings.resolutions[0]
        if field is None:
            self.field = self._hull_field(resolution)
        else:
            self.field = field.upsampled(max(resolution, field.resolution)).to(device)
        self._begin_stage()

    @property
    def finished(self) -> bool:
        """Tell whether all steps were taken."""
        return self.step >= self.settings.steps

    def advance(self) -> FitStep:
        """Take a step."""
        stage = self._stage(self.step)
        if stage != self._stage(self.step - 1) and self.step > 0:
            resolution = max(self.settings.resolutions[stage], self.field.resolution)
            self.field = self.field.upsampled(resolution)
            self._begin_stage()
        s = self.settings
        for group, rate in zip(
            self._optimizer.param_groups, (s.density_rate, s.color_rate), strict=True
        ):
            group["lr"] = at_step(rate, self.step) * s.rate_decay ** (self.step / s.steps)
        losses = self._losses()
        total = torch.stack(
            [at_step(getattr(s, name), self.step) * loss for name, loss in losses.items()]
        ).sum()
        self._optimizer.zero_grad()
        total.backward()
        self._optimizer.step()
        self.step += 1
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        values["total"] = float(total.detach())
        return FitStep(self.step, s.steps, values, self.field)

    def level(self) -> float:
        """Return the density that parts solid from empty, by the views' silhouettes."""
        masks = self._images[..., 3]
        return silhouette_iso_level(
            self.field, masks, self._cameras, self._fov_deg, occupancy=self.occupancy
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes, as tensors and numbers, for ``torch.save``."""
        return {
            "step": self.step,
            "settings": asdict(self.field.settings),
            "field": self.field.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "occupancy": self.occupancy.cells,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.field = VoxelField(VoxelSettings(**state["settings"])).to(self._device)
        self.field.load_state_dict(state["field"])
        self._begin_stage(state["occupancy"].to(self._device))
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"].cpu())
        self.step = state["step"]

    def _stage(self, step: int) -> int:
        """Return the number of the stage that a step belongs to."""
        return sum(step >= round(share * self.settings.steps) for share in self.settings.milestones)

    def _hull_field(self, resolution: int) -> VoxelField:
        s = self.settings
        masks = self._images[..., 3]
        if s.hull_margin_px:
            masks = functional.max_pool2d(
                masks[:, None], 2 * s.hull_margin_px + 1, stride=1, padding=s.hull_margin_px
            )[:, 0]
        points = lattice(resolution, s.half_extent).to(self._device)

        def consensus(points: Tensor) -> Tensor:
            return view_consensus(points, masks, self._cameras, self._fov_deg)

        wanted = 1 - s.hull_tolerance - 1e-6
        known = self._silhouette
        agreed: Callable[[Tensor], Tensor] = consensus
        if known is not None:
            slack = s.half_extent / (resolution - 1)
            agreed = with_silhouette(consensus, s.half_extent, known, wanted, slack=slack)
        hull = evaluate(agreed, points) >= wanted
        if not bool(hull.any()):
            raise ValueError(
                "images: expected silhouettes that have something in common, got views whose "
                "visual hull is empty; raise hull_tolerance or check the cameras"
            )
        field = VoxelField(
            VoxelSettings(resolution, s.half_extent, initial_density=s.least_density / 50)
        ).to(self._device)
        with torch.no_grad():
            inside = field.raw_of(torch.tensor(s.hull_density))
            field.raw_density[0, 0][hull] = float(inside)
        return field

    def _begin_stage(self, cells: Tensor | None = None) -> None:
        """Find what is occupied, grids around it and rays that meet it; begin a fresh optimiser."""
        s, field = self.settings, self.field
        if cells is None:
            grid = OccupancyGrid.of(
                field.density,
                field.half_extent,
                field.resolution - 1,
                s.least_density,
                device=self._device,
            ).dilated()
            self.field = field = field.cropped(*grid.bounds())
        else:
            grid = OccupancyGrid(cells, field.half_extent)
        self.occupancy = grid
        self._pool = _ray_pool(self._images, self._cameras, self._fov_deg, grid)
        if not len(self._pool.views):
            raise ValueError(
                f"field: expected densities above {s.least_density:g} in the views, got none after "
                f"{self.step} steps: it turned empty; weigh mask and rgb more, or smooth less"
            )
        self._optimizer = torch.optim.Adam(
            [{"params": [field.raw_density]}, {"params": [field.raw_color]}],
            betas=(0.9, 0.99),
            fused=True,
        )

    def _losses(self) -> dict[str, Tensor]:
        s, pool = self.settings, self._pool
        chance: Any = {"generator": self._generator, "device": self._device}
        drawn = torch.randint(len(pool.views), (s.rays,), **chance)
        views, target = pool.views[drawn], pool.rgba[drawn]
        behind = torch.rand(s.rays, 3, **chance)
        seen = render(
            self.field,
            self._cameras[views, :3, 3],
            pool.directions[drawn],
            samples=s.samples,
            background=behind,
            occupancy=self.occupancy,
            spans=(pool.near[drawn], pool.far[drawn]),
            generator=self._generator,
            negligible=1e-4,
        )
        weights = self._weights[views]
        wanted = torch.lerp(behind, target[:, :3], target[:, 3:])
        errors = functional.huber_loss(seen.rgb, wanted, reduction="none", delta=s.robust).mean(-1)
        losses = {
            "rgb": 2 * (weights * errors).mean(),
            "mask": (weights * (seen.opacity - target[:, 3]).square()).mean(),
        }
        if at_step(s.opaque, self.step):
            losses["opaque"] = regularisers.opaque(seen.opacity)
        for name, grid in (
            ("density_variation", self.field.raw_density),
            ("color_variation", self.field.raw_color),
        ):
            if at_step(getattr(s, name), self.step):
                losses[name] = regularisers.total_variation(grid)
        return losses


def at_step(schedule: Schedule, step: int) -> float:
    """Return the value of a schedule at a step."""
    return schedule(step) if callable(schedule) else schedule


@dataclass(frozen=True, eq=False)
class _RayPool:
    """The pixels whose rays meet what may be occupied; P of them."""

    views: Tensor
    directions: Tensor
    near: Tensor
    far: Tensor
    rgba: Tensor


def _ray_pool(images: Tensor, cameras: Tensor, fov_deg: float, grid: OccupancyGrid) -> _RayPool:
    parts = []
    coarse = grid.coarser(max(grid.cells.shape[0] // 4, 1))
    for view, (image, camera) in enumerate(zip(images, cameras, strict=True)):
        origins, directions = (
            part.reshape(-1, 3) for part in rays(camera, image.shape[0], fov_deg)
        )
        near, far = cube_spans(origins, directions, grid.half_extent)
        rgba = image.reshape(-1, 4)
        # Coarse cells rule out most rays, and shorten the others.
        for cells in (coarse, grid):
            near, far = cells.spans(origins, directions, near, far)
            met = far > near
            origins, directions, near, far, rgba = (
                part[met] for part in (origins, directions, near, far, rgba)
            )
        views = torch.full((len(near),), view, device=near.device)
        parts.append((views, directions, near, far, rgba))
    return _RayPool(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _check_views(images: Tensor, cameras: Tensor, weights: Tensor | None) -> None:
    if images.ndim != 4 or images.shape[-1] != 4 or images.shape[1] != images.shape[2]:
        raise ValueError(f"images: expected [V, H, H, 4], got {list(images.shape)}")
    if not len(images):
        raise ValueError("images: expected at least one view, got none")
    if cameras.shape != (len(images), 4, 4):
        raise ValueError(
            f"cameras_to_world: expected [{len(images)}, 4, 4], got {list(cameras.shape)}"
        )
    if weights is not None and weights.shape != (len(images),):
        raise ValueError(f"view_weights: expected [{len(images)}], got {list(weights.shape)}")
    for name, value in (("images", images), ("cameras_to_world", cameras)):
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    if not bool((images[..., 3] >= 0.5).any()):
        raise ValueError("images: expected an object in at least one view, got alpha below 0.5")
