"""What a user should know about the model in use: its name, its licence, what it has seen."""

from __future__ import annotations

from zero123lib.diffusion.pipeline import Zero123Pipeline


def about_model(pipe: Zero123Pipeline) -> str:
    """Return one line on a loaded model, for apps to show beside its images."""
    licence, known = pipe.licence, pipe.trained_on.get("domain")
    parts = [
        f"licence {licence}" if licence else "licence not stated beside its weights",
        f"trained on {known}" if known else "its training data is not stated beside its weights",
        f"images of {pipe.image_size} px",
    ]
    return f"{pipe.model_name}: {', '.join(parts)}"
