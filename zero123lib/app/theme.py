"""How the page looks: one accent, system fonts, light and dark; `style.css` does the rest."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

SYSTEM_FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]

THEME = gr.themes.Base(
    primary_hue="indigo",
    secondary_hue="indigo",
    neutral_hue="slate",
    radius_size="lg",
    spacing_size="md",
    font=SYSTEM_FONT,
    font_mono=["ui-monospace", "Consolas", "monospace"],
).set(
    body_background_fill="#f6f7fb",
    body_background_fill_dark="#0d1220",
    background_fill_primary_dark="#0d1220",
    background_fill_secondary_dark="#151b2c",
    block_background_fill="#ffffff",
    block_background_fill_dark="#151b2c",
    block_border_width="1px",
    block_border_color="#e3e7ef",
    block_border_color_dark="#26304a",
    block_shadow="none",
    block_label_background_fill="transparent",
    block_label_background_fill_dark="transparent",
    block_label_border_width="0px",
    block_label_text_color="#475569",
    block_label_text_color_dark="#a9b6cd",
    block_label_text_weight="600",
    block_title_text_color="#334155",
    block_title_text_color_dark="#c5d0e3",
    block_title_text_weight="600",
    block_info_text_color="#56637a",
    block_info_text_color_dark="#a0aec6",
    body_text_color="#1e293b",
    body_text_color_dark="#e5ebf5",
    body_text_color_subdued="#56637a",
    body_text_color_subdued_dark="#a0aec6",
    input_background_fill="#f8fafc",
    input_background_fill_dark="#1b2336",
    input_border_color="#cbd5e1",
    input_border_color_dark="#33405e",
    button_primary_background_fill="#4f46e5",
    button_primary_background_fill_hover="#4338ca",
    button_primary_background_fill_dark="#5b54ea",
    button_primary_background_fill_hover_dark="#4f46e5",
    button_primary_text_color="#ffffff",
    button_secondary_background_fill="#ffffff",
    button_secondary_background_fill_dark="#1b2336",
    button_secondary_background_fill_hover="#eef2ff",
    button_secondary_background_fill_hover_dark="#26304a",
    button_secondary_border_color="#d5dbe7",
    button_secondary_border_color_dark="#33405e",
    button_secondary_text_color="#334155",
    button_secondary_text_color_dark="#dbe4f3",
    slider_color="#4f46e5",
    slider_color_dark="#8b86ff",
)

JS = (Path(__file__).parent / "names.js").read_text(encoding="utf-8")
CSS = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
