"""Gaussians lie on the mesh, and their file has them as splatting tools read it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from zero123lib._errors import ArgumentError
from zero123lib.meshes.gaussians import gaussians_of, write_gaussians
from zero123lib.meshes.mesh import Mesh

RED, BLUE = [1.0, 0.0, 0.0, 1.0], [0.0, 0.2, 1.0, 1.0]


def corner() -> Mesh:
    """A unit square that looks down, red, and one of half its area that looks along x, blue."""
    down = [[0, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0]]
    side = [[1, 0, 0], [1, 0.5, 0], [1, 0.5, 1], [1, 0, 1]]
    faces = [[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]]
    return Mesh(
        torch.tensor([*down, *side], dtype=torch.float32),
        torch.tensor(faces),
        vertex_colors=torch.tensor([RED] * 4 + [BLUE] * 4),
    )


def read(path: Path) -> dict[str, np.ndarray]:
    """A PLY of floats, by its own header."""
    head, _, body = path.read_bytes().partition(b"end_header\n")
    lines = head.decode().split("\n")
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    count = int(lines[2].removeprefix("element vertex "))
    names = [line.removeprefix("property float ") for line in lines[3:] if line]
    table = np.frombuffer(body, "<f4").reshape(count, len(names))
    return {name: table[:, index] for index, name in enumerate(names)}


def columns(found: dict[str, np.ndarray], prefix: str, count: int) -> np.ndarray:
    return np.stack([found[f"{prefix}_{index}"] for index in range(count)], axis=1)


def test_the_file_gives_back_the_surface_after_the_activations(tmp_path: Path) -> None:
    write_gaussians(tmp_path / "a.ply", gaussians_of(corner(), 3000))
    found = read(tmp_path / "a.ply")
    assert len(found) == 62 and not columns(found, "f_rest", 45).any()
    down = found["nz"] < -0.5
    assert down.sum() == pytest.approx(2000, abs=2)
    assert np.allclose(found["z"][down], 0) and np.allclose(found["x"][~down], 1)
    assert found["x"][down].mean() == pytest.approx(0.5, abs=0.02)
    assert found["z"][~down].mean() == pytest.approx(0.5, abs=0.02)
    color = 0.5 + 0.28209479177387814 * columns(found, "f_dc", 3)
    assert np.allclose(color[down], RED[:3], atol=1e-5)
    assert np.allclose(color[~down], BLUE[:3], atol=1e-5)
    assert np.allclose(1 / (1 + np.exp(-found["opacity"])), 0.95)

    scales, (w, x, y, z) = np.exp(columns(found, "scale", 3)), columns(found, "rot", 4).T
    apart = np.sqrt(1.5 / 3000)
    assert np.allclose(scales, [0.6 * apart, 0.6 * apart, 0.1 * apart], rtol=1e-5)
    assert np.allclose(w * w + x * x + y * y + z * z, 1, atol=1e-5)
    # The third axis of the rotation is where the surface looks.
    third = np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], axis=1)
    normals = np.stack([found["nx"], found["ny"], found["nz"]], axis=1)
    assert np.allclose(third, normals, atol=1e-5)
    assert np.allclose(normals[down], [0, 0, -1]) and np.allclose(normals[~down], [1, 0, 0])


def test_a_mesh_without_area_has_none() -> None:
    flat = Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]))
    with pytest.raises(ArgumentError, match="mesh: expected faces with an area, got 1 faces"):
        gaussians_of(flat)
    with pytest.raises(ArgumentError, match="count: expected at least 1"):
        gaussians_of(corner(), 0)
