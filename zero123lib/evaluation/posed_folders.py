"""Views of known cameras that may have no truth: found in folders, or made of a photo."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from zero123lib._choices import Consistency, Preprocess
from zero123lib._errors import ArgumentError
from zero123lib.datasets.samples import SampleError, read_pose
from zero123lib.diffusion.consistency import consistent_views
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.evaluation.folders import find_objects, find_views
from zero123lib.evaluation.predictions import Setting
from zero123lib.evaluation.protocols import Rig
from zero123lib.evaluation.self_consistency import LEAST_VIEWS
from zero123lib.reconstruction.given import find_world
from zero123lib.reconstruction.input_view import LEAST_DARKNESS
from zero123lib.reconstruction.posed import PosedViews
from zero123lib.views.cameras import FOV_DEG, camera_to_world, focal_px, pose_from_camera
from zero123lib.views.cutout import cut_out, has_meaningful_alpha
from zero123lib.views.errors import ImageError
from zero123lib.views.folder import PosedImage, read_views
from zero123lib.views.images import alpha_from_white
from zero123lib.views.listings import LISTINGS
from zero123lib.views.loading import load_image
from zero123lib.views.poses import Pose, RelativePose, absolute_poses
from zero123lib.views.squaring import squared, squared_about_object
from zero123lib.views.transforms import Pinhole

# Views are fitted and compared at this size, or at their own if that is less.
SIZE_PX = 128
_READ_PX = 1024
_SAME_ANGLE_DEG = 1e-3
_WHITE = 250  # a level of 8 bits; along an opaque image's border it is the background


@dataclass(frozen=True, eq=False)
class Subject:
    """An object whose views are measured.

    Attributes:
        name: of the object.
        names: of its views, in order.
        views: what is measured.
        input: the image that the views were made of, or the first of them, ``[S, S, 4]``.
        truth: true views of the same cameras; None where there are none.
    """

    name: str
    names: Sequence[str]
    views: PosedViews
    input: Tensor
    truth: PosedViews | None = None


def find_subjects(place: Path, objects: Collection[str] | None = None) -> dict[str, Path]:
    """Name the folders of objects with views; a folder that holds views is one object.

    Args:
        objects: names of those that count; None takes all.

    Raises:
        ArgumentError: there is none, or one of those asked for is missing.
    """
    if not place.is_dir():
        raise ArgumentError("predictions", "a folder of views, or of objects", repr(str(place)))
    if is_listed(place):
        found = {place.resolve().name: place}
    else:
        folders = sorted(one for one in place.iterdir() if one.is_dir() and one.name[0] != ".")
        listed = {one.name: one for one in folders if is_listed(one)}
        found = listed or find_objects(place, "predictions")
    if not found:
        raise ArgumentError("predictions", "a folder of views, or of objects", repr(str(place)))
    if objects is not None and (unknown := sorted(set(objects) - set(found))):
        raise ArgumentError("objects", f"some of {', '.join(found)}", unknown[0])
    return {name: one for name, one in found.items() if objects is None or name in objects}


def is_listed(folder: Path) -> bool:
    """Tell whether a folder lists its cameras in a transforms.json."""
    return any((folder / name).is_file() for name in LISTINGS)


def stored_subject(
    name: str,
    folder: Path,
    truth: Path | None = None,
    rig: Rig | None = None,
    size: int = SIZE_PX,
) -> Subject:
    """Read the views of an object.

    Their cameras are those of a transforms.json beside them, else of 000.npy, ... beside them or
    beside the true views, else the rig's. Opaque views with a white border are on white; others are
    cut out.

    Args:
        truth: folder of true views by the same names; None compares with none.
        rig: cameras, where no file says them.
        size: pixels of the views' sides at most.

    Raises:
        ArgumentError: there are too few views, or one cannot be read or has no camera.
        ImageError: nothing stands out from an image's background.
    """
    images = _posed(folder, truth, rig)
    if len(images) < LEAST_VIEWS:
        got = f"{len(images)} in {str(folder)!r}"
        raise ArgumentError("predictions", f"at least {LEAST_VIEWS} views", got)
    names = [Path(one.name).stem for one in images]
    views = posed_views(images, min(size, max(max(one.image.size) for one in images)))
    true = None
    if truth is not None:
        there = find_views(truth, "truth")
        if missing := next((one for one in names if one not in there), None):
            raise ArgumentError("truth", f"a view {missing} in {str(truth)!r}", "none")
        theirs = [_resized(there[n], one) for n, one in zip(names, images, strict=True)]
        true = posed_views(theirs, views.images.shape[1])
    return Subject(name, names, views, views.images[0], true)


def posed_views(images: Sequence[PosedImage], size: int) -> PosedViews:
    """Bring images to one size and field of view, about the origin.

    Cameras that look at the origin are taken as they are; others are moved to where the silhouettes
    meet.

    Args:
        size: pixels of their sides.
    """
    clear = [_with_alpha(one) for one in images]
    cameras = torch.stack([one.camera_to_world for one in clear])
    weights = torch.ones(len(clear))
    if all(_looks_at_origin(camera) for camera in cameras):
        pixels, angles = squared(clear, size)
        if max(angles) - min(angles) <= _SAME_ANGLE_DEG:
            return PosedViews(pixels, cameras, angles[0], weights)
    pixels, fov_deg = squared_about_object(clear, size)
    world = find_world(pixels[..., 3], cameras, fov_deg)
    return PosedViews(pixels, world.cameras_from(cameras), fov_deg, weights, world=world)


def rig_views(files: Mapping[str, Path], rig: Rig, size: int = SIZE_PX) -> PosedViews:
    """Read a rig's views, whose focal length it says.

    Args:
        files: by the views' names, in the rig's order.
        size: pixels of the views' sides at most.

    Raises:
        ArgumentError: one cannot be read, or is not square.
    """
    fov_deg = _fov_deg(rig)
    images = [
        _image(name, file, pose, fov_deg)
        for (name, file), pose in zip(files.items(), rig.poses, strict=True)
    ]
    return posed_views(images, min(size, rig.size_px))


def made_subject(
    name: str,
    image: Any,
    pipe: Zero123Pipeline,
    setting: Setting,
    poses: Sequence[RelativePose],
    source: Pose,
    *,
    consistency: Consistency = "none",
    preprocess: Preprocess = "auto",
    foreground_ratio: float | None = None,
    input_elevation_deg: float | None = None,
    size: int = SIZE_PX,
) -> Subject:
    """Make a model's views of a photo.

    Args:
        image: whatever the pipeline takes.
        poses: of the views, along their path, relative to the photo's.
        source: the photo's camera.
        consistency: see :mod:`zero123lib.diffusion.consistency`.
        preprocess, foreground_ratio: as the pipeline takes them.
        input_elevation_deg: what the model is told of the photo's elevation, where it asks.
        size: pixels of the views' sides at most.
    """
    prepared = pipe.prepare(image, preprocess, foreground_ratio)
    made = consistent_views(
        pipe,
        pipe.encode(prepared),
        poses,
        consistency,
        num_inference_steps=setting.steps,
        guidance_scale=setting.guidance,
        sampler=setting.sampler,
        generator=torch.Generator().manual_seed(setting.seed),
        condition_elevation_deg=input_elevation_deg,
    )
    pipe.maybe_free_model_hooks()
    cameras = camera_to_world(absolute_poses(source, poses))
    on_white = torch.cat([prepared.tensor[None], made.cpu()]) / 2 + 0.5
    side = min(size, on_white.shape[-1])
    rgba = alpha_from_white(functional.interpolate(on_white, (side, side), mode="area"),
                            LEAST_DARKNESS)  # fmt: skip
    views = PosedViews(rgba[1:], cameras, FOV_DEG, torch.ones(len(made)))
    return Subject(name, [f"{k:03d}" for k in range(len(made))], views, rgba[0])


def _posed(folder: Path, truth: Path | None, rig: Rig | None) -> list[PosedImage]:
    if is_listed(folder):
        return read_views(folder, _READ_PX)
    files = find_views(folder, "predictions")
    places = [folder] if truth is None else [folder, truth]
    cameras = {
        name: file
        for place in reversed(places)
        for name in files
        if (file := place / f"{name}.npy").is_file()
    }
    if cameras and (missing := next((name for name in files if name not in cameras), None)):
        expected = f"a camera {missing}.npy beside the others"
        raise ArgumentError("predictions", expected, f"none in {str(folder)!r}")
    if cameras:
        poses, fov_deg = [_camera(cameras[name]) for name in files], FOV_DEG
    elif rig is not None:
        if len(files) != len(rig.poses):
            got = f"{len(files)} in {str(folder)!r}"
            raise ArgumentError("predictions", f"the rig's {len(rig.poses)} views", got)
        poses, fov_deg = list(rig.poses), _fov_deg(rig)
    else:
        expected = "a transforms.json or 000.npy, ... beside the views, or --rig"
        raise ArgumentError("predictions", expected, f"none in {str(folder)!r}")
    return [
        _image(name, file, pose, fov_deg)
        for (name, file), pose in zip(files.items(), poses, strict=True)
    ]


def _image(name: str, file: Path, pose: Pose, fov_deg: float) -> PosedImage:
    image = _read(file, "predictions")
    if image.width != image.height:
        got = f"{image.width} x {image.height} in {str(file)!r}"
        raise ArgumentError("predictions", "square views", got)
    focal, middle = focal_px(image.width, fov_deg), image.width / 2
    pinhole = Pinhole(image.width, image.height, focal, focal, middle, middle)
    return PosedImage(name, image, camera_to_world(pose), pinhole)


def _read(file: Path, argument: str) -> Image.Image:
    try:
        return load_image(file).convert("RGBA")
    except ImageError as error:
        raise ArgumentError(argument, "images that can be read", str(error)) from error


def _resized(file: Path, like: PosedImage) -> PosedImage:
    """Read a true view of a camera that is told for another size."""
    image = _read(file, "truth")
    if image.size != like.image.size:
        image = image.resize(like.image.size, Image.Resampling.BICUBIC)
    return replace(like, image=image)


def _camera(file: Path) -> Pose:
    try:
        return read_pose(file.read_bytes())
    except SampleError as error:
        raise ArgumentError("predictions", "cameras", f"{str(file)!r} ({error})") from error


def _fov_deg(rig: Rig) -> float:
    if rig.focal_px is None:
        return FOV_DEG
    return float(np.degrees(2 * np.arctan(rig.size_px / 2 / rig.focal_px)))


def _looks_at_origin(camera: Tensor) -> bool:
    try:
        pose_from_camera(camera)
    except ValueError:
        return False
    return True


def _with_alpha(posed: PosedImage) -> PosedImage:
    image = posed.image
    if has_meaningful_alpha(image):
        return posed
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    if (pixels[..., 3] == 255).all() and (border[:, :3] >= _WHITE).all():
        rgb = torch.from_numpy(pixels[..., :3].astype(np.float32) / 255).movedim(-1, 0)
        rgba = (alpha_from_white(rgb, LEAST_DARKNESS) * 255).round().to(torch.uint8)
        return replace(posed, image=Image.fromarray(rgba.numpy()))
    try:
        return replace(posed, image=cut_out(image).image)
    except ImageError as error:
        raise error.within(posed.name) from error
