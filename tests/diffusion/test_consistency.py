"""Several images at once, and views that agree: closed forms, and where they are the plain path."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.several import distances_deg, relative_to, view_weights
from zero123lib.views.poses import Pose, RelativePose, orbit

MakePipeline = Callable[..., Zero123Pipeline]

CPU = torch.device("cpu")
HERE = RelativePose()
INPUTS = [HERE, RelativePose(10, 90, 0.1), RelativePose(-5, -120, 0)]
POSES = [RelativePose(0, 30, 0), RelativePose(20, 170, 0.1)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(pipe: Zero123Pipeline, count: int) -> list[Tensor]:
    size = pipe.image_size
    return [torch.rand(3, size, size, generator=seeded(i)) * 2 - 1 for i in range(count)]


def latents_of(pipe: Any, image: Any, poses: list[RelativePose], **arguments: Any) -> Tensor:
    arguments = {"num_inference_steps": 3, "generator": seeded(), **arguments}
    return pipe(image, poses, output_type="latent", **arguments).images


def test_weights_sum_to_one_and_the_nearer_image_counts_more() -> None:
    weights = view_weights(INPUTS, POSES)
    torch.testing.assert_close(weights.sum(1), torch.ones(2).double())
    away = distances_deg(INPUTS, POSES)
    assert torch.equal(weights.argsort(1, descending=True), away.argsort(1))
    # The softmax's closed form, of two images.
    two = view_weights(INPUTS[:2], POSES[:1], temperature_deg=25.0)[0]
    expected = 1 / (1 + math.exp(-float(away[0, 1] - away[0, 0]) / 25.0))
    assert float(two[0]) == pytest.approx(expected)


def test_weights_at_the_ends_of_the_temperature() -> None:
    alike = torch.full((2, 3), 1 / 3, dtype=torch.float64)
    assert torch.equal(view_weights(INPUTS, POSES, math.inf), alike)
    nearest = view_weights(INPUTS, POSES, 1e-3)
    torch.testing.assert_close(nearest.amax(1), torch.ones(2).double())


def test_a_handicap_is_a_distance() -> None:
    there = RelativePose(azimuth_deg=40)
    two = [HERE, RelativePose(azimuth_deg=60)]  # 40 and 20 degrees away
    assert view_weights(two, [there], handicaps_deg=[0, 20])[0].tolist() == pytest.approx([0.5] * 2)


def test_distances_are_angles_of_directions() -> None:
    poses = [RelativePose(azimuth_deg=190), RelativePose(elevation_deg=35), RelativePose(90, 45)]
    assert distances_deg([HERE], poses)[:, 0].tolist() == pytest.approx([170, 35, 90])


def test_relative_cameras_add_up() -> None:
    origin, pose = INPUTS[1], POSES[1]
    found = relative_to(pose, origin)
    assert (found.elevation_deg, found.azimuth_deg) == pytest.approx((10, 80))
    assert relative_to(pose, HERE) == pose


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_one_image_is_the_plain_path_to_the_bit(
    make_pipeline: MakePipeline, guidance_scale: float
) -> None:
    pipe = make_pipeline()
    (image,) = images(pipe, 1)
    plain = latents_of(pipe, image, POSES, guidance_scale=guidance_scale)
    listed = latents_of(pipe, [image], POSES, input_poses=[HERE], guidance_scale=guidance_scale)
    assert torch.equal(plain, listed)


def test_one_image_several_times_at_one_camera_is_that_image(make_pipeline: MakePipeline) -> None:
    pipe = make_pipeline()
    (image,) = images(pipe, 1)
    plain = latents_of(pipe, image, POSES)
    thrice = latents_of(pipe, [image] * 3, POSES, input_poses=[HERE] * 3)
    torch.testing.assert_close(plain, thrice, rtol=1e-4, atol=1e-4)


def test_all_the_weight_on_one_image_is_that_image_alone(make_pipeline: MakePipeline) -> None:
    """The second image's cameras are then what they are relative to it."""
    pipe = make_pipeline()
    one, other = images(pipe, 2)
    conditions = [pipe.encode(pipe.prepare(image)) for image in (one, other)]
    settings: dict[str, Any] = {"num_inference_steps": 2}
    both = pipe.views(
        conditions,
        POSES,
        input_poses=INPUTS[:2],
        input_weights=torch.tensor([[0.0, 1.0]] * 2),
        generator=seeded(),
        **settings,
    )
    from_there = [relative_to(pose, INPUTS[1]) for pose in POSES]
    alone = pipe.views(conditions[1], from_there, generator=seeded(), **settings)
    torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("input_poses", "got"),
    [(None, "none"), ([HERE], "1"), ([RelativePose(1, 0, 0), HERE], "RelativePose")],
)
def test_cameras_of_several_images_are_asked_for(
    make_pipeline: MakePipeline, input_poses: Any, got: str
) -> None:
    pipe = make_pipeline()
    with pytest.raises(ArgumentError, match=f"input_poses: expected one per image.*got {got}"):
        latents_of(pipe, images(pipe, 2), POSES, input_poses=input_poses)


