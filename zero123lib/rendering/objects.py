"""One object: from a mesh file to a folder of views, whole or not at all."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from zero123lib import __version__
from zero123lib._errors import ArgumentError
from zero123lib._files import MAKING, write_json
from zero123lib.datasets.folder import write_object
from zero123lib.meshes.axes import FORMATS
from zero123lib.meshes.load import MeshError, load_mesh
from zero123lib.meshes.mesh import Camera, Mesh
from zero123lib.meshes.rasterize import choose_backend
from zero123lib.meshes.render import renderer
from zero123lib.rendering.cameras import light_of, official_poses
from zero123lib.rendering.settings import RenderSettings
from zero123lib.views.cameras import FOV_DEG
from zero123lib.views.eight_bits import to_uint8

RECORD = "object.json"

_MAX_NAME_BYTES = 255  # of most file systems

_OURS = re.compile(r"\d{3}\.(png|npy)|" + re.escape(RECORD))


@dataclass(frozen=True)
class Source:
    """A mesh file and the name of its folder of views."""

    name: str
    path: Path


def find_meshes(path: str | Path) -> list[Source]:
    """Return the mesh file, or all mesh files below a folder, sorted by name.

    An object's name is its path below the folder without the ending, "__" for "/"; where two
    would be the same, both keep their endings. Hidden files and folders are passed over.

    Raises:
        ValueError: there is no such file or folder, or no mesh in it.
    """
    path = Path(path)
    if path.is_file():
        if path.suffix.lower() not in FORMATS:
            names = ", ".join(FORMATS)
            raise ArgumentError("meshes", f"a file of {names}", repr(str(path)))
        return [Source(path.stem.lstrip(".") or "mesh", path)]
    if not path.is_dir():
        raise ArgumentError("meshes", "a mesh file or a folder", repr(str(path)))
    found = []
    for folder, inner, files in os.walk(path):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in FORMATS and not name.startswith("."):
                found.append(Path(folder, name))
    if not found:
        names = ", ".join(FORMATS)
        raise ArgumentError("meshes", f"files of {names} in {str(path)!r}", "none")
    return _named(path, found)


def render_object(
    source: Source,
    out: Path,
    settings: RenderSettings,
    backend: str = "auto",
    device: str = "cpu",
    threads: int = 0,
) -> dict[str, Any]:
    """Write OUT/<name>: the official layout, and a record of how it was made in `RECORD`.

    What was there from an earlier run is replaced.

    Args:
        out: a folder that exists.
        backend: of `meshes.rasterizer`.
        device: of torch.
        threads: of Open3D; 0 takes all cores.

    Returns:
        The record.

    Raises:
        MeshError: the mesh cannot be used.
        ValueError: in the folder's place is something that this did not make.
        OSError: a file could not be written.
    """
    final = out / source.name
    check_replaceable(final)
    source_bytes = source.path.stat().st_size if source.path.is_file() else 0
    mesh = load_mesh(source.path, settings.up).to(device)
    poses = official_poses(settings, source.name)
    images = _images(mesh, source, settings, backend, threads)
    record = {
        "made_by": f"zero123lib {__version__}",
        "source": source.path.name,
        "source_bytes": source_bytes,
        **mesh.info,
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        "textures": sum(material.texture is not None for material in mesh.materials),
        "backend": choose_backend(backend, mesh.device),
        "light": asdict(light_of(settings, source.name)),
        "fov_deg": FOV_DEG,
        "settings": settings.to_config(),
    }
    with TemporaryDirectory(prefix=MAKING, dir=out) as scratch:
        made = Path(scratch) / "views"
        write_object(made, images, poses)
        record["files"] = {path.name: path.stat().st_size for path in sorted(made.iterdir())}
        write_json(made / RECORD, record)
        if os.path.lexists(final):
            final.rename(Path(scratch) / "before")
        made.rename(final)
    return record


def whole_record(folder: Path, source: Source, settings: RenderSettings) -> dict[str, Any] | None:
    """Return the record of a folder of views that needs no work, or None.

    It needs none where all its files have the sizes that the record says, and the record was made
    with the same settings of a file of the same size.
    """
    try:
        record = json.loads((folder / RECORD).read_bytes())
        sizes: Mapping[str, int] = record["files"]
        same = (
            not settings.differences(record["settings"])
            and record["source"] == source.path.name
            and record["source_bytes"] == source.path.stat().st_size
            and len(sizes) == 2 * settings.views
            and all((folder / name).stat().st_size == size for name, size in sizes.items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if same else None


def check_replaceable(folder: Path) -> None:
    """Raise ValueError where a folder cannot be made, or is not one that `render_object` made."""
    name_bytes = len(os.fsencode(folder.name))
    if name_bytes > _MAX_NAME_BYTES:
        raise ValueError(
            f"expected a path below the folder of meshes of at most {_MAX_NAME_BYTES} bytes, which "
            f"names its views' folder, got {name_bytes}: {folder.name!r}"
        )
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        raise ValueError(f"expected a folder of views in its place, got {str(folder)!r}")
    others = sorted(name for name in os.listdir(folder) if not _OURS.fullmatch(name))
    if others:
        raise ValueError(
            f"expected only views in {str(folder)!r}, which would be replaced, got {others[0]!r}"
        )


def _images(
    mesh: Mesh, source: Source, settings: RenderSettings, backend: str, threads: int
) -> list[np.ndarray]:
    """Return the views, uint8 ``[S, S, 4]`` with straight alpha."""
    take = renderer(mesh, settings.supersample, backend, threads)
    light = light_of(settings, source.name)
    images = []
    with torch.no_grad():
        for pose in official_poses(settings, source.name):
            color = take(Camera.at(pose, settings.size), light).color
            images.append(to_uint8(color).cpu().numpy())
    if not any(image[..., 3].any() for image in images):
        raise MeshError(f"{str(source.path)!r}: expected something to see, got nothing in any view")
    return images


def _named(root: Path, paths: list[Path]) -> list[Source]:
    """Return names for paths below a folder, different also where a file system ignores case."""
    relative = {path: path.relative_to(root) for path in paths}
    names = {path: "__".join(part.with_suffix("").parts) for path, part in relative.items()}
    taken: dict[str, int] = {}
    for name in names.values():
        taken[name.casefold()] = taken.get(name.casefold(), 0) + 1
    for path, name in names.items():
        if taken[name.casefold()] > 1:
            names[path] = f"{name}-{path.suffix[1:].lower()}"
    seen: dict[str, Path] = {}
    for path, name in names.items():
        other = seen.setdefault(name.casefold(), path)
        if other != path:
            raise ArgumentError(
                "meshes", "files of different names", f"{str(other)!r} and {str(path)!r}"
            )
    return sorted((Source(name, path) for path, name in names.items()), key=lambda s: s.name)
