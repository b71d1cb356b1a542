"""Help, examples and names of verbs, without loading anything heavy."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import torch
from running import HEAVY, MUG, python

from zero123lib._choices import Preset
from zero123lib.cli import app, main
from zero123lib.cli.verbs import VERBS, build
from zero123lib.reconstruction.files import recipe_names
from zero123lib.views.poses import PRESETS

ROOT = Path(__file__).resolve().parents[2]
# What a view needs beside torch and the networks' classes.
VIEWS = {
    "zero123lib", "diffusers", "PIL", "cyclopts", "attr", "attrs",
    "pydantic", "pydantic_core", "annotated_types", "typing_inspection",
}  # fmt: skip


def all_verbs() -> Iterator[list[str]]:
    for name, verb in VERBS.items():
        yield from ([[name]] if isinstance(verb, tuple) else [[name, inner] for inner in verb])


def test_help_of_every_verb_loads_nothing_heavy() -> None:
    code = f"""
import sys
from zero123lib.cli import main
for words in ([], *{list(all_verbs())!r}):
    assert main([*words, "--help"]) == 0, words
    assert not {set(HEAVY)!r} & sys.modules.keys(), words
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_the_page_of_the_command_line_has_every_verb() -> None:
    table = (ROOT / "docs/command-line.md").read_text().partition("\n## ")[0]
    told = {("models", "list")}  # which `models` alone is
    for row in re.findall(r"^\| (`.*?) \| ", table, re.MULTILINE):
        first, *more = (name.split() for name in re.findall(r"`([^`]+)`", row))
        group = first[:-1]  # of those that follow, too
        told |= {tuple(first), *(tuple(one if len(one) > 1 else group + one) for one in more)}
    assert told - {("models",)} == {tuple(verb) for verb in all_verbs()}


def test_a_view_loads_no_more_than_its_networks_need(tmp_path) -> None:
    """A start is imports, for the most part, and these are diffusers' and transformers' own: beyond
    them come this library, and what reads images, options and settings."""
    code = f"""
import sys
import diffusers, torch, transformers
classes = "AutoencoderKL", "DDIMScheduler", "DiffusionPipeline", "UNet2DConditionModel"
assert all(getattr(diffusers, name) for name in classes)
assert transformers.CLIPVisionModelWithProjection
before = set(sys.modules)
from zero123lib.cli import main
assert main(["views", {MUG!r}, "--out", {str(tmp_path)!r}, "--steps", "1"]) == 0
new = {{name.partition(".")[0] for name in sys.modules.keys() - before}}
new -= sys.stdlib_module_names
assert new <= {VIEWS!r}, new
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", list(all_verbs()), ids=" ".join)
def test_every_verb_shows_examples_that_parse(
    verb: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*verb, "--help"]) == 0
    text = capsys.readouterr().out.replace("\\\n", " ")
    begins = ["zero123", *verb]
    lines = [line for line in text.splitlines() if line.strip().startswith("zero123 ")]
    assert all(line.startswith("    ") for line in lines)
    examples = [shlex.split(line) for line in lines]
    examples = [words for words in examples if words[: len(begins)] == begins]
    assert examples
    for words in examples:
        build().parse_args(words[1:], exit_on_error=False, print_error=False)


def test_the_help_tells_the_truth(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0 and main(["reconstruct", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in (*VERBS, *recipe_names()))
    assert "Usage: zero123 COMMAND" in text and get_args(Preset)[:-1] == tuple(PRESETS)
    # No path of a clone, which an installed wheel has not.
    assert "recon_configs" not in text and "docs/" not in text


def test_a_verb_that_is_none_is_told_its_neighbour(capsys: pytest.CaptureFixture[str]) -> None:
    for words, meant in (
        (["--versoin"], "--version"),
        (["vews"], "views"),
        (["mesh", "cleen"], "clean"),
    ):
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert ": error: VERB: expected one of " in line and line.endswith(f"mean '{meant}'?")


def test_env_says_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env"]) == 0
    text = capsys.readouterr().out
    assert main(["env", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["packages"]["torch"] == torch.__version__
    assert found["weights"] == {"tiny": "apache-2.0"}
    assert {"meshes", "app", "train", "video"} <= found["extras"].keys()
    for told in (torch.__version__, "tiny apache-2.0", "trimesh", f"{torch.get_num_threads()} thr"):
        assert told in text


def test_completion_knows_verbs_options_and_choices() -> None:
    script = build().generate_completion(shell="bash")
    for word in ("reconstruct", "inspect", "--azimuth", "unipc", "--install-completion"):
        assert word in script


def test_the_app_without_its_extra_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "find_spec", lambda name: None)
    assert main(["app"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'zero123lib[app]'" in line