def test_a_camera_that_is_no_relative_pose_is_refused(make_pipeline: MakePipeline) -> None:
    pipe = make_pipeline()
    placed: Any = [HERE, Pose(0, 90)]
    with pytest.raises(ArgumentError, match="input_poses: expected a list of RelativePose, got"):
        latents_of(pipe, images(pipe, 2), POSES, input_poses=placed)


def test_a_bad_one_of_several_images_is_named_by_its_place(make_pipeline: MakePipeline) -> None:
    pipe = make_pipeline()
    wrong = [images(pipe, 1)[0], torch.zeros(3, 5, 7)]
    with pytest.raises(ArgumentError, match=r"^image\[1\]: expected"):
        latents_of(pipe, wrong, POSES, input_poses=INPUTS[:2])


def test_weights_of_another_shape_or_sum_are_refused(make_pipeline: MakePipeline) -> None:
    pipe = make_pipeline()
    condition = pipe.encode(pipe.prepare(images(pipe, 1)[0]))
    listed: Any = [[1.0], [1.0]]
    for wrong in (torch.ones(2, 2), torch.full((2, 1), 0.5), torch.tensor([[2.0], [1.0]]), listed):
        with pytest.raises(ArgumentError, match="input_weights"):
            pipe.sample(condition, POSES, input_weights=wrong)


