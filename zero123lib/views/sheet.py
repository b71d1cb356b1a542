"""Many images on one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from .framing import composite


def contact_sheet(
    images: Sequence[Image.Image],
    columns: int | None = None,
    labels: Sequence[str] | None = None,
    gap_px: int = 4,
) -> Image.Image:
    """Return all images on one white sheet, row by row.

    Args:
        images: at least one; each is centred in a cell of the largest width and height.
        columns: None makes the sheet about square.
        labels: one line of text under each image.
        gap_px: white between and around the cells.

    Returns:
        RGB.
    """
    if not images:
        raise ValueError("images: expected at least one image, got none")
    if columns is not None and columns < 1:
        raise ValueError(f"columns: expected at least 1, got {columns}")
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"labels: expected one per image ({len(images)}), got {len(labels)}")
    columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    width, height = max(i.width for i in images), max(i.height for i in images)
    font_px = max(10, height // 16)
    text_px = 0 if labels is None else round(1.5 * font_px)
    step_x, step_y = width + gap_px, height + text_px + gap_px
    rows = math.ceil(len(images) / columns)
    sheet = Image.new("RGB", (columns * step_x + gap_px, rows * step_y + gap_px), "white")
    draw = ImageDraw.Draw(sheet)
    for index, image in enumerate(images):
        x, y = gap_px + index % columns * step_x, gap_px + index // columns * step_y
        corner = (x + (width - image.width) // 2, y + (height - image.height) // 2)
        sheet.paste(composite(image), corner)
        if labels is not None:
            middle = (x + width / 2, y + height + text_px / 2)
            draw.text(middle, labels[index], "black", ImageFont.load_default(font_px), anchor="mm")
    return sheet
