"""Procedural objects with known geometry: training data and ground truth."""

from zero123lib.scenes.objects import HELD_OUT_SEED, KINDS, check_kinds, random_scene
from zero123lib.scenes.patterns import Pattern
from zero123lib.scenes.raycast import Background, Rendered, random_camera, render
from zero123lib.scenes.scene import Mesh, Part, Scene

__all__ = [
    "HELD_OUT_SEED",
    "KINDS",
    "Background",
    "Mesh",
    "Part",
    "Pattern",
    "Rendered",
    "Scene",
    "check_kinds",
    "random_camera",
    "random_scene",
    "render",
]
