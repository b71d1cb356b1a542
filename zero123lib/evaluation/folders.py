"""Folders of objects, their views and meshes: finding truth and prediction, and reading them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.datasets.samples import SampleError, read_pose
from zero123lib.evaluation.protocols import Protocol, Reading
from zero123lib.lpips import TRUNKS
from zero123lib.views.loading import FORMATS, SUFFIXES
from zero123lib.views.poses import Pose

_MODES = ("RGB", "RGBA")


@dataclass(frozen=True)
class ViewPair:
    """Files of one view.

    Attributes:
        name: of the view, its number in most layouts.
        prediction, truth: the files.
    """

    name: str
    prediction: Path
    truth: Path


@dataclass(frozen=True)
class ObjectPair:
    """Files of one object's views.

    Attributes:
        name: of the object.
        views: that count.
        input: the true view that a model is given; None where it is the first that counts, or where
            the truth does not have it.
        cameras: of the views: the protocol's, or those beside the true views of all objects; none
            where they are not known, or an object has one view alone.
    """

    name: str
    views: tuple[ViewPair, ...]
    input: Path | None = None
    cameras: tuple[Pose, ...] = ()


def find_pairs(
    protocol: Protocol,
    predictions: Path,
    truth: Path,
    objects: Collection[str] | None = None,
    rendered: Mapping[str, Path] | None = None,
) -> list[ObjectPair]:
    """Find what a protocol compares.

    Args:
        predictions, truth: a folder of objects, each a folder of views; or the views of one object.
        objects: names of those that count; None takes all of the truth's.
        rendered: folders of true views that the truth lacks, by their objects' names.

    Raises:
        ArgumentError: there is no truth, or an object or a view of it was not predicted.
    """
    for name, folder in (("predictions", predictions), ("truth", truth)):
        if not folder.is_dir():
            raise ArgumentError(name, "a folder of objects", repr(str(folder)))
    true = find_truth(truth, objects, rendered)
    made = {name: predictions / name for name in true}
    if len(made) == 1 and find_views(predictions, "predictions"):
        # They may be of one object without its folder.
        made = {name: there if there.is_dir() else predictions for name, there in made.items()}
    pairs = [_pair(protocol, name, made[name], one) for name, one in true.items()]
    if all(len(one.cameras) > 1 for one in pairs):
        return pairs
    return [replace(one, cameras=()) for one in pairs]


@dataclass(frozen=True)
class TrueViews:
    """The true views of an object.

    Attributes:
        folder: of the truth.
        files: by the views' names, those among them that were rendered in place of missing ones.
    """

    folder: Path
    files: Mapping[str, Path]

    def named(self, stem: str) -> Path:
        """Return a view's file.

        Raises:
            ArgumentError: there is none.
        """
        return _named(self.folder, "truth", self.files, stem)


def find_truth(
    truth: Path,
    objects: Collection[str] | None = None,
    rendered: Mapping[str, Path] | None = None,
) -> dict[str, TrueViews]:
    """Map objects to their true views, see :func:`find_pairs`.

    Raises:
        ArgumentError: there is none, or one of those asked for is missing.
    """
    there = find_objects(truth, "truth")
    found = {name: TrueViews(one, find_views(one, "truth")) for name, one in there.items()}
    for name, folder in (rendered or {}).items():
        known = found.get(name, TrueViews(truth / name, {}))
        files = {**find_views(folder, "truth"), **known.files}
        found[name] = TrueViews(
            known.folder, {one: files[one] for one in sorted(files, key=_counted)}
        )
    if not found:
        raise ArgumentError("truth", "a folder of objects with views", f"none in {str(truth)!r}")
    if objects is not None and (unknown := sorted(set(objects) - set(found))):
        raise ArgumentError("objects", f"some of {', '.join(sorted(found))}", unknown[0])
    names = sorted(found) if rendered else list(found)
    return {name: found[name] for name in names if objects is None or name in objects}


def find_objects(place: Path, argument: str) -> dict[str, Path]:
    """Name the objects' folders; where there are none, one that holds views is one object.

    Errors are those of :func:`find_views`.
    """
    folders = sorted(one for one in place.iterdir() if one.is_dir() and one.name[0] != ".")
    objects = {one.name: one for one in folders if find_views(one, argument)}
    if not objects and find_views(place, argument):
        return {place.resolve().name: place}
    return objects


def find_views(folder: Path, argument: str) -> dict[str, Path]:
    """Map names to a folder's images: those named by numbers, else all, so that no depth is one.

    They are in the order of the numbers in their names: 2 before 10.

    Args:
        argument: that the folder is of, for complaints.

    Raises:
        ArgumentError: two of them have one name.
    """
    if not folder.is_dir():
        return {}
    there = (one for one in folder.iterdir() if one.name[0] != ".")
    files = [one for one in there if one.suffix.lower() in SUFFIXES]
    numbers = [one for one in files if one.stem.isdecimal()]
    found: dict[str, Path] = {}
    for file in sorted(numbers or files, key=lambda one: (_counted(one.stem), one.suffix)):
        if (other := found.setdefault(file.stem, file)) is not file:
            got = f"{other.name} and {file.name} in {str(folder)!r}"
            raise ArgumentError(argument, "one image of each view", got)
    return found


def _counted(name: str) -> list[tuple[int, str]]:
    """Order names as people count: the numbers in them by their size."""
    parts = re.split(r"(\d+)", name)
    return [(int(one), one) if one.isdecimal() else (-1, one) for one in parts]


def _pair(protocol: Protocol, name: str, predictions: Path, truth: TrueViews) -> ObjectPair:
    made, true = find_views(predictions, "predictions"), truth.files
    if protocol.views is not None:
        true = {stem: truth.named(stem) for stem in (f"{n:03d}" for n in protocol.views)}
    pairs = [
        ViewPair(stem, _named(predictions, "predictions", made, stem), file)
        for stem, file in true.items()
    ]
    given = None
    if protocol.views is not None and protocol.input_view not in [one.name for one in pairs]:
        given = truth.files.get(protocol.input_view or "")
    return ObjectPair(name, tuple(pairs), given, _cameras(protocol, pairs))


def _cameras(protocol: Protocol, views: Sequence[ViewPair]) -> tuple[Pose, ...]:
    """Give the cameras of a rig, or those beside the true views; none where one is not usable."""
    if protocol.rig is not None:
        return tuple(protocol.rig.poses[int(one.name)] for one in views)
    try:
        return tuple(read_pose(one.truth.with_suffix(".npy").read_bytes()) for one in views)
    except (OSError, SampleError):
        return ()  # which the report says, where it lacks what takes cameras


def _named(folder: Path, argument: str, views: Mapping[str, Path], stem: str) -> Path:
    if stem not in views:
        there = f"{len(views)} others" if views else "no view at all"
        raise ArgumentError(argument, f"a view {stem} in {str(folder)!r}", there)
    return views[stem]


def read_views(protocol: Protocol, pair: ObjectPair) -> tuple[Tensor, Tensor]:
    """Read an object's views as the protocol does.

    Returns:
        Predictions and truths, each ``[V, 3, H, W]`` in [0, 1], float32.

    Raises:
        ArgumentError: a file is no image of the size and kind that the protocol takes.
    """
    true = [_read(view.truth, "truth", protocol.truth) for view in pair.views]
    size = true[0].shape[:2] if protocol.size_px is None else (protocol.size_px,) * 2
    made = [_read(view.prediction, "predictions", protocol.prediction) for view in pair.views]
    least = 0 if protocol.lpips is None else TRUNKS[protocol.lpips].least_side_px
    if min(size) < least:
        expected = f"images of at least {least} px a side, which LPIPS needs"
        got = f"{size[1]} x {size[0]} in {str(pair.views[0].truth)!r}"
        raise ArgumentError("truth", expected, got)
    for view, image in zip(pair.views, true, strict=True):
        _check_size(protocol, "truth", image, size, view.truth)
    for view, image in zip(pair.views, made, strict=True):
        _check_size(protocol, "predictions", image, size, view.prediction)
    return _stack(made), _stack(true)


def read_input(protocol: Protocol, pair: ObjectPair, true: Tensor) -> Tensor:
    """Read the input of an object as the truth is read, ``[1, 3, H, W]`` in [0, 1].

    Args:
        true: the true views, of which it is the first where the pair names no other.

    Raises:
        ArgumentError: the file is no image of the size and kind that the protocol takes.
    """
    if pair.input is None:
        return true[:1]
    image = _read(pair.input, "truth", protocol.truth)
    _check_size(protocol, "truth", image, tuple(true.shape[-2:]), pair.input)
    return _stack([image])


def _check_size(
    protocol: Protocol, argument: str, image: np.ndarray, size: tuple[int, ...], file: Path
) -> None:
    if image.shape[:2] != size:
        raise ArgumentError(
            argument,
            f"{size[1]} x {size[0]} px, {protocol.name} does not resize",
            f"{image.shape[1]} x {image.shape[0]} in {str(file)!r}",
        )


def _stack(images: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def _read(file: Path, argument: str, reading: Reading) -> np.ndarray:
    """Read an image ``[H, W, 3]`` in [0, 1], float32."""
    try:
        with Image.open(file, formats=FORMATS) as opened:
            opened.load()
            mode = opened.mode
            if mode in ("P", "L", "LA", "1"):
                clear = mode == "LA" or "transparency" in opened.info
                opened = opened.convert("RGBA" if clear else "RGB")
            pixels = np.asarray(opened) if opened.mode in _MODES else None
    except Exception as error:  # damaged files meet Pillow with errors of any type
        reason = " ".join(str(error).split())
        raise ArgumentError(argument, "images", f"{str(file)!r} ({reason})") from error
    if pixels is None:
        expected = "images of 8 bits, RGB or RGBA"
        raise ArgumentError(argument, expected, f"mode {mode} in {str(file)!r}")
    if reading.needs_alpha and pixels.shape[2] != 4:
        expected = "images with alpha, which the protocol needs"
        raise ArgumentError(argument, expected, f"none in {str(file)!r}")
    return _numbers(pixels, reading)


def _numbers(pixels: np.ndarray, reading: Reading) -> np.ndarray:
    """Turn 8 bits ``[H, W, 3 or 4]`` into numbers in [0, 1]."""
    rgb, alpha = pixels[..., :3], pixels[..., 3:] if pixels.shape[2] == 4 else None
    if alpha is not None and reading.alpha == "composite":
        share = alpha.astype(np.float32) / 255
        return rgb.astype(np.float32) / 255 * share + (1 - share)
    if alpha is not None and reading.alpha in ("clear", "half"):
        rgb = np.where(alpha < (1 if reading.alpha == "clear" else 128), np.uint8(255), rgb)
    if reading.side_px is not None and rgb.shape[:2] != (reading.side_px,) * 2:
        side = (reading.side_px, reading.side_px)
        rgb = np.asarray(Image.fromarray(rgb).resize(side, Image.Resampling.BICUBIC))
    return rgb.astype(np.float32) / 255
