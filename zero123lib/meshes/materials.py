"""Materials and colours as trimesh has read them, in our form."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from zero123lib.meshes.mesh import AlphaMode, Material
from zero123lib.meshes.shading import to_linear, to_srgb

MAX_TEXTURE_PIXELS = 64_000_000

# Of a mesh without material and colours, linear: white would not stand out from the background.
PLAIN = (0.6, 0.6, 0.6, 1.0)

_ALPHA_MODES: dict[str, AlphaMode] = {"MASK": "mask", "BLEND": "blend"}


def read_material(source: Any, max_texels: int, colored: bool) -> Material:
    """Our material of trimesh's: base colour, its texture and alpha; the rest plays no part.

    Where a material of an MTL file has a texture, its Kd is ignored, as most programs do: many
    write 0 there. Without one, Kd counts as sRGB.

    Args:
        source: a trimesh PBRMaterial, SimpleMaterial, or None.
        max_texels: a larger texture is made smaller.
        colored: whether the vertices have colours.

    Raises:
        ValueError: a texture is too large or damaged.
    """
    if source is None:
        return Material() if colored else Material(color=PLAIN)
    if not hasattr(source, "baseColorFactor"):
        if source.image is not None:
            return Material(texture=_texture(source.image, max_texels, "opaque"))
        color = _floats(np.asarray(source.diffuse))
        return Material(color=_quadruple(to_linear(torch.from_numpy(color))))
    factor, picture = source.baseColorFactor, source.baseColorTexture
    mode = str(getattr(source, "alphaMode", None) or "OPAQUE").upper()
    alpha = _ALPHA_MODES.get(mode, "opaque")
    cutoff = getattr(source, "alphaCutoff", None)
    return Material(
        color=(1.0, 1.0, 1.0, 1.0)
        if factor is None
        else _quadruple(torch.from_numpy(_floats(np.asarray(factor)))),
        texture=None if picture is None else _texture(picture, max_texels, alpha),
        alpha=alpha,
        alpha_cutoff=0.5 if cutoff is None else float(cutoff),
    )


def read_vertex_colors(visual: Any, count: int, linear: bool) -> np.ndarray | None:
    """sRGB colours with alpha ``[V, 4]`` in [0, 1] of a trimesh visual, or None.

    Args:
        count: vertices.
        linear: whether the file's are linear, as in glTF.
    """
    if getattr(visual, "kind", None) == "vertex":
        colors = visual.vertex_colors
    elif getattr(visual, "kind", None) == "texture":
        colors = visual.vertex_attributes.get("color")
    else:
        return None
    if colors is None or np.ndim(colors) != 2 or len(colors) != count:
        return None
    values = _floats(np.asarray(colors))
    if values.shape[1] == 3:
        values = np.concatenate([values, np.ones((count, 1))], axis=1)
    if not np.isfinite(values).all():
        raise ValueError("expected finite colours, got NaN or infinity")
    values = values[:, :4].clip(0.0, 1.0)
    return to_srgb(torch.from_numpy(values)).numpy() if linear else values


def _floats(values: np.ndarray) -> np.ndarray:
    """float64 in [0, 1] of whole numbers that fill their type, or of floats as they are."""
    scale = np.iinfo(values.dtype).max if np.issubdtype(values.dtype, np.integer) else 1
    return values.astype(np.float64) / scale


def _quadruple(color: torch.Tensor) -> tuple[float, float, float, float]:
    red, green, blue, *alpha = color.flatten().tolist()
    return red, green, blue, alpha[0] if alpha else 1.0


def _texture(picture: Image.Image, max_texels: int, alpha: AlphaMode) -> torch.Tensor:
    """uint8 ``[h, w, 4]`` of a picture that may not be decoded yet."""
    width, height = picture.size
    if width * height > MAX_TEXTURE_PIXELS:
        raise ValueError(
            f"expected textures of at most {MAX_TEXTURE_PIXELS} pixels, got {width} x {height}"
        )
    try:
        if picture.mode.startswith("I"):
            picture = Image.fromarray((np.asarray(picture) // 257).astype(np.uint8))
        # Resizing weighs colours by alpha, which means nothing where the material is opaque.
        picture = picture.convert("RGB" if alpha == "opaque" else "RGBA")
    except Exception as error:
        # Decoders meet damaged files with errors of any type.
        raise ValueError(
            f"expected a texture that can be read, got one damaged: {error}"
        ) from error
    if width * height > max_texels:
        factor = (max_texels / (width * height)) ** 0.5
        size = max(int(width * factor), 1), max(int(height * factor), 1)
        picture = picture.resize(size, Image.Resampling.BOX)
    return torch.from_numpy(np.array(picture.convert("RGBA")))
