"""Where recipes are, and what their overrides look like: to be asked before torch is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zero123lib._errors import ArgumentError
from zero123lib._words import nearest

RECIPES = Path(__file__).parent / "configs"


def recipe_names() -> list[str]:
    """Return names of the packaged recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def find_recipe(source: str | Path) -> Path:
    """Return the file of a packaged recipe's name, or the file that is named.

    Raises:
        ValueError: there is none.
    """
    if str(source) in recipe_names():
        return RECIPES / f"{source}.yaml"
    path = Path(source)
    if not path.is_file():
        raise ArgumentError(
            "config",
            f"a recipe ({', '.join(recipe_names())}) or a YAML file",
            f"{str(source)!r}{nearest(str(source), recipe_names())}",
        )
    return path


def check_overrides(overrides: Sequence[str]) -> None:
    """Raise ArgumentError unless all are ``dotted.key=value``."""
    for text in overrides:
        key, equals, _ = text.partition("=")
        if not equals or not key.strip():
            raise ArgumentError(
                "override", "key=value with a dotted key, such as trainer.max_steps=300", repr(text)
            )
