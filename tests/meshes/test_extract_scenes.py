"""Surfaces of noisy densities with floaters, of scenes whose volume is known, as they come out of
extraction, cleaning and export, and as others read them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import open3d as o3d
import pytest
import torch
import trimesh

from tests.meshes.scene_fields import scene_field
from zero123lib.meshes.cleanup import Cleaning, clean
from zero123lib.meshes.export import write_mesh
from zero123lib.meshes.extract import extract

CLEANING = Cleaning(min_share=0.02)
NOISE = (0.0, 0.05, 0.1, 0.15, 0.2)


def findings(folder: Path, seed: int, grid: int) -> dict[str, Any]:
    """What is to be said about one scene."""
    noise, floaters = NOISE[seed % len(NOISE)], seed % 7
    field = scene_field(seed, grid, noise=noise, floaters=floaters)
    cleaned = clean(extract(field.density, resolution=grid), CLEANING).mesh
    names = [folder / f"{seed}{suffix}" for suffix in (".glb", ".ply")]
    theirs: list[Any] = []
    for name in names:
        write_mesh(name, cleaned)
        theirs += [trimesh.load_mesh(name)]
    counts = {len(mesh.faces) for mesh in theirs} | {
        len(o3d.io.read_triangle_mesh(name).triangles) for name in names
    }
    return {
        "closed": all(mesh.is_watertight and mesh.is_winding_consistent for mesh in theirs),
        "finite": bool(torch.isfinite(cleaned.vertices).all())
        and all(np.isfinite(mesh.vertex_normals).all() for mesh in theirs),
        "as many faces": counts == {len(cleaned.faces)},
        "volume": abs(theirs[0].volume / field.volume - 1.0) < 0.03,
    }


@pytest.mark.parametrize("seed", [8, 15])
def test_a_noisy_scene_comes_out_closed_and_of_its_size(tmp_path: Path, seed: int) -> None:
    assert all(findings(tmp_path, seed, 64).values())


def test_floaters_are_there_before_cleaning_and_gone_after_it() -> None:
    field = scene_field(15, 64, floaters=5)
    mesh = extract(field.density, resolution=64)
    steps = clean(mesh, CLEANING).steps
    # One of the five is smaller than a cell.
    assert (steps[0].before.components, steps[0].after.components) == (5, 1)


@pytest.mark.soak
def test_a_hundred_noisy_scenes(tmp_path: Path) -> None:
    met: Counter[str] = Counter()
    for seed in range(100):
        found = findings(tmp_path, seed, 112)
        met.update(name for name, good in found.items() if good)
        print(seed, found)
    assert met["closed"] >= 99 and met["volume"] >= 99
    assert met["finite"] == met["as many faces"] == 100
