"""What the notebooks show: figures with captions, tables, animations, sliders.

Every picture comes with a caption that says what it is and which model made it, as a small PNG, so
that a notebook with its outputs stays small and GitHub shows it. Numbers in a notebook's text are
said by its cells: ``say(f"... {score:.2f} dB")``.

A picture here is a Pillow image, or a tensor ``[H, W, 3 or 4]`` in [0, 1] with straight alpha, as
renderers give it. Figures are matplotlib's, without pyplot and its global state.

The environment variable ``ZERO123_NOTEBOOKS_FAST=1`` asks notebooks for the least work that still
runs every cell, see :func:`scaled`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from zero123lib._optional import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image
    from torch import Tensor

    from zero123lib.diffusion.pipeline import Zero123Pipeline
    from zero123lib.views.poses import Pose

    Picture = Image.Image | Tensor

FAST = "ZERO123_NOTEBOOKS_FAST"
# Of figures, per inch, and the palette's size: what a page of a notebook needs, and no more.
DPI = 90
_COLORS = 256
_NEARLY_WHITE = 246

_EXTRA = "notebooks"
_MARKERS = ("o", "s", "^", "D", "v", "P")


def is_fast() -> bool:
    """Whether the least work is asked for: the tests do."""
    return os.environ.get(FAST, "") not in ("", "0")


def scaled(full: int, fast: int) -> int:
    """How much work to do: ``full``, or ``fast`` where :func:`is_fast`."""
    return fast if is_fast() else full


def load(model: str) -> Zero123Pipeline:
    """A pipeline on the best device there is; says what it is, and shows no bars."""
    from zero123lib.diffusion.apps import load_pipeline

    pipe = load_pipeline(model)
    pipe.set_progress_bar_config(disable=True)
    networks = (pipe.unet, pipe.image_encoder, pipe.camera_projection)
    weights = sum(p.numel() for network in networks for p in network.parameters())
    steps, scale = pipe.config["num_inference_steps"], pipe.config["guidance_scale"]
    say(
        f"`{pipe.model_name}` makes pictures of {pipe.image_size} x {pipe.image_size} pixels with "
        f"{weights / 1e6:.1f} million weights, on the {pipe.device.type}. Licence of the weights: "
        f"{pipe.licence or 'not stated'}. Recommended: {steps} steps, guidance scale {scale:g}."
    )
    return pipe


def recommended(pipe: Zero123Pipeline) -> dict[str, Any]:
    """The steps and the guidance scale that a model's card recommends, as arguments of a call."""
    return {name: pipe.config[name] for name in ("num_inference_steps", "guidance_scale")}


def made_by(model: Any = None) -> str:
    """The last sentence of a caption: the model that made a picture, None for none.

    Args:
        model: a pipeline, or a model's name.
    """
    if model is None:
        return "No model took part."
    name = model if isinstance(model, str) else model.model_name
    return f"Made by the model `{name}`."


def say(text: str) -> None:
    """Markdown, as a paragraph of the notebook: where its numbers are the cell's own."""
    ipython = require("IPython.display", _EXTRA)
    ipython.display(ipython.Markdown(text))


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table: text as it is, floating numbers with two decimals.

    Raises:
        ValueError: a row has another number of cells.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"rows: expected {len(columns)} cells each, got one of {len(row)}")
    cells = [[f"{c:.2f}" if isinstance(c, float) else str(c) for c in row] for row in rows]
    lines = [list(columns), ["---"] * len(columns), *cells]
    say("\n".join(f"| {' | '.join(line)} |" for line in lines))


def vector(values: Tensor) -> str:
    """Numbers ``[N]`` in a line, with signs and two decimals, and no minus before zeros."""
    return ", ".join(f"{round(value, 2) + 0.0:+.2f}" for value in values.tolist())


def subplots(
    rows: int = 1, columns: int = 1, width_in: float = 7.0, height_in: float = 2.6
) -> tuple[Figure, Any]:
    """A figure and its axes, as pyplot's ``subplots`` gives them."""
    figures = require("matplotlib.figure", _EXTRA)
    figure = figures.Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
    return figure, figure.subplots(rows, columns)


