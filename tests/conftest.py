"""What every test shares: no network, few threads, and the data beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Set before anything imports torch, transformers or gradio, and inherited by subprocesses.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("OMP_NUM_THREADS", str(min(os.cpu_count() or 1, 4)))

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images and meshes beside the repository; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("../shared/data is absent: no real images and meshes to test on")
    return SHARED_DATA
