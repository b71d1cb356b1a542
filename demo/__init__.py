"""The app's door in a clone: its code is :mod:`zero123lib.app`, which an installed wheel has too.

``demo.layout`` is ``zero123lib.app.layout``, the same module, and so are the others: a Space or a
script that imports them from here goes on. ``demo/examples`` is a link to the example images.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType


class _Door(MetaPathFinder, Loader):
    """Find ``demo.NAME`` in the app, where that has such a module."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        inside = package == __name__ and find_spec(f"zero123lib.app.{name}") is not None
        return ModuleSpec(fullname, self) if inside else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(f"zero123lib.app.{spec.name.partition('.')[2]}")
        spec.loader_state = module.__spec__  # which importing replaces by `spec`
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


sys.meta_path.insert(0, _Door())
