"""`demo` is the app's door in a clone."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from zero123lib.app import examples, layout
from zero123lib.app.examples import example_files

ROOT = Path(__file__).resolve().parents[2]


def test_demo_is_the_door_of_a_clone() -> None:
    assert importlib.import_module("demo.layout") is layout
    assert layout.__spec__ is not None and layout.__spec__.name == "zero123lib.app.layout"
    assert importlib.import_module("demo.examples") is examples
    assert sorted(os.listdir(ROOT / "demo" / "examples")) == sorted(
        os.listdir(Path(example_files()[0]).parent)
    )
