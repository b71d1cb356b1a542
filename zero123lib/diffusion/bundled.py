"""Where models lie, the bundled ones by name and others by folder, and whether they are whole."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from safetensors import safe_open

MODELS = Path(__file__).resolve().parents[1] / "models"
PIPELINE = "Zero123Pipeline"


def bundled_models() -> list[str]:
    """Names that ``from_pretrained`` knows without a path."""
    return sorted(index.parent.name for index in MODELS.glob("*/model_index.json"))


def find_model(name_or_path: str | Path) -> Path:
    """The folder of a bundled model's name, or of a path to a saved pipeline.

    Raises:
        ValueError: neither; the message names the argument and the bundled models.
    """
    argument = "pretrained_model_name_or_path"
    if isinstance(name_or_path, str) and name_or_path in bundled_models():
        return MODELS / name_or_path
    folder = Path(name_or_path)
    if not folder.is_dir():
        names = ", ".join(map(repr, bundled_models())) or "none in this installation"
        raise ValueError(
            f"{argument}: expected a bundled model ({names}) or a local diffusers folder, "
            f"got {str(name_or_path)!r}"
        )
    index = folder / "model_index.json"
    try:
        name = json.loads(index.read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{argument}: expected a diffusers folder with a model_index.json, "
            f"got {str(folder)!r} ({type(error).__name__})"
        ) from error
    if name != PIPELINE:
        raise ValueError(
            f"{argument}: expected a folder of a {PIPELINE}, got {str(folder)!r}, "
            f"which holds a {name}"
        )
    return folder


def missing_weights(folder: Path, names: Iterable[str]) -> list[str]:
    """Those of a component's weights that no safetensors file of its folder holds.

    diffusers and transformers only log them, and go on with random or absent values.
    """
    held: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            held.update(file.keys())
    return sorted(set(names) - held)
