"""Hits, inside tests, bounds and triangles of the solids, against closed forms and each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zero123lib.scenes import primitives

SOLIDS = [("ball", 1.0), ("box", 1.0), ("frustum", 1.0), ("frustum", 0.4), ("frustum", 0.0),
          ("torus", 0.3), ("dome", 1.0), ("round", (0.3, 0.5, 0.9)), ("round", (1.0, 1.0, 0.4)),
          ("taper", (1.0, 0.0)), ("taper", (0.3, 0.6)), ("taper", (0.0, 0.0))]  # fmt: skip


def random_rays(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    origins = torch.randn(count, 3, generator=random)
    origins = 4 * origins / origins.norm(dim=-1, keepdim=True)
    targets = 1.2 * torch.randn(count, 3, generator=random).clamp(-1, 1)
    return origins, (targets - origins) * torch.empty(count, 1).uniform_(0.1, 2, generator=random)


@pytest.mark.parametrize(("solid", "shape"), SOLIDS)
def test_hit_is_where_the_inside_begins(solid, shape):
    """The reference walks each ray in small steps until a point lies inside."""
    origins, directions = random_rays(400)
    hits = primitives.intersect(solid, shape, origins, directions)
    length = directions.norm(dim=-1)
    steps = torch.linspace(0, 7, 4001)
    points = origins[:, None] + steps[:, None] * (directions / length[:, None])[:, None]
    within = primitives.inside(solid, shape, points.reshape(-1, 3)).reshape(400, -1)
    walked = torch.where(within.any(1), steps[within.int().argmax(1)], torch.inf)
    both = walked.isfinite() & hits.isfinite()
    assert both.sum() > 80 and (~walked.isfinite()).sum() > 20
    assert torch.allclose((hits * length)[both], walked[both], atol=7 / 4000 + 2e-3)
    # A ray may graze within a step; nothing else may disagree about hit or miss.
    assert (walked.isfinite() != hits.isfinite()).float().mean() < 0.03


@pytest.mark.parametrize(("solid", "shape"), SOLIDS)
def test_normals_point_out_of_the_solid(solid, shape):
    origins, directions = random_rays(400)
    t = primitives.intersect(solid, shape, origins, directions)
    keep = t.isfinite()
    points = origins[keep] + t[keep, None] * directions[keep]
    normals = primitives.normals(solid, shape, points)
    normals = normals / normals.norm(dim=-1, keepdim=True)
    assert ((normals * directions[keep]).sum(-1) < 1e-3).float().mean() > 0.99
    step = 0.005 * normals
    assert (~primitives.inside(solid, shape, points + step)).float().mean() > 0.97
    assert primitives.inside(solid, shape, points - step).float().mean() > 0.97


@pytest.mark.parametrize(("solid", "shape"), SOLIDS)
def test_triangles_are_closed_and_outward_with_the_exact_volume(solid, shape):
    for detail in (6, 128):  # the coarsest that a scene's mesh may have, then a fine one
        vertices, faces = primitives.triangles(solid, shape, detail)
        edges = [tuple(edge) for pair in ((0, 1), (1, 2), (2, 0)) for edge in faces[:, pair]]
        assert len(set(edges)) == len(edges), "an edge is walked twice in one direction"
        assert {edge[::-1] for edge in edges} == set(edges), "an edge has a face on one side only"
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    volume = (np.cross(a, b) * c).sum() / 6
    assert volume == pytest.approx(primitives.volume(solid, shape), rel=4e-3)


@pytest.mark.parametrize(("solid", "shape"), SOLIDS)
def test_bounds_are_those_of_the_mapped_surface(solid, shape):
    linear = np.random.default_rng(1).normal(size=(3, 3))
    low, high = primitives.half_extents(solid, shape, linear)
    vertices, _ = primitives.triangles(solid, shape, detail=256)
    mapped = vertices @ linear.T
    np.testing.assert_allclose(low, mapped.min(0), atol=4e-3)
    np.testing.assert_allclose(high, mapped.max(0), atol=4e-3)
