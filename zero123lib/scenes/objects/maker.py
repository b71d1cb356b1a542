"""What the kinds are made with: random numbers, a palette and builders of solids."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from zero123lib.scenes.primitives import Shape, Solid
from zero123lib.scenes.scene import Color, Part, Pattern

Choice = TypeVar("Choice")
Look = dict[str, Any]  # Keyword arguments of a part: colours and a pattern.
Vector = Sequence[float] | np.ndarray

# Main, second and accent colour of things that are painted; each object jitters one scheme.
SCHEMES = (
    ("#d94f3d", "#f4e3c1", "#2f4858"), ("#2a6f97", "#f2efe6", "#e9a23b"),
    ("#e9b44c", "#3b5249", "#f7f1e1"), ("#4f8a5b", "#f3e9d2", "#c8553d"),
    ("#7a4e8a", "#f1d9e6", "#e8a33d"), ("#e07a5f", "#3d405b", "#f2cc8f"),
    ("#3a86a8", "#f6c453", "#e85d4a"), ("#b23a48", "#fcd5b5", "#3c4f5d"),
    ("#5fa8a0", "#fdf3df", "#d9614c"), ("#f08a4b", "#4a5a6a", "#fbeed5"),
    ("#31572c", "#e8d8a8", "#a4432f"), ("#f3a6b2", "#7a5c61", "#fff4ec"),
    ("#466995", "#d7e3ee", "#f0a44b"), ("#c9c4b8", "#b5493c", "#38424c"),
    ("#f5d547", "#3f6ea3", "#ef6f4c"), ("#8c5e3c", "#ead7b7", "#4c6b57"),
)  # fmt: skip
WOODS = ("#a8703f", "#8a5a34", "#c89a62", "#6f4629", "#b9834f", "#d6b07c")
FURS = (
    ("#9c6b3f", "#e8cfa6"), ("#5d5048", "#cfc4b8"), ("#d99a4e", "#f7e6c8"), ("#e8e0d4", "#4a4542"),
    ("#8a8f96", "#d8dadd"), ("#6e4630", "#c79a6b"), ("#2f2c2e", "#efe9e0"), ("#c9793f", "#fbf0dc"),
)  # fmt: skip
STONES = ("#9a958c", "#b8aa95", "#8b8f94", "#c2b8a6", "#a89078")
BLACK: Color = (0.08, 0.08, 0.09)
RUBBER: Color = (0.17, 0.17, 0.18)
GLASS: Color = (0.50, 0.68, 0.80)
DARK_GLASS: Color = (0.20, 0.28, 0.36)
STEEL: Color = (0.72, 0.74, 0.77)
WHITE: Color = (0.95, 0.94, 0.92)
BRASS: Color = (0.85, 0.68, 0.34)
LIGHT: Color = (1.0, 0.93, 0.68)
RED: Color = (0.80, 0.16, 0.13)
ORANGE: Color = (0.95, 0.58, 0.14)

_PAINT: tuple[Pattern, ...] = ("plain", "plain", "plain", "stripes", "dots", "checks", "two-tone",
                               "fade", "knit", "sectors")  # fmt: skip
_TURNS = {
    "x": np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
    "y": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "z": np.eye(3),
}


def mix(a: Color, b: Color, share: float) -> Color:
    """Return colour a with a share of b."""
    x, y, z = (u + (v - u) * share for u, v in zip(a, b, strict=True))
    return (x, y, z)


class Maker:
    """Random numbers, a palette and builders that collect parts.

    Attributes:
        main, second, accent: harmonious colours of painted things.
        wood, stone: materials.
        fur, belly: a coat and its lighter (or darker) second colour.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.parts: list[Part] = []
        scheme = [self.jitter(value) for value in self.pick(SCHEMES)]
        if self.chance(0.25):  # Any colour may lead, so that none belongs to one kind alone.
            scheme[0] = self.hue(self.u(0, 1))
        elif self.chance(0.3):
            scheme[0], scheme[2] = scheme[2], scheme[0]
        self.main, self.second, self.accent = scheme
        self.wood = self.jitter(self.pick(WOODS))
        self.stone = self.jitter(self.pick(STONES))
        self.fur, self.belly = (self.jitter(value) for value in self.pick(FURS))
        if self.chance(0.15):  # A toy.
            self.fur, self.belly = self.main, self.second

    def u(self, low: float, high: float) -> float:
        """Draw a uniform number in [low, high)."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return bool(self.rng.uniform() < probability)

    def pick(self, choices: Sequence[Choice]) -> Choice:
        """Draw one of the choices."""
        return choices[int(self.rng.integers(len(choices)))]

    def hue(self, hue: float) -> Color:
        """Return a lively colour of the given hue (in turns)."""
        return colorsys.hsv_to_rgb(hue % 1.0, self.u(0.45, 0.85), self.u(0.65, 0.98))

    def jitter(self, color: str, amount: float = 1.0) -> Color:
        """Return a colour near the given ``#rrggbb``."""
        r, g, b = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
        h, s, v = colorsys.rgb_to_hsv(r, g, b)
        h += float(self.rng.normal(0, 0.018)) * amount
        s *= 1 + float(self.rng.normal(0, 0.10)) * amount
        v *= 1 + float(self.rng.normal(0, 0.06)) * amount
        return colorsys.hsv_to_rgb(h % 1.0, min(max(s, 0), 1), min(max(v, 0), 1))

    def paint(self, color: Color | None = None, second: Color | None = None) -> Look:
        """Return keyword arguments of a painted part with a random pattern."""
        pattern, frequency = self.pick(_PAINT), self.u(1.2, 2.4)
        return {
            "color": self.main if color is None else color,
            "color2": self.second if second is None else second,
            "pattern": pattern,
            # A whole number puts dots' centres on the faces at +-1.
            "frequency": 2.0 if pattern == "dots" else frequency,
        }

    def timber(self, pattern: Pattern = "wood") -> Look:
        """Return keyword arguments of a wooden part."""
        return {
            "color": self.wood,
            "color2": mix(self.wood, (0.15, 0.07, 0.02), 0.35),
            "pattern": pattern,
            "frequency": 2.0,
        }

    def coat(self, pattern: Pattern | None = None) -> Look:
        """Return keyword arguments of an animal's body."""
        return {
            "color": self.fur,
            "color2": self.belly,
            "pattern": pattern or self.pick(("plain", "plain", "spots", "zebra")),
            "frequency": 1.8,
        }

    def add(
        self,
        solid: Solid,
        centre: Vector,
        half: Vector,
        color: Color,
        *,
        rotation: np.ndarray | None = None,
        shape: Shape = 1.0,
        **pattern,
    ) -> None:
        """Place a solid with the given half sizes along its own axes, then rotate it."""
        turn = np.eye(3) if rotation is None else rotation
        linear = tuple(map(tuple, (turn * np.array(half, dtype=float)).tolist()))
        x, y, z = (float(value) for value in centre)
        self.parts.append(Part(solid, linear, (x, y, z), color, shape=shape, **pattern))

    def ball(self, centre: Vector, half: Vector | float, color: Color, **more) -> None:
        """Add an ellipsoid; one number makes it round."""
        self.add(
            "ball", centre, [half] * 3 if isinstance(half, int | float) else half, color, **more
        )

    def dome(self, centre: Vector, half: Vector, color: Color, down: bool = False, **more) -> None:
        """Add half an ellipsoid on its flat side at ``centre``, or hanging from it."""
        turn = np.diag([1.0, -1.0, -1.0]) if down else None
        self.add("dome", centre, half, color, rotation=turn, **more)

    def box(
        self, centre: Vector, half: Vector, color: Color, bevel: float | None = None, **more
    ) -> None:
        """Add a box; its edges are rounded by ``bevel``, which is moderate unless given."""
        least = float(min(half))
        bevel = min(0.35 * least, 0.07) if bevel is None else min(bevel, 0.999 * least)
        if bevel <= 0.005:
            self.add("box", centre, half, color, **more)
        else:
            shape = tuple(bevel / float(value) for value in half)
            self.add("round", centre, half, color, shape=shape, **more)

    def taper(
        self, centre: Vector, half: Vector, color: Color, top: tuple[float, float], **more
    ) -> None:
        """Add a box that narrows to the shares ``top`` of its x and y: roofs, cabins."""
        self.add("taper", centre, half, color, shape=top, **more)

    def rod(
        self, start: Vector, end: Vector, radius: float, color: Color, top: float = 1.0, **more
    ) -> None:
        """Add a (tapered) cylinder between two points; ``top``: end radius over the start's."""
        a, b = np.array(start, dtype=float), np.array(end, dtype=float)
        if top > 1:  # The canonical frustum narrows.
            a, b, radius, top = b, a, radius * top, 1 / top
        half = [radius, radius, float(np.linalg.norm(b - a)) / 2]
        self.add("frustum", (a + b) / 2, half, color, rotation=frame(b - a), shape=top, **more)

    def pill(self, start: Vector, end: Vector, radius: float, color: Color, **more) -> None:
        """Add a cylinder with round ends, whose tips are ``start`` and ``end``."""
        a, b = np.array(start, dtype=float), np.array(end, dtype=float)
        half = max(float(np.linalg.norm(b - a)) / 2, 1.001 * radius)
        shape = (1.0, 1.0, radius / half)
        self.add(
            "round", (a + b) / 2, [radius, radius, half], color,
            rotation=frame(b - a), shape=shape, **more,
        )  # fmt: skip

    def ring(
        self, centre: Vector, radius: float, tube: float, color: Color, axis: str, **more
    ) -> None:
        """Add a torus of the given outer radius, tube as a fraction of it, about an axis."""
        self.add("torus", centre, [radius] * 3, color, rotation=_TURNS[axis], shape=tube, **more)

    def eyes(self, centre: Vector, apart: float, radius: float) -> None:
        """Add two black eyes, mirrored across y."""
        x, _, z = centre
        for side in (-1, 1):
            self.ball((x, side * apart, z), radius, BLACK)

    def legs(self, x: float, y: float, top: float, radius: float, **look) -> None:
        """Add four legs, slightly thinner towards the floor."""
        for sx in (-1, 1):
            for sy in (-1, 1):
                self.rod((sx * x, sy * y, top), (sx * x, sy * y, 0), radius, top=0.75, **look)

    def wheels(self, xs: Sequence[float], y: float, radius: float, width: float = 0.14) -> None:
        """Add pairs of wheels whose outer faces are at +-y."""
        for x in xs:
            for side in (-1, 1):
                self.rod((x, side * (y - width), radius), (x, side * y, radius), radius, RUBBER)
                hub = (x, side * (y + 0.015), radius)
                self.rod((x, side * (y - 0.01), radius), hub, radius * 0.55, STEEL)


def frame(axis: np.ndarray) -> np.ndarray:
    """Return a rotation whose third column is the axis' direction."""
    z = axis / np.linalg.norm(axis)
    helper = np.array([1.0, 0, 0]) if abs(z[0]) < 0.9 else np.array([0, 1.0, 0])
    y = np.cross(z, helper)
    y /= np.linalg.norm(y)
    return np.stack([np.cross(y, z), y, z], 1)


def turn_z(angle: float) -> np.ndarray:
    """Return the rotation about z by an angle in radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
