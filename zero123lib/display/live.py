"""What moves: figures that are drawn while work goes on, sliders, and a viewer of meshes."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from zero123lib._optional import require
from zero123lib.display.figures import curves
from zero123lib.display.images import to_png
from zero123lib.display.said import display_png, made_by, say, show_png

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from zero123lib.display.images import AnyImage
    from zero123lib.views.poses import Pose

Step = TypeVar("Step")


@dataclass
class Live:
    """A figure that is drawn again and again in one place while a cell runs.

    Attributes:
        caption, model: as for :func:`zero123lib.display.said.show`.
    """

    caption: str
    model: Any = None
    _places: list[Any] = field(default_factory=list)

    def update(self, shown: Figure | AnyImage) -> None:
        """Draw it, in the place of what was there."""
        ipython = require("IPython.display", "notebooks")
        image = ipython.Image(to_png(shown), format="png", alt=self.caption)
        if self._places:
            self._places[0].update(image)
        else:
            self._places.append(ipython.display(image, display_id=True))
            say(f"*{self.caption} {made_by(self.model)}*")


def watch(
    steps: Iterable[Step],
    losses: Callable[[Step], Mapping[str, float]],
    caption: str,
    model: Any = None,
    every: int = 10,
) -> Iterator[Step]:
    """Hand on the steps of some work, and draw its losses on the way, each a mean of ``every``.

    Args:
        losses: of a step, by name.
        every: so many steps are drawn as one point.
    """
    live, lines, waiting = Live(caption, model), {}, []
    for number, step in enumerate(steps, 1):
        yield step
        waiting.append(losses(step))
        if number % every == 0:
            for name in waiting[-1]:
                values = [values[name] for values in waiting if name in values]
                x, y = lines.setdefault(name, ([], []))
                x.append(number)
                y.append(sum(values) / len(values))
            waiting = []
            live.update(curves(lines, "step", "loss", log=len(lines) > 1))


def explore(
    draw: Callable[[Pose], Figure | AnyImage],
    poses: Sequence[Pose],
    caption: str,
    model: Any = None,
) -> Any:
    """Show sliders for a camera, and what ``draw`` makes of it.

    Where no kernel runs, as on GitHub, there are no sliders: the first of ``poses`` stand there as
    images, the last is where the sliders start.

    Returns:
        The widget, whose ``children`` are the three sliders and the image.
    """
    for pose in poses[:-1]:
        display_png(to_png(draw(pose)), caption)
    show_png(to_png(draw(poses[-1])), caption, model)
    widgets = require("ipywidgets", "notebooks")
    ranges = {"elevation_deg": (-90, 90, 5), "azimuth_deg": (-180, 180, 5), "radius": (1.4, 3, 0.1)}
    sliders = {
        name: widgets.FloatSlider(
            getattr(poses[-1], name), min=low, max=high, step=step, description=name,
            continuous_update=False, style={"description_width": "initial"},
        )
        for name, (low, high, step) in ranges.items()
    }  # fmt: skip
    image = widgets.Image(value=to_png(draw(poses[-1])), format="png")

    def redraw(_: Any) -> None:
        pose = type(poses[0])(**{name: slider.value for name, slider in sliders.items()})
        image.value = to_png(draw(pose))

    for slider in sliders.values():
        slider.observe(redraw, "value")
    box = widgets.VBox([*sliders.values(), image])
    bundle = {**box._repr_mimebundle_(), "text/plain": "(run this notebook for the sliders)"}
    require("IPython.display", "notebooks").display(bundle, raw=True)
    return box


def viewer(path: str | Path, height_px: int = 400) -> None:
    """Show a mesh file, to turn by hand, in trimesh's viewer, which needs no network.

    Where no notebook runs, as on GitHub, a line stands in its place.
    """
    trimesh = require("trimesh", "meshes")
    page = require("trimesh.viewer.notebook", "meshes").scene_to_html(trimesh.load_scene(path))
    frame = f'<iframe srcdoc="{html.escape(page)}" width="100%" height="{height_px}"></iframe>'
    bundle = {"text/html": frame, "text/plain": "(run this notebook to turn the mesh by hand)"}
    require("IPython.display", "notebooks").display(bundle, raw=True)
