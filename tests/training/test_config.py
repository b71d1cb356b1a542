"""Configs: presets, overrides, and one clear line for whatever does not fit."""

from __future__ import annotations

import pytest

from tests.training.toy import toy_config
from zero123lib.training.config import BudgetConfig
from zero123lib.training.config_files import (
    differences,
    parse_override,
    presets,
    read_config,
    to_yaml,
)
from zero123lib.training.recipe import Architecture

DATA = ("data.path", "renders")


def test_presets_read_and_survive_their_own_yaml(tmp_path):
    assert presets() == ["distil", "finetune", "lora", "tiny", "zero123"]
    for name in presets():
        config = read_config(name, [] if name == "tiny" else [DATA])
        (tmp_path / "again.yaml").write_text(to_yaml(config))
        assert read_config(tmp_path / "again.yaml") == config


def test_the_papers_recipe_line_by_line():
    config = read_config("zero123", [DATA])
    optimizer, objective = config.optimizer, config.objective
    assert (optimizer.learning_rate, optimizer.projection_factor) == (1e-4, 10)
    assert (optimizer.betas, optimizer.epsilon) == ((0.9, 0.999), 1e-8)
    assert (optimizer.weight_decay, optimizer.clip_norm) == (0.01, None)
    assert (config.schedule.warmup_steps, config.schedule.warmup_start) == (100, 1e-6)
    assert config.schedule.decay == "constant"
    assert (config.batch.size, config.batch.per_device) == (1536, 192)
    assert (objective.dropout, objective.null_token) == (0.05, "projected")
    assert (objective.posterior, objective.timestep_power) == ("sample", 1)
    assert (config.trained.unet, config.trained.image_encoder) == ("all", False)
    assert (config.ema.decay, config.data.size, config.compute.precision) == (0.9999, 256, "fp32")
    assert config.initial.image_variations is not None


def test_a_file_begins_from_a_preset_and_overrides_come_last(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("preset: finetune\noptimizer: {learning_rate: 1e-5}\nseed: 3\n")
    overrides = [parse_override("optimizer.clip_norm=null"), DATA, ("initial", "zero123-xl")]
    config = read_config(path, overrides)
    assert (config.optimizer.learning_rate, config.seed) == (1e-5, 3)
    assert config.optimizer.betas == read_config("finetune", [DATA]).optimizer.betas
    assert config.optimizer.clip_norm is None and config.initial.source == "zero123-xl"


def test_architectures_are_named_or_sized():
    assert read_config("tiny").initial.architecture == Architecture()
    sized = read_config("tiny", [parse_override("initial.architecture.patch_size=4")])
    assert sized.initial.architecture == Architecture(patch_size=4)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("optimizer.learning_rate=-1", "optimizer.learning_rate: expected a number above 0, got"),
        ("optimizer.learning_rate=.nan", "optimizer.learning_rate: expected a number above 0"),
        ("optimizer.rate=1", "optimizer.rate: expected one of learning_rate, .* an unknown key"),
        ("seed=1.5", "seed: expected a whole number of at least 0, got 1.5"),
        ("batch.size=true", "batch.size: expected a whole number of at least 1, got True"),
        (
            "data.scenes.kinds=[mug, unicorn]",
            "data.scenes.kinds: expected some of .* got 'unicorn'",
        ),
        ("data.scenes.kinds=mug", "data.scenes.kinds: expected a list of entries, each a text"),
        ("data=3", "data: expected a mapping, got 3"),
        ("optimizer.betas=[1]", r"optimizer.betas: expected a list of 2 entries, each a number"),
        ("trained.unet=some", "trained.unet: expected one of all, lora, got 'some'"),
        ("initial=null", "initial: expected where the weights start from"),
        ("initial.source=tiny", "initial.source: expected one of source, .* got 2 of them"),
        ("initial.architecture.attended=[true]", "initial.architecture.attended: expected 2"),
        ("budget=null", "budget: expected steps or minutes"),
        ("data.path=renders", "data.path: expected null .* where the source is scenes"),
        ("data.shard_groups=2", "data.shard_groups: expected 1 where the source is scenes"),
        ("seed.a=1", "seed.a: expected a section seed to set it in, got 0"),
        ("seed", "override: expected section.key=value, .*, got 'seed'"),
        ("seed=[", "override: expected section.key=value"),
    ],
)
def test_one_line_says_what_does_not_fit(override, line, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("preset: tiny\nseed: 0\n")
    with pytest.raises(ValueError, match=line) as caught:
        read_config(path, [parse_override(override)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [", "config: expected a preset .* or a YAML file, got"),
        ("3", "config: expected .* of sections, got .*int"),
        (
            "preset: none",
            "preset: expected one of distil, finetune, lora, tiny, zero123, got 'none'",
        ),
        ("preset: finetune", r"data.path: expected a data set \(--data\), got null"),
    ],
)
def test_files_that_are_no_config(text, line, tmp_path):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ValueError, match=line):
        read_config(tmp_path / "bad.yaml")
    with pytest.raises(ValueError, match="config: expected .* No such file"):
        read_config(tmp_path / "absent.yaml")


def test_what_may_differ_within_a_run(tmp_path):
    run = toy_config(tmp_path)
    longer = toy_config(tmp_path, "budget.steps=9", "data.workers=1", "batch.per_device=4")
    assert differences(longer, run) == {}
    other = toy_config(tmp_path, "optimizer.learning_rate=1", "batch.size=8")
    assert differences(other, run) == {
        "optimizer.learning_rate": (1.0, 1e-3),
        "batch.size": (8, 4),
    }


def test_a_budget_in_words():
    assert BudgetConfig(steps=1_234_567, minutes=90.0).words() == "1234567 steps or 90 minutes"
