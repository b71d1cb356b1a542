"""The models in memory: the app's own, and at most one other that a visitor asked for.

A request names its model, so that no visitor's choice changes another's images. The second place
goes to whoever asked last; a request that still works with the one before keeps it until it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock

from zero123lib.diffusion.checkpoints.sources import NAMED, bundled_models
from zero123lib.diffusion.pipeline import Zero123Pipeline


class ModelCache:
    """Pipelines by the name that a request gives.

    Args:
        pipe: the app's own.
        load: brings another one.
        allowed: names besides; "any" is whatever `load` takes.
    """

    def __init__(
        self,
        pipe: Zero123Pipeline,
        load: Callable[[str], Zero123Pipeline],
        allowed: str | Sequence[str] = (),
    ) -> None:
        self.default = pipe
        self._load = load
        self._allowed = allowed
        self._other: tuple[str, Zero123Pipeline] | None = None
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
        return name == self.default_name or (self._other is not None and self._other[0] == name)

    def get(self, name: str | None) -> Zero123Pipeline:
        """Return the model of that name, loaded if need be; the app's own where none is named.

        Raises:
            ValueError: not one that this server offers, or it cannot be loaded.
        """
        if name is None or name == "" or name == self.default_name:
            return self.default
        if not isinstance(name, str) or (not self.takes_any and name not in self._allowed):
            offered = " or ".join(self.names())
            raise ValueError(f"model: expected {offered}, got {str(name)[:80]!r}")
        with self._lock:
            if self._other is None or self._other[0] != name:
                self._other = None  # first, so that there are never three in memory
                self._other = (name, self._load(name))
            return self._other[1]
