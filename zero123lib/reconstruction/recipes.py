"""Recipes: threestudio's YAML, its interpolations and its way to override single keys.

    recipe = read_recipe("zero123-sds", ["trainer.max_steps=300", "seed=1"])

A key is either read, or listed in `Recipe.ignored` where it is one of threestudio's own that the
embedded engine has no use for, or refused: nothing is passed over in silence. Keys for this engine
alone live in ``system.guidance.embedded``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from zero123lib._config import settings
from zero123lib._errors import ArgumentError
from zero123lib._optional import require
from zero123lib._words import nearest
from zero123lib.reconstruction.files import RECIPES as RECIPES
from zero123lib.reconstruction.files import check_overrides, find_recipe
from zero123lib.reconstruction.files import recipe_names as recipe_names
from zero123lib.reconstruction.known import IGNORED, TYPES
from zero123lib.reconstruction.schedules import largest
from zero123lib.reconstruction.schema import Content, Embedded, Guidance, Loss, Optimizer

EXTRA = "recon"


@settings
class Recipe(Content):
    """A recipe that was read: what the embedded engine goes by, and what it came with.

    Attributes:
        ignored: keys of threestudio's that it does not use.
        text: the whole as YAML, overrides and interpolations done.
    """

    ignored: tuple[str, ...] = ()
    text: str = ""

    @property
    def guidance(self) -> Guidance:
        """Return ``system.guidance``."""
        return self.system.guidance

    @property
    def embedded(self) -> Embedded:
        """Return ``system.guidance.embedded``."""
        return self.system.guidance.embedded

    @property
    def loss(self) -> Loss:
        """Return ``system.loss``."""
        return self.system.loss

    @property
    def optimizer(self) -> Optimizer:
        """Return ``system.optimizer``."""
        return self.system.optimizer

    @property
    def steps(self) -> int:
        """Count the steps of optimisation over all stages."""
        fit = self.embedded.fit
        counts = {
            "views": fit.steps + fit.color_steps,
            "sds": self.trainer.max_steps,
        }
        return sum(counts[stage] for stage in self.embedded.stages)


def read_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        source: a packaged recipe's name, or a YAML file.
        overrides: ``dotted.key=value``, as threestudio's command line takes them, in order.

    Raises:
        ValueError: no such recipe, or something in it does not fit; the message names the key.
        MissingExtraError: OmegaConf is not installed.
    """
    tree = resolved(source, overrides)
    kept: dict[str, Any] = {}
    ignored: list[str] = []
    _sort(tree, Content, "", kept, ignored, tree)
    return Recipe(**kept, ignored=tuple(ignored), text=_yaml(tree))


def resolved(source: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the content of a recipe, overrides and interpolations done, as plain values.

    Raises:
        ValueError: as for :func:`read_recipe`, as far as it is about YAML and interpolations.
    """
    omegaconf = _omegaconf()
    path = find_recipe(source)
    check_overrides(overrides)
    try:
        config = omegaconf.OmegaConf.load(path)
        if not isinstance(config, omegaconf.DictConfig):
            raise ValueError("expected sections at the top, got something else")
        config.merge_with_dotlist(list(overrides))
        with _resolvers():
            return omegaconf.OmegaConf.to_container(config, resolve=True)
    except (OSError, ValueError, omegaconf.errors.OmegaConfBaseException, yaml.YAMLError) as error:
        got = f"{path.name}: {_line(error)}"
        raise ArgumentError("config", "a recipe that can be read", got) from error


def _sort(
    section: Mapping[str, Any],
    kind: type,
    path: str,
    kept: dict[str, Any],
    ignored: list[str],
    tree: Mapping[str, Any],
) -> None:
    """Part a section's keys into those that are read and those that are ignored."""
    mine = {one.name for one in fields(kind)}
    sections = {name.rpartition(".")[2] for name in IGNORED if name and _parent(name) == path}
    if path.startswith("system.guidance.embedded"):
        sections = set()
    passed = IGNORED.get(path, ())
    for key, value in section.items():
        place = f"{path}.{key}" if path else str(key)
        inner = get_type_hints(kind).get(key)
        if isinstance(inner, type) and is_dataclass(inner):
            if not isinstance(value, Mapping | None):
                raise ArgumentError(place, "a section", repr(value))
            kept[key] = {}
            _sort(value or {}, inner, place, kept[key], ignored, tree)
        elif key in mine:
            kept[key] = value
        elif key in passed:
            ignored.append(place)
        elif key in sections:
            ignored.extend(_passed_over(value, place, tree))
        else:
            raise ArgumentError(
                place,
                f"a key that is known in {path or 'a recipe'}",
                f"{key!r}{nearest(str(key), [*mine, *passed, *sections])}",
            )


def _passed_over(value: Any, place: str, tree: Mapping[str, Any]) -> list[str]:
    """Return the keys of a section that this engine has no part of."""
    known = IGNORED[place]
    name = place.rpartition(".")[2]
    chosen = tree.get("system", {}).get(f"{name}_type")
    if known == ("*",) or (name in TYPES and chosen not in TYPES[name]):
        return [place]
    if not isinstance(value, Mapping | None):
        raise ArgumentError(place, "a section", repr(value))
    for key in value or {}:
        if key not in known:
            raise ArgumentError(
                f"{place}.{key}",
                f"a key that is known in {place}",
                f"{key!r}{nearest(str(key), known)}",
            )
    return [f"{place}.{key}" for key in value or {}]


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _yaml(tree: Mapping[str, Any]) -> str:
    omegaconf = _omegaconf()
    return omegaconf.OmegaConf.to_yaml(omegaconf.OmegaConf.create(dict(tree)))


def _line(error: Exception) -> str:
    """Return the message of an error of OmegaConf's or YAML's on one line, its key first."""
    text = str(error) or type(error).__name__
    message = " ".join(text.partition("full_key:")[0].split())
    key = getattr(error, "full_key", None)
    return f"{key}: {message}" if key else message


@contextmanager
def _resolvers() -> Iterator[None]:
    """OmegaConf knows, for as long as this lasts, what threestudio registers.

    No longer, as threestudio itself refuses to register what is there already.
    """
    config = _omegaconf().OmegaConf
    new = {name: one for name, one in RESOLVERS.items() if not config.has_resolver(name)}
    for name, resolver in new.items():
        config.register_resolver(name, resolver)
    try:
        yield
    finally:
        for name in new:
            config.clear_resolver(name)


def _omegaconf() -> Any:
    return require("omegaconf", EXTRA)


# threestudio, utils/config.py.
RESOLVERS = {
    "calc_exp_lr_decay_rate": lambda factor, n: factor ** (1.0 / n),
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "idiv": lambda a, b: a // b,
    "basename": os.path.basename,
    "rmspace": lambda text, by: text.replace(" ", by),
    "tuple2": lambda value: [float(value), float(value)],
    "gt0": lambda value: value > 0,
    "cmaxgt0": lambda value: largest(value) > 0,
    "cmaxgt0orcmaxgt0": lambda a, b: largest(a) > 0 or largest(b) > 0,
    "not": lambda value: not value,
}
