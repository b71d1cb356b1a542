"""What the notebooks show: figures with captions, tables, animations, sliders.

Every image comes with a caption that says what it is and which model made it, as a small PNG, so
that a notebook with its outputs stays small and GitHub shows it. Numbers in a notebook's text are
said by its cells: ``say(f"... {score:.2f} dB")``.

An image here is a Pillow image, or a tensor ``[H, W, 3 or 4]`` in [0, 1] with straight alpha, as
renderers give it.

The environment variable ``ZERO123_NOTEBOOKS_FAST=1`` asks notebooks for the least work that still
runs every cell, see :func:`scaled`.
"""

import os

from zero123lib.display.figures import DPI, camera_card, camera_sphere, curves, subplots
from zero123lib.display.images import as_image, beside, to_png
from zero123lib.display.live import Live, explore, viewer, watch
from zero123lib.display.said import (
    FAST,
    animate,
    is_fast,
    load,
    made_by,
    say,
    scaled,
    show,
    show_rows,
    table,
    vector,
)

__all__ = [
    "DPI",
    "FAST",
    "Live",
    "animate",
    "as_image",
    "beside",
    "camera_card",
    "camera_sphere",
    "curves",
    "explore",
    "is_fast",
    "load",
    "made_by",
    "say",
    "scaled",
    "show",
    "show_rows",
    "subplots",
    "table",
    "to_png",
    "vector",
    "viewer",
    "watch",
]

# Open3D else greets every notebook and starts a server, for a viewer that is not used here.
os.environ.setdefault("OPEN3D_DISABLE_WEB_VISUALIZER", "true")
