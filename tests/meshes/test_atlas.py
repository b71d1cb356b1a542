"""Texture coordinates of any mesh: inside the image, without overlap, in bounded time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from shapes import box, joined, sphere, square

from zero123lib.meshes.atlas import MAX_FACES, UnwrappingWarning, cells, unwrap
from zero123lib.meshes.load import load_mesh
from zero123lib.meshes.mesh import Material, Mesh
from zero123lib.meshes.texels import expand, filled, locate, nearest

pytest.importorskip("xatlas", reason="xatlas is not installed: meshes cannot be unwrapped")


def uv_area(uv: torch.Tensor) -> torch.Tensor:
    a, b, c = uv.double().unbind(1)
    return 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).abs()


def fan() -> Mesh:
    """Five faces around one edge."""
    around = torch.arange(5) * (2.0 * torch.pi / 5)
    rim = torch.stack([around.cos(), around.sin(), torch.zeros(5)], -1)
    vertices = torch.cat([torch.tensor([[0.0, 0.0, -0.5], [0.0, 0.0, 0.5]]), rim])
    return Mesh(vertices, torch.tensor([[0, 1, 2 + i] for i in range(5)]))


def ugly() -> dict[str, Mesh]:
    ball = sphere(0.5, 2)
    return {
        "non-manifold": fan(),
        "open": Mesh(ball.vertices, ball.faces[:100]),
        "self-intersecting": Mesh(
            torch.cat([ball.vertices, ball.vertices * 0.7 + 0.2]),
            torch.cat([ball.faces, ball.faces + len(ball.vertices)]),
        ),
        "twice the same": Mesh(ball.vertices, torch.cat([ball.faces, ball.faces])),
        "one triangle": Mesh(torch.eye(3), torch.tensor([[0, 1, 2]])),
        "tiny": Mesh(ball.vertices * 1e-6 + 1.0e-3, ball.faces),
        "large": Mesh(ball.vertices * 1e6, ball.faces),
        "Möbius": Mesh(*moebius()),
    }


def moebius() -> tuple[torch.Tensor, torch.Tensor]:
    """A band with half a turn in it: no side is its outside."""
    turn = torch.arange(24) * (2.0 * torch.pi / 24)
    rim = []
    for across in (-0.15, 0.15):
        radius = 0.35 + across * (turn / 2).cos()
        rim.append(
            torch.stack([radius * turn.cos(), radius * turn.sin(), across * (turn / 2).sin()])
        )
    vertices = torch.cat([points.T for points in rim])
    here = torch.arange(24)
    there = (here + 1) % 24
    # The last piece joins each rim to the other.
    low, high = there.clone(), there + 24
    low[-1], high[-1] = 24, 0
    faces = torch.cat([torch.stack([here, low, high], 1), torch.stack([here, high, here + 24], 1)])
    return vertices, faces


@pytest.mark.parametrize("kind", list(ugly()))
def test_charts_of_ugly_meshes_do_not_overlap(kind: str) -> None:
    mesh = ugly()[kind]
    made = unwrap(mesh, 128)
    assert made.uv is not None and made.uv.shape == (len(mesh.faces), 3, 2)
    assert torch.equal(made.vertices, mesh.vertices) and torch.equal(made.faces, mesh.faces)
    assert made.uv.min() > 0.5 / 128 and made.uv.max() < 1.0 - 0.5 / 128
    assert locate(made.uv, 512).overlap < 0.002
    assert (uv_area(made.uv) > 0.0).all()


def test_charts_show_all_faces_at_about_the_same_scale() -> None:
    mesh = unwrap(sphere(0.5, 3), 256)
    a, b, c = mesh.triangles.unbind(1)
    area = 0.5 * torch.linalg.vector_norm(torch.linalg.cross(b - a, c - a), dim=-1)
    assert mesh.uv is not None
    scale = uv_area(mesh.uv) / area
    assert scale.max() / scale.min() < 2.0
    assert uv_area(mesh.uv).sum() > 0.4


def test_faces_without_area_lie_where_a_neighbour_is() -> None:
    ball = sphere(0.5, 1)
    faces = torch.cat([ball.faces, torch.tensor([[0, 0, 5], [3, 3, 3]])])
    made = unwrap(Mesh(ball.vertices, faces), 64)
    assert made.uv is not None
    for face, vertex in ((-2, 0), (-1, 3)):
        point = made.uv[face][0]
        assert (made.uv[face] == point).all()
        assert (made.uv[:-2][ball.faces == vertex] == point).all(-1).any()


def test_padding_keeps_charts_apart() -> None:
    made = unwrap(box(), 128, padding=6)
    assert made.uv is not None
    texels = locate(made.uv, 128)
    inside = texels.face_ids.masked_fill(~texels.inside, -1)
    parts = charts(made)
    for line in (*inside, *inside.T):
        positions = torch.nonzero(line >= 0)[:, 0]
        chart = parts[line[positions]]
        gaps = (positions[1:] - positions[:-1])[chart[1:] != chart[:-1]]
        # xatlas makes the atlas a little larger than asked; it is scaled down.
        assert (gaps >= 5).all()


def charts(mesh: Mesh) -> torch.Tensor:
    """Which chart each face is in: faces joined by two corners at the same coordinates."""
    assert mesh.uv is not None
    label = torch.arange(len(mesh.faces))
    for _ in range(len(mesh.faces)):
        for i in range(len(mesh.faces)):
            for j in range(len(mesh.faces)):
                same = (mesh.uv[i][:, None] == mesh.uv[j][None]).all(-1).sum()
                if same >= 2:
                    label[i] = label[j] = min(int(label[i]), int(label[j]))
    return label


def test_old_textures_go_and_the_rest_stays() -> None:
    old = joined(square(0.0, Material(texture=torch.ones(2, 2, 4))), square(0.2))
    made = unwrap(old, 64)
    assert made.materials == (made.materials[0],) and made.materials[0].texture is None
    assert made.face_material is None


def test_out_of_time_faces_are_laid_out_one_by_one() -> None:
    mesh = sphere(0.5, 2)
    with pytest.warns(UnwrappingWarning, match="took longer than 0.01 s; 320 faces"):
        made = unwrap(mesh, 128, limit_s=0.01)
    assert made.uv is not None
    assert locate(made.uv, 128).overlap == 0.0
    with (
        pytest.warns(UnwrappingWarning),
        pytest.raises(ValueError, match="size: expected at least 52 texels for 320 faces, got 32"),
    ):
        unwrap(mesh, 32, limit_s=0.01)


@pytest.mark.parametrize(("count", "size"), [(1, 16), (2, 16), (7, 33), (72, 24), (100, 256)])
def test_cells_are_wide_enough_not_to_be_mixed(count: int, size: int) -> None:
    uv = cells(count, size)
    assert uv.min() >= 0.5 / size - 1e-6 and uv.max() <= 1.0 - 0.5 / size + 1e-6
    area = uv_area(uv) * size**2
    assert area.min() >= 0.5 - 1e-3
    # Every texel that a bilinear look-up in a face can reach is that face's own.
    texels = locate(uv, size)
    corners = torch.stack([uv[..., 0], 1.0 - uv[..., 1]], -1).double() * size - 0.5
    draw = torch.rand(count, 9, 3, generator=torch.Generator().manual_seed(0)).double()
    inner = (draw / draw.sum(-1, keepdim=True)) @ corners
    for point, face in zip(
        inner.flatten(0, 1), torch.arange(count).repeat_interleave(9), strict=True
    ):
        for row in {int(point[1].floor()), int(point[1].ceil())}:
            for column in {int(point[0].floor()), int(point[0].ceil())}:
                assert texels.face_ids[row, column] == face


def test_locate_is_the_slow_reference() -> None:
    draw = torch.Generator().manual_seed(4)
    uv = torch.rand(6, 3, 2, generator=draw, dtype=torch.float64)
    uv[4] = uv[4, :1] + 0.001  # without area
    uv[5, 2] = 0.5 * (uv[5, 0] + uv[5, 1])  # a line
    texels = locate(uv, 24)
    for row in range(24):
        for column in range(24):
            point = torch.tensor([[(column + 0.5) / 24, 1.0 - (row + 0.5) / 24]])
            away = torch.stack([slow_distance(triangle, point[0]) for triangle in uv]) * 24
            if away.min() > 2.0**0.5:
                assert texels.face_ids[row, column] == -1
                continue
            first = int(torch.nonzero(away <= away.min() + 1e-9)[0])
            assert texels.face_ids[row, column] == first
            assert bool(texels.inside[row, column]) == bool(away.min() < 1e-12)
            weights = texels.barycentrics[row, column]
            assert weights.sum() == pytest.approx(1.0)
            if away.min() < 1e-12:
                torch.testing.assert_close(weights @ uv[first], point[0].double())


def slow_distance(triangle: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    """Of one point to one triangle, by its sides."""
    point = point.double()
    turns, away = [], []
    for i in range(3):
        start, side = triangle[i], triangle[(i + 1) % 3] - triangle[i]
        turns.append(side[0] * (point - start)[1] - side[1] * (point - start)[0])
        length = side.square().sum()
        along = ((point - start) @ side / length).clamp(0.0, 1.0) if length > 0 else 0.0
        away.append((start + along * side - point).norm())
    area = torch.linalg.det(torch.stack([triangle[1] - triangle[0], triangle[2] - triangle[0]]))
    signs = torch.stack(turns)
    if area.abs() > 1e-9 and ((signs >= 0).all() or (signs <= 0).all()):
        return torch.zeros((), dtype=torch.float64)
    return torch.stack(away).min()


def test_beyond_an_edge_the_plane_goes_on() -> None:
    corners = torch.tensor([[[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]], dtype=torch.float64)
    weights, away = nearest(corners, torch.tensor([[1.0, -1.0]], dtype=torch.float64))
    torch.testing.assert_close(weights @ corners[0], torch.tensor([[1.0, -1.0]]).double())
    assert away.tolist() == [1.0]
    # Farther than the triangle's height, it is the nearest point.
    weights, _ = nearest(corners, torch.tensor([[1.0, -9.0]], dtype=torch.float64))
    torch.testing.assert_close(weights @ corners[0], torch.tensor([[1.0, 0.0]]).double())


def test_filling_takes_the_nearest() -> None:
    texture = torch.zeros(9, 9, 1)
    known = torch.zeros(9, 9, dtype=torch.bool)
    known[1, 1] = known[7, 7] = True
    texture[1, 1], texture[7, 7] = 0.25, 0.75
    full = filled(texture, known)[..., 0]
    rows, columns = torch.meshgrid(torch.arange(9), torch.arange(9), indexing="ij")
    assert (full[rows + columns < 8] == 0.25).all() and (full[rows + columns > 8] == 0.75).all()
    with pytest.raises(ValueError, match="known: expected at least one texel, got none"):
        filled(texture, torch.zeros_like(known))


def test_expand_counts_up_in_each_group() -> None:
    whose, number = expand(torch.tensor([2, 0, 3]))
    assert whose.tolist() == [0, 0, 2, 2, 2] and number.tolist() == [0, 1, 0, 1, 2]


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="size: expected 16 to 8192 texels, got 8"):
        unwrap(box(), 8)
    with pytest.raises(ValueError, match="padding: expected 2 to 8 texels, got 9"):
        unwrap(box(), 64, padding=9)
    many = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]).expand(MAX_FACES + 1, 3))
    with pytest.raises(ValueError, match="mesh: expected at most 1000000 faces to unwrap, got"):
        unwrap(many)
    with pytest.raises(ValueError, match=r"uv: expected coordinates in \[0, 1\], got 0 to 2"):
        locate(torch.tensor([[[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]]]), 16)


@pytest.mark.parametrize("name", ["fox.glb", "spot.glb", "utah_teapot.obj", "birthday_cake.glb"])
def test_real_meshes_are_unwrapped(shared_data: Path, name: str) -> None:
    mesh = load_mesh(shared_data / "meshes" / name)
    made = unwrap(mesh, 512)
    assert made.uv is not None and locate(made.uv, 512).overlap < 0.01
