"""Of SECURITY.md: no YAML builds objects, and no mesh reads files of another folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zero123lib.diffusion.checkpoints.original_config import read_configs
from zero123lib.meshes.load import load_mesh
from zero123lib.reconstruction.recipes import read_recipe
from zero123lib.training.config_files import read_config

READERS: dict[str, Callable[[Path], Any]] = {
    "training": read_config,
    "recipe": read_recipe,
    "original": read_configs,
}
PAYLOADS = (
    "!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{mark}']]",
    "!!python/object/apply:os.system ['touch {mark}']",
    "!!python/name:os.system",
    "!!python/object/new:os.system ['touch {mark}']",
)


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("reader", READERS)
def test_no_yaml_builds_an_object(reader: str, payload: str, tmp_path: Path) -> None:
    mark, file = tmp_path / "mark", tmp_path / "file.yaml"
    text = payload.format(mark=mark)
    for content in (text, f"model: {text}\n", f"system:\n  loss: {text}\n"):
        file.write_text(content)
        with pytest.raises(ValueError) as caught:
            READERS[reader](file)
        assert "\n" not in str(caught.value)
        assert not mark.exists()


@pytest.mark.parametrize("way", ["absolute", "climbing", "encoded", "linked", "address"])
def test_no_mesh_reads_a_file_of_another_folder(way: str, tmp_path: Path) -> None:
    """The material's colour would show that it was read."""
    place, elsewhere = tmp_path / "meshes", tmp_path / "elsewhere"
    place.mkdir()
    elsewhere.mkdir()
    secret = elsewhere / "secret.mtl"
    secret.write_text("newmtl a\nKd 1 0 0\n")
    if way == "linked":
        (place / "link.mtl").symlink_to(secret)
    named = {
        "absolute": str(secret),
        "climbing": "../elsewhere/secret.mtl",
        "encoded": "%2e%2e/elsewhere/secret.mtl",
        "linked": "link.mtl",
        "address": secret.as_uri(),
    }[way]
    (place / "a.obj").write_text(
        f"mtllib {named}\nusemtl a\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n"
        "f 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
    )
    mesh = load_mesh(place / "a.obj")
    assert "not known: it has the plain colour" in mesh.info["note"]
