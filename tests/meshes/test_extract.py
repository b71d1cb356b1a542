"""The surface of a density: closed, outward, where the density says, and the same in any slabs."""

from __future__ import annotations

import math

import pytest
import torch
import trimesh
from torch import Tensor

from zero123lib.meshes.extract import extract, extraction, find_level
from zero123lib.meshes.mesh import Mesh

RADIUS = 0.4


def ball(points: Tensor) -> Tensor:
    """50 inside a ball, 0 outside, with an edge a few hundredths wide."""
    return 50.0 * torch.sigmoid((RADIUS - points.norm(dim=-1)) * 120.0)


def noise(points: Tensor) -> Tensor:
    """Any density at any node of a grid of 25: all ways a surface can run through a cell."""
    grid = torch.rand(25, 25, 25, generator=torch.Generator().manual_seed(0))
    x, y, z = ((points / 1.2 + 0.5) * 24).round().long().unbind(-1)
    return 10.0 * grid[x, y, z]


def as_trimesh(mesh: Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)


def test_a_ball_comes_out_as_a_ball() -> None:
    mesh = extract(ball, resolution=64)
    surface = as_trimesh(mesh)
    assert surface.is_watertight and surface.is_winding_consistent
    assert surface.euler_number == 2
    assert surface.volume == pytest.approx(4 / 3 * math.pi * RADIUS**3, rel=0.01)
    radii = mesh.vertices.norm(dim=-1)
    assert (radii - RADIUS).abs().max() < 0.1 * 1.2 / 63
    assert mesh.normals is not None
    outward = torch.nn.functional.normalize(mesh.triangles, dim=-1)
    assert (mesh.normals * outward).sum(-1).min() > 0.99


@pytest.mark.parametrize("density", [ball, noise])
def test_slabs_of_any_thickness_give_the_same_mesh_to_the_bit(density) -> None:
    whole = extract(density, resolution=25, level=5.0, block=1000)
    for block in (1, 4, 26):
        slabs = extract(density, resolution=25, level=5.0, block=block)
        assert torch.equal(slabs.vertices, whole.vertices)
        assert torch.equal(slabs.faces, whole.faces)


def test_any_noise_is_closed_and_stays_so_when_vertices_at_one_place_are_welded() -> None:
    mesh = extract(noise, resolution=25, level=5.0)
    for process in (False, True):
        surface = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=process)
        assert surface.is_watertight and surface.is_winding_consistent
        assert len(surface.vertices) == len(mesh.vertices)
        assert surface.area_faces.min() > 0.0
    assert as_trimesh(mesh).volume == pytest.approx(0.5 * 1.2**3, rel=0.05)


@pytest.mark.parametrize("value", [5.0, 1.0])
def test_a_density_that_is_the_level_at_the_nodes_keeps_its_faces_areas(value: float) -> None:
    def steps(points: Tensor) -> Tensor:  # just the level on the surface of a cube
        return value * (points.abs().amax(-1) <= 0.3001).float()

    surface = as_trimesh(extract(steps, half_extent=0.6, resolution=25, level=value))
    assert surface.is_watertight and surface.area_faces.min() > 0.0
    assert surface.volume == pytest.approx(0.6**3, rel=0.01)


def test_what_leaves_the_cube_is_cut_off_flat() -> None:
    surface = as_trimesh(
        extract(lambda points: torch.ones(len(points)), half_extent=0.5, resolution=20, level=0.5)
    )
    assert surface.is_watertight
    assert surface.volume == pytest.approx(1.0, rel=0.01)
    assert surface.extents == pytest.approx([1.0, 1.0, 1.0], rel=0.002)


def test_the_level_is_halfway_between_empty_and_filled() -> None:
    def haze(points: Tensor) -> Tensor:
        return torch.where(points.norm(dim=-1) < RADIUS, 30.0, 2.0)

    assert find_level(haze) == pytest.approx(16.0)
    # However dense it is inside, the surface is where it becomes opaque.
    assert find_level(lambda points: 1e3 * haze(points).clamp(min=2.1) - 2.1e3) < 200.0
    assert float(extract(haze, resolution=16).info["level"]) == pytest.approx(16.0)


def test_progress_counts_the_slabs() -> None:
    steps = list(extraction(ball, resolution=30, block=10))
    assert [step[:2] for step in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [step[2] is None for step in steps] == [True, True, True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 1}, "resolution: expected 2 to 1024, got 1"),
        ({"block": 0}, "block: expected 1 to 1024, got 0"),
        ({"half_extent": 0.0}, "half_extent: expected a finite width above 0, got 0"),
        ({"level": 0.0}, "level: expected a finite density above 0, or 'auto', got 0.0"),
        ({"level": "otsu"}, "level: expected a finite density above 0, or 'auto', got 'otsu'"),
        ({"level": 60.0}, "level: expected one that the density reaches, got 60 where it is at m"),
    ],
)
def test_arguments_out_of_range_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        extract(ball, **{"resolution": 8, **options})


@pytest.mark.parametrize(
    ("density", "message"),
    [
        (lambda points: torch.zeros(len(points)), "expected an object, got a density of 0 every"),
        (lambda points: points[:, 0] / 0.0, "expected finite densities of at least 0"),
        (lambda points: points[:, 0], "expected finite densities of at least 0"),
        (lambda points: points.abs(), "expected a density for each of 4096 points, got shape"),
    ],
)
def test_densities_of_no_use_are_named(density, message: str) -> None:
    with pytest.raises(ValueError, match=f"density_fn: {message}"):
        extract(density, resolution=8)
