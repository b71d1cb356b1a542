"""The bundled model, for whoever asks it about cameras."""

from __future__ import annotations

import pytest

from zero123lib import Zero123Pipeline


@pytest.fixture(scope="session")
def pipe() -> Zero123Pipeline:
    tiny = Zero123Pipeline.from_pretrained("tiny")
    tiny.set_progress_bar_config(disable=True)
    return tiny