def to_png(shown: Figure | Picture) -> bytes:
    """A figure or a picture as a PNG of few colours; a picture on white."""
    from PIL import Image

    from zero123lib.views.framing import composite

    if isinstance(shown, require("matplotlib.figure", _EXTRA).Figure):
        buffer = io.BytesIO()
        cast("Figure", shown).savefig(buffer, format="png", facecolor="white")
        picture = Image.open(buffer)
    else:
        picture = as_picture(cast("Picture", shown))
    return _saved([composite(picture)])


def show(shown: Figure | Picture, caption: str, model: Any = None) -> None:
    """A figure or a picture, and its caption below it.

    Args:
        caption: what it is, whole sentences.
        model: see :func:`made_by`.
    """
    _show_png(to_png(shown), caption, model)


def show_rows(
    rows: Mapping[str, Sequence[Picture | None]],
    caption: str,
    model: Any = None,
    titles: Sequence[str] = (),
    side_in: float = 1.25,
) -> None:
    """Rows of pictures under common titles, each row named on its left; None leaves a gap.

    Args:
        side_in: of a picture, inches.
    """
    columns = max(map(len, rows.values()))
    height_in = side_in * len(rows) + 0.25 * bool(titles)
    figure, grid = subplots(len(rows), columns, side_in * columns + 0.3, height_in)
    cells = grid.reshape(len(rows), columns) if len(rows) * columns > 1 else [[grid]]
    for line, (name, pictures) in zip(cells, rows.items(), strict=True):
        for axes in line:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_frame_on(False)
        line[0].set_ylabel(name, fontsize=8)
        for axes, picture in zip(line, pictures, strict=False):
            if picture is not None:
                axes.imshow(as_picture(picture).convert("RGBA"), interpolation="lanczos")
    for axes, title in zip(cells[0], titles, strict=False):
        axes.set_title(title, fontsize=8)
    show(figure, caption, model)


def animate(
    frames: Sequence[Picture], caption: str, model: Any = None, frame_ms: int = 120
) -> None:
    """An endless animation, as an animated PNG: what cannot play it shows its first frame."""
    from zero123lib.views.framing import composite

    _show_png(_saved([composite(as_picture(frame)) for frame in frames], frame_ms), caption, model)


def beside(pictures: Sequence[Picture], gap_px: int = 4) -> Image.Image:
    """Pictures side by side on white, as for the frames of an animation."""
    from zero123lib.views.sheet import contact_sheet

    return contact_sheet([as_picture(picture) for picture in pictures], len(pictures), None, gap_px)


@dataclass
class Live:
    """A figure that is drawn again and again in one place while a cell runs.

    Attributes:
        caption, model: as for :func:`show`.
    """

    caption: str
    model: Any = None
    _places: list[Any] = field(default_factory=list)

    def update(self, shown: Figure | Picture) -> None:
        """Draw it, in the place of what was there."""
        ipython = require("IPython.display", _EXTRA)
        picture = ipython.Image(to_png(shown), format="png", alt=self.caption)
        if self._places:
            self._places[0].update(picture)
        else:
            self._places.append(ipython.display(picture, display_id=True))
            say(f"*{self.caption} {made_by(self.model)}*")


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x_label: str,
    y_label: str,
    log: bool = False,
) -> Figure:
    """Lines over x, each with its name; a log scale where asked."""
    figure, axes = subplots(width_in=5.5)
    for name, (x, y) in lines.items():
        axes.plot(x, y, label=name, marker="." if len(x) < 30 else None)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_yscale("log" if log else "linear")
    axes.grid(alpha=0.3)
    if len(lines) > 1:
        axes.legend(fontsize=8)
    return figure


def camera_sphere(groups: Mapping[str, Sequence[Pose]], axes: Any = None) -> Figure:
    """Cameras around the unit box that holds the object: their places, and where they look.

    Args:
        groups: name -> cameras; each group has a colour and a marker of its own.
        axes: matplotlib's, in three dimensions, to draw on; None makes a figure.
    """
    import itertools
    import math

    import numpy as np

    from zero123lib.views.cameras import camera_to_world

    if axes is None:
        figures = require("matplotlib.figure", _EXTRA)
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


