"""What a user should know about the model in use: its name, its licence, what it has seen."""

from __future__ import annotations

import re
from pathlib import Path

from zero123lib.diffusion.pipeline import Zero123Pipeline


def about_model(pipe: Zero123Pipeline) -> str:
    """One line on a loaded model, for apps to show beside its pictures."""
    licence = card_licence(Path(str(pipe.config.get("_name_or_path") or "")))
    known = pipe.config["domain"]
    parts = [
        f"licence {licence}" if licence else "licence not stated beside its weights",
        f"trained on {known}" if known else "its training data is not stated beside its weights",
        f"pictures of {pipe.image_size} px",
    ]
    return f"{pipe.model_name}: {', '.join(parts)}"


def card_licence(folder: Path) -> str | None:
    """The licence that a model card, `README.md` in the folder, states in its front matter."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    header = re.match(r"---\n(.*?)\n---(?:\n|$)", text, re.DOTALL)
    fields = (
        dict(re.findall(r"^(license(?:_name)?):[ \t]*(\S+)", header[1], re.M)) if header else {}
    )
    # "other" stands for a licence that the next field names.
    stated = fields.get("license_name") or fields.get("license")
    return stated.strip("\"'") if stated else None
