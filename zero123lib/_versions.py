"""The versions that a result depends on, for whoever wants to have it again."""

from __future__ import annotations

import platform
from importlib.metadata import version

from zero123lib import __version__

_PACKAGES = ("torch", "diffusers", "transformers", "numpy")


def versions() -> dict[str, str]:
    """Return the versions of this library, of Python, and of the packages that compute."""
    found = {name: version(name) for name in _PACKAGES}
    return {"zero123lib": __version__, "python": platform.python_version(), **found}
