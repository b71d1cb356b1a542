"""From the arguments of ``from_pretrained`` to the components and settings of a pipeline."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.checkpoints import loading, sources
from zero123lib.diffusion.checkpoints.keywords import (
    settled_device,
    settled_dtype,
    sorted_keywords,
)
from zero123lib.diffusion.checkpoints.reading import Options, read_checkpoint
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
    loading.check_encoding(encoding)
    dtype = settled_dtype(*dtypes)
    loading.check_dtype(dtype)
    place = settled_device(*devices)
    if use_safetensors not in (None, True):
        expected = "True or None, as pickles are read only where there is nothing else"
        raise ArgumentError("use_safetensors", expected, repr(use_safetensors))
    given = sorted_keywords(keywords)
    wanted = "fp16" if variant is None and loading.is_half(dtype) else variant
    original = original_config is not None or not use_ema
    precision = loading.wanted_precision(dtype)
    found = sources.find(source, wanted, precision, original, **given.hub)
    options = Options(original_config, use_ema, wanted, use_safetensors)
    checkpoint = read_checkpoint(found.path, options)
    if variant is not None and not any(found.path.glob(f"*/*.{variant}*")):
        _logger.warning(
            f"variant: {str(found.path)!r} has no weights of the variant {variant!r}; those that "
            "are there are taken"
        )
    for notice in checkpoint.notices:
        _logger.warning(notice)
    stated = {"model_name": found.name, "licence": found.licence, **checkpoint.settings}
    settings = {**stated, **given.settings}
    settings["encoding"] = loading.settled_encoding(encoding, settings, found)
    layer: Any = checkpoint.parts["camera_projection"].network
    layer.register_to_config(encoding=settings["encoding"])
    components = loading.load_components(checkpoint, dtype, place, given.components)
    if one_token:
        enable_one_token(components["unet"])
    return components, settings, checkpoint.scheduler
