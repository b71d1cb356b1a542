"""The rasterisers that are installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

BACKENDS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            find_spec(name) is None, reason=f"{name} is not installed: its rasteriser is not tested"
        ),
    )
    for name in ("open3d", "pytorch3d")
]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each of the rasterisers; one that is not installed is skipped, visibly."""
    return request.param
