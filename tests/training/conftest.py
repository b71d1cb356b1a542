"""What the training's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.toy import write_renders

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def renders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three objects of four views in the official layout."""
    return write_renders(tmp_path_factory.mktemp("renders"))