def camera_card(picture: Picture, pose: Pose, condition: Pose, text: str) -> Figure:
    """A camera on its sphere, what it sees, and a line of text: what sliders show."""
    figure = require("matplotlib.figure", _EXTRA).Figure((6.4, 3.2), DPI)
    left = figure.add_axes((0, 0, 0.55, 0.92), projection="3d")
    camera_sphere({"condition": [condition], "target": [pose]}, left)
    right = figure.add_axes((0.55, 0.04, 0.44, 0.86))
    right.imshow(as_picture(picture).convert("RGBA"), interpolation="lanczos")
    right.set_axis_off()
    figure.suptitle(text, fontsize=9)
    return figure


def explore(
    draw: Callable[[Pose], Figure | Picture],
    poses: Sequence[Pose],
    caption: str,
    model: Any = None,
) -> Any:
    """Sliders for a camera, and what ``draw`` makes of it.

    Where no kernel runs, as on GitHub, there are no sliders: the first of ``poses`` stand there as
    pictures, the last is where the sliders start.

    Returns:
        The widget, whose ``children`` are the three sliders and the picture.
    """
    for pose in poses[:-1]:
        _display_png(to_png(draw(pose)), caption)
    _show_png(to_png(draw(poses[-1])), caption, model)
    widgets = require("ipywidgets", _EXTRA)
    ranges = {"elevation_deg": (-90, 90, 5), "azimuth_deg": (-180, 180, 5), "radius": (1.4, 3, 0.1)}
    sliders = {
        name: widgets.FloatSlider(
            getattr(poses[-1], name), min=low, max=high, step=step, description=name,
            continuous_update=False, style={"description_width": "initial"},
        )
        for name, (low, high, step) in ranges.items()
    }  # fmt: skip
    picture = widgets.Image(value=to_png(draw(poses[-1])), format="png")

    def redraw(_: Any) -> None:
        pose = type(poses[0])(**{name: slider.value for name, slider in sliders.items()})
        picture.value = to_png(draw(pose))

    for slider in sliders.values():
        slider.observe(redraw, "value")
    box = widgets.VBox([*sliders.values(), picture])
    bundle = {**box._repr_mimebundle_(), "text/plain": "(run this notebook for the sliders)"}
    require("IPython.display", _EXTRA).display(bundle, raw=True)
    return box


def as_picture(picture: Picture) -> Image.Image:
    """A picture as a Pillow image."""
    from PIL import Image

    if isinstance(picture, Image.Image):
        return picture
    if picture.ndim != 3 or picture.shape[2] not in (3, 4):
        raise ValueError(f"picture: expected [H, W, 3 or 4], got {list(picture.shape)}")
    levels = (picture.detach().cpu().float().clamp(0, 1) * 255).round().byte()
    return Image.fromarray(levels.numpy())


def _saved(frames: Sequence[Image.Image], frame_ms: int = 0) -> bytes:
    """A PNG, animated if there are several frames, with one dithered palette for all of them."""
    import torch
    from PIL import Image

    strip = Image.new("RGB", (frames[0].width, sum(frame.height for frame in frames)))
    top = 0
    for frame in frames:
        strip.paste(frame, (0, top))
        top += frame.height
    palette = strip.quantize(_COLORS)
    colors = torch.tensor(palette.getpalette()).reshape(-1, 3)
    colors[colors.amin(1) > _NEARLY_WHITE] = 255  # white stays white, and flat
    palette.putpalette(colors.flatten().tolist())
    dither = Image.Dither.FLOYDSTEINBERG
    first, *rest = (frame.quantize(palette=palette, dither=dither) for frame in frames)
    buffer = io.BytesIO()
    several = {"save_all": True, "append_images": rest, "duration": frame_ms, "loop": 0}
    first.save(buffer, format="png", optimize=True, **(several if rest else {}))
    return buffer.getvalue()


def _display_png(data: bytes, caption: str) -> None:
    ipython = require("IPython.display", _EXTRA)
    ipython.display(ipython.Image(data, format="png", alt=caption))


def _show_png(data: bytes, caption: str, model: Any) -> None:
    _display_png(data, caption)
    say(f"*{caption} {made_by(model)}*")
