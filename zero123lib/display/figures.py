"""Figures: curves, and cameras on their sphere. matplotlib's, without pyplot's global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zero123lib._optional import require
from zero123lib.display.images import as_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from zero123lib.display.images import AnyImage
    from zero123lib.views.poses import Pose

DPI = 90
_MARKERS = ("o", "s", "^", "D", "v", "P")


def subplots(
    rows: int = 1, columns: int = 1, width_in: float = 7.0, height_in: float = 2.6
) -> tuple[Figure, Any]:
    """Return a figure and its axes, as pyplot's ``subplots`` gives them."""
    figures = require("matplotlib.figure", "notebooks")
    figure = figures.Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
    return figure, figure.subplots(rows, columns)


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x_label: str,
    y_label: str,
    log: bool = False,
) -> Figure:
    """Draw lines over x, each with its name; a log scale where asked."""
    figure, axes = subplots(width_in=5.5)
    for name, (x, y) in lines.items():
        axes.plot(x, y, label=name, marker="." if len(x) < 30 else None)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_yscale("log" if log else "linear")
    axes.grid(alpha=0.3)
    if len(lines) > 1:
        figure.legend(fontsize=8, loc="outside right upper")
    return figure


def camera_sphere(groups: Mapping[str, Sequence[Pose]], axes: Any = None) -> Figure:
    """Draw cameras around the unit box that holds the object: their places, and where they look.

    Args:
        groups: name -> cameras; each group has a colour and a marker of its own.
        axes: matplotlib's, in three dimensions, to draw on; None makes a figure.
    """
    import itertools
    import math

    import numpy as np

    from zero123lib.views.cameras import camera_to_world

    if axes is None:
        figures = require("matplotlib.figure", "notebooks")
        axes = figures.Figure((4.2, 3.8), DPI).add_axes((0, 0, 1, 1), projection="3d")
    radius = max(pose.radius for poses in groups.values() for pose in poses)
    turn = np.linspace(0, 2 * math.pi, 73)
    for level_deg in range(-60, 61, 30):
        level = math.radians(level_deg)
        x, y = (radius * math.cos(level) * f(turn) for f in (np.cos, np.sin))
        z = np.full_like(turn, radius * math.sin(level))
        axes.plot(x, y, z, color="silver", linewidth=0.4 if level_deg else 1.0)
    for a, b in itertools.combinations(itertools.product((-0.5, 0.5), repeat=3), 2):
        if sum(p != q for p, q in zip(a, b, strict=True)) == 1:
            axes.plot(*zip(a, b, strict=True), color="gray", linewidth=0.8)
    for index, (name, poses) in enumerate(groups.items()):
        c2w = camera_to_world(list(poses)).numpy()
        centre, forward = c2w[:, :3, 3], -c2w[:, :3, 2]
        color, marker = f"C{index}", _MARKERS[index % len(_MARKERS)]
        axes.scatter(*centre.T, color=color, marker=marker, s=22, label=name, depthshade=False)
        axes.quiver(*centre.T, *forward.T, length=0.4 * radius, color=color, linewidth=1.0)
    for name, tip in zip("xyz", 0.9 * np.eye(3), strict=True):
        axes.quiver(0, 0, 0, *tip, color="black", linewidth=0.8, arrow_length_ratio=0.12)
        axes.text(*(1.15 * tip), name, fontsize=9, ha="center", va="center")
    for limits in (axes.set_xlim, axes.set_ylim, axes.set_zlim):
        limits(-radius, radius)
    axes.set_box_aspect((1, 1, 1), zoom=1.35)
    axes.set_axis_off()
    axes.view_init(elev=22, azim=-60)
    axes.legend(fontsize=8, loc="upper left")
    return axes.figure


def camera_card(image: AnyImage, pose: Pose, condition: Pose, text: str) -> Figure:
    """Return a camera on its sphere, what it sees, and a line of text: what sliders show."""
    figure = require("matplotlib.figure", "notebooks").Figure((6.4, 3.2), DPI)
    left = figure.add_axes((0, 0, 0.55, 0.92), projection="3d")
    camera_sphere({"condition": [condition], "target": [pose]}, left)
    right = figure.add_axes((0.55, 0.04, 0.44, 0.86))
    right.imshow(as_image(image).convert("RGBA"), interpolation="lanczos")
    right.set_axis_off()
    figure.suptitle(text, fontsize=9)
    return figure
