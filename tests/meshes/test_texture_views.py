"""Textures from images: known ones come back, hidden surfaces stay clean, the rest is filled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from shapes import joined, sphere, square

from zero123lib.meshes import filling, texture_views
from zero123lib.meshes.atlas import unwrap
from zero123lib.meshes.filling import charts, inpaint
from zero123lib.meshes.load import load_mesh
from zero123lib.meshes.mesh import Camera, Material, Mesh
from zero123lib.meshes.render import render
from zero123lib.meshes.shading import AMBIENT, look_up, to_linear, to_srgb
from zero123lib.meshes.texels import locate
from zero123lib.meshes.texture import bake
from zero123lib.meshes.texture_samples import (
    Samples,
    ViewFit,
    edge_weights,
    footprint,
    sample_views,
)
from zero123lib.meshes.texture_views import agreed_steps, texture_from_views
from zero123lib.upscaling import upscaled
from zero123lib.views.poses import Pose

pytest.importorskip("xatlas", reason="xatlas is not installed: meshes cannot be unwrapped")

SIZE = 64
AROUND = [Pose(e, a, 1.85) for e in (-35.0, 35.0) for a in (0.0, 90.0, 180.0, 270.0)]


def cameras(poses: Sequence[Pose], size: int = SIZE) -> list[Camera]:
    return [Camera.at(pose, size) for pose in poses]


def pictures(mesh: Mesh, poses: Sequence[Pose], size: int = SIZE) -> torch.Tensor:
    return torch.stack([render(mesh, c, AMBIENT, 2, "open3d").color for c in cameras(poses, size)])


def plain(mesh: Mesh) -> Mesh:
    """Without its texture."""
    return replace(mesh, materials=(Material(),))


def texture_of(mesh: Mesh) -> torch.Tensor:
    texture = mesh.materials[0].texture
    assert texture is not None
    return texture[..., :3] / 255.0


def waves(points: torch.Tensor) -> torch.Tensor:
    stripes = 0.5 + 0.4 * (points * 9.0).sum(-1, keepdim=True).sin()
    return torch.cat([stripes, points[:, 1:] * 0.8 + 0.5], -1)


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10.0 * torch.log10((a - b).square().mean()))


@pytest.fixture(scope="module")
def ball() -> Mesh:
    return bake(sphere(), waves, 64)


def samples_of(mesh: Mesh, backend: str = "open3d") -> tuple[Samples, torch.Tensor]:
    images = pictures(mesh, AROUND[:2])
    found = sample_views(plain(mesh), images, cameras(AROUND[:2]), 64, ViewFit(), backend)
    return found, images


def test_pixels_are_predicted_as_the_renderer_makes_them(ball: Mesh, backend: str) -> None:
    samples, _ = samples_of(ball, backend)
    texture = to_linear(texture_of(ball)).flatten(0, 1)
    # The images were rendered with as many samples per pixel.
    predicted = to_srgb(samples.predicted(texture))
    torch.testing.assert_close(predicted, samples.targets, atol=1e-5, rtol=0)
    assert len(predicted) > 500
    torch.testing.assert_close(samples.shares.sum(1), torch.ones(len(predicted)))
    assert samples.inner.min() > 0.0 and samples.inner.max() == 1.0
    assert samples.facing.min() >= 0.15 and samples.facing.max() <= 1.0 + 1e-6


def test_what_is_given_back_is_the_gradient_through_the_shader() -> None:
    draw = torch.Generator().manual_seed(0)
    uv = 0.07 + 0.86 * torch.rand(30, 2, generator=draw, dtype=torch.float64)
    texels, shares = footprint(uv, 8)
    ones = torch.ones(30, dtype=torch.float64)
    samples = Samples(texels, shares, ones[:, None].expand(-1, 3), ones, ones, ones.long())
    # Alpha is looked up as it is, colours after they are made linear: it serves for all here.
    texture = torch.rand(8, 8, 4, generator=draw, dtype=torch.float64, requires_grad=True)
    values = torch.rand(30, 1, generator=draw, dtype=torch.float64)
    seen = look_up(texture, uv)[:, 3:]
    torch.testing.assert_close(samples.predicted(texture[..., 3:].flatten(0, 1)), seen)
    (gradient,) = torch.autograd.grad((seen * values).sum(), texture)
    back = samples.adjoint(64)(values)
    torch.testing.assert_close(back.reshape(8, 8), gradient[..., 3])


def test_a_known_texture_comes_back(ball: Mesh) -> None:
    images = pictures(ball, AROUND)
    got = texture_from_views(plain(ball), images, cameras(AROUND), 64)
    unseen = [Pose(10.0, 45.0, 1.85), Pose(80.0, 20.0, 1.85)]
    for truth, made in zip(pictures(ball, unseen), pictures(got, unseen), strict=True):
        assert psnr(truth, made) > 40.0
    inside = locate(ball.uv, 64).inside  # pyright: ignore[reportArgumentType]
    assert (texture_of(got) - texture_of(ball))[inside].abs().mean() < 0.01
    # The descent is what sharpens: the mean of the pixels that show a texel is far off.
    means = texture_from_views(plain(ball), images, cameras(AROUND), 64, ViewFit(steps=0))
    off = [(texture_of(mesh) - texture_of(ball))[inside].square().mean() for mesh in (means, got)]
    assert off[1] < 0.05 * off[0]


def test_more_texels_than_pixels_stay_smooth(ball: Mesh) -> None:
    fine = bake(sphere(), waves, 512)
    got = texture_from_views(plain(fine), pictures(fine, AROUND), cameras(AROUND), 512)
    assert (texture_of(got) - texture_of(fine)).abs().mean() < 0.03


def test_what_is_hidden_takes_nothing_of_what_hides_it() -> None:
    red, blue = Material((1.0, 0.0, 0.0, 1.0)), Material((0.0, 0.0, 1.0, 1.0))
    truth = joined(square(0.3, red, 0.4), square(0.0, blue, 1.0))
    poses = [Pose(e, a, 2.0) for e, a in ((0.0, 0.0), (25.0, 20.0), (-25.0, -20.0))]
    got = texture_from_views(unwrap(truth, 64), pictures(truth, poses), cameras(poses), 64)
    assert got.uv is not None
    draw = torch.rand(200, 3, generator=torch.Generator().manual_seed(1))
    weights = draw / draw.sum(-1, keepdim=True)
    for face in range(4):
        colors = look_up(got.materials[0].texture, weights @ got.uv[face])[:, :3]  # pyright: ignore[reportArgumentType]
        expected = torch.tensor([1.0, 0.0, 0.0] if face < 2 else [0.0, 0.0, 1.0])
        assert (colors - expected).abs().max() < 0.02, face


def test_a_background_does_not_bleed_in_where_the_mesh_is_too_large() -> None:
    def red(points: torch.Tensor) -> torch.Tensor:
        return torch.tensor([0.8, 0.1, 0.1]).expand(len(points), 3)

    truth = bake(sphere(0.5), red, 64)
    images = pictures(truth, AROUND)
    white = images[..., :3] * images[..., 3:] + 1.0 - images[..., 3:]
    # 5 % are 1.3 pixels at the silhouette: all of those show the background.
    large = plain(bake(sphere(0.525), red, 64))
    for shown, most in ((images, 0.01), (white, 0.12)):
        got = texture_of(texture_from_views(large, shown, cameras(AROUND), 64))
        assert (got - torch.tensor([0.8, 0.1, 0.1])).abs().max() < most


def test_a_picture_that_disagrees_does_not_blur_the_others(ball: Mesh) -> None:
    poses = [Pose(5.0, a, 1.85) for a in (-20.0, -10.0, 0.0, 10.0, 20.0)]
    images = pictures(ball, poses)
    images[2, ..., :3] = 1.0 - images[2, ..., :3]
    errors = []
    for robust in (0.1, 100.0):
        fit = ViewFit(robust=robust)
        got = texture_from_views(plain(ball), images, cameras(poses), 64, fit)
        truth, made = (pictures(mesh, poses[2:3])[0, 24:40, 24:40] for mesh in (ball, got))
        errors.append(float((truth - made).abs().mean()))
    assert errors[0] < 0.05 and errors[0] < 0.7 * errors[1]


def test_a_picture_that_counts_more_wins(ball: Mesh) -> None:
    poses = [Pose(0.0, 0.0, 1.85)] * 3
    images = pictures(ball, poses)
    images[..., :3] = torch.tensor([0.2, 0.5, 0.5]).reshape(3, 1, 1, 1)
    view_weights = torch.tensor([100.0, 1.0, 1.0])
    for given, middle in ((None, 0.5), (view_weights, 0.2), (5 * view_weights, 0.2)):
        got = texture_from_views(plain(ball), images, cameras(poses), 64, view_weights=given)
        seen = pictures(got, poses[:1])[0, 20:44, 20:44, :3]
        assert (seen - middle).abs().max() < 0.02


def test_the_trusted_image_decides_where_it_sees_squarely() -> None:
    """Red and green in it, their mean in the others: so it is towards it, and no other way."""
    truth = bake(sphere(), lambda points: torch.full((len(points), 3), 0.5), 64)
    poses = [Pose(0.0, 0.0, 1.85), *AROUND]
    images = pictures(truth, poses)
    red, green = torch.tensor([0.8, 0.2, 0.2]), torch.tensor([0.2, 0.8, 0.2])
    mean = to_srgb((to_linear(red) + to_linear(green)) / 2)
    images[0, :, :32, :3], images[0, :, 32:, :3], images[1:, ..., :3] = red, green, mean
    got = texture_from_views(plain(truth), images, cameras(poses), 128, trusted=0)
    front, side, behind = pictures(got, [Pose(0.0, a, 1.85) for a in (0.0, 90.0, 180.0)])
    assert (front[24:40, 22:29, :3] - red).abs().max() < 0.03
    assert (front[24:40, 35:42, :3] - green).abs().max() < 0.03
    back = behind[behind[..., 3] > 0.99][:, :3]
    assert (back - mean).abs().max() < 0.03
    # From the side, half of the ball is nearer to the trusted camera, and none of it squarely.
    row, inner = side[SIZE // 2, :, 1], side[SIZE // 2, :, 3] > 0.99
    assert row[inner].min() > mean[1] - 0.03 and row[inner].max() > 0.75
    assert row[inner].diff().abs().max() < 0.1
    alike = texture_from_views(plain(truth), images, cameras(poses), 128)
    # 35 degrees from each of two cameras, of which one is trusted.
    oblique = [pictures(mesh, [Pose(35.0, 0.0, 1.85)])[0, 32, 26, 0] for mesh in (got, alike)]
    assert oblique[0] > 0.75 > 0.7 > oblique[1]
    with pytest.raises(ValueError, match="trusted: expected the number of one of 9 images, got 9"):
        texture_from_views(plain(truth), images, cameras(poses), 64, trusted=9)


def test_the_trusted_images_detail_comes_into_the_texture() -> None:
    def fine(points: torch.Tensor) -> torch.Tensor:
        return waves(points * 6)

    truth, poses = bake(sphere(), fine, 512), [Pose(10.0, 0.0, 1.85), *AROUND]
    images, (detail,) = pictures(truth, poses, 32), pictures(truth, poses[:1], 256)
    given = (plain(truth), images, cameras(poses, 32), 512)
    errors = []
    for more in (None, detail):
        got = texture_from_views(*given, trusted=0, detail=more)
        (shown,) = pictures(got, poses[:1], 256)
        errors.append(psnr(shown[96:160, 96:160], detail[96:160, 96:160]))
    assert errors[1] > errors[0] + 10, errors


def test_images_are_enlarged_with_their_cameras(ball: Mesh) -> None:
    images = pictures(ball, AROUND, 32)
    larger = upscaled(images.movedim(-1, 1), 2).movedim(1, -1)
    wanted = texture_from_views(plain(ball), larger, cameras(AROUND), 64)
    found = texture_from_views(plain(ball), images, cameras(AROUND, 32), 64, upscale=2)
    assert torch.equal(texture_of(found), texture_of(wanted))


def test_other_images_get_the_trusted_ones_exposure(ball: Mesh) -> None:
    poses = [Pose(0.0, 0.0, 1.85), *AROUND]
    images = pictures(ball, poses)
    gains = torch.tensor([0.7, 1.2, 0.9])
    dark = images.clone()
    dark[1:, ..., :3] = to_srgb(gains * to_linear(images[1:, ..., :3]))
    unseen = [Pose(10.0, 170.0, 1.85), Pose(70.0, 100.0, 1.85)]
    truth = pictures(ball, unseen)
    errors = []
    for trusted in (None, 0):
        got = texture_from_views(plain(ball), dark, cameras(poses), 64, trusted=trusted)
        errors.append(float((pictures(got, unseen) - truth).abs().mean()))
    assert errors[1] < 0.2 * errors[0]


def test_the_trusted_image_is_smooth_between_its_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ramp of 24 pixels, seen at four times their number, is nearer to it than squares are."""
    truth = bake(sphere(), lambda points: torch.full((len(points), 3), 0.5), 64)
    near = [Pose(0.0, 0.0, 1.85)]
    images = pictures(truth, near, 24)
    images[..., :3] = torch.linspace(0.0, 1.0, 24)[None, None, :, None]
    ramp = (torch.arange(96) + 0.5) / 96 * 24 / 23 - 0.5 / 23
    off = []
    for finer in (4, 1):
        monkeypatch.setattr(texture_views, "_FINER", finer)
        got = texture_from_views(plain(truth), images, cameras(near, 24), 256, trusted=0)
        seen = pictures(got, near, 96)[0, 36:60, 36:60, 0]
        off.append(float((seen - ramp[36:60]).square().mean().sqrt()))
    squares = 1 / 23 / 12**0.5
    assert off[0] < squares < 1.5 * squares < off[1]


