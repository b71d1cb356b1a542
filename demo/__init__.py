"""The Gradio app: one picture in, the same object from any camera out.

On a ZeroGPU Space `spaces` patches torch, and has to be imported before it.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def _spaces() -> ModuleType | None:
    try:
        return import_module("spaces")
    except ImportError:
        return None


SPACES = _spaces()
