"""A folder of views is read back as it was written, and others' as they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zero123lib.views.cameras import camera_to_world
from zero123lib.views.folder import read_views
from zero123lib.views.poses import Pose
from zero123lib.views.transforms import Pinhole

CAMERA = camera_to_world(Pose(10.0, 20.0, 2.0))


def test_a_mask_is_an_alpha_and_a_smaller_copy_has_the_same_camera(tmp_path: Path) -> None:
    Image.new("RGB", (50, 40), (255, 0, 51)).save(tmp_path / "a.jpg", quality=100)
    mask = np.zeros((40, 50), np.uint8)
    mask[:, :25] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    frame: dict[str, Any] = {"file_path": "a", "transform_matrix": CAMERA.tolist()}
    listing = {"fl_x": 90.0, "w": 100, "h": 80, "frames": [{**frame, "mask_path": "m.png"}]}
    (tmp_path / "transforms_train.json").write_text(json.dumps(listing))
    (found,) = read_views(tmp_path)
    assert (np.asarray(found.image)[..., 3] == mask).all() and not found.opaque
    assert found.pinhole == Pinhole(50, 40, 45.0, 45.0, 25.0, 20.0)
    Image.new("L", (8, 8)).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"views: expected a mask of \(50, 40\), got \(8, 8\)"):
        read_views(tmp_path)
