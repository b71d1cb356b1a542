"""What waits for what: limits of the page's events, by what they keep busy."""

from __future__ import annotations

from typing import Any

from zero123lib.app import settings

# One view: these stand in a line of ours, before the steps of long jobs, and are told their place.
ONE_VIEW: dict[str, Any] = {
    "concurrency_id": "one-view",
    "concurrency_limit": settings.VIEWS_AT_ONCE,
    "preprocess": False,
}
# Many views: in the same line, one after the other; of those beyond, Gradio tells the place.
LONG: dict[str, Any] = {
    "concurrency_id": "long",
    "concurrency_limit": settings.LONG_AT_ONCE,
    "preprocess": False,
}
# Whatever cuts out; `preparing.py` does a few at a time.
CUT_OUT: dict[str, Any] = {
    "concurrency_id": "cut-out",
    "concurrency_limit": settings.CUT_OUTS_AT_ONCE,
    "preprocess": False,
}
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
AT_ONCE: dict[str, Any] = {**QUIET, "queue": False}
