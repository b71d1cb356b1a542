"""What the numbers look like: a contact sheet of views, and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

from zero123lib.evaluation.predictions import Prediction
from zero123lib.evaluation.sweep import Curves
from zero123lib.views.images import to_pil, to_pils
from zero123lib.views.sheet import contact_sheet

SHEET_OBJECTS = 6
_LEAST_SIDE = 128
_PANEL, _MARGIN = (420, 300), (56, 40)  # width, height
_COLORS = ("#1f4e9c", "#c4451c", "#2b8a3e", "#8a4bb8", "#b8860b", "#0b8a8a", "#555555")


def evaluation_sheet(predictions: Sequence[Prediction]) -> Image.Image:
    """Draw two rows per object: the input and the made views, then below each its true view.

    Args:
        predictions: at least one, all with as many views.
    """
    images, labels = [], []
    for one in predictions:
        sample = one.sample
        source = to_pil(sample.condition)
        blank = Image.new("RGB", source.size, "white")
        images += [source, *to_pils(one.views * 2 - 1), blank, *to_pils(sample.targets * 2 - 1)]
        turns = [pose.relative_to(sample.condition_pose) for pose in sample.target_poses]
        labels += ["input", *(f"made, {round(turn.azimuth_deg)}°" for turn in turns)]
        labels += [sample.name, *["true"] * len(turns)]
    scale = max(1, -(-_LEAST_SIDE // images[0].width))
    enlarged = [
        image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
        for image in images
    ]
    return contact_sheet(enlarged, columns=1 + len(predictions[0].views), labels=labels)


def curves_image(curves: Curves) -> Image.Image:
    """Draw panels against steps, a line per guidance: PSNR, LPIPS, azimuth error."""
    panels = (
        ("PSNR, dB", lambda entry: entry.whole.psnr_db),
        ("LPIPS", lambda entry: entry.whole.lpips),
        ("azimuth error, degrees", lambda entry: entry.whole.azimuth_error_deg),
    )
    image = Image.new("RGB", (len(panels) * _PANEL[0], _PANEL[1]), "white")
    for index, (title, number) in enumerate(panels):
        lines: dict[float, dict[int, float]] = {}
        for setting, entry in curves.entries.items():
            if (value := number(entry)) is not None:
                lines.setdefault(setting.guidance, {})[setting.steps] = value
        if lines:
            image.paste(_panel(title, lines), (index * _PANEL[0], 0))
    return image


def _panel(title: str, lines: Mapping[float, Mapping[int, float]]) -> Image.Image:
    """Draw lines over steps, which stand evenly; the axis of values spans what there is."""
    font = ImageFont.load_default(12)
    panel = Image.new("RGB", _PANEL, "white")
    draw = ImageDraw.Draw(panel)
    steps = sorted({step for line in lines.values() for step in line})
    values = [value for line in lines.values() for value in line.values()]
    low, high = min(values), max(values)
    left, top, right, bottom = _MARGIN[0], _MARGIN[1], _PANEL[0] - 110, _PANEL[1] - _MARGIN[1]

    def place(step: int, value: float) -> tuple[float, float]:
        x = left + (right - left) * (steps.index(step) + 0.5) / len(steps)
        return x, bottom - (bottom - top) * ((value - low) / (high - low) if high > low else 0.5)

    draw.text((left, top - 28), title, "black", font)
    draw.line([(left, top), (left, bottom), (right, bottom)], "black")
    for value in {low, (low + high) / 2, high}:
        y = place(steps[0], value)[1]
        draw.text((left - 6, y), f"{value:.3g}", "black", font, anchor="rm")
    for step in steps:
        draw.text((place(step, low)[0], bottom + 6), str(step), "black", font, anchor="mt")
    draw.text(((left + right) / 2, bottom + 24), "steps", "black", font, anchor="mt")
    for row, (guidance, line) in enumerate(sorted(lines.items())):
        color = _COLORS[row % len(_COLORS)]
        points = [place(step, line[step]) for step in sorted(line)]
        draw.line(points, color, 2)
        for x, y in points:
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], color)
        text = f"guidance {guidance:g}"
        draw.text((right + 10, top + 16 * row), text, color, font)
    return panel
