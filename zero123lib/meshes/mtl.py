"""MTL files: the colours of an OBJ file's materials, their textures, and where those lie.

Where a material has a texture, its Kd is ignored, as most programs do: many files have 0 there.
Colours count as sRGB.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image

from zero123lib.meshes.materials import PLAIN, PLAIN_LOOK, Look, Wrap, as_shares, open_image
from zero123lib.meshes.resolver import FileResolver
from zero123lib.meshes.shading import to_linear

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
# The options of a texture, by how many numbers or which words follow them.
_OPTIONS = re.compile(
    rf"(?:^|\s)-(?:(s|o|t|mm)((?:\s+{_NUMBER}(?=\s|$)){{1,3}})"
    rf"|(bm|boost|texres)\s+{_NUMBER}(?=\s|$)"
    r"|(blendu|blendv|cc|clamp)\s+(on|off)(?=\s|$)"
    r"|(imfchan|type|colorspace)\s+\S+)",
    re.IGNORECASE,
)


@dataclass(frozen=True, eq=False)
class Paint:
    """A material, and where its texture lies on the surface.

    Attributes:
        look: the material.
        bare: what faces without texture coordinates look like.
        scale, offset: of texture coordinates: those in the image are ``scale * uv + offset``.
    """

    look: Look = PLAIN_LOOK
    bare: Look = PLAIN_LOOK
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class _Texture:
    name: str
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    base: float = 0.0
    gain: float = 1.0
    clamp: bool = False


def read_mtl(text: str) -> dict[str, dict[str, str]]:
    """Return what a file says of each material, by lower-case keyword."""
    materials: dict[str, dict[str, str]] = {}
    entry: dict[str, str] = {}
    for line in text.splitlines():
        word, _, rest = line.strip().replace("\t", " ").partition(" ")
        if word.lower() == "newmtl":
            entry = {}
            materials.setdefault(rest.strip(), entry)
        elif rest.strip() and not word.startswith("#"):
            entry[word.lower()] = rest.strip()
    return materials


def read_paint(entry: dict[str, str], resolver: FileResolver) -> Paint:
    """Return what a material of an MTL file looks like."""
    color = _color(entry.get("kd", ""))
    alpha = _opacity(entry)
    mode = "opaque" if alpha == 1.0 else "blend"
    untextured = Look(PLAIN if color is None else (*color, 1.0))
    if "map_kd" not in entry:
        look = Look((*untextured.color[:3], alpha), alpha=mode)
        return Paint(look, look)
    texture, cut = _texture(entry["map_kd"]), None
    if "map_d" in entry:
        cut = _texture(entry["map_d"])
        if not resolver.has(cut.name):
            resolver.note(f"{cut.name!r}, which holds transparency, is not beside it")
            cut = None
    wrap: Wrap = "clamp" if texture.clamp else "repeat"
    look = Look(
        (1.0, 1.0, 1.0, alpha),
        partial(_image, resolver, texture, cut),
        mode if cut is None else "blend",
        wrap=(wrap, wrap),
    )
    black = color is None or not any(color)
    return Paint(look, PLAIN_LOOK if black else untextured, texture.scale, texture.offset)


def _color(text: str) -> tuple[float, float, float] | None:
    """Return the linear colour of ``Kd r g b`` or ``Kd r``; None where there is none in numbers."""
    words = text.partition("#")[0].split()
    try:
        values = np.array([float(word) for word in words[:3]])
    except ValueError:
        return None
    if len(values) not in (1, 3):
        return None
    red, green, blue = to_linear(torch.from_numpy(np.resize(as_shares(values), 3))).tolist()
    return red, green, blue


def _opacity(entry: dict[str, str]) -> float:
    """Return what ``d``, else ``Tr``, says; all there is where that is nothing, since writers
    disagree on which way round Tr is."""
    for word, opaque in (("d", 1.0), ("tr", 0.0)):
        found = re.findall(_NUMBER, entry.get(word, "").partition("#")[0])
        if found:
            alpha = 1.0 - abs(opaque - min(max(float(found[-1]), 0.0), 1.0))
            return alpha or 1.0
    return 1.0


def _texture(text: str) -> _Texture:
    """Return the name of an image, and the options before or after it."""
    given: dict[str, list[float]] = {}
    clamp = False
    for option in _OPTIONS.finditer(text):
        if option[1]:
            given[option[1].lower()] = [float(word) for word in option[2].split()]
        elif option[4] and option[4].lower() == "clamp":
            clamp = option[5].lower() == "on"
    name = _OPTIONS.sub("", text).strip().strip('"')

    def pair(key: str, first: float, second: float) -> tuple[float, float]:
        values = given.get(key, [])
        return values[0] if values else first, values[1] if len(values) > 1 else second

    base, gain = pair("mm", 0.0, 1.0)
    return _Texture(name, pair("s", 1.0, 1.0), pair("o", 0.0, 0.0), base, gain, clamp)


def _image(resolver: FileResolver, texture: _Texture, cut: _Texture | None) -> Image.Image:
    """Return the texture's image, with the alpha of another one where there is one."""
    image = open_image(resolver.read(texture.name), repr(texture.name))
    if texture.base != 0.0 or texture.gain != 1.0:
        shares = np.asarray(image.convert("RGB")) / 255.0 * texture.gain + texture.base
        image = Image.fromarray((shares.clip(0.0, 1.0) * 255.0).round().astype(np.uint8))
    if cut is None:
        return image
    mask = open_image(resolver.read(cut.name), repr(cut.name))
    own = mask.convert("RGBA").getchannel("A")
    # An image without alpha of its own says by its brightness what is there.
    alpha = own if own.getextrema() != (255, 255) else mask.convert("L")
    image = image.convert("RGB")
    image.putalpha(alpha.resize(image.size, Image.Resampling.BILINEAR))
    return image


def names_in(rest: str, resolver: FileResolver) -> Iterator[str]:
    """Yield the files that an mtllib line names: one whose name may have blanks, or several."""
    whole = rest.strip().strip('"')
    if resolver.has(whole) or len(whole.split()) == 1:
        yield whole
    else:
        yield from (name.strip('"') for name in whole.split())
