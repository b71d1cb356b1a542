"""Triangle meshes: made from densities (`extract`), mended (`cleanup`), counted (`inspect`),
coloured (`atlas`, `texture`), read and written (`load`, `export`), and seen by cameras
(`rasterize`, `shading`, `render`).

Needs what `views` needs; writing files also needs trimesh, and most of the rest Open3D, or
PyTorch3D.
"""
