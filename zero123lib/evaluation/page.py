"""A report as one HTML page that opens without a network: objects worst first, with error maps."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor

from zero123lib.evaluation.protocol_report import METRICS, PREDICTION, ProtocolReport
from zero123lib.evaluation.view_pairs import ObjectScores
from zero123lib.views.images import to_pils
from zero123lib.views.sheet import contact_sheet

# A mean absolute difference of this much, or more, is as dark as it gets.
ERROR_FULL = 0.5
_THUMB_PX, _MOST_COLUMNS = 96, 16
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
  color: #222; background: #fff }
table { border-collapse: collapse } td, th { padding: .2rem .8rem; text-align: right }
td:first-child, th:first-child { text-align: left } tr + tr { border-top: 1px solid #ddd }
.wide { overflow-x: auto } img { max-width: none; height: auto } h2 { margin-bottom: 0 }
p { margin: .3rem 0 } code { overflow-wrap: anywhere }
"""


def error_maps(made: Tensor, true: Tensor) -> Tensor:
    """Draw the mean absolute difference of colours: white where there is none, dark red from 0.5.

    Args:
        made, true: ``[V, 3, H, W]`` in [0, 1].

    Returns:
        ``[V, 3, H, W]`` in [0, 1].
    """
    share = ((made - true).abs().mean(1, keepdim=True) / ERROR_FULL).clamp(0, 1)
    dark = torch.tensor([0.55, 0.0, 0.1])[:, None, None]
    middle = torch.tensor([1.0, 0.45, 0.2])[:, None, None]
    low, high = (2 * share).clamp_max(1), (2 * share - 1).clamp_min(0)
    return (1 - low + low * middle) * (1 - high) + high * dark


def views_sheet(
    item_names: list[str],
    made: Tensor,
    true: Tensor,
    titles: tuple[str, str, str] = ("true", "made", "error"),
) -> Image.Image:
    """Show truth, prediction and error map of each view, one below the other."""
    rows = tuple(zip(titles, (true, made, error_maps(made, true)), strict=True))
    columns = min(len(true), _MOST_COLUMNS)
    images, labels = [], []
    for start in range(0, len(true), columns):
        part = slice(start, start + columns)
        for title, tensor in rows:
            thumbs = [one.resize(_fit(one), Image.Resampling.BOX) for one in _pils(tensor[part])]
            filling = columns - len(thumbs)  # the last views may fill no row
            images += thumbs + [Image.new("RGB", thumbs[0].size, "white")] * filling
            labels += [f"{title} {name}" for name in item_names[part]] + [""] * filling
    return contact_sheet(images, columns=columns, labels=labels)


def jpeg(image: Image.Image) -> bytes:
    """Encode an image for the page."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def page(
    report: ProtocolReport,
    sheet: Callable[[ObjectScores], bytes | None],
    command: str | None = None,
) -> bytes:
    """Write the page.

    Args:
        report: to be shown.
        sheet: draws an object, by :func:`jpeg`; None where there is nothing to see.
        command: that gives the report.
    """
    head = "".join(f"<th>{html.escape(one)}</th>" for one in ["", *report.titles()])
    body = "".join(_row(name, cells) for name, cells in report.rows())
    parts = [
        f"<h1>{html.escape(report.protocol)}</h1><p>{html.escape(report.about)}</p>",
        f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>',
        *(f"<p>{html.escape(line)}</p>" for line in report.remarks()),
    ]
    if command is not None:
        parts.append(f"<p><code>{html.escape(command)}</code></p>")
    parts.append("<h2>Objects, the worst first</h2>")
    for one in report.worst_first():
        means = ", ".join(
            f"{METRICS[name].title} {one.mean(PREDICTION, name):.{METRICS[name].digits}f}"
            for name in report.metrics
            if name in one.answers[PREDICTION]
        )
        parts.append(f"<h3>{html.escape(one.name)}</h3><p>{html.escape(means)}</p>")
        if one.note:
            parts.append(f"<p>{html.escape(one.note)}</p>")
        if (drawn := sheet(one)) is not None:
            label = html.escape(f"{one.name}: truth, prediction and error", quote=True)
            source = f"data:image/jpeg;base64,{base64.b64encode(drawn).decode()}"
            parts.append(f'<div class="wide"><img alt="{label}" src="{source}"></div>')
    title = html.escape(f"{report.protocol}: evaluation")
    document = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    return document.encode()


def _row(name: str, cells: list[str]) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(one)}</td>" for one in [name, *cells]) + "</tr>"


def _pils(images: Tensor) -> list[Image.Image]:
    return to_pils(images * 2 - 1)


def _fit(image: Image.Image) -> tuple[int, int]:
    scale = _THUMB_PX / max(image.size)
    return max(1, round(image.width * scale)), max(1, round(image.height * scale))
