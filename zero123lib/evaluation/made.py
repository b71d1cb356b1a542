"""A model's predictions for a protocol, as the folder that the protocol then scores like any other.

Each object's input view goes to the model whole, on white, neither cut out nor framed anew; its
views are resized to the protocol's images, by Pillow's bicubic filter. An object's folder appears
complete, so that an interrupted run goes on with the next one.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from zero123lib._errors import ArgumentError
from zero123lib._files import clear_scratch, held_folder, new_folder, write_bytes, write_json
from zero123lib.datasets.samples import SampleError, image_tensor, read_image, read_pose
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.evaluation.folders import TrueViews, find_objects, find_truth, find_views
from zero123lib.evaluation.mesh_images import mesh_images
from zero123lib.evaluation.predictions import Setting, predicted_views
from zero123lib.evaluation.protocols import SYNC_RIG, Protocol
from zero123lib.evaluation.sync_meshes import FOV_DEG, find_true_meshes, true_mesh
from zero123lib.evaluation.weights import weights_fingerprint
from zero123lib.meshes.mesh import Camera
from zero123lib.views.eight_bits import to_uint8
from zero123lib.views.folder import png
from zero123lib.views.images import to_pils
from zero123lib.views.poses import Pose

RECORD = "made.json"


@dataclass(frozen=True)
class Asked:
    """What a model is asked about one object.

    Attributes:
        name: of the object.
        views: names of all its true views.
        image: the input's file.
        source: its camera.
        poses: of all true views.
    """

    name: str
    views: tuple[str, ...]
    image: Path
    source: Pose
    poses: tuple[Pose, ...]


def find_asked(
    protocol: Protocol,
    truth: Path,
    objects: Collection[str] | None = None,
    rendered: Mapping[str, Path] | None = None,
) -> list[Asked]:
    """Find what a protocol asks a model: cameras of its rig, or those beside the true views.

    Args:
        truth: a folder of objects, each of images ``000.png``, ... and, where the protocol does not
            say the cameras, ``000.npy``, ...: 3x4 world-to-camera matrices, as the official
            renderings have them.
        objects: names of those that count; None takes all.
        rendered: folders of true views that the truth lacks, by their objects' names.

    Raises:
        ArgumentError: the protocol's truth does not hold the input, or a file is missing.
    """
    if protocol.input_view is None:
        expected = "a protocol whose truth holds the input view"
        raise ArgumentError("model", expected, f"{protocol.name}, whose inputs lie elsewhere")
    if not truth.is_dir():
        raise ArgumentError("truth", "a folder of objects with views", repr(str(truth)))
    found = find_truth(truth, objects, rendered)
    return [_asked(protocol, name, one) for name, one in found.items()]


def _asked(protocol: Protocol, name: str, truth: TrueViews) -> Asked:
    files, first = truth.files, protocol.input_view or ""
    names = list(files) if protocol.views is None else [f"{n:03d}" for n in protocol.views]
    first = first if first in files else names[0] if protocol.views is None else first
    for one in (first, *names):
        truth.named(one)
    if protocol.rig is not None:
        poses = {f"{number:03d}": pose for number, pose in enumerate(protocol.rig.poses)}
    else:
        poses = {one: _camera(truth.folder / f"{one}.npy") for one in {first, *names}}
    return Asked(name, tuple(names), files[first], poses[first], tuple(poses[n] for n in names))


def _camera(file: Path) -> Pose:
    try:
        return read_pose(file.read_bytes())
    except OSError as error:
        raise ArgumentError("truth", "a camera beside each view", f"no {str(file)!r}") from error
    except SampleError as error:
        raise ArgumentError("truth", "cameras", f"{str(file)!r} ({error})") from error


def make_predictions(
    protocol: Protocol,
    pipe: Zero123Pipeline,
    setting: Setting,
    asked: Sequence[Asked],
    folder: Path,
) -> Iterator[str]:
    """Make a model's views of one object after the other; what is there already stays.

    Args:
        asked: see :func:`find_asked`.
        folder: of the predictions; new, or by the same model in the same setting.

    Yields:
        Each object's name, once its folder is complete.

    Raises:
        ArgumentError: the folder holds other predictions, or an input is no square image.
    """
    record = {
        "protocol": protocol.name,
        "model": pipe.model_name,
        "weights": weights_fingerprint(pipe),
        **asdict(setting),
    }
    _claim(folder, record)
    return _made(protocol, pipe, setting, asked, folder)


def _claim(folder: Path, record: Mapping[str, Any]) -> None:
    """Write down whose predictions the folder holds; raise ArgumentError where others' are."""
    file = folder / RECORD
    expected = "a new folder, or one that this model has filled in the same setting"
    try:
        known = json.loads(file.read_text()) if file.exists() else None
        if not isinstance(known, dict | None):
            raise ValueError("no record")
    except ValueError as error:
        raise ArgumentError("predictions", expected, f"{str(file)!r}, which is none") from error
    if known is None and folder.exists() and any(one.name[0] != "." for one in folder.iterdir()):
        raise ArgumentError("predictions", expected, f"{str(folder)!r}, with other files")
    if known is not None and known != record:
        names = [*record, *known]
        differing = next(name for name in names if known.get(name) != record.get(name))
        raise ArgumentError("predictions", expected, f"{str(folder)!r}, of another {differing}")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, record)


