"""Vertices that are one place become one, and no others do."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tests.meshes.files import box
from tests.meshes.shapes import box as box_mesh
from tests.meshes.shapes import sphere
from zero123lib.meshes.topology import weld


def test_places_are_welded_far_below_the_shortest_edge() -> None:
    """Detail of any size stays, beside large faces and far from the origin too."""
    for scale in (1.0, 1e-5, 1e5):
        for size in (1.0, 1e-3, 1e-6):
            small = np.asarray(sphere(0.5, 2).vertices, np.float64) * size * scale
            wide = np.array([[-1, -1, -1], [1, -1, -1], [0, 1, -1]]) * scale
            vertices = np.concatenate([small, wide])
            beside = len(small) + np.array([[0, 1, 2]])
            faces = np.concatenate([sphere(0.5, 2).faces.numpy(), beside])
            place, firsts = weld(vertices, faces)
            assert len(firsts) == len(vertices)
            assert (vertices[firsts][place] == vertices).all()


def test_equal_places_are_welded_to_the_bit_and_others_to_one_of_them() -> None:
    mesh = box_mesh()
    vertices = mesh.vertices[mesh.faces].reshape(-1, 3).double().numpy()
    faces = np.arange(36).reshape(-1, 3)
    place, firsts = weld(vertices, faces)
    assert len(firsts) == 8 and (vertices[firsts][place] == vertices).all()
    moved = vertices + np.random.default_rng(0).uniform(-1e-8, 1e-8, vertices.shape)
    place, firsts = weld(moved, faces)
    assert len(firsts) == 8 and np.abs(moved[firsts][place] - moved).max() < 4e-8


def test_parts_with_a_small_gap_between_them_stay_apart() -> None:
    vertices, faces = box(1.0, 1.0, 1.0)
    both = np.concatenate([vertices, vertices + np.array([1.0001, 0.0, 0.0])])
    assert len(weld(both, np.concatenate([faces, faces + 8]))[1]) == 16


@pytest.mark.parametrize("seed", range(5))
def test_places_of_all_sizes_beside_each_other(seed: int) -> None:
    """As by looking at all pairs: within a hundred-thousandth of the smallest face of both."""
    generator = np.random.default_rng(seed)
    scale = 10.0 ** generator.uniform(-6, 0, (60, 1, 1))
    corners = (generator.normal(size=(60, 3, 3)) * scale).reshape(-1, 3)
    twins = generator.integers(0, len(corners), 120)
    size = np.repeat(scale.ravel(), 3)[twins, None]
    off = generator.normal(size=(120, 3)) * size * 10.0 ** generator.uniform(-8, -3, (120, 1))
    vertices = np.concatenate([corners, corners[twins] + off])
    faces = np.concatenate([np.arange(180), 180 + generator.permutation(120)]).reshape(-1, 3)
    place, firsts = weld(vertices, faces)

    sides = vertices[faces] - np.roll(vertices[faces], 1, axis=1)
    longest = np.linalg.norm(sides, axis=2).max(1)
    reach = np.zeros(len(vertices))
    reach[faces] = longest[:, None]  # each vertex has one face
    reach = np.minimum(np.maximum(1e-5 * reach, 2.5e-7 * np.abs(vertices).max(1)), 1e-2 * reach)
    apart = np.linalg.norm(vertices[:, None] - vertices, axis=2)
    near = apart <= np.minimum(reach[:, None], reach)
    count, label = connected_components(coo_array(near), directed=False)
    assert len(firsts) == count < len(vertices)
    assert ((place[:, None] == place) == (label[:, None] == label)).all()
