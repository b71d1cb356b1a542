"""Words for the page, which reads messages and captions as HTML; clients get them as they are."""

from __future__ import annotations

from html import escape

from gradio.context import LocalContext


def shown(text: str) -> str:
    """Return a text as whoever asks will see it: for the page, what looks like a tag is escaped."""
    request = LocalContext.request.get(None)
    headers = getattr(request, "headers", None) or {}
    return escape(text, quote=False) if headers.get("x-gradio-user") == "app" else text
