"""Baked colours come back from every camera; nothing bleeds at seams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from shapes import box, joined, sphere, square
from test_atlas import ugly

from zero123lib.meshes.atlas import unwrap
from zero123lib.meshes.load import load_mesh
from zero123lib.meshes.mesh import Camera, Material, Mesh
from zero123lib.meshes.rasterize import rasterize
from zero123lib.meshes.render import render
from zero123lib.meshes.shading import AMBIENT, look_up, to_srgb
from zero123lib.meshes.texture import bake, surface_colors, textured, with_vertex_colors
from zero123lib.views.poses import Pose

pytest.importorskip("xatlas", reason="xatlas is not installed: meshes cannot be unwrapped")

POSES = [Pose(30.0, 30.0, 1.85), Pose(-40.0, 200.0, 1.85), Pose(85.0, 120.0, 1.85)]


def linear(points: torch.Tensor) -> torch.Tensor:
    return points * 0.8 + 0.5


def errors(mesh: Mesh, color_fn: Callable[[torch.Tensor], torch.Tensor], size: int = 96):
    """Largest error of each pixel's colour against the function at the pixel's point."""
    for pose in POSES:
        camera = Camera.at(pose, size)
        fragments = rasterize(mesh, camera, "open3d")
        hit = fragments.face_ids[0] >= 0
        triangles = mesh.triangles[fragments.face_ids[0][hit]]
        points = (fragments.barycentrics[0][hit].unsqueeze(-1) * triangles).sum(1)
        seen = render(mesh, camera, AMBIENT, 1, "open3d").color[hit][:, :3]
        yield (seen - color_fn(points)).abs().amax(-1)


@pytest.mark.parametrize("mesh", [box(), sphere()], ids=["box", "sphere"])
def test_a_linear_function_comes_back_to_the_rounding(mesh: Mesh) -> None:
    made = bake(mesh, linear, 128)
    texture = made.materials[0].texture
    assert texture is not None and texture.dtype == torch.uint8 and texture.shape == (128, 128, 4)
    # 0.5 of 255 is the rounding of the texture; the rest, mixing in linear light. Edges included.
    for error in errors(made, linear):
        assert error.max() * 255 < 0.75


def test_faces_smaller_than_texels_have_their_colour() -> None:
    # 20,480 faces in 64 x 64 texels, of which each is 1/40 wide or so.
    made = bake(sphere(0.5, 5), linear, 64)
    for error in errors(made, linear):
        assert error.max() < 0.04 and error.mean() < 0.01


@pytest.mark.filterwarnings("ignore:xatlas took longer")
def test_faces_laid_out_one_by_one_have_no_seams() -> None:
    made = bake(unwrap(sphere(), 256, limit_s=0.01), linear, 256)
    for error in errors(made, linear):
        assert error.max() * 255 < 0.75


@pytest.mark.parametrize("size", [16, 64])
def test_no_texel_is_left_empty(size: int) -> None:
    """Every texel of a red object is red, so every mip level is, and nothing can bleed."""

    def red(points: torch.Tensor) -> torch.Tensor:
        return torch.tensor([1.0, 0.0, 0.0]).expand(len(points), 3)

    made = bake(sphere(), red, size)
    assert made.materials[0].texture is not None
    assert (made.materials[0].texture == torch.tensor([255, 0, 0, 255])).all()


def test_two_colours_bleed_by_a_texel_at_most() -> None:
    """A box of six colours: away from its edges every pixel has its side's, to the last one."""

    def side(points: torch.Tensor) -> torch.Tensor:
        axis = points.abs().argmax(-1)
        positive = points.gather(1, axis[:, None])[:, 0] > 0
        return torch.where(positive[:, None], torch.eye(3)[axis], 1.0 - torch.eye(3)[axis])

    made = bake(box(), side, 128)
    for pose in POSES:
        camera = Camera.at(pose, 96)
        fragments = rasterize(made, camera, "open3d")
        hit = fragments.face_ids[0] >= 0
        triangles = made.triangles[fragments.face_ids[0][hit]]
        points = (fragments.barycentrics[0][hit].unsqueeze(-1) * triangles).sum(1)
        from_edge = points.abs().topk(2, -1).values @ torch.tensor([1.0, -1.0])
        seen = render(made, camera, AMBIENT, 1, "open3d").color[hit][:, :3]
        # Texels are about 1/45 wide here.
        away = from_edge > 1.5 / 45
        torch.testing.assert_close(seen[away], side(points)[away], atol=2e-3, rtol=0)


