"""threestudio takes our recipes whole: its own loader, its own dataclasses."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from zero123lib.reconstruction.recipes import RECIPES
from zero123lib.threestudio_plugin.clone import GUIDANCE_TYPE

ALONE = "# Embedded engine only."
FILES = sorted(RECIPES.glob("*.yaml"))
SHARED = [path for path in FILES if not path.read_text().startswith(ALONE)]
SECTIONS = ("geometry", "material", "background", "renderer", "prompt_processor", "guidance")


def test_both_kinds_of_recipes_are_there() -> None:
    assert {"zero123-sds", "stable-zero123-sds"} <= {path.stem for path in SHARED}
    for path in set(FILES) - set(SHARED):
        assert "system_type" not in yaml.safe_load(path.read_text()), path


@pytest.mark.parametrize("path", SHARED, ids=lambda path: path.stem)
def test_threestudio_parses_every_section(
    path: Path, threestudio: Any, parse: Callable[..., Any], tmp_path: Path
) -> None:
    load_config = importlib.import_module("threestudio.utils.config").load_config
    image = f"{tmp_path}/my photo = 1.png"
    overrides = [f"exp_root_dir={json.dumps(str(tmp_path))}"]
    overrides += [f"data.image_path={json.dumps(image)}"]  # as `launch` writes them
    recipe = load_config(str(path), cli_args=overrides, n_gpus=1)
    assert recipe.system.guidance_type == GUIDANCE_TYPE
    assert recipe.system.guidance.cond_image_path == image
    data = importlib.import_module("threestudio.data.image").SingleImageDataModuleConfig
    camera = importlib.import_module("threestudio.data.uncond").RandomCameraDataModuleConfig
    assert parse(data, recipe.data).default_fovy_deg == recipe.data.default_fovy_deg
    parse(camera, recipe.data.random_camera)
    system = threestudio.find(recipe.system_type)
    parse(system.Config, recipe.system)
    for section in SECTIONS:
        module = threestudio.find(recipe.system[f"{section}_type"])
        parse(module.Config, recipe.system.get(section, {}))


def test_a_typo_in_a_recipe_is_told(threestudio: Any, parse: Callable[..., Any]) -> None:
    guidance = threestudio.find(GUIDANCE_TYPE)
    with pytest.raises(ValueError, match="did you mean 'cond_elevation_deg'"):
        guidance({"cond_elevation": 5.0})
    with pytest.raises(TypeError, match="cond_elevation"):
        parse(guidance.Config, {"cond_elevation": 5.0})
