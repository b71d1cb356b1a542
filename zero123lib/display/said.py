"""What is said and shown: text with the cell's own numbers, tables, images with captions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zero123lib._optional import require
from zero123lib.display.figures import subplots
from zero123lib.display.images import as_image, save_png, to_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from zero123lib.diffusion.pipeline import Zero123Pipeline
    from zero123lib.display.images import AnyImage

FAST = "ZERO123_NOTEBOOKS_FAST"


def is_fast() -> bool:
    """Tell whether the least work is asked for: the tests do."""
    return os.environ.get(FAST, "") not in ("", "0")


def scaled(full: int, fast: int) -> int:
    """Return how much work to do: ``full``, or ``fast`` where :func:`is_fast`."""
    return fast if is_fast() else full


def load(model: str) -> Zero123Pipeline:
    """Load a pipeline on the best device there is, say what it is, and show no bars."""
    from zero123lib.diffusion.apps import load_pipeline

    pipe = load_pipeline(model)
    pipe.set_progress_bar_config(disable=True)
    networks = (pipe.unet, pipe.image_encoder, pipe.camera_projection)
    weights = sum(p.numel() for network in networks for p in network.parameters())
    steps, scale = pipe.recommended()
    say(
        f"`{pipe.model_name}` makes images of {pipe.image_size} x {pipe.image_size} pixels with "
        f"{weights / 1e6:.1f} million weights, on the {pipe.device.type}. Licence of the weights: "
        f"{pipe.licence or 'not stated'}. Recommended: {steps} steps, guidance scale {scale:g}."
    )
    return pipe


def made_by(model: Any = None) -> str:
    """Return the last sentence of a caption: the model that made an image, None for none.

    Args:
        model: a pipeline, or a model's name.
    """
    if model is None:
        return "No model took part."
    name = model if isinstance(model, str) else model.model_name
    return f"Made by the model `{name}`."


def say(text: str) -> None:
    """Show Markdown as a paragraph of the notebook, where its numbers are the cell's own."""
    ipython = require("IPython.display", "notebooks")
    ipython.display(ipython.Markdown(text))


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Show a table: text as it is, floating numbers with two decimals.

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
    """Return numbers ``[N]`` in a line, with signs and two decimals, and no minus before zeros."""
    return ", ".join(f"{round(value, 2) + 0.0:+.2f}" for value in values.tolist())


def show(shown: Figure | AnyImage, caption: str, model: Any = None) -> None:
    """Show a figure or an image, and its caption below it.

    Args:
        caption: what it is, whole sentences.
        model: see :func:`made_by`.
    """
    show_png(to_png(shown), caption, model)


def show_rows(
    rows: Mapping[str, Sequence[AnyImage | None]],
    caption: str,
    model: Any = None,
    titles: Sequence[str] = (),
    side_in: float = 1.25,
) -> None:
    """Show rows of images under common titles, each named on its left; None leaves a gap.

    Args:
        side_in: of an image, inches.
    """
    columns = max(map(len, rows.values()))
    height_in = side_in * len(rows) + 0.25 * bool(titles)
    figure, grid = subplots(len(rows), columns, side_in * columns + 0.3, height_in)
    cells = grid.reshape(len(rows), columns) if len(rows) * columns > 1 else [[grid]]
    for line, (name, images) in zip(cells, rows.items(), strict=True):
        for axes in line:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_frame_on(False)
        line[0].set_ylabel(name, fontsize=8)
        for axes, image in zip(line, images, strict=False):
            if image is not None:
                axes.imshow(as_image(image).convert("RGBA"), interpolation="lanczos")
    for axes, title in zip(cells[0], titles, strict=False):
        axes.set_title(title, fontsize=8)
    show(figure, caption, model)


def animate(
    frames: Sequence[AnyImage], caption: str, model: Any = None, frame_ms: int = 120
) -> None:
    """Show an endless animation, as an animated PNG: what cannot play it shows its first frame."""
    from zero123lib.views.framing import composite

    show_png(save_png([composite(as_image(frame)) for frame in frames], frame_ms), caption, model)


def display_png(data: bytes, caption: str) -> None:
    ipython = require("IPython.display", "notebooks")
    ipython.display(ipython.Image(data, format="png", alt=caption))


def show_png(data: bytes, caption: str, model: Any) -> None:
    display_png(data, caption)
    say(f"*{caption} {made_by(model)}*")
