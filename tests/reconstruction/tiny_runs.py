"""What makes any recipe small enough for a test, and the camera of the test's image."""

from __future__ import annotations

from zero123lib.views.poses import Pose

INPUT = Pose(20.0, 0.0, 1.8)

# What makes any recipe small, over the keys of tiny-views and tiny-sds.
TINY = [
    "system.guidance.embedded.field.resolutions=[12, 20]",
    "system.guidance.embedded.field.milestones=[0.5]",
    "system.guidance.embedded.field.samples=16",
    "system.guidance.embedded.views.azimuths=4",
    "system.guidance.embedded.views.elevations_deg=[0.0, 40.0]",
    "system.guidance.embedded.fit.steps=9",
    "system.guidance.embedded.fit.color_steps=3",
    "system.guidance.embedded.fit.rays=128",
    "system.guidance.embedded.outputs.frames=2",
    "system.guidance.embedded.outputs.size=16",
    "system.guidance.embedded.outputs.mesh_resolution=16",
    "system.guidance.embedded.outputs.mesh_level=null",
    "system.guidance.embedded.outputs.texture_size=64",
    "system.guidance.embedded.preprocess=none",
    f"data.default_camera_distance={INPUT.radius}",
    f"data.default_elevation_deg={INPUT.elevation_deg}",
    "data.height=16",
    "data.width=16",
    "data.random_camera.height=12",
    "data.random_camera.width=12",
    "trainer.max_steps=8",
    "checkpoint.every_n_train_steps=3",
]
