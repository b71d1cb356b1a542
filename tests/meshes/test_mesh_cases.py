"""Small files that programs write and many readers get wrong, with their right values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.meshes.files import BLUE, GREEN, GREY, RED, area, colors, sides
from zero123lib.cli import main
from zero123lib.meshes.inspect import facts
from zero123lib.meshes.load import MeshError, load_mesh

DARK_RED, DARK_BLUE = (220, 30, 30), (30, 30, 220)
SIX = {RED, GREEN, BLUE, (255, 255, 0), (0, 255, 255), (255, 0, 255)}


@dataclass(frozen=True)
class Case:
    """What a file is: the box's sides, faces, colours, area of all faces, volume."""

    sides: tuple[float, ...]
    faces: int
    colors: set[tuple[int, ...]]
    area: float | None = None
    volume: float | None = None
    vertices: int | None = None


PLANK, CUBE = (1.0, 0.5, 2.0), (1.0, 1.0, 1.0)
# A flat face of 6, and a triangle of half of 4 times the root of 5.
DART = 6.0 + 2.0 * 5.0**0.5
CASES = {
    "gltf/uv_u16.glb": Case(PLANK, 12, {DARK_RED, DARK_BLUE}, volume=1.0),
    "gltf/uv_f4.glb": Case(PLANK, 12, {DARK_RED, DARK_BLUE}, volume=1.0),
    "gltf/skin_rot.glb": Case((1.0, 0.5, 3.0), 12, {GREY}, volume=1.5),
    "gltf/morph_mesh_weights.glb": Case((1.0, 1.0, 3.0), 12, {GREY}, volume=3.0),
    "gltf/gpu_instancing_used.glb": Case((7.0, 1.0, 1.0), 36, {GREY}, volume=3.0),
    "gltf/sg_04_mrfac.glb": Case(PLANK, 12, {DARK_RED}, volume=1.0),
    "gltf/zero_scale.glb": Case(PLANK, 12, {GREY}, volume=1.0),
    "obj/neg2/m.obj": Case((1.0, 3.0, 1.0), 4, {GREY}, 2.0, vertices=8),
    "obj/tab1/m.obj": Case((1.0, 3.0, 1.0), 4, {GREY}, 2.0, vertices=8),
    "obj/concave_quad/m.obj": Case((4.0, 1.0, 4.0), 3, {GREY}, DART),
    "obj/vc/m.obj": Case(PLANK, 12, {RED}, volume=1.0),
    "obj/exp_num/m.obj": Case(PLANK, 12, {GREY}, volume=1.0),
    "obj/two_mtllib/m.obj": Case(PLANK, 12, {RED, GREEN}, volume=1.0),
    "obj/mixed_uv/m.obj": Case(PLANK, 4, {DARK_RED, GREY}, 4.0),
    "obj/tex_opts/m.obj": Case(PLANK, 12, {DARK_RED}, volume=1.0),
    "obj/c1/m.obj": Case(PLANK, 12, {RED}, volume=1.0),
    "ply/facecol.ply": Case(CUBE, 12, SIX, volume=1.0),
    "ply/vcol_uv.ply": Case(CUBE, 12, {RED}, volume=1.0),
    "ply/bin_2faces_mixed.ply": Case((1.0, 1.0, 0.0), 3, {GREY}, 1.5),
    "ply/twotex.ply": Case((1.0, 1.0, 0.0), 2, {DARK_RED, DARK_BLUE}, 1.0),
    "ply/vcol_diffuse.ply": Case(CUBE, 12, {RED}, volume=1.0),
    "ply/concave_quad.ply": Case((4.0, 4.0, 1.0), 3, {GREY}, DART),
    "stl/cube.stl": Case(CUBE, 12, {GREY}, volume=1.0),
    "stl/cube_noise_1e-17.stl": Case(CUBE, 12, {GREY}, volume=1.0),
    "stl/extra_tail.stl": Case(CUBE, 12, {GREY}, volume=1.0),
}


@pytest.fixture
def cases(shared_data: Path) -> Path:
    folder = shared_data / "cases"
    if not folder.is_dir():
        pytest.skip("../shared/data/cases is absent")
    return folder


@pytest.mark.parametrize("name", CASES)
def test_small_files_have_their_right_values(
    cases: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    case, path = CASES[name], cases / name
    mesh = load_mesh(path, normalise=False)
    assert sides(mesh) == pytest.approx(case.sides, abs=1e-6)
    assert len(mesh.faces) == case.faces and set(colors(mesh)) == case.colors
    found = facts(mesh)
    if case.volume is not None:
        assert found.watertight and found.volume == pytest.approx(case.volume)
    if case.area is not None:
        assert area(mesh) == pytest.approx(case.area)
    if case.vertices is not None:
        assert len(mesh.vertices) == case.vertices
    assert main(["mesh", "inspect", str(path)]) == 0
    assert f"{case.faces} faces" in capsys.readouterr().out


def test_a_byte_order_mark_is_named(cases: Path) -> None:
    """The buffer of this one is not there."""
    with pytest.raises(MeshError, match="b%20in.bin' .*begins with a byte order mark"):
        load_mesh(cases / "gltf" / "bom.gltf")
