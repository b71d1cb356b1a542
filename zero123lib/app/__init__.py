"""The Gradio app: one image in, the same object from any camera out. `zero123 app` serves it.

On a ZeroGPU Space `spaces` patches torch, and has to be imported before it; elsewhere it may be
installed all the same, and nothing is borrowed. The word that torch's threads sleep while they wait
for one another comes before torch, too: visitors' work would else spin side by side.
"""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType

os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _spaces() -> ModuleType | None:
    try:
        spaces = import_module("spaces")
    except ImportError:
        return None
    return spaces if import_module("spaces.config").Config.zero_gpu else None


SPACES = _spaces()
