"""Small data sets on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from discs import camera, disc

from zero123lib.datasets.folder import write_object


@pytest.fixture
def make_objects(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a data set of discs: number of objects, and of views of each."""

    def make(objects: int = 5, views: int = 4, name: str = "objects") -> Path:
        for index in range(objects):
            write_object(
                tmp_path / name / f"group/{index:02d}",
                [disc(index, view) for view in range(views)],
                [camera(index, view) for view in range(views)],
            )
        return tmp_path / name

    return make
