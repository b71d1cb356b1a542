"""Cleaning: each step does what it says on meshes whose right answer is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.meshes.shapes import box, joined, sphere, square
from zero123lib.meshes.cleanup import Cleaning, Step, clean
from zero123lib.meshes.inspect import facts
from zero123lib.meshes.mesh import Material, Mesh
from zero123lib.meshes.normals import crease_normals, smooth_normals

BARE = Cleaning(min_share=0.0, max_hole=0.0, fill_cavities=False)


def together(*meshes: Mesh) -> Mesh:
    """Meshes of vertices and faces alone, as one."""
    firsts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)]).tolist()
    return Mesh(
        torch.cat([mesh.vertices for mesh in meshes]),
        torch.cat([mesh.faces + first for mesh, first in zip(meshes, firsts, strict=False)]),
    )


def moved(mesh: Mesh, *by: float) -> Mesh:
    return replace(mesh, vertices=mesh.vertices + torch.tensor(by))


def turned(mesh: Mesh, which: torch.Tensor | None = None) -> Mesh:
    """Some faces, or all, wound the other way."""
    faces = mesh.faces.clone()
    which = torch.ones(len(faces), dtype=torch.bool) if which is None else which
    faces[which] = faces[which].flip(1)
    return replace(mesh, faces=faces)


def without(mesh: Mesh, *faces: int) -> Mesh:
    keep = torch.ones(len(mesh.faces), dtype=torch.bool)
    keep[list(faces)] = False
    return replace(mesh, faces=mesh.faces[keep])


def volume(mesh: Mesh) -> float:
    found = facts(mesh).volume
    assert found is not None
    return found


def step(steps: tuple[Step, ...], name: str) -> Step:
    (found,) = [one for one in steps if one.name == name]
    return found


def test_a_good_mesh_stays_as_it_is() -> None:
    mesh = square(0.0, Material(texture=torch.full((2, 2, 4), 9, dtype=torch.uint8)))
    mesh = replace(mesh, normals=crease_normals(mesh.vertices, mesh.faces))
    cleaned = clean(mesh, replace(BARE, max_faces=100))
    assert cleaned.dropped == ()
    assert torch.equal(cleaned.mesh.triangles, mesh.triangles)
    for name in ("uv", "normals"):
        assert torch.equal(getattr(cleaned.mesh, name), getattr(mesh, name))
    assert cleaned.mesh.materials[0].texture is mesh.materials[0].texture
    assert [one.name for one in cleaned.steps] == ["parts", "orientation"]
    assert cleaned.steps[0].before == cleaned.steps[-1].after == facts(mesh)


def test_repeated_vertices_and_faces_become_one_and_flat_ones_go() -> None:
    mesh = box(1.0, 1.0, 1.0)
    # Each face with vertices of its own, as STL has them, two of them twice, and a face twice
    # through one vertex.
    corners = mesh.triangles.reshape(-1, 3)
    faces = torch.arange(len(corners)).reshape(-1, 3)
    extra = torch.tensor([[0, 1, 2], [5, 4, 3], [0, 0, 1]])
    cleaned = clean(Mesh(corners, torch.cat([faces, extra])), BARE)
    assert cleaned.steps[0].before.duplicate_faces == 2
    assert cleaned.steps[0].before.degenerate_faces == 1
    assert cleaned.mesh.vertices.shape == (8, 3) and cleaned.mesh.faces.shape == (12, 3)
    assert facts(cleaned.mesh).watertight and volume(cleaned.mesh) == pytest.approx(1.0)


def test_a_flat_face_between_others_leaves_no_crack() -> None:
    # One of a box's edges has a vertex in its middle on one side only; a face without area closes
    # the crack. Its longest side is the whole edge.
    mesh = box(1.0, 1.0, 1.0)
    a, b, c = mesh.faces[0].tolist()
    middle = 0.5 * (mesh.vertices[a] + mesh.vertices[b])
    vertices = torch.cat([mesh.vertices, middle[None]])
    faces = torch.cat([mesh.faces[1:], torch.tensor([[a, 8, c], [8, b, c], [a, b, 8]])])
    broken = Mesh(vertices, faces, uv=vertices[faces][..., :2].clone())
    assert facts(broken).watertight and facts(broken).degenerate_faces == 1
    cleaned = clean(broken, BARE).mesh
    found = facts(cleaned)
    assert found.watertight and found.oriented and not found.degenerate_faces
    assert found.volume == pytest.approx(1.0) and found.faces == 14
    assert cleaned.uv is not None
    assert torch.allclose(cleaned.uv, cleaned.triangles[..., :2], atol=1e-6)


def test_flat_faces_that_cannot_be_cut_away_stay_rather_than_open_the_surface() -> None:
    # A tetrahedron with a vertex so close to an edge that both faces there are flat.
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0.5, 0, 0], [0, 0, 1]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 4], [3, 1, 4], [0, 4, 2], [1, 2, 4]])
    closed = Mesh(vertices, faces)
    assert facts(closed).watertight and facts(closed).degenerate_faces == 1
    made = facts(clean(closed, BARE).mesh)
    assert made.watertight and not made.degenerate_faces
    pillow = Mesh(vertices[[0, 1, 3]], torch.tensor([[0, 1, 2], [0, 2, 1]]))
    with pytest.raises(ValueError, match="mesh: expected a surface, got triangles without any"):
        clean(together(pillow, pillow))


def test_loose_parts_go_by_their_share_of_the_largest_parts_area() -> None:
    parts = (sphere(0.5, 2), moved(sphere(0.1, 2), 2.0, 0.0, 0.0), moved(sphere(0.02, 2), 3, 0, 0))
    mesh = together(*parts)
    for share, left in [(0.0, 3), (0.01, 2), (0.1, 1), (1.0, 1)]:
        cleaned = clean(mesh, replace(BARE, min_share=share))
        assert cleaned.steps[0].before.components == 3
        assert facts(cleaned.mesh).components == left
    twins = together(sphere(0.3, 1), moved(sphere(0.3, 1), 1.0, 0.0, 0.0))
    assert facts(clean(twins, replace(BARE, min_share=1.0)).mesh).components == 1


def test_faces_wound_at_random_come_out_outward() -> None:
    ball = sphere(0.5, 3)
    some = torch.rand(len(ball.faces), generator=torch.Generator().manual_seed(0)) < 0.6
    mesh = replace(
        ball, normals=smooth_normals(ball.vertices, ball.faces), uv=ball.triangles[..., :2]
    )
    mixed = turned(mesh, some)
    assert mixed.uv is not None and mixed.normals is not None
    mixed = replace(
        mixed,
        uv=torch.where(some[:, None, None], mixed.uv.flip(1), mixed.uv),
        normals=torch.where(some[:, None, None], -mixed.normals.flip(1), mixed.normals),
    )
    cleaned = clean(together(mixed, moved(turned(ball), 2.0, 0.0, 0.0)), BARE)
    assert cleaned.steps[0].before.opposed_edges > 0
    assert facts(cleaned.mesh).oriented
    assert volume(cleaned.mesh) == pytest.approx(2 * volume(ball), rel=1e-5)
    alone = clean(mixed, BARE).mesh
    assert alone.uv is not None and alone.normals is not None
    assert torch.equal(alone.uv, alone.triangles[..., :2])
    assert (alone.normals * alone.triangles).sum(-1).min() > 0.0


def test_an_open_bowl_faces_away_from_its_middle_and_a_sheet_stays() -> None:
    ball = sphere(0.5, 3)
    bowl = replace(ball, faces=ball.faces[(ball.triangles[..., 2] < 0.1).all(1)])
    for mesh in (bowl, turned(bowl)):
        made = clean(mesh, BARE).mesh
        normal = torch.linalg.cross(*(made.triangles[:, k] - made.triangles[:, 0] for k in (1, 2)))
        assert ((normal * made.triangles.mean(1)).sum(-1) > 0.0).all()
    sheet = turned(square(0.0))
    assert torch.equal(clean(sheet, BARE).mesh.triangles, sheet.triangles)


def test_a_moebius_strip_is_left_one_sided() -> None:
    turns = torch.linspace(0.0, 2.0 * torch.pi, 25)[:-1]
    ring = torch.stack([turns.cos(), turns.sin(), 0.0 * turns], dim=1)
    across = torch.stack(
        [turns.cos() * (turns / 2).cos(), turns.sin() * (turns / 2).cos(), (turns / 2).sin()], dim=1
    )
    vertices = torch.cat([ring + 0.3 * across, ring - 0.3 * across])
    one, two = torch.arange(24), torch.arange(24) + 24
    after_one, after_two = one.roll(-1).clone(), two.roll(-1).clone()
    after_one[-1], after_two[-1] = 24, 0  # half a turn: the upper edge goes on as the lower
    faces = torch.cat(
        [torch.stack([one, two, after_one], 1), torch.stack([after_one, two, after_two], 1)]
    )
    cleaned = clean(Mesh(vertices, faces), Cleaning())
    found = facts(cleaned.mesh)
    assert not found.oriented and (found.faces, found.border_edges) == (48, 48)


def test_holes_are_closed_up_to_their_size_and_wound_like_the_rest() -> None:
    ball = sphere(0.5, 3)
    # A single face, two that touch at a vertex, and a cap a third as wide as the ball.
    at = ball.faces[200, 0]
    fan = torch.nonzero((ball.faces == at).any(1))[:, 0].tolist()
    cap = torch.nonzero((ball.triangles[..., 2] > 0.45).all(1))[:, 0].tolist()
    mesh = without(ball, 700, fan[0], fan[3], *cap)
    small = clean(mesh, replace(BARE, max_hole=0.1))
    big = clean(mesh, replace(BARE, max_hole=0.3))
    assert 0 < step(small.steps, "holes").after.border_edges < small.steps[0].before.border_edges
    found = facts(big.mesh)
    assert found.watertight and found.oriented
    assert found.volume == pytest.approx(volume(ball), rel=0.02)


def test_closed_holes_look_like_what_is_around_them() -> None:
    ball = sphere(0.5, 2)
    full = replace(
        ball,
        uv=ball.triangles[..., :2].clone(),
        face_material=torch.ones(len(ball.faces), dtype=torch.int64),
        materials=(Material(), Material(color=(1.0, 0.0, 0.0, 1.0))),
    )
    keep = torch.arange(len(ball.faces)) != 7
    assert full.uv is not None and full.face_material is not None
    mesh = replace(
        full, faces=full.faces[keep], uv=full.uv[keep], face_material=full.face_material[keep]
    )
    made = clean(mesh).mesh
    assert made.uv is not None and made.face_material is not None
    assert len(made.faces) == len(ball.faces) and bool((made.face_material == 1).all())
    assert torch.equal(made.uv, made.triangles[..., :2])


def test_hollows_go_and_solids_within_solids_stay() -> None:
    ball, inner = sphere(0.5, 3), sphere(0.3, 2)
    hollow = together(ball, turned(inner))
    assert volume(clean(hollow, BARE).mesh) == pytest.approx(volume(ball) - volume(inner), rel=1e-5)
    assert volume(clean(hollow).mesh) == pytest.approx(volume(ball), rel=1e-5)
    assert facts(clean(together(ball, inner)).mesh).components == 2
    glass = replace(hollow, materials=(Material((1.0, 1.0, 1.0, 0.3), alpha="blend"),))
    assert facts(clean(glass).mesh).components == 2
    beside = clean(together(ball, moved(turned(inner), 2.0, 0.0, 0.0)))
    assert volume(beside.mesh) == pytest.approx(volume(ball) + volume(inner), rel=1e-5)


def test_smoothing_makes_one_of_vertices_that_come_together() -> None:
    """As files do: the numbers told are those of the mesh that is handed over."""
    ball = sphere(0.5, 3)
    cap = ball.vertices[:, :1] > 0.42
    small = torch.tensor([0.45, 0.1, 0.2]) + 1e-6 * ball.vertices
    pinched = replace(ball, vertices=torch.where(cap, small, ball.vertices))
    cleaned = clean(pinched, replace(BARE, smooth=100))
    told, found = cleaned.steps[-1].after, facts(cleaned.mesh)
    assert found.watertight and told.watertight
    assert told.faces == found.faces < len(ball.faces) and told.positions == found.positions


@pytest.mark.parametrize("rounds", [10, 28, 100])
def test_smoothing_does_not_open_a_part_that_shrinks_to_nothing(rounds: int) -> None:
    corners = 0.01 * torch.cat([torch.zeros(1, 3), torch.eye(3)])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    speck, ball = moved(Mesh(corners, faces), 0.7, 0.1, 0.2), sphere(0.5, 2)
    smooth = replace(BARE, smooth=rounds)
    found = facts(clean(together(ball, speck), smooth).mesh)
    assert found.watertight and found.faces >= len(ball.faces)
    if rounds == 100:
        with pytest.raises(ValueError, match="smooth: expected fewer rounds, got 100, in which"):
            clean(speck, smooth)


def test_smoothing_takes_noise_and_leaves_the_volume() -> None:
    ball = sphere(0.5, 4)
    rough = torch.randn(ball.vertices.shape, generator=torch.Generator().manual_seed(0))
    noisy = replace(
        ball,
        vertices=ball.vertices + 0.004 * rough,
        normals=smooth_normals(ball.vertices, ball.faces),
    )
    made = clean(noisy, replace(BARE, smooth=10)).mesh
    off = [(mesh.vertices.norm(dim=-1) - 0.5).std() for mesh in (noisy, made)]
    assert off[1] < 0.5 * off[0]
    assert volume(made) == pytest.approx(volume(ball), rel=0.01)
    assert made.normals is not None
    expected = smooth_normals(made.vertices, made.faces)
    assert torch.allclose(made.normals, expected, atol=1e-4)


def test_thinning_keeps_to_its_budget_and_leaves_the_colours_at_the_vertices() -> None:
    ball = sphere(0.5, 4)
    texture = torch.zeros(2, 64, 4, dtype=torch.uint8)
    texture[..., 0] = torch.linspace(0, 255, 64).round().to(torch.uint8)
    texture[..., 3] = 255
    uv = torch.stack([ball.triangles[..., 0] + 0.5, ball.triangles[..., 1] * 0.0], dim=-1)
    mesh = replace(ball, materials=(Material(texture=texture),), uv=uv.clamp(0.01, 0.99))
    cleaned = clean(mesh, Cleaning(max_faces=500))
    found = facts(cleaned.mesh)
    assert found.faces <= 500 and found.watertight and found.oriented
    assert found.volume == pytest.approx(volume(ball), rel=0.05)
    assert cleaned.dropped == ("textures, but for their colours at the vertices",)
    colors = cleaned.mesh.vertex_colors
    assert cleaned.mesh.uv is None and colors is not None
    assert torch.allclose(colors[:, 0], cleaned.mesh.vertices[:, 0] + 0.5, atol=0.05)
    assert (colors[:, 1:3] == 0.0).all()
    plain = clean(ball, Cleaning(max_faces=500))
    assert plain.dropped == () and plain.mesh.vertex_colors is None


def test_two_parts_of_two_materials_keep_theirs() -> None:
    red = Material(color=(1.0, 0.0, 0.0, 1.0))
    mesh = joined(square(0.5, red), square(-0.5, Material()))
    made = clean(mesh, BARE).mesh
    assert made.face_material is not None
    front = made.triangles[:, 0, 0] > 0.0
    assert made.materials[int(made.face_material[front][0])].color == red.color


def test_steps_are_told_as_they_are_taken() -> None:
    told: list[Step] = []
    cleaned = clean(sphere(0.5, 2), Cleaning(smooth=1, max_faces=100), told.append)
    assert tuple(told) == cleaned.steps
    assert [one.name for one in told] == [
        "parts", "orientation", "holes", "cavities", "smoothing", "decimation",
    ]  # fmt: skip
    assert all(one.after == two.before for one, two in pairwise(told))


def test_numbers_of_a_known_mesh() -> None:
    found = facts(together(box(), moved(box(), 1.0, 1.0, 0.0)))  # they share an edge
    assert (found.positions, found.faces, found.components) == (14, 24, 1)
    assert (found.border_edges, found.branching_edges) == (0, 1)
    assert found.area == pytest.approx(12.0) and found.volume is None
    assert not found.watertight and found.oriented
    open_box = facts(without(box(), 0))
    assert open_box.border_edges == 3 and open_box.volume is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_share": 1.5}, "min_share: expected a share from 0 to 1, got 1.5"),
        ({"max_hole": -0.1}, "max_hole: expected a share from 0 to 1, got -0.1"),
        ({"smooth": -1}, "smooth: expected 0 to 100 rounds, got -1"),
        ({"max_faces": 3}, "max_faces: expected at least 4, got 3"),
    ],
)
def test_settings_out_of_range_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cleaning(**settings)
