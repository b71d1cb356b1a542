"""What can go wrong with a fit under way, and which key to change."""

from __future__ import annotations

import math
from collections.abc import Mapping

from zero123lib._errors import RunError
from zero123lib.fields.occupancy import evaluate
from zero123lib.reconstruction.distilled import LEAST_DENSITY, Distilling
from zero123lib.reconstruction.fitted import FittingViews, MakingViews
from zero123lib.reconstruction.recipes import Recipe

Stage = MakingViews | FittingViews | Distilling


class ReconstructionError(RunError):
    """A run that cannot go on; the message says what to change, and files so far are intact."""


def check_losses(stage: Stage, losses: Mapping[str, float], recipe: Recipe, kept: str) -> None:
    """Raise ReconstructionError where a loss of a stage's next step is not finite.

    Args:
        kept: what is left of the run, for the message.
    """
    bad = [name for name, value in losses.items() if not math.isfinite(value)]
    if not bad:
        return
    named = next((name for name in bad if name != "total"), "total")
    if isinstance(stage, FittingViews):
        change = (
            f"system.guidance.embedded.fit.density_rate ({recipe.embedded.fit.density_rate:g} now)"
        )
    else:
        key, rate = "system.optimizer.args.lr", recipe.optimizer.args.lr
        if (own := recipe.embedded.field.learning_rate) is not None:
            key, rate = "system.guidance.embedded.field.learning_rate", own
        change = f"{key} ({rate:g} now) or system.loss.lambda_{named}"
    raise ReconstructionError(
        f"{stage.name}: expected finite losses, got {named} = {losses[named]} at step "
        f"{stage.step + 1} of {stage.total}; lower {change}{kept}"
    )


def check_filled(stage: Stage, kept: str) -> None:
    """Raise ReconstructionError where a stage's field holds nothing that can be seen.

    Args:
        kept: what is left of the run, for the message.
    """
    if stage.field is None:
        return
    most = float(evaluate(stage.field.density, stage.field.nodes()).max())
    if most <= LEAST_DENSITY:
        hint = (
            "raise system.guidance.embedded.fit.mask"
            if isinstance(stage, FittingViews)
            else "lower system.loss.lambda_sparsity or raise lambda_mask and lambda_rgb"
        )
        raise ReconstructionError(
            f"{stage.name}: expected an object in the field, got an empty one after step "
            f"{stage.step} of {stage.total}; {hint}{kept}"
        )