def _made(
    protocol: Protocol,
    pipe: Zero123Pipeline,
    setting: Setting,
    asked: Sequence[Asked],
    folder: Path,
) -> Iterator[str]:
    with held_folder(folder):
        clear_scratch(folder)
        for one in asked:
            if not (folder / one.name).exists():
                _make(protocol, pipe, setting, one, folder / one.name)
            yield one.name


def _make(
    protocol: Protocol, pipe: Zero123Pipeline, setting: Setting, one: Asked, folder: Path
) -> None:
    try:
        image = read_image(one.image.read_bytes())
    except SampleError as error:
        got = f"{str(one.image)!r} ({error})"
        raise ArgumentError("truth", "square images", got) from error
    made = predicted_views(
        pipe,
        setting,
        image_tensor(image, pipe.image_size),
        one.source,
        one.poses,
        zlib.crc32(one.name.encode()),
    )
    side = protocol.size_px or image.width
    with new_folder(folder) as scratch:
        for name, view in zip(one.views, to_pils(made * 2 - 1), strict=True):
            resized = view.resize((side, side), Image.Resampling.BICUBIC)
            resized.save(scratch / f"{name}.png")


@dataclass(frozen=True)
class Lacking:
    """True views that an object lacks, and the mesh that shows them.

    Attributes:
        mesh: its file.
        views: their numbers.
    """

    mesh: Path
    views: tuple[int, ...]


def lacking_views(
    protocol: Protocol, truth: Path, objects: Collection[str] | None = None
) -> dict[str, Lacking]:
    """Find the objects that lack views of a protocol whose cameras are known, and have meshes.

    Args:
        objects: names of those that count; None takes all.
    """
    if protocol.rig is not SYNC_RIG or not truth.is_dir():
        return {}
    meshes, there = find_true_meshes(truth), find_objects(truth, "truth")
    found = {}
    for name, mesh in meshes.items():
        known = find_views(there[name], "truth") if name in there else {}
        missing = tuple(n for n in protocol.views or () if f"{n:03d}" not in known)
        if missing and (objects is None or name in objects):
            found[name] = Lacking(mesh, missing)
    return found


def render_lacking(lacking: Mapping[str, Lacking], folder: Path) -> Iterator[str]:
    """Render true views of meshes from SyncDreamer's cameras, RGBA, unlit; what is there stays.

    Args:
        lacking: see :func:`lacking_views`.
        folder: gets a folder of views for each object.

    Yields:
        Each object's name, once its views are there.

    Raises:
        ArgumentError: a mesh cannot be read.
    """
    for name, one in lacking.items():
        files = {n: folder / name / f"{n:03d}.png" for n in one.views}
        if missing := [n for n, file in files.items() if not file.exists()]:
            cameras = [Camera.at(SYNC_RIG.poses[n], SYNC_RIG.size_px, FOV_DEG) for n in missing]
            images = to_uint8(mesh_images(true_mesh(name, one.mesh), cameras)).numpy()
            for n, image in zip(missing, images, strict=True):
                write_bytes(files[n], png(Image.fromarray(image)))
        yield name


def told_lacking(lacking: Mapping[str, Lacking], total: int) -> list[str]:
    """Say which true views were rendered; nothing where none was.

    Args:
        total: views that an object has.
    """
    if not lacking:
        return []
    parts = [
        name if len(one.views) == total else f"{name} {', '.join(f'{n:03d}' for n in one.views)}"
        for name, one in lacking.items()
    ]
    text = "the true views are rendered here, unlit, of the truth's meshes"
    if all(len(one.views) == total for one in lacking.values()):
        return [text]
    return [f"{text}: {'; '.join(parts)}"]
