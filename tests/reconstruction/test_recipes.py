"""Recipes: what is read, what is listed as ignored, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from zero123lib._optional import require
from zero123lib.reconstruction.recipes import (
    EXTRA,
    RECIPES,
    Recipe,
    read_recipe,
    recipe_names,
    resolved,
)
from zero123lib.reconstruction.schedules import C, at_milestone

ROOT = Path(__file__).resolve().parents[2]
BOTH_ENGINES = ["stable-zero123-sds", "zero123-sds"]


@pytest.mark.parametrize("name", recipe_names())
def test_packaged_recipes_are_read_and_say_which_engines_run_them(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.name == name
    first = (RECIPES / f"{name}.yaml").read_text().splitlines()[0]
    if name in BOTH_ENGINES:
        assert "both engines" in first and "system.geometry_type" in recipe.ignored
    else:
        assert "Embedded engine only" in first and not recipe.ignored


def test_the_public_folder_is_the_packaged_one() -> None:
    assert (ROOT / "recon_configs").resolve() == RECIPES
    assert set(BOTH_ENGINES) | {"views", "tiny-views"} <= set(recipe_names())


def test_numbers_of_the_published_recipes() -> None:
    recipe = read_recipe("stable-zero123-sds")
    assert C(recipe.guidance.max_step_percent, 125) == pytest.approx(0.89)
    assert [C(recipe.loss.lambda_rgb, step) for step in (0, 250, 400)] == [500, 750, 1000]
    camera = recipe.data.random_camera
    sizes = [at_milestone(camera.height, camera.resolution_milestones, s) for s in (199, 200, 300)]
    batches = [
        at_milestone(camera.batch_size, camera.resolution_milestones, s) for s in (0, 299, 300)
    ]
    assert sizes == [64, 128, 256] and batches == [12, 8, 4]
    assert read_recipe("zero123-sds").steps == 600


def test_interpolations_and_resolvers_are_threestudios() -> None:
    tree = resolved(
        "zero123-sds", ["data.image_path=a/my photo.png", "data.random_camera.height=8"]
    )
    assert tree["tag"] == "8_my_photo.png"
    assert tree["system"]["guidance"]["cond_elevation_deg"] == tree["data"]["default_elevation_deg"]
    assert tree["data"]["requires_normal"] is False
    assert tree["system"]["renderer"]["return_comp_normal"] is True
    off = resolved("zero123-sds", ["system.loss.lambda_normal_smooth=[0, 0.0, 0.0, 5]"])
    assert off["system"]["renderer"]["return_comp_normal"] is False


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("${add:2,3}", 5),
        ("${sub:2,3}", -1),
        ("${mul:2,3}", 6),
        ("${div:3,2}", 1.5),
        ("${idiv:7,2}", 3),
        ("${tuple2:2}", [2.0, 2.0]),
        ("${calc_exp_lr_decay_rate:0.25,2}", 0.5),
        ("${not:${gt0:0}}", True),
        ("${cmaxgt0orcmaxgt0:0,[0,0.0,1.0,10]}", True),
    ],
)
def test_every_resolver(tmp_path: Path, expression: str, value: object) -> None:
    file = tmp_path / "one.yaml"
    file.write_text(f'name: x\nvalue: "{expression}"\n')
    assert resolved(file)["value"] == value


def test_resolvers_do_not_stay_registered() -> None:
    read_recipe("zero123-sds")
    assert not require("omegaconf", EXTRA).OmegaConf.has_resolver("cmaxgt0")


def test_overrides_are_applied_in_order_and_typed() -> None:
    recipe = read_recipe(
        "tiny-views", ["seed=1", "seed=2", "system.guidance.embedded.views.azimuths=4"]
    )
    assert recipe.seed == 2 and recipe.embedded.views.azimuths == 4
    assert "azimuths: 4" in recipe.text


def test_a_recipe_read_again_from_its_text_is_the_same(tmp_path: Path) -> None:
    recipe = read_recipe("zero123-sds", ["trainer.max_steps=7"])
    file = tmp_path / "again.yaml"
    file.write_text(recipe.text)
    assert read_recipe(file) == recipe


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("system.loss.lambda_rgbb=3", "system.loss.lambda_rgbb: .*did you mean 'lambda_rgb'"),
        ("sytem.seed=3", "sytem: .*did you mean 'system'"),
        ("system.geometry.radus=3", "system.geometry.radus: .*did you mean 'radius'"),
        ("system.guidance.embedded.feild.samples=3", "did you mean 'field'"),
        ("system.guidance.embedded.field.smples=3", "did you mean 'samples'"),
        ("trainer.max_steps=a", "trainer.max_steps: expected a whole number .*, got 'a'"),
        ("trainer.max_steps=0", "trainer.max_steps: expected .* of at least 1, got 0"),
        ("seed=1.5", "seed: expected a whole number .*, got 1.5"),
        ("system.loss.lambda_rgb=[1, 2]", "system.loss.lambda_rgb: expected a number, "),
        ("system.loss.lambda_rgb=[0, 1, -2.0, 9]", "lambda_rgb: expected numbers of at least 0"),
        ("system.loss.lambda_rgb=much", "lambda_rgb: expected a number or a schedule"),
        ("system.guidance.min_step_percent=1.4", "min_step_percent: .*from 0 to 1, got 1.4"),
        ("data.height=[1, 2]", "data.width: expected the height"),
        ("data.random_camera.batch_size=[2, 1]", "random_camera.batch_size: expected 3 numbers"),
        ("data.random_camera.elevation_range=[80, -10]", "two numbers in order"),
        ("data.random_camera.elevation_range=[-10, 99]", r"degrees in \[-90, 90\]"),
        ("data.random_camera.fovy_range=[20]", "fovy_range: expected a list of 2 entries"),
        ("data.default_camera_distance=0", "default_camera_distance: expected a number above 0"),
        ("data.default_elevation_deg=${nope}", "default_elevation_deg: .*'nope' not found"),
        ("system.optimizer.name=SGD", "expected one of Adam, AdamW, Adamax, got 'SGD'"),
        ("system.guidance.embedded.stages=[sds, views]", r"expected \[views\], \[sds\] or"),
        ("system.guidance.embedded.field.milestones=[]", "milestones: expected 1"),
        ("system.guidance.embedded.field.milestones=[1.5]", "milestones: expected ascending"),
        ("system.guidance.embedded.fit.color_steps=-1", "color_steps: expected .* of at least 0"),
        ("system.guidance.embedded.fit.robust=0", "robust: expected a number above 0, got 0"),
        ("system.guidance.embedded.fit.hull_density=0", "hull_density: expected a number above 0"),
        ("system.optimizer=3", "system.optimizer: expected a section, got 3"),
        ("seed", "expected key=value"),
        ("=3", "expected key=value"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(override: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        read_recipe("zero123-sds", [override])
    assert "\n" not in str(caught.value)


def test_sections_of_other_threestudio_modules_are_passed_over_whole() -> None:
    recipe = read_recipe(
        "zero123-sds", ["system.renderer_type=deferred-volume-renderer", "system.renderer.odd=1"]
    )
    assert "system.renderer" in recipe.ignored
    with pytest.raises(ValueError, match="system.renderer.odd"):
        read_recipe("zero123-sds", ["system.renderer.odd=1"])


@pytest.mark.parametrize("content", ["- 1\n", "a: [1\n", "a: ${b}\n", "\xff"])
def test_files_that_are_no_recipes_are_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(
        ValueError, match=r"config: expected a recipe that can be read, got bad.yaml: "
    ) as caught:
        read_recipe(file)
    assert "\n" not in str(caught.value)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match="config: expected a recipe .*tiny-views.* got 'nope'"):
        read_recipe("nope")


def test_recipes_are_values() -> None:
    first, second = read_recipe("views"), read_recipe("views")
    assert isinstance(first, Recipe) and first == second


@pytest.mark.parametrize("key", ["encoding", "use_ema", "variant", "weighting", "max_batch_size"])
def test_keys_of_the_plug_in_alone_are_named_as_ignored(key: str) -> None:
    recipe = read_recipe("zero123-sds", [f"system.guidance.{key}=1"])
    assert f"system.guidance.{key}" in recipe.ignored
