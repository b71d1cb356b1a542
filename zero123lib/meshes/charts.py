"""xatlas in a process of its own: it can neither hang its caller nor take it down.

    python -m zero123lib.meshes.charts IN.npz OUT.npz

reads `vertices` float32 ``[V, 3]``, `faces` uint32 ``[F, 3]``, `size`, `padding` and
`faces_per_chart`, and writes `uv` float32 ``[F, 3, 2]`` in texels of a square image that is
`extent` wide, and `placed` bool ``[F]``, False at faces without area, which xatlas leaves out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

_NOWHERE = 2**32 - 1  # xatlas's sheet -1, unsigned


def main(source: Path, target: Path) -> None:
    """Unwrap one mesh."""
    import xatlas

    with np.load(source) as given:
        vertices, faces = given["vertices"], given["faces"]
        size, padding = int(given["size"]), int(given["padding"])
        faces_per_chart = int(given["faces_per_chart"])
    charting, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    a, b, c = vertices[faces].transpose(1, 0, 2)
    area = 0.5 * float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum())
    if len(faces) > faces_per_chart:
        # Its time grows with the square of a chart's faces.
        charting.max_chart_area = area * faces_per_chart / len(faces)
    packing.resolution, packing.padding, packing.bilinear = size, padding, True
    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices, faces)
    atlas.generate(charting, packing)
    if atlas.atlas_count != 1:
        raise RuntimeError(f"expected one image, got {atlas.atlas_count}")
    _, corners, uv = atlas[0]
    sheets, _ = atlas.get_mesh_vertex_assignment(0)
    extent = np.array([atlas.width, atlas.height], np.float32)
    np.savez(
        target,
        uv=(uv * extent)[corners],
        extent=extent.max(),
        placed=(np.asarray(sheets)[corners] != _NOWHERE).all(1),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
