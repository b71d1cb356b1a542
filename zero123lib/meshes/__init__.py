"""Triangle meshes: read from files (`load`), seen by cameras (`rasterize`, `shading`, `render`).

Needs what `views` needs; reading also needs trimesh, and rasterising Open3D or PyTorch3D.
"""
