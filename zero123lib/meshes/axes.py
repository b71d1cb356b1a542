"""The axes of mesh files, and ours: z-up, with the camera of azimuth 0 on the +x side.

``up`` is the axis of a file that points up:

    up "y"   our (x, y, z) is the file's (x, z, -y), and the file's (x, y, z) is our (x, -z, y),
             as Blender has it, and as the official training views were made. What glTF calls the
             front, +z, is seen from azimuth -90.
    up "z"   as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from zero123lib._choices import UpAxis

if TYPE_CHECKING:
    import numpy as np
    import torch

Up = Literal["y", "z"]
UPS = get_args(UpAxis)

# What is read, and what "auto" takes for up in it.
FORMATS: dict[str, Up] = {".glb": "y", ".gltf": "y", ".obj": "y", ".ply": "z", ".stl": "z"}
# What is written.
SUFFIXES = (".glb", ".obj", ".ply", ".stl")

IN_WORDS: dict[Up, str] = {
    "y": "y up, the camera of azimuth 0 along +x, right-handed",
    "z": "z up, the camera of azimuth 0 along +x, right-handed",
}

Vectors = TypeVar("Vectors", "np.ndarray", "torch.Tensor")


def from_file(vectors: Vectors, up: Up) -> Vectors:
    """Return a file's points or normals ``[..., 3]`` in our axes."""
    if up == "z":
        return vectors
    turned: Any = vectors[..., [0, 2, 1]]
    turned[..., 1] *= -1
    return turned


def to_file(vectors: Vectors, up: Up) -> Vectors:
    """Return our points or normals ``[..., 3]`` in a file's axes."""
    if up == "z":
        return vectors
    turned: Any = vectors[..., [0, 2, 1]]
    turned[..., 2] *= -1
    return turned
