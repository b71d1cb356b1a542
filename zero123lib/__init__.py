"""Novel views of one image with Zero123-family diffusion models, and the object from them.

Importing the package is cheap: the public names load their rooms at first use (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zero123lib.diffusion.pipeline import Zero123Pipeline
    from zero123lib.reconstruction.engine import reconstruct
    from zero123lib.reconstruction.recipes import Recipe, read_recipe
    from zero123lib.views.poses import Pose, RelativePose

__version__ = "0.1.0"
__all__ = [
    "Pose",
    "Recipe",
    "RelativePose",
    "Zero123Pipeline",
    "__version__",
    "read_recipe",
    "reconstruct",
]

_HOMES = {
    "Pose": "zero123lib.views.poses",
    "Recipe": "zero123lib.reconstruction.recipes",
    "RelativePose": "zero123lib.views.poses",
    "Zero123Pipeline": "zero123lib.diffusion.pipeline",
    "read_recipe": "zero123lib.reconstruction.recipes",
    "reconstruct": "zero123lib.reconstruction.engine",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
