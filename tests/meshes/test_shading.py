"""Colours, textures and light, against slow references and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from shapes import box, joined, sphere, square

from zero123lib.meshes.mesh import Camera, Material, Mesh
from zero123lib.meshes.normals import crease_normals
from zero123lib.meshes.render import render
from zero123lib.meshes.shading import AMBIENT, PHONG, Light, look_up, to_linear, to_srgb
from zero123lib.views.cameras import rays
from zero123lib.views.poses import Pose

FRONT = Camera.at(Pose(0.0, 0.0, 2.0), 32)
CENTRE = 16, 17


def slow_look_up(texture: torch.Tensor, u: float, v: float) -> torch.Tensor:
    """One point, texel by texel: the sum over all texels of tent(dx) * tent(dy) * colour."""
    height, width = texture.shape[:2]
    result = torch.zeros(4, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            for turns in [(a, b) for a in range(-3, 4) for b in range(-3, 4)]:
                x = (column + 0.5) / width + turns[0]
                y = 1.0 - (row + 0.5) / height + turns[1]
                weight = max(0.0, 1.0 - abs(u - x) * width) * max(0.0, 1.0 - abs(v - y) * height)
                result += weight * to_linear(texture[row, column].double())
    return result


def test_look_up_is_the_slow_reference() -> None:
    draw = torch.Generator().manual_seed(0)
    texture = torch.rand(3, 5, 4, generator=draw, dtype=torch.float64)
    uv = torch.rand(40, 2, generator=draw, dtype=torch.float64) * 4.0 - 2.0
    uv[:4] = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.1, 5 / 6], [0.5, -1.0]])
    expected = torch.stack([slow_look_up(texture, u, v) for u, v in uv.tolist()])
    torch.testing.assert_close(look_up(texture, uv), expected)


def test_bytes_and_floats_are_the_same_texture() -> None:
    texture = torch.randint(0, 256, (4, 4, 4), dtype=torch.uint8)
    uv = torch.rand(20, 2)
    torch.testing.assert_close(look_up(texture, uv), look_up(texture.float() / 255.0, uv))


def test_look_up_has_the_gradients_of_finite_differences() -> None:
    draw = torch.Generator().manual_seed(1)
    texture = torch.rand(3, 4, 4, generator=draw, dtype=torch.float64, requires_grad=True)
    uv = torch.rand(6, 2, generator=draw, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(look_up, (texture, uv))


def test_srgb_goes_there_and_back_with_finite_slopes() -> None:
    color = torch.linspace(0.0, 1.0, 256).repeat(3, 1).T.requires_grad_()
    back = to_srgb(to_linear(color))
    torch.testing.assert_close(back, color, atol=1e-6, rtol=0)
    (gradient,) = torch.autograd.grad(back.sum(), color)
    assert torch.isfinite(gradient).all()
    # IEC 61966-2-1: 50 % sRGB is 21.4 % light.
    torch.testing.assert_close(to_linear(torch.full((1, 3), 0.5))[0, 0], torch.tensor(0.21404114))


def test_a_texture_stands_upright_and_is_not_mirrored(backend: str) -> None:
    red, green, blue, white = (*torch.eye(3).tolist(), [1.0, 1.0, 1.0])
    texture = torch.tensor([[red, green], [blue, white]])
    texture = F.pad(texture, (0, 1), value=1.0).repeat_interleave(8, 0).repeat_interleave(8, 1)
    seen = render(square(0.0, Material(texture=texture)), FRONT, AMBIENT, 2, backend).color
    for row, column, expected in [(12, 12, red), (12, 20, green), (20, 12, blue), (20, 20, white)]:
        torch.testing.assert_close(seen[row, column], torch.tensor([*expected, 1.0]))


def test_ambient_light_gives_the_texture_back(backend: str) -> None:
    texture = torch.tensor([[[0.2, 0.5, 0.8, 1.0]]])
    seen = render(square(0.0, Material(texture=texture)), FRONT, AMBIENT, 2, backend)
    torch.testing.assert_close(seen.color[seen.mask].mean(0), texture[0, 0], atol=1e-5, rtol=0)


def test_vertex_colours_are_mixed_in_linear_light(backend: str) -> None:
    triangle = torch.tensor([[0.0, -1.0, -1.0], [0.0, 1.0, -1.0], [0.0, 0.0, 1.0]])
    colors = torch.cat([torch.eye(3), torch.ones(3, 1)], dim=1)
    mesh = Mesh(triangle, torch.tensor([[0, 1, 2]]), vertex_colors=colors)
    seen = render(mesh, FRONT, AMBIENT, 1, backend).color[CENTRE]
    at = torch.tensor([2.0 * math.tan(math.radians(49.13 / 2)) * s / 32 * 2 for s in (1.5, -0.5)])
    third = (at[1] + 1.0) / 2.0
    second = (at[0] + 1.0 - third) / 2.0
    linear = torch.stack([1.0 - second - third, second, third])
    torch.testing.assert_close(to_linear(seen)[:3], linear, atol=1e-4, rtol=0)


def test_light_is_phongs_formula(backend: str) -> None:
    light = Light(0.2, 0.5, 0.3, 8.0, (1.0, 0.6, 0.3))
    seen = render(square(0.0), FRONT, light, 1, backend)
    n, s = torch.tensor([1.0, 0.0, 0.0]), math.tan(math.radians(49.13 / 2)) / 16 * 2.0
    point = torch.tensor([0.0, 1.5 * s, -0.5 * s])
    v = F.normalize(torch.tensor([2.0, 0.0, 0.0]) - point, dim=0)
    li = F.normalize(torch.tensor(light.direction), dim=0)
    r = 2.0 * (n @ li) * n - li
    expected = 0.2 + 0.5 * (n @ li) + 0.3 * (r @ v) ** 8.0
    torch.testing.assert_close(to_linear(seen.color)[CENTRE][0], expected, atol=1e-4, rtol=0)


def test_a_face_looks_the_same_from_behind(backend: str) -> None:
    mesh = square(0.0)
    behind = Camera.at(Pose(0.0, 180.0, 2.0), 32)
    seen = render(mesh, behind, Light(direction=(-1.0, 0.0, 0.0)), 1, backend)
    torch.testing.assert_close(seen.normals[CENTRE], torch.tensor([-1.0, 0.0, 0.0]))
    flipped = Mesh(mesh.vertices, mesh.faces.flip(1))
    other = render(flipped, behind, Light(direction=(-1.0, 0.0, 0.0)), 1, backend)
    torch.testing.assert_close(seen.color, other.color)
    assert seen.color[CENTRE][0] > 0.9999


def test_normals_of_a_sphere_point_outwards(backend: str) -> None:
    mesh = sphere(0.5, 3)
    smooth = Mesh(mesh.vertices, mesh.faces, normals=crease_normals(mesh.vertices, mesh.faces))
    camera = Camera.at(Pose(25.0, 60.0, 2.0), 32)
    seen = render(smooth, camera, supersample=1, backend=backend)
    inner = F.avg_pool2d(seen.mask.float()[None, None], 3, 1, 1)[0, 0] == 1.0
    origins, directions = rays(camera.camera_to_world, 32)
    cosine = directions @ -camera.camera_to_world[:3, 2]
    points = origins + directions * (seen.depth / cosine).unsqueeze(-1)
    assert ((seen.normals * F.normalize(points, dim=-1)).sum(-1)[inner] > 0.9995).all()


def test_creases_stay_sharp_and_curves_become_smooth() -> None:
    cube = box()
    flat = crease_normals(cube.vertices, cube.faces)
    assert torch.allclose(flat.abs().amax(-1), torch.ones(12, 3))
    ball = sphere(0.5, 2)
    smooth = crease_normals(ball.vertices, ball.faces)
    assert ((smooth * F.normalize(ball.triangles, dim=-1)).sum(-1) > 0.999).all()
    # A seam, where a place has several vertices, does not show.
    split = Mesh(ball.triangles.flatten(0, 1), torch.arange(len(ball.faces) * 3).reshape(-1, 3))
    torch.testing.assert_close(crease_normals(split.vertices, split.faces), smooth)


def test_supersampling_gives_the_share_of_the_pixel(backend: str) -> None:
    # The square's edge is at focal * 0.5 / 2 pixels from the middle, between pixel borders.
    seen = render(square(0.0), FRONT, AMBIENT, 16, backend)
    reach = 16.0 / math.tan(math.radians(49.13 / 2)) * 0.25
    share = reach - math.floor(reach)
    column = 16 + math.floor(reach)
    torch.testing.assert_close(
        seen.color[16, column, 3], torch.tensor(share), atol=1 / 32 + 1e-3, rtol=0
    )
    # Straight alpha: the colour of a covered share is the mesh's, not mixed with a background.
    assert (seen.color[..., :3] > 0.9999).all() and seen.depth[16, column] == pytest.approx(2.0)
    assert seen.color[0, 0, 3] == 0.0
    assert math.isinf(seen.depth[0, 0]) and (seen.normals[0, 0] == 0).all()


def test_glass_is_composited_over_what_lies_behind(backend: str) -> None:
    glass = Material((1.0, 0.0, 0.0, 0.25), alpha="blend")
    wall = Material((0.0, 0.0, 1.0, 1.0))
    behind = render(joined(square(0.2, glass), square(0.0, wall)), FRONT, AMBIENT, 1, backend)
    torch.testing.assert_close(
        to_linear(behind.color)[CENTRE], torch.tensor([0.25, 0.0, 0.75, 1.0])
    )
    assert behind.depth[CENTRE] == pytest.approx(2.0)
    alone = render(square(0.2, glass), FRONT, AMBIENT, 1, backend)
    torch.testing.assert_close(alone.color[CENTRE], torch.tensor([1.0, 0.0, 0.0, 0.25]))


def test_a_mask_cuts_holes(backend: str) -> None:
    texture = torch.ones(2, 8, 4)
    texture[:, :4, 3] = 0.1
    leaf = Material((1.0, 0.5, 0.5, 1.0), texture, "mask", 0.5)
    seen = render(joined(square(0.2, leaf), square(0.0)), FRONT, AMBIENT, 1, backend)
    assert seen.depth[16, 10] == pytest.approx(2.0) and seen.depth[16, 20] == pytest.approx(1.8)
    assert (seen.color[16, 10] > 0.9999).all()
    solid = render(square(0.2, Material(texture=texture)), FRONT, AMBIENT, 1, backend)
    assert solid.color[16, 10, 3] == 1.0


def test_a_texture_is_recovered_by_gradient_descent(backend: str) -> None:
    truth = torch.rand(4, 4, 4, generator=torch.Generator().manual_seed(2)) * 0.8 + 0.1
    truth[..., 3] = 1.0
    goal = render(square(0.0, Material(texture=truth)), FRONT, AMBIENT, 1, backend).color
    guess = torch.full((4, 4, 4), 0.5, requires_grad=True)
    descent = torch.optim.LBFGS([guess], max_iter=40, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        descent.zero_grad()
        seen = render(square(0.0, Material(texture=guess)), FRONT, AMBIENT, 1, backend).color
        error = (seen - goal).square().sum()
        error.backward()
        return error

    descent.step(loss)
    assert (guess - truth)[..., :3].abs().max() < 0.02


def test_vertex_colours_have_the_gradients_of_finite_differences(backend: str) -> None:
    mesh = square(0.0)
    vertices = mesh.vertices.double()
    camera = Camera(FRONT.camera_to_world.double(), 12)
    colors = torch.rand(4, 4, dtype=torch.float64).mul_(0.8).add_(0.1).requires_grad_()

    def image(colors: torch.Tensor) -> torch.Tensor:
        colored = Mesh(vertices, mesh.faces, vertex_colors=colors)
        return render(colored, camera, PHONG, 2, backend).color[4:8, 4:8]

    assert torch.autograd.gradcheck(image, (colors,))


def test_positions_have_the_gradients_of_finite_differences() -> None:
    """Inside a face, of colour, depth and light; which face a pixel sees has none."""
    draw = torch.Generator().manual_seed(3)
    mesh = square(0.0)
    camera = Camera(FRONT.camera_to_world.double(), 6)
    colors = torch.rand(4, 4, generator=draw, dtype=torch.float64) * 0.8 + 0.1
    bump = 0.1 * torch.rand(4, 3, generator=draw, dtype=torch.float64)

    def image(vertices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen = render(Mesh(vertices, mesh.faces, vertex_colors=colors), camera, PHONG, 1, "open3d")
        return seen.color[2, 3], seen.depth[2, 3]

    vertices = (mesh.vertices.double() + bump).requires_grad_()
    assert torch.autograd.gradcheck(image, (vertices,), eps=1e-5, atol=1e-3)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="supersample: expected at least 1, got 0"):
        render(box(), FRONT, supersample=0)
    with pytest.raises(ValueError, match="size: expected at most 8192 pixels"):
        render(box(), Camera(torch.eye(4), 4096), supersample=3)
    with pytest.raises(ValueError, match="ambient: expected a strength of at least 0, got -1"):
        Light(ambient=-1)
    with pytest.raises(ValueError, match="direction: expected a finite length above 0"):
        Light(direction=(0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="shininess: expected a number above 0, got 0"):
        Light(shininess=0)
