"""What colours the surfaces of a glTF file: base colours and their textures, nothing else of them.

A normal or metal map that is missing or damaged therefore stops nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from zero123lib.meshes.gltf_data import Document
from zero123lib.meshes.materials import Look, Wrap, open_image, without_image
from zero123lib.meshes.mesh import AlphaMode

_ALPHA_MODES: dict[str, AlphaMode] = {"MASK": "mask", "BLEND": "blend"}
# Where a texture names its image; all but the second are extensions' images.
_SOURCES = ("EXT_texture_webp", "", "EXT_texture_avif", "MSFT_texture_dds")
_WRAPS: dict[int, Wrap] = {33071: "clamp", 33648: "mirror"}


@dataclass(frozen=True, eq=False)
class Coating:
    """A material, and where its texture lies on the surface.

    Attributes:
        look: the material.
        bare: what it is without its texture.
        coordinates: which set of texture coordinates its texture uses.
        matrix: from those to those in the image ``[2, 3]`` (KHR_texture_transform).
    """

    look: Look
    bare: Look
    coordinates: int = 0
    matrix: np.ndarray = field(default_factory=lambda: np.eye(2, 3))


def read_material(document: Document, index: int) -> Coating:
    """Return a material's base colour, of either of the two material models.

    Specular-glossiness stands in place of the metallic-roughness that is beside it for those who
    do not know the extension (KHR_materials_pbrSpecularGlossiness).
    """
    material = document.item("materials", index)
    older = material.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness")
    model = material.get("pbrMetallicRoughness", {}) if older is None else older
    kind = "baseColor" if older is None else "diffuse"
    reference = model.get(f"{kind}Texture")
    transform: Mapping[str, Any] = {}
    image: Callable[[], Image.Image] | None = None
    wrap: tuple[Wrap, Wrap] = ("repeat", "repeat")
    if reference is not None:
        transform = reference.get("extensions", {}).get("KHR_texture_transform", {})
        name = material.get("name", f"material {index}")
        texture = document.item("textures", reference["index"])
        image, wrap = partial(_image, document, texture, name), _wrap(document, texture)
    red, green, blue, alpha = map(float, model.get(f"{kind}Factor", [1.0, 1.0, 1.0, 1.0]))
    look = Look(
        (red, green, blue, alpha),
        image,
        _ALPHA_MODES.get(material.get("alphaMode", ""), "opaque"),
        float(material.get("alphaCutoff", 0.5)),
        wrap,
    )
    coordinates = transform.get("texCoord", (reference or {}).get("texCoord", 0))
    return Coating(look, without_image(look), coordinates, _matrix(transform))


def _matrix(transform: Mapping[str, Any]) -> np.ndarray:
    """Translation times rotation times scale, as KHR_texture_transform has them."""
    (across, down), angle = transform.get("scale", (1.0, 1.0)), transform.get("rotation", 0.0)
    cos, sin = math.cos(angle), math.sin(angle)
    shift = transform.get("offset", (0.0, 0.0))
    return np.array(
        [[cos * across, sin * down, shift[0]], [-sin * across, cos * down, shift[1]]], np.float64
    )


def _wrap(document: Document, texture: Mapping[str, Any]) -> tuple[Wrap, Wrap]:
    sampler = document.item("samplers", texture["sampler"]) if "sampler" in texture else {}
    across: Wrap = _WRAPS.get(sampler.get("wrapS", 0), "repeat")
    down: Wrap = _WRAPS.get(sampler.get("wrapT", 0), "repeat")
    return across, down


def _image(document: Document, texture: Mapping[str, Any], material: str) -> Image.Image:
    """Return the first of a texture's images that can be read.

    Raises:
        ValueError: none can.
    """
    extensions = texture.get("extensions", {})
    reason = "it has no image"
    if "KHR_texture_basisu" in extensions:
        reason = "it is KTX2 (KHR_texture_basisu), which is not read here"
    for name in _SOURCES:
        source = (extensions.get(name, {}) if name else texture).get("source")
        if source is None:
            continue
        try:
            return open_image(*document.image(source))
        except (ValueError, LookupError) as error:
            reason = str(error)
    raise ValueError(f"expected a texture that can be read, got that of {material!r}: {reason}")
