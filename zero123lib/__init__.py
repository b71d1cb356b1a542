"""Novel views of one picture with Zero123-family diffusion models.

Importing the package is cheap: the public names load their rooms at first use (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zero123lib.diffusion.pipeline import Zero123Pipeline
    from zero123lib.views.poses import Pose, RelativePose

__version__ = "0.1.0"
__all__ = ["Pose", "RelativePose", "Zero123Pipeline", "__version__"]

_HOMES = {
    "Pose": "zero123lib.views.poses",
    "RelativePose": "zero123lib.views.poses",
    "Zero123Pipeline": "zero123lib.diffusion.pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