@pytest.mark.parametrize("kind", list(ugly()))
def test_ugly_meshes_are_baked(kind: str) -> None:
    mesh = ugly()[kind]
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    extent = (high - low).max()

    def within(points: torch.Tensor) -> torch.Tensor:
        return ((points - low) / extent).clamp(0.0, 1.0)

    made = bake(mesh, within, 64)
    texture = made.materials[0].texture
    assert texture is not None and made.uv is not None
    centres = made.triangles.mean(1)
    seen = to_srgb(look_up(texture, made.uv.mean(1)))[:, :3]
    assert (seen - within(centres)).abs().max() < 0.03


def test_coordinates_of_a_file_are_used_where_they_fit(shared_data: Path) -> None:
    mesh = load_mesh(shared_data / "meshes" / "avocado.glb")
    assert mesh.uv is not None
    made = bake(mesh, surface_colors(mesh), 512)
    assert made.uv is mesh.uv
    for pose in POSES:
        camera = Camera.at(pose, 64)
        error = render(made, camera, AMBIENT, 2).color - render(mesh, camera, AMBIENT, 2).color
        assert error.square().mean() < 10 ** (-3.0)  # 30 dB


def test_coordinates_that_overlap_are_refused() -> None:
    mirrored = joined(square(0.0), square(0.2))
    with pytest.raises(ValueError, match="uv: expected coordinates that do not overlap, got 100%"):
        bake(mirrored, linear, 64)
    made = bake(replace(mirrored, uv=None), linear, 64)
    for error in errors(made, linear):
        assert error.max() * 255 < 0.75


@pytest.mark.parametrize("name", ["spot.glb", "milk_truck.glb", "utah_teapot.obj"])
def test_real_meshes_keep_their_looks(shared_data: Path, name: str) -> None:
    """Unwrapped anew, with colours from the old surface."""
    mesh = load_mesh(shared_data / "meshes" / name)
    made = bake(replace(mesh, uv=None), surface_colors(mesh), 512)
    for pose in POSES[:2]:
        camera = Camera.at(pose, 64)
        error = render(made, camera, AMBIENT, 2).color - render(mesh, camera, AMBIENT, 2).color
        assert error.square().mean() < 10**-2.8  # 28 dB


def test_vertices_take_the_colour_of_their_place() -> None:
    mesh = with_vertex_colors(sphere(), linear)
    assert mesh.vertex_colors is not None and mesh.uv is None
    torch.testing.assert_close(mesh.vertex_colors[:, :3], linear(mesh.vertices))
    assert (mesh.vertex_colors[:, 3] == 1.0).all()
    for error in errors(mesh, linear):
        assert error.max() < 0.02


def test_surface_colors_reads_textures_materials_and_vertices() -> None:
    texture = torch.tensor([[[0.2, 0.5, 0.8, 1.0]]])
    mesh = joined(square(0.0, Material(texture=texture)), square(0.3, Material((0.0, 1.0, 0.0, 1))))
    color_fn = surface_colors(mesh)
    points = torch.tensor([[0.01, 0.1, 0.1], [0.4, 0.2, -0.3]])
    expected = torch.tensor([[0.2, 0.5, 0.8], [0.0, 1.0, 0.0]])
    torch.testing.assert_close(color_fn(points), expected, atol=1e-5, rtol=0)
    ball = with_vertex_colors(sphere(), linear)
    torch.testing.assert_close(
        surface_colors(ball)(ball.vertices * 1.1), linear(ball.vertices), atol=1e-4, rtol=0
    )


def test_textures_are_rounded_not_cut_off() -> None:
    made = textured(square(0.0), torch.full((2, 2, 3), 0.999))
    assert made.materials[0].texture is not None
    assert made.materials[0].texture.unique().tolist() == [255]


def test_wrong_colours_are_named() -> None:
    with pytest.raises(ValueError, match=r"color_fn: expected colours of shape \[\d+, 3\], got"):
        bake(square(0.0), lambda points: points[:, :2], 16)
    with pytest.raises(ValueError, match="color_fn: expected finite colours, got NaN"):
        with_vertex_colors(square(0.0), lambda points: points * float("nan"))
