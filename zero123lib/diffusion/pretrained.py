"""From the arguments of ``from_pretrained`` to the components and settings of a pipeline."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from zero123lib.diffusion.checkpoints.keywords import (
    settled_device,
    settled_dtype,
    sorted_keywords,
)
from zero123lib.diffusion.checkpoints.loading import Wanted, load_components, open_model
from zero123lib.diffusion.model import enable_one_token

_logger = logging.getLogger(__name__)


def load(
    source: str | Path,
    *,
    original_config: str | Path | Mapping[str, Any] | None,
    encoding: str,
    use_ema: bool,
    dtypes: tuple[Any, Any],
    devices: tuple[Any, Any],
    variant: str | None,
    use_safetensors: bool | None,
    one_token: bool,
    keywords: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Read a checkpoint; arguments and errors as for ``Zero123Pipeline.from_pretrained``.

    Args:
        dtypes: ``torch_dtype`` and ``dtype``.
        devices: ``device`` and ``device_map``.
        keywords: all that it does not name.

    Returns:
        The components, the settings, and the checkpoint's own scheduler.
    """
    dtype, place = settled_dtype(*dtypes), settled_device(*devices)
    wanted = Wanted(original_config, encoding, use_ema, dtype, variant, use_safetensors)
    wanted.check()
    if variant is None and wanted.is_half:
        wanted = replace(wanted, variant="fp16")
    given = sorted_keywords(keywords)
    checkpoint, settings = open_model(source, wanted, given.settings, given.hub)
    if variant is not None and not any(checkpoint.source.glob(f"*/*.{variant}*")):
        _logger.warning(
            f"variant: {str(checkpoint.source)!r} has no weights of the variant {variant!r}; those "
            "that are there are taken"
        )
    components = load_components(checkpoint, dtype, place, given.components)
    if one_token:
        enable_one_token(components["unet"])
    return components, settings, checkpoint.scheduler