def test_steps_follow_how_well_images_agree(ball: Mesh) -> None:
    """True images bear many; of images with noise of their own each step brings more of it."""
    poses = [Pose(e, a, 1.85) for e in (-25.0, 25.0) for a in range(0, 360, 45)]
    true = pictures(ball, poses)
    draw = torch.Generator().manual_seed(0)
    noisy = true.clone()
    noise = 0.3 * torch.randn(noisy[..., :3].shape, generator=draw)
    noisy[..., :3] = (noisy[..., :3] + noise).clamp(0.0, 1.0)
    fit, view_weights = ViewFit(steps=None), torch.ones(len(poses))
    found = []
    for images in (true, noisy):
        samples = sample_views(plain(ball), images, cameras(poses), 64, fit, "open3d")
        found.append(agreed_steps(samples, 64 * 64, fit, view_weights))
    assert found == [20, 0]
    few = sample_views(plain(ball), true[:3], cameras(poses[:3]), 64, fit, "open3d")
    assert agreed_steps(few, 64 * 64, fit, view_weights) == 4


def test_unseen_surface_is_filled_from_its_border() -> None:
    """Harmonic: nowhere beyond what is seen, and a single colour stays one all around."""

    def gray(points: torch.Tensor) -> torch.Tensor:
        return torch.full((len(points), 3), 0.4)

    truth = bake(sphere(), gray, 64)
    front = [Pose(0.0, a, 1.85) for a in (-30.0, 0.0, 30.0)]
    got = texture_from_views(plain(truth), pictures(truth, front), cameras(front), 64)
    assert (texture_of(got) - 0.4).abs().max() < 0.005
    truth = bake(sphere(), lambda p: (p[:, 2:] * 0.8 + 0.5).expand(-1, 3), 64)
    got = texture_from_views(plain(truth), pictures(truth, front), cameras(front), 64)
    # Seen from behind, the bands go on: light above, dark below, no step at the border.
    seen = pictures(got, [Pose(0.0, 180.0, 1.85)])[0, :, SIZE // 2, 0]
    inner = seen[14:50]
    assert (inner[1:] - inner[:-1]).max() < 0.02 and inner[0] - inner[-1] > 0.2


def strip(split: bool) -> Mesh:
    """A square of two halves, whose charts lie apart where it is split."""
    corners = torch.tensor([[0.0, 0.0], [0.5, 0.0], [1.0, 0.0], [0.0, 1.0], [0.5, 1.0], [1.0, 1.0]])
    faces = torch.tensor([[0, 1, 4], [0, 4, 3], [1, 2, 5], [1, 5, 4]])
    vertices = torch.cat([torch.zeros(6, 1), corners], 1)
    uv = corners[faces] * torch.tensor([0.8, 0.4]) + 0.05
    if split:
        # The right half lies above the left one.
        uv[2:] += torch.tensor([-0.4, 0.5])
    return Mesh(vertices, faces, uv=uv)


@pytest.mark.parametrize("split", [False, True])
def test_between_two_colours_unseen_texels_are_a_straight_ramp(
    split: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = strip(split)
    size = 40
    texels = locate(mesh.uv, size)  # pyright: ignore[reportArgumentType]
    near = texels.face_ids >= 0
    across = torch.zeros(size, size)
    across[near] = texels.points(mesh)[:, 1]
    seen = near & ((across < 0.05) | (across > 0.95))
    texture = torch.where(seen, across, 0.5).unsqueeze(-1)
    for largest in (filling._DIRECT, 0):  # at once, and in rounds as large textures are
        monkeypatch.setattr(filling, "_DIRECT", largest)
        got = inpaint(mesh, texels, texture, seen)[..., 0]
        assert torch.equal(got[seen], texture[seen][:, 0])
        assert (got - across)[texels.inside].abs().max() < 0.03
    assert charts(mesh).tolist() == ([0, 0, 1, 1] if split else [0, 0, 0, 0])


def test_a_part_that_no_picture_shows_takes_the_nearest_colour() -> None:
    squares = unwrap(joined(square(0.0), square(-0.5)), 64)
    assert squares.uv is not None
    texels = locate(squares.uv, 64)
    seen = (texels.face_ids >= 0) & (texels.face_ids < 2)
    z = torch.zeros(64, 64)
    z[texels.face_ids >= 0] = texels.points(squares)[:, 2]
    got = inpaint(squares, texels, torch.where(seen, z, 9.0).unsqueeze(-1), seen)[..., 0]
    behind = texels.face_ids >= 2
    assert (got - z)[behind].abs().max() < 0.03
    with pytest.raises(ValueError, match="seen: expected at least one texel with a face, got none"):
        inpaint(squares, texels, z.unsqueeze(-1), torch.zeros_like(seen))


def test_pixels_count_less_near_silhouettes_outer_and_inner() -> None:
    valid = torch.zeros(20, 20, dtype=torch.bool)
    valid[2:18, 2:18] = True
    depths = torch.full((20, 20, 2), 2.0)
    depths[:, 10:] = 1.0
    ones = torch.ones(20, 20)
    weights = edge_weights(valid, depths, ones, 20.0, 4.0)
    assert (weights[~valid] == 0.0).all()
    torch.testing.assert_close(weights[10, 2:6], torch.tensor([1.0, 4.0, 9.0, 16.0]) / 16.0)
    # On both sides of a step in depth pixels mix what is before with what is behind.
    assert weights[10, 9] == 0.0 and weights[10, 10] == 0.0
    # A plane seen at a cosine of 0.2 is as steep as this, and no step.
    slope = 2.0 + 0.4 * torch.arange(20)[None, :, None] + torch.tensor([0.0, 0.2])
    assert edge_weights(valid, slope.expand(20, 20, 2), 0.2 * ones, 80.0, 4.0)[10, 10] == 1.0
    assert edge_weights(valid, slope.expand(20, 20, 2), ones, 80.0, 4.0)[10, 10] == 0.0


def test_a_real_mesh_is_textured_from_pictures(shared_data: Path) -> None:
    mesh = load_mesh(shared_data / "meshes" / "spot.glb")
    poses = [Pose(e, a, 1.85) for e in (-20.0, 35.0) for a in range(0, 360, 60)]
    got = texture_from_views(
        replace(mesh, uv=None), pictures(mesh, poses, 96), cameras(poses, 96), 256
    )
    held_out = [Pose(10.0, 30.0, 1.85), Pose(60.0, 200.0, 1.85)]
    for truth, made in zip(pictures(mesh, held_out, 96), pictures(got, held_out, 96), strict=True):
        assert psnr(truth, made) > 28.0


def test_wrong_arguments_are_named(ball: Mesh) -> None:
    images, where = torch.zeros(2, 8, 8, 4), cameras(AROUND[:2], 8)
    with pytest.raises(ValueError, match=r"images: expected a shape \[V, S, S, 3 or 4\], got \[2,"):
        texture_from_views(ball, images[:, :4], where, 16)
    with pytest.raises(ValueError, match=r"images: expected floating numbers in \[0, 1\]"):
        texture_from_views(ball, images * float("nan"), where, 16)
    with pytest.raises(ValueError, match=r"cameras: expected one per image \(2\), got 1"):
        texture_from_views(ball, images, where[:1], 16)
    with pytest.raises(ValueError, match="cameras: expected size 8, as the images', got 9"):
        texture_from_views(ball, images, [where[0], Camera.at(AROUND[1], 9)], 16)
    with pytest.raises(ValueError, match="images: expected some that show the mesh, got none"):
        texture_from_views(ball, images, where, 16)
    for view_weights in (
        torch.ones(3),
        torch.tensor([1.0, 0.0]),
        torch.tensor([1.0, float("nan")]),
    ):
        with pytest.raises(
            ValueError, match="view_weights: expected 2 numbers above 0, one per image"
        ):
            texture_from_views(ball, images, where, 16, view_weights=view_weights)
    with pytest.raises(ValueError, match="robust: expected a number above 0, got 0"):
        ViewFit(robust=0)
    with pytest.raises(ValueError, match="supersample: expected at least 1, got 0"):
        ViewFit(supersample=0)
