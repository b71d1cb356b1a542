"""The error of images that cannot be used."""

from __future__ import annotations

from zero123lib._errors import ArgumentError


class ImageError(ArgumentError):
    """An image that cannot be used: the argument, what was expected of it, and what came."""