@pytest.mark.parametrize("wrong", [None, torch.zeros(3), [torch.zeros(3)]])
def test_what_is_no_condition_is_refused(make_pipeline: MakePipeline, wrong: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^condition: expected what encode\(\) returns"):
        make_pipeline().sample(wrong, POSES)


@pytest.mark.parametrize("count", [0, 2.5, "4"])
def test_no_such_number_of_views_is_refused(make_pipeline: MakePipeline, count: Any) -> None:
    with pytest.raises(ArgumentError, match="^count: expected a whole number of at least 1"):
        orbit_of(make_pipeline(), "none", count)


def test_no_image_is_refused(make_pipeline: MakePipeline) -> None:
    with pytest.raises(ArgumentError, match="image: expected at least one"):
        latents_of(make_pipeline(), [], POSES)


@pytest.mark.parametrize(("guidance_scale", "rows"), [(1.0, 4), (3.0, 6), (0.0, 2)])
def test_without_any_image_the_model_is_asked_once_for_all(
    make_pipeline: MakePipeline, guidance_scale: float, rows: int
) -> None:
    """Two views of two images: four rows with an image; without one, two and no more."""
    pipe, seen = make_pipeline(), []
    pipe.unet.register_forward_pre_hook(lambda module, arguments: seen.append(len(arguments[0])))
    settings = {"guidance_scale": guidance_scale, "num_inference_steps": 1}
    made = latents_of(pipe, images(pipe, 2), POSES, input_poses=INPUTS[:2], **settings)
    assert sum(seen) == rows
    # What each image alone would have the sampler go on with, mixed by the weights.
    mixed = torch.zeros_like(made)
    for place, image in enumerate(images(pipe, 2)):
        from_there = [relative_to(pose, INPUTS[place]) for pose in POSES]
        shares = view_weights(INPUTS[:2], POSES)[:, place].float()[:, None, None, None]
        mixed += shares * latents_of(pipe, image, from_there, **settings)
    torch.testing.assert_close(made, mixed, rtol=1e-4, atol=1e-4)


def test_each_of_several_images_is_looked_at_for_the_notice(
    make_pipeline: MakePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe: Any = make_pipeline()
    one, other = images(pipe, 2)

    def notice(prepared: Any) -> str | None:
        return "strange" if torch.equal(prepared.tensor, other) else None

    monkeypatch.setattr(pipe, "notice", notice)
    assert pipe(one, POSES, num_inference_steps=1).notice is None
    both = {"input_poses": INPUTS[:2], "num_inference_steps": 1}
    assert pipe([one, other], POSES, **both).notice == "strange"
    assert pipe.orbit([one, other], 2, **both).notice == "strange"


@pytest.mark.parametrize("consistency", ["none", "viewfusion", "mutual"])
def test_an_orbit_of_several_images_is_of_all_of_them(
    make_pipeline: MakePipeline, consistency: Any
) -> None:
    """The first view is at the first image's camera; nothing is made before it."""
    pipe, settings = make_pipeline(), {"num_inference_steps": 1, "output_type": "pt"}
    both = {"input_poses": INPUTS[:2], "consistency": consistency, **settings}
    made: Any = pipe.orbit(images(pipe, 2), 2, generator=seeded(), **both)
    alone: Any = pipe.orbit(
        images(pipe, 1)[0], 2, consistency=consistency, generator=seeded(), **settings
    )
    assert float((made.images - alone.images).abs().amax((1, 2, 3)).min()) > 1e-5
    plain: Any = pipe(
        images(pipe, 2), orbit(2), input_poses=INPUTS[:2], generator=seeded(), **settings
    )
    if consistency != "mutual":
        torch.testing.assert_close(made.images[0], plain.images[0], rtol=1e-4, atol=1e-4)


def orbit_of(pipe: Zero123Pipeline, consistency: Any, count: int = 4, **options: Any) -> Tensor:
    settings = {"num_inference_steps": 2, "generator": seeded(), **options}
    made = pipe.orbit(
        images(pipe, 1)[0], count, consistency=consistency, output_type="pt", **settings
    )
    assert isinstance(made.images, Tensor)
    return made.images


def test_an_orbit_without_consistency_is_the_plain_call(make_pipeline: MakePipeline) -> None:
    pipe = make_pipeline()
    plain: Any = pipe(
        images(pipe, 1)[0],
        orbit(4),
        num_inference_steps=2,
        generator=seeded(),
        output_type="pt",
    )
    assert torch.equal(orbit_of(pipe, "none"), plain.images)


def test_viewfusion_begins_with_the_photo_alone(make_pipeline: MakePipeline) -> None:
    """The first view has nothing before it; the others see what was made, and differ."""
    pipe = make_pipeline()
    plain, fused = orbit_of(pipe, "none"), orbit_of(pipe, "viewfusion")
    torch.testing.assert_close(fused[0], plain[0], rtol=1e-4, atol=1e-4)
    assert all(float((fused[i] - plain[i]).abs().max()) > 1e-4 for i in (1, 2, 3))


def test_mutual_attention_leaves_the_pipeline_as_it_is(make_pipeline: MakePipeline) -> None:
    pipe = make_pipeline()
    before = orbit_of(pipe, "none")
    mutual = orbit_of(pipe, "mutual")
    assert torch.equal(orbit_of(pipe, "none"), before)
    assert float((mutual - before).abs().max()) > 1e-4


OFFLOADS: dict[str, Callable[[Any], Any]] = {
    "model": lambda pipe: pipe.enable_model_cpu_offload(device="cpu"),
    "sequential": lambda pipe: pipe.enable_sequential_cpu_offload(device="cpu"),
    "leaves": lambda pipe: pipe.enable_group_offload(CPU, offload_type="leaf_level"),
    "blocks": lambda pipe: pipe.enable_group_offload(
        CPU, offload_type="block_level", num_blocks_per_group=1
    ),
}


@pytest.mark.usefixtures("cpu_as_accelerator")
@pytest.mark.parametrize("offload", OFFLOADS)
@pytest.mark.parametrize("consistency", ["viewfusion", "mutual"])
def test_offloaded_models_make_the_same_views_that_agree(
    make_pipeline: MakePipeline, consistency: str, offload: str
) -> None:
    expected, pipe = orbit_of(make_pipeline(), consistency, 2), make_pipeline()
    OFFLOADS[offload](pipe)
    torch.testing.assert_close(orbit_of(pipe, consistency, 2), expected, rtol=1e-4, atol=1e-4)


def test_mutual_attention_at_the_photos_own_camera_and_noise_changes_nothing(
    make_pipeline: MakePipeline,
) -> None:
    """Keys and values that are there twice leave the softmax's mean where it is; at pure noise the
    photo's own row is the view's."""
    pipe = make_pipeline()
    assert float(pipe.scheduler.alphas_cumprod[-1]) == pytest.approx(0, abs=1e-6)
    options = {"num_inference_steps": 1, "guidance_scale": 1.0}
    plain, mutual = (orbit_of(pipe, one, 1, **options) for one in ("none", "mutual"))
    torch.testing.assert_close(mutual, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("consistency", ["viewfusion", "mutual"])
def test_batches_do_not_change_views_that_agree(
    make_pipeline: MakePipeline, consistency: str
) -> None:
    pipe = make_pipeline()
    whole, parts = (orbit_of(pipe, consistency, max_batch_size=size) for size in (8, 2))
    torch.testing.assert_close(whole, parts, rtol=1e-3, atol=1e-3)


def test_another_word_is_refused(make_pipeline: MakePipeline) -> None:
    with pytest.raises(ArgumentError, match="consistency: expected one of 'none', 'viewfusion'"):
        orbit_of(make_pipeline(), "agree")
