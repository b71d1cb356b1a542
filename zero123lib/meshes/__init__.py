"""Triangle meshes: read from files, seen by cameras. Needs trimesh to read, Open3D or PyTorch3D
to rasterise.
"""

from zero123lib.meshes.load import MeshError, load_mesh
from zero123lib.meshes.mesh import Camera, Material, Mesh
from zero123lib.meshes.rasterize import Fragments, rasterize, rasterizer
from zero123lib.meshes.render import Rendering, render, renderer
from zero123lib.meshes.shading import AMBIENT, LAMBERT, PHONG, Light

__all__ = [
    "AMBIENT",
    "LAMBERT",
    "PHONG",
    "Camera",
    "Fragments",
    "Light",
    "Material",
    "Mesh",
    "MeshError",
    "Rendering",
    "load_mesh",
    "rasterize",
    "rasterizer",
    "render",
    "renderer",
]
