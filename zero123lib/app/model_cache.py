"""The models in memory: the app's own, and at most one other that a visitor asked for.

A request names its model, so that no visitor's choice changes another's images. The second place
goes to whoever asked last; a request that still works with the one before keeps it until it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.card import about_model
from zero123lib.diffusion.checkpoints.sources import NAMED, about_source, bundled_models
from zero123lib.diffusion.pipeline import Zero123Pipeline


def about(name: str) -> str:
    """Say of a name what loading it would bring; see `about_source`."""
    try:
        return about_source(name)
    except ArgumentError as error:
        raise error.renamed("model") from error


class ModelCache:
    """Pipelines by the name that a request gives.

    Args:
        pipe: the app's own.
        load: brings another one.
        allowed: names besides; "any" is whatever `load` takes.
        about: says of a name what loading it would bring, or raises ValueError; fetches nothing.
    """

    def __init__(
        self,
        pipe: Zero123Pipeline,
        load: Callable[[str], Zero123Pipeline],
        allowed: str | Sequence[str] = (),
        about: Callable[[str], str] = str,
    ) -> None:
        self.default = pipe
        self._load, self._about = load, about
        self._allowed = allowed
        self._other: tuple[str, Zero123Pipeline] | None = None
        self._alive: WeakValueDictionary[str, Zero123Pipeline] = WeakValueDictionary()
        self._lock = Lock()

    @property
    def default_name(self) -> str:
        """Return what the app's own model is called."""
        return self.default.model_name

    @property
    def takes_any(self) -> bool:
        """Tell whether names and paths beyond `names` will do."""
        return self._allowed == "any"

    def names(self) -> list[str]:
        """Return what to offer, the app's own first."""
        others = [*bundled_models(), *NAMED] if self.takes_any else list(self._allowed)
        return [self.default_name, *(name for name in others if name != self.default_name)]

    def is_loaded(self, name: str) -> bool:
        """Tell whether `get` answers at once."""
        return name == self.default_name or name in self._alive

    def about(self, name: str | None) -> str:
        """Say what a model is, or what loading it would bring; nothing is fetched.

        Raises:
            ValueError: not one that this server offers, or there is none of that name.
        """
        alive = self._alive.get(name or "")
        if not name or name == self.default_name:
            return f"{about_model(self.default)}."
        if alive is not None:
            return f"{about_model(alive)}."
        self._check(name)
        return self._about(name)

    def get(self, name: str | None) -> Zero123Pipeline:
        """Return the model of that name, loaded if need be; the app's own where none is named.

        Raises:
            ValueError: not one that this server offers, or it cannot be loaded.
        """
        if name is None or name == "" or name == self.default_name:
            return self.default
        self._check(name)
        # Without the lock, which is held for as long as another model is downloaded.
        alive = self._alive.get(name)
        if alive is not None:
            return alive
        with self._lock:
            if self._other is None or self._other[0] != name:
                self._about(name)  # a wrong name takes no other's place
                self._other = None  # first: unless somebody works with it, it makes room
                self._other = (name, self._load(name))
                self._alive[name] = self._other[1]
            return self._other[1]

    def _check(self, name: Any) -> None:
        if not isinstance(name, str) or (not self.takes_any and name not in self._allowed):
            offered = " or ".join(self.names())
            raise ArgumentError("model", offered, repr(str(name)[:80]))
