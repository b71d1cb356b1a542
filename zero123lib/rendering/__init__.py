"""Training data from mesh files: official cameras, official folder layout."""

from zero123lib.rendering.cameras import official_poses
from zero123lib.rendering.dataset import Outcome, render_dataset
from zero123lib.rendering.objects import find_meshes, render_object
from zero123lib.rendering.settings import RenderSettings

__all__ = [
    "Outcome",
    "RenderSettings",
    "find_meshes",
    "official_poses",
    "render_dataset",
    "render_object",
]
