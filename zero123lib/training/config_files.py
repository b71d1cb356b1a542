"""Configs as YAML: presets, files that begin from one, single keys, what differs between two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from zero123lib._errors import ArgumentError
from zero123lib._words import nearest
from zero123lib.training.config import TrainConfig

PRESETS = Path(__file__).parent / "configs"

# What may differ between the parts of one run: it changes how long, where and how fast the run
# goes on and what is kept of it, not what is computed up to rounding.
MAY_DIFFER = ("budget.", "validation.", "saving.", "output.", "data.path", "data.workers",
              "batch.per_device", "compute.")  # fmt: skip


def presets() -> list[str]:
    """Return names of the packaged configs."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def read_config(source: str | Path, overrides: Sequence[tuple[str, Any]] = ()) -> TrainConfig:
    """Read a config.

    Args:
        source: a preset's name, or a YAML file, which may begin from one by ``preset: NAME``.
        overrides: dotted keys and their values, applied in order.

    Raises:
        ValueError: no such file, or something in it does not fit; the message names the key.
    """
    content = _content(source)
    if "preset" in content:
        name = content.pop("preset")
        if name not in presets():
            raise ArgumentError("preset", f"one of {', '.join(presets())}", repr(name))
        content = _merged(_content(str(name)), content)
    for key, value in overrides:
        _set(content, key, value)
    content["initial"] = _initial(content.get("initial"))
    return TrainConfig(**{str(key): value for key, value in content.items()})


def parse_override(text: str) -> tuple[str, Any]:
    """Return ``key.of.section=value`` as the key and YAML's value.

    Raises:
        ValueError: it is not of that form.
    """
    key, equals, value = text.partition("=")
    try:
        if not equals or not key.strip():
            raise ValueError("no key")
        return key.strip(), yaml.safe_load(value)
    except (ValueError, yaml.YAMLError) as error:
        expected = "section.key=value, such as optimizer.learning_rate=1e-5"
        raise ArgumentError("override", expected, repr(text)) from error


def to_yaml(config: TrainConfig) -> str:
    """Return the config as YAML that :func:`read_config` takes."""
    return yaml.safe_dump(_plain(asdict(config)), sort_keys=False)


def differences(new: TrainConfig, old: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (new, old) of what differs and may not within one run."""
    flat_new, flat_old = _flat(asdict(new)), _flat(asdict(old))
    return {
        key: (flat_new.get(key), flat_old.get(key))
        for key in (flat_new | flat_old)
        if flat_new.get(key) != flat_old.get(key) and not key.startswith(MAY_DIFFER)
    }


def _content(source: str | Path) -> dict[str, Any]:
    path = PRESETS / f"{source}.yaml" if str(source) in presets() else Path(source)
    wanted = f"a preset ({', '.join(presets())}) or a YAML file"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        got = f"{str(source)!r}: {error.strerror}{nearest(str(source), presets())}"
        raise ArgumentError("config", wanted, got) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ArgumentError("config", wanted, f"{str(source)!r}: {reason}") from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ArgumentError("config", f"{wanted} of sections", f"{str(source)!r}: {kind}")
    return content


def _initial(value: Any) -> Any:
    """Return the section, from a model's name alone or with an architecture by its name."""
    if isinstance(value, str):
        return {"source": value}
    if isinstance(value, Mapping) and value.get("architecture") == "tiny":
        return {**value, "architecture": {}}
    if value is None:
        raise ArgumentError("initial", "where the weights start from (--initial)", "null")
    return value


def _merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        if key != "initial" and isinstance(value, Mapping) and isinstance(result.get(key), dict):
            result[key] = _merged(result[key], value)
        else:
            result[key] = value
    return result


def _set(content: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    place = content
    for name in sections:
        inner = place.get(name)
        if name == "architecture" and inner == "tiny":
            inner = {}
        if not isinstance(inner, Mapping | None):
            raise ArgumentError(key, f"a section {name} to set it in", repr(inner))
        place[name] = dict(inner or {})
        place = place[name]
    place[last] = value


def _flat(content: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in content.items():
        place = f"{path}.{key}" if path else key
        flat |= _flat(value, place) if isinstance(value, Mapping) else {place: value}
    return flat


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
