"""Text of files, and numbers in it, many at a time."""

from __future__ import annotations

import codecs
import warnings

import numpy as np


def numbers(text: str | bytes, kind: type = np.float64) -> np.ndarray:
    """Read whitespace-separated numbers ``[N]``.

    Raises:
        ValueError: one of the words is none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        try:
            return np.fromstring(text, dtype=kind, sep=" ")
        except (DeprecationWarning, ValueError):
            # Slower, and says which word it is.
            return np.array([kind(word) for word in text.split()], kind)


def plain(content: bytes) -> bytes:
    """Return text without its byte order mark, in UTF-8 where that says it is in UTF-16."""
    if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        content = content.decode("utf-16", "surrogatepass").encode("utf-8", "surrogatepass")
    return content.removeprefix(codecs.BOM_UTF8)


def decoded(content: bytes) -> str:
    """Return text with lines ended by ``\\n``. Bytes that are not UTF-8 stay as they are, in names
    of files say."""
    text = plain(content).decode("utf-8", "surrogateescape")
    return text.replace("\r\n", "\n").replace("\r", "\n")
