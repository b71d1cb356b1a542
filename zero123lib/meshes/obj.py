"""OBJ with its MTL and PNG files, written here: the format knows separate indices for places,
texture coordinates and normals, so that a closed surface stays closed, which trimesh would split.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zero123lib._files import write_bytes
from zero123lib.meshes.colors import colors_at_vertices, is_plain
from zero123lib.meshes.corners import number_rows
from zero123lib.meshes.mesh import Material, Mesh
from zero123lib.meshes.shading import to_linear, to_srgb
from zero123lib.views.eight_bits import to_uint8

_MARK = b"# zero123lib"
# Nine digits give a float32 back to the bit.
_NUMBER = "%.9g"


def write_obj(path: Path, mesh: Mesh, notes: Sequence[str]) -> list[Path]:
    """Write a mesh as it stands, in the file's axes; `notes` become its first lines.

    The files beside it are written first, under names that are free, and the OBJ last: whatever
    is there before stays whole until then. Those of an OBJ of ours that was there go afterwards.

    Returns:
        The files, the OBJ first.

    Raises:
        OSError: it could not be written; what was there stays.
    """
    before = _companions(path)
    made: list[Path] = []
    try:
        beside = _write_beside(path, mesh, notes, made)
        mtl = beside[0].name if beside else None
        write_bytes(path, "\n".join(_lines(mesh, notes, mtl)).encode())
    except BaseException:
        for file in made:
            file.unlink(missing_ok=True)
        raise
    for file in before - set(beside):
        file.unlink(missing_ok=True)
    return [path, *beside]


def dropped(mesh: Mesh) -> list[str]:
    """Return what OBJ cannot hold of a mesh, in words."""
    found = []
    if any(material.alpha != "opaque" for material in mesh.materials):
        found.append("transparency")
    if _textured(mesh) and mesh.vertex_colors is not None:
        found.append("colours at vertices, beside a texture")
    return found


def _textured(mesh: Mesh) -> bool:
    return any(material.texture is not None for material in mesh.materials)


def _write_beside(path: Path, mesh: Mesh, notes: Sequence[str], made: list[Path]) -> list[Path]:
    """Write the MTL file and the textures; nothing where the vertices say all or there is none."""
    if not _textured(mesh) and (mesh.vertex_colors is not None or is_plain(mesh)):
        return []
    stem = "_".join(path.stem.split())
    path.parent.mkdir(parents=True, exist_ok=True)
    textures = {}
    for index, material in enumerate(mesh.materials):
        if material.texture is not None:
            label = stem if len(mesh.materials) == 1 else f"{stem}-{index}"
            textures[index] = _beside(path.parent, label, ".png", _png(material), made)
    mtl = _beside(path.parent, stem, ".mtl", _mtl(mesh.materials, textures, notes), made)
    return [mtl, *textures.values()]


def _beside(folder: Path, stem: str, suffix: str, content: bytes, made: list[Path]) -> Path:
    """Write a file under a name that is free, or take one that has the same content."""
    digest = hashlib.sha256(content).hexdigest()[:8]
    path = folder / f"{stem}{suffix}"
    if path.exists() and (not path.is_file() or path.read_bytes() != content):
        path = folder / f"{stem}-{digest}{suffix}"
    if not path.exists():
        made.append(path)
        write_bytes(path, content)
    return path


def _companions(path: Path) -> set[Path]:
    """Return the files beside an OBJ that was written here, none where it was not."""
    found: set[Path] = set()
    if not path.is_file():
        return found
    with path.open("rb") as file:
        if file.read(len(_MARK)) != _MARK:
            return found
        head = file.read(4096).decode(errors="replace").splitlines()
    for line in head:
        word, _, name = line.partition(" ")
        if word == "mtllib" and (mtl := path.parent / Path(name).name).is_file():
            found.add(mtl)
            for entry in mtl.read_text(errors="replace").splitlines():
                key, _, texture = entry.partition(" ")
                if key == "map_Kd":
                    found.add(path.parent / Path(texture).name)
    return found


def _png(material: Material) -> bytes:
    """Return the texture times the material's colour: readers ignore Kd where there is a
    texture."""
    assert material.texture is not None
    texture = material.texture.detach().cpu()
    if texture.dtype == torch.uint8:
        texture = texture.float() / 255.0
    if material.color != (1.0, 1.0, 1.0, 1.0):
        texture = to_srgb(to_linear(texture) * texture.new_tensor(material.color))
    texels = to_uint8(texture[..., :3]).numpy()
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(texels)).save(buffer, "PNG")
    return buffer.getvalue()


def _mtl(materials: Sequence[Material], textures: dict[int, Path], notes: Sequence[str]) -> bytes:
    lines = [f"# {note}" for note in notes]
    for index, material in enumerate(materials):
        # Kd counts as sRGB. Where there is a texture it holds the colour.
        color = [1.0, 1.0, 1.0]
        if index not in textures:
            color = to_srgb(torch.tensor(material.color)).tolist()[:3]
        lines += [f"newmtl material_{index}", "Kd " + " ".join(_NUMBER % part for part in color)]
        lines += ["Ks 0 0 0", "illum 1"]
        if index in textures:
            lines.append(f"map_Kd {textures[index].name}")
    return ("\n".join(lines) + "\n").encode()


def _lines(mesh: Mesh, notes: Sequence[str], mtl: str | None) -> Iterator[str]:
    yield from (f"# {note}" for note in notes)
    if mtl is not None:
        yield f"mtllib {mtl}"
    columns = mesh.vertices
    if mesh.vertex_colors is not None and not _textured(mesh):
        columns = torch.cat([columns, colors_at_vertices(mesh)[:, :3]], dim=1)
    yield from _rows("v", columns)
    corners = [mesh.faces.flatten().numpy() + 1]
    for word, values in (("vt", mesh.uv), ("vn", mesh.normals)):
        if values is None:
            continue
        flat = values.reshape(-1, values.shape[-1]).numpy()
        numbers, firsts = number_rows(list(flat.T))
        yield from _rows(word, torch.from_numpy(flat[firsts]))
        corners.append(numbers + 1)
    corner = {1: "%d", 3: "%d/%d/%d"}.get(
        len(corners), "%d/%d" if mesh.uv is not None else "%d//%d"
    )
    form = f"f {corner} {corner} {corner}"
    table = np.stack(corners, axis=1).reshape(len(mesh.faces), -1)
    for index in range(len(mesh.materials)):
        if mesh.face_material is None:
            part = table if index == 0 else table[:0]
        else:
            part = table[(mesh.face_material == index).numpy()]
        if len(part) and mtl is not None:
            yield f"usemtl material_{index}"
        if len(part):
            yield from (form % tuple(row) for row in part.tolist())
    yield ""


def _rows(word: str, values: Tensor) -> Iterator[str]:
    form = " ".join([word] + [_NUMBER] * values.shape[1])
    return (form % tuple(row) for row in values.tolist())
