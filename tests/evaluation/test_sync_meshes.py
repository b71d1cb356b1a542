"""SyncDreamer's protocol on meshes: its cameras, its quirks in closed form, and a run."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zero123lib._errors import ArgumentError
from zero123lib.cli import main
from zero123lib.evaluation import sync_meshes
from zero123lib.evaluation.protocols import SYNC_RIG
from zero123lib.evaluation.sync_meshes import (
    FOV_DEG,
    MeshPair,
    affine_depth,
    find_meshes,
    quantised,
    score_meshes,
    true_cloud,
    true_mesh,
)
from zero123lib.meshes.mesh import Camera, Mesh
from zero123lib.views.cameras import camera_to_world, opengl_to_opencv

CAMERAS = Path(__file__).parents[2].parent / "shared" / "data" / "gso" / "cameras.json"
PLY = """ply
format ascii 1.0
element vertex 4
property float x
property float y
property float z
element face 4
property list uchar int vertex_indices
end_header
{}
3 0 2 1
3 0 1 3
3 1 2 3
3 0 3 2
"""
CORNERS = np.array([[-0.5, -0.4, -0.3], [0.5, -0.4, -0.3], [0, 0.4, -0.3], [0, 0, 0.4]])


def write_mesh(file: Path, corners: np.ndarray = CORNERS) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(PLY.format("\n".join(" ".join(map(str, row)) for row in corners)))
    return file


@pytest.fixture
def quick(monkeypatch) -> None:
    """Score by a number that is quick to have: the sum of the prediction's coordinates' sizes."""
    monkeypatch.setattr(sync_meshes, "true_cloud", lambda pair, mesh: None)
    monkeypatch.setattr(
        sync_meshes,
        "_scores",
        lambda mesh, true, cloud: {"chamfer": [float(mesh.vertices.abs().sum())]},
    )


def write_gltf(file: Path, corners: np.ndarray) -> Path:
    """Write text that says nothing of the corners, which lie in a file beside it; y is up."""
    points = np.stack([corners[:, 0], corners[:, 2], -corners[:, 1]], -1).astype("<f4").tobytes()
    faces = np.array([0, 2, 1, 0, 1, 3, 1, 2, 3, 0, 3, 2], "<u4").tobytes()
    file.with_suffix(".bin").write_bytes(points + faces)
    content = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "buffers": [{"uri": file.with_suffix(".bin").name, "byteLength": 96}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": 48},
            {"buffer": 0, "byteOffset": 48, "byteLength": 48},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3",
             "min": [-1, -1, -1], "max": [1, 1, 1]},
            {"bufferView": 1, "componentType": 5125, "count": 12, "type": "SCALAR"},
        ],
    }  # fmt: skip
    file.write_text(json.dumps(content))
    return file


@pytest.mark.skipif(not CAMERAS.is_file(), reason="no ../shared/data/gso")
def test_the_cameras_are_those_of_the_published_renders() -> None:
    told = json.loads(CAMERAS.read_text())
    for pose, matrix in zip(SYNC_RIG.poses, told["world_to_camera_opencv_3x4"], strict=True):
        ours = torch.linalg.inv(opengl_to_opencv(camera_to_world(pose).double()))[:3]
        assert torch.allclose(ours, torch.tensor(matrix, dtype=torch.float64), atol=2e-6)


def test_affine_depth_is_linear_on_the_screen_not_in_space() -> None:
    camera = Camera(camera_to_world(SYNC_RIG.poses[0]), 256, FOV_DEG)
    c2w = opengl_to_opencv(camera.camera_to_world.double())
    # A triangle whose corners, of depths 1, 2 and 2, are at pixels (28, 28), (228, 28), (28, 228).
    pixels = torch.tensor([[28.0, 28], [228, 28], [28, 228]], dtype=torch.float64)
    depths = torch.tensor([1.0, 2, 2], dtype=torch.float64)
    local = torch.cat([(pixels - 128) / 280 * depths[:, None], depths[:, None]], 1)
    mesh = Mesh((local @ c2w[:3, :3].T + c2w[:3, 3]).float(), torch.tensor([[0, 1, 2]]))
    faces = torch.full((256, 256), -1)
    faces[77, 77] = 0
    found = affine_depth(mesh, camera, faces)
    assert float(found[77, 77]) == pytest.approx(1 + (77.5 - 28) / 200 * 2, abs=1e-5)
    assert found.isinf().sum() == 256 * 256 - 1


def test_depth_images_are_back_projected_at_whole_indices(tmp_path) -> None:
    image = np.zeros((256, 256), np.uint16)
    image[128, 128] = quantised(np.array([[1.5]]))[0, 0]
    files = tuple(tmp_path / f"{view:03d}-depth.png" for view in range(16))
    for file in files:
        Image.fromarray(image).save(file)
    mesh = write_mesh(tmp_path / "mesh_aligned.ply")
    pair = MeshPair("one", mesh, mesh, files)
    points = true_cloud(pair, true_mesh(pair.name, pair.truth))
    # The pixel (128, 128) is the principal point: all 16 cameras look at the origin, 1.5 away.
    assert np.abs(points).max() < 1e-4


def test_the_true_mesh_is_normalised_and_turned_by_its_name(tmp_path, quick) -> None:
    mesh = write_mesh(tmp_path / "elephant" / "mesh.obj")
    lines = [f"v {x} {y} {z}" for x, y, z in 3 * CORNERS + 1]
    mesh.write_text("\n".join([*lines, "f 1 3 2", "f 1 2 4", "f 2 3 4", "f 1 4 3"]))
    pair = MeshPair("elephant", mesh, mesh, ())
    found = true_mesh(pair.name, pair.truth).vertices
    expected = CORNERS - (CORNERS.max(0) + CORNERS.min(0)) / 2
    order = np.lexsort(np.round(found.numpy(), 4).T)
    turned = expected * [-1, -1, 1]  # half a turn about z
    assert np.allclose(found.numpy()[order], turned[np.lexsort(np.round(turned, 4).T)], atol=1e-6)
    assert "the true mesh is turned by -180 degrees about z" in score_meshes(pair).note
    aligned = write_mesh(tmp_path / "elephant" / "mesh_aligned.ply")
    assert "turned" not in score_meshes(replace(pair, truth=aligned)).note


def test_a_change_in_the_buffer_of_a_gltf_is_scored_again(tmp_path, quick) -> None:
    true = write_mesh(tmp_path / "true" / "cup" / "mesh_aligned.ply")
    mesh = write_gltf(tmp_path / "cup.gltf", CORNERS)
    pair, cells = MeshPair("cup", mesh, true, ()), tmp_path / "cells"
    before, text = score_meshes(pair, cells), mesh.read_text()
    assert score_meshes(pair, cells) == before and len(list(cells.iterdir())) == 1
    write_gltf(mesh, CORNERS / 2)
    assert mesh.read_text() == text
    after = score_meshes(pair, cells).answers
    first, second = (one["prediction"]["chamfer"][0] for one in (before.answers, after))
    assert second == pytest.approx(first / 2)
    # What is no scores is asked again.
    for one in cells.iterdir():
        one.write_text("[3]")
    assert score_meshes(pair, cells).answers == after


def test_what_is_missing_is_one_line(tmp_path) -> None:
    true = write_mesh(tmp_path / "true" / "cup" / "mesh_aligned.ply").parent
    (tmp_path / "made").mkdir()
    with pytest.raises(
        ArgumentError, match=r"predictions: expected a mesh cup.ply or cup/mesh.ply in '.*made'"
    ):
        find_meshes(tmp_path / "made", tmp_path / "true")
    write_mesh(tmp_path / "made" / "cup.ply")
    Image.new("I;16", (256, 256)).save(true / "000-depth.png")
    with pytest.raises(ArgumentError, match=r"truth: expected 16 depth images, got no '.*001-dep"):
        find_meshes(tmp_path / "made", tmp_path / "true")


def test_a_run_tells_what_the_protocol_costs_the_truth_itself(tmp_path, capsys) -> None:
    write_mesh(tmp_path / "true" / "cup" / "mesh_aligned.ply")
    write_mesh(tmp_path / "made" / "cup.ply", CORNERS + np.array([0, 0, 0.05]))
    folders = [str(tmp_path / side) for side in ("made", "true")]
    words = ["evaluate", "syncdreamer", *folders, "--meshes"]
    assert main([*words, "--out", str(tmp_path / "report")]) == 0
    answers = json.loads((tmp_path / "report" / "report.json").read_text())["objects"][0]["answers"]
    # Large faces, as these are, pay most for depths that are linear on the screen.
    assert answers["truth"]["volume_iou"] == [1] and 1e-3 < answers["truth"]["chamfer"][0] < 0.02
    assert 0 < answers["prediction"]["chamfer"][0] < 0.05 < answers["ball"]["chamfer"][0]
    assert 0 < answers["ball"]["volume_iou"][0] < answers["prediction"]["volume_iou"][0] < 1
    assert not math.isnan(answers["prediction"]["normal_consistency"][0])
    assert "depth images are rendered from the true mesh" in capsys.readouterr().out
    (tmp_path / "made" / "cup.ply").write_text(PLY.format("nan 0 0\n1 0 0\n0 1 0\n0 0 1"))
    assert main(words) == 2
    assert "error: PREDICTIONS: expected meshes, got" in capsys.readouterr().err
