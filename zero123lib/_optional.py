"""Soft dependencies: absent ones fail at use, and the error names the extra that brings them."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


class MissingExtraError(ImportError):
    """A feature was used whose optional dependency is not installed, or does not load."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency at its point of use.

    Args:
        module: Dotted name of the module, such as `"open3d"`.
        extra: Name of the zero123lib extra that installs it, such as `"meshes"`.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: It is not installed, or it is and cannot load (a missing system library,
            say). The message tells which, and what to install.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise MissingExtraError(_does_not_load(module, error)) from error
        message = f"{module} is not installed: pip install 'zero123lib[{extra}]'"
        raise MissingExtraError(message, name=error.name) from error
    except ImportError as error:
        raise MissingExtraError(_does_not_load(module, error)) from error


def _does_not_load(module: str, error: ImportError) -> str:
    return (
        f"{module} is installed but does not load ({error}): see packages.txt for system libraries"
    )
