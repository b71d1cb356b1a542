"""STL files: text and binary, and what tells them apart; corners that rounding has moved."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from tests.meshes.files import box, sides, write
from zero123lib.meshes.cleanup import Cleaning, clean
from zero123lib.meshes.inspect import facts
from zero123lib.meshes.load import MeshError, load_mesh

NAN = float("nan")


def corners(*lengths: float) -> np.ndarray:
    """The corners ``[12, 3, 3]`` of a box."""
    vertices, faces = box(*lengths)
    return vertices[faces]


def binary(
    triangles: np.ndarray, header: bytes = b"", normal: float = 0.0, color: int = 0
) -> bytes:
    rows = [struct.pack("<12fH", *[normal] * 3, *triangle.ravel(), color) for triangle in triangles]
    return header.ljust(80)[:80] + struct.pack("<I", len(rows)) + b"".join(rows)


def text(triangles: np.ndarray, name: str = "box", normal: str = "0 0 1") -> str:
    lines = [f"solid {name}"]
    for triangle in triangles:
        lines += [f"facet normal {normal}", "  outer loop"]
        lines += ["    vertex " + " ".join(f"{value:.9g}" for value in at) for at in triangle]
        lines += ["  endloop", "endfacet"]
    return "\n".join([*lines, f"endsolid {name}", ""])


BOX = corners(1.0, 2.0, 3.0)
GOOD = {
    "binary": binary(BOX),
    "a binary that begins with solid": binary(BOX, b"solid facet made by a program"),
    "normals that are none": binary(BOX, normal=NAN),
    "attributes": binary(BOX, color=0xFFFF),
    "text": text(BOX).encode(),
    "text in capitals": text(BOX).upper().encode(),
    "text with other line ends": text(BOX).replace("\n", "\r\n").encode(),
    "text with tabs": text(BOX).replace("  ", "\t").replace("vertex ", "vertex\t").encode(),
    "text with a byte order mark": b"\xef\xbb\xbf" + text(BOX).encode(),
    "text without a name": text(BOX, "").encode(),
    "text with normals that are none": text(BOX, normal="nan nan nan").encode(),
    "two solids": (text(BOX[:6], "a") + text(BOX[6:], "b")).encode(),
    "text after blanks": b"\n \n" + text(BOX).encode(),
}


@pytest.mark.parametrize("kind", GOOD)
def test_text_and_binary(tmp_path: Path, kind: str) -> None:
    mesh = load_mesh(write(tmp_path, a__stl=GOOD[kind]), normalise=False)
    found = facts(mesh)
    assert len(mesh.faces) == 12 and sides(mesh) == [1.0, 2.0, 3.0]
    assert found.watertight and found.volume == pytest.approx(6.0) and not mesh.info


@pytest.mark.parametrize("tail", [1, 10, 49, 50, 1000])
@pytest.mark.parametrize("header", [b"", b"solid"])
def test_bytes_after_the_last_triangle_are_passed_over_and_said(
    tmp_path: Path, tail: int, header: bytes
) -> None:
    mesh = load_mesh(write(tmp_path, a__stl=binary(BOX, header) + bytes(tail)), normalise=False)
    assert len(mesh.faces) == 12 and facts(mesh).volume == pytest.approx(6.0)
    assert mesh.info["note"] == f"{tail} bytes follow the last of its 12 triangles"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (binary(BOX)[:-1], "12 triangles, as its header says, got 11"),
        (binary(BOX, b"solid")[:-60], "12 triangles, as its header says, got 10"),
        (b"short", "an STL file of at least 84 bytes, got 5"),
        (text(BOX).replace("vertex", "corner", 1).encode(), "three corners per triangle"),
        (text(BOX).replace("vertex 0.5", "vertex half", 1).encode(), "could not convert"),
        (b"solid a\nendsolid a\n", "a surface of triangles, got none"),
        (binary(BOX * NAN), "finite vertices, got NaN"),
    ],
)
def test_damage_is_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(MeshError, match=reason):
        load_mesh(write(tmp_path, a__stl=content))


def ball() -> np.ndarray:
    mesh = trimesh.creation.icosphere(3, 0.5)
    return np.asarray(mesh.vertices)[mesh.faces]


@pytest.mark.parametrize("noise", [0.0, 1e-17, 1e-12, 1e-9, 1e-7])
@pytest.mark.parametrize("shape", ["box", "ball"])
def test_corners_that_rounding_has_moved_are_one_place(
    tmp_path: Path, noise: float, shape: str
) -> None:
    """Each triangle's corners are off by a little of their own."""
    triangles = corners(1.0, 1.0, 1.0) if shape == "box" else ball()
    off = np.random.default_rng(0).uniform(-noise, noise, triangles.shape)
    mesh = load_mesh(write(tmp_path, a__stl=binary(triangles + off)), normalise=False)
    found = facts(mesh)
    assert found.watertight and found.components == 1
    assert found.volume == pytest.approx(1.0 if shape == "box" else 0.519, rel=0.01)
    assert clean(mesh, Cleaning()).steps[-1].after.watertight
    if shape == "ball":  # smooth, as the surface is
        assert mesh.normals is not None
        out = torch.nn.functional.normalize(mesh.triangles, dim=-1)
        assert float((mesh.normals * out).sum(-1).amin()) > 0.99


def test_a_pole_of_many_corners(tmp_path: Path) -> None:
    """A ball of rings and slices: its poles and its seam are nearly points and a line."""
    rings, slices = 16, 32
    at = np.float32(np.pi) * np.arange(rings + 1, dtype=np.float32) / rings
    round_ = np.float32(2 * np.pi) * np.arange(slices + 1, dtype=np.float32) / slices
    place = np.stack([np.outer(np.sin(at), np.cos(round_)), np.outer(np.sin(at), np.sin(round_)),
                      np.outer(np.cos(at), np.ones_like(round_))], -1)  # fmt: skip
    a, b, c, d = place[:-1, :-1], place[1:, :-1], place[1:, 1:], place[:-1, 1:]
    triangles = np.concatenate([np.stack([a, b, c], 2), np.stack([a, c, d], 2)]).reshape(-1, 3, 3)
    found = facts(load_mesh(write(tmp_path, a__stl=binary(triangles)), normalise=False))
    assert found.watertight and found.volume == pytest.approx(4.1, abs=0.1)
