"""Seeded procedural objects: chairs, lamps, mugs, cars, houses, animals and free compositions.

Each kind is one short function from a :class:`Maker` (random numbers, a palette, builders of
solids) to nothing: it places parts standing on the plane z = 0, facing +x. Sizes are in free
units; :func:`random_scene` turns the object and normalises it.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence

import numpy as np

from zero123lib.scenes.primitives import Solid
from zero123lib.scenes.scene import Color, Part, Pattern, Scene

# Seeds from here on are held out: evaluation draws from them alone, training never does.
HELD_OUT_SEED = 1_000_000_000

_PATTERNS: tuple[Pattern, ...] = (
    "plain",
    "stripes",
    "sectors",
    "checks",
    "dots",
    "two-tone",
    "fade",
    # Sides of different colours show best how an object turns.
    "front-back",
    "front-back",
    "front-back",
    "left-right",
    "left-right",
    "left-right",
)
_AXES = {
    "x": np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
    "y": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "z": np.eye(3),
}
Vector = Sequence[float] | np.ndarray


class Maker:
    """Random numbers, a palette of three colours and builders that collect parts."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.parts: list[Part] = []
        hue = rng.uniform()
        self.main = self.hue(hue)
        self.second = self.hue(hue + rng.choice([0.33, 0.5, 0.67]) + rng.normal(0, 0.04))
        grey = rng.choice([0.12, 0.3, 0.85, 0.95])
        self.neutral: Color = (grey, grey, grey)

    def hue(self, hue: float) -> Color:
        """A lively colour of the given hue (in turns)."""
        saturation, value = self.rng.uniform(0.55, 0.95), self.rng.uniform(0.6, 1.0)
        return colorsys.hsv_to_rgb(hue % 1.0, saturation, value)

    def u(self, low: float, high: float) -> float:
        """Uniform number in [low, high)."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return bool(self.rng.uniform() < probability)

    def pattern(self) -> dict:
        """Keyword arguments of a random pattern for one part."""
        index = int(self.rng.integers(len(_PATTERNS)))
        return {"pattern": _PATTERNS[index], "frequency": self.u(1.2, 2.6), "color2": self.second}

    def add(
        self,
        solid: Solid,
        centre: Vector,
        half: Vector,
        color: Color,
        *,
        rotation: np.ndarray | None = None,
        shape: float = 1.0,
        **pattern,
    ) -> None:
        """Place a solid with the given half sizes along its own axes, then rotate it."""
        turn = np.eye(3) if rotation is None else rotation
        linear = tuple(map(tuple, (turn * np.array(half, dtype=float)).tolist()))
        x, y, z = (float(value) for value in centre)
        self.parts.append(Part(solid, linear, (x, y, z), color, shape=shape, **pattern))

    def ball(self, centre: Vector, half: Vector | float, color: Color, **more) -> None:
        """An ellipsoid; one number makes it round."""
        self.add(
            "ball", centre, [half] * 3 if isinstance(half, int | float) else half, color, **more
        )

    def box(self, centre: Vector, half: Vector, color: Color, **more) -> None:
        """A box."""
        self.add("box", centre, half, color, **more)

    def rod(
        self, start: Vector, end: Vector, radius: float, color: Color, top: float = 1.0, **more
    ) -> None:
        """A (tapered) cylinder between two points; ``top`` is the end radius over the start's."""
        a, b = np.array(start, dtype=float), np.array(end, dtype=float)
        axis, rotation = b - a, _frame(b - a)
        half = [radius, radius, float(np.linalg.norm(axis)) / 2]
        self.add("frustum", (a + b) / 2, half, color, rotation=rotation, shape=top, **more)

    def ring(
        self, centre: Vector, radius: float, tube: float, color: Color, axis: str, **more
    ) -> None:
        """A torus of the given outer radius, tube as a fraction of it, about an axis."""
        self.add("torus", centre, [radius] * 3, color, rotation=_AXES[axis], shape=tube, **more)


def _frame(axis: np.ndarray) -> np.ndarray:
    """A rotation whose third column is the axis' direction."""
    z = axis / np.linalg.norm(axis)
    helper = np.array([1.0, 0, 0]) if abs(z[0]) < 0.9 else np.array([0, 1.0, 0])
    y = np.cross(z, helper)
    y /= np.linalg.norm(y)
    return np.stack([np.cross(y, z), y, z], 1)


def _legs(m: Maker, x: float, y: float, top: float, radius: float, color: Color) -> None:
    for sx in (-1, 1):
        for sy in (-1, 1):
            m.rod((sx * x, sy * y, 0), (sx * x, sy * y, top), radius, color)


def _wheels(m: Maker, xs: Sequence[float], y: float, radius: float, color: Color) -> None:
    for x in xs:
        for side in (-1, 1):
            m.rod((x, side * (y - 0.12), radius), (x, side * y, radius), radius, color)
            m.rod((x, side * y, radius), (x, side * (y + 0.01), radius), radius / 2, m.neutral)


def chair(m: Maker) -> None:
    width, depth, seat = m.u(0.45, 0.6), m.u(0.45, 0.6), m.u(0.7, 1.0)
    _legs(m, depth * 0.85, width * 0.85, seat, m.u(0.05, 0.09), m.second)
    m.box((0, 0, seat), (depth, width, m.u(0.06, 0.14)), m.main, **m.pattern())
    back = m.u(0.45, 0.75)
    m.box((-depth, 0, seat + back), (0.07, width, back), m.main, **m.pattern())
    if m.chance(0.4):
        for side in (-1, 1):
            m.box((0, side * width, seat + 0.3), (depth, 0.06, 0.06), m.second)


def table(m: Maker) -> None:
    length, width, height = m.u(0.6, 1.2), m.u(0.5, 0.8), m.u(0.6, 1.1)
    if m.chance(0.5):
        _legs(m, length * 0.85, width * 0.85, height, m.u(0.05, 0.1), m.second)
        m.box((0, 0, height), (length, width, 0.08), m.main, **m.pattern())
    else:
        m.rod((0, 0, 0), (0, 0, height), 0.12, m.second)
        m.rod((0, 0, 0), (0, 0, 0.08), width * 0.6, m.second)
        m.rod((0, 0, height), (0, 0, height + 0.1), width, m.main, **m.pattern())
    if m.chance(0.5):
        m.ball((m.u(-0.3, 0.3), m.u(-0.2, 0.2), height + 0.25), m.u(0.15, 0.22), m.hue(m.u(0, 1)))


def lamp(m: Maker) -> None:
    height, shade = m.u(1.0, 1.6), m.u(0.4, 0.65)
    m.rod((0, 0, 0), (0, 0, 0.12), m.u(0.3, 0.5), m.second, top=m.u(0.5, 1))
    m.rod((0, 0, 0.1), (0, 0, height), 0.06, m.neutral)
    end = height + m.u(0.4, 0.7)
    m.rod((0, 0, height), (0, 0, end), shade, m.main, top=m.u(0.3, 0.8), **m.pattern())


def mug(m: Maker) -> None:
    radius, height = m.u(0.4, 0.55), m.u(0.8, 1.2)
    m.rod((0, 0, 0), (0, 0, height), radius, m.main, top=m.u(0.9, 1.2), **m.pattern())
    m.rod((0, 0, height), (0, 0, height + 0.02), radius * 0.85, (0.25, 0.13, 0.06))
    m.ring((radius, 0, height / 2), height * m.u(0.28, 0.36), 0.2, m.second, "y")


def car(m: Maker) -> None:
    length, width, wheel = m.u(0.9, 1.2), m.u(0.4, 0.5), m.u(0.18, 0.26)
    body = wheel + 0.2
    m.box((0, 0, body), (length, width, 0.2), m.main, **m.pattern())
    cabin = m.u(0.4, 0.65)
    m.box((m.u(-0.3, 0), 0, body + 0.36), (cabin, width * 0.9, 0.17), m.main, **m.pattern())
    m.box((m.u(-0.2, 0), 0, body + 0.36), (cabin * 0.98, width * 0.93, 0.1), (0.15, 0.2, 0.28))
    _wheels(m, (-length * 0.6, length * 0.6), width, wheel, (0.1, 0.1, 0.1))
    for side in (-1, 1):
        m.ball((length, side * width * 0.65, body), 0.09, (1.0, 0.95, 0.6))
        m.box((-length, side * width * 0.65, body), (0.03, 0.09, 0.06), (0.85, 0.1, 0.1))


def truck(m: Maker) -> None:
    width, wheel = m.u(0.4, 0.5), m.u(0.2, 0.27)
    m.box((0.75, 0, wheel + 0.4), (0.3, width, 0.4), m.main)
    m.box((0.97, 0, wheel + 0.55), (0.1, width * 0.9, 0.14), (0.15, 0.2, 0.28))
    load = m.u(0.4, 0.65)
    m.box((-0.35, 0, wheel + load + 0.1), (0.75, width, load), m.second, **m.pattern())
    m.box((0, 0, wheel + 0.05), (1.0, width * 0.8, 0.08), m.neutral)
    _wheels(m, (-0.8, -0.3, 0.7), width, wheel, (0.1, 0.1, 0.1))


def house(m: Maker) -> None:
    x, y, wall, roof = m.u(0.5, 0.8), m.u(0.5, 0.7), m.u(0.4, 0.7), m.u(0.3, 0.55)
    m.box((0, 0, wall), (x, y, wall), m.main, **m.pattern())
    # A gable roof is a box on its edge, flattened; its lower half hides in the walls.
    edge = np.array([[1, 0, 0], [0, 0.7071, -0.7071], [0, 0.7071, 0.7071]])
    half = np.diag([x * 1.1, y * 0.8, y * 0.8])
    linear = np.diag([1, 1, roof / y]) @ edge @ half
    rows = tuple(map(tuple, linear.tolist()))
    m.parts.append(Part("box", rows, (0, 0, 2 * wall), m.second))
    m.box((x, m.u(-0.2, 0.2), wall * 0.55), (0.03, 0.14, wall * 0.55), m.neutral)
    for side in (-1, 1):
        m.box((0, side * y, wall * 1.1), (0.16, 0.03, 0.16), (0.55, 0.8, 0.95))
    if m.chance(0.6):
        m.box((-x / 2, y / 3, 2 * wall + roof), (0.1, 0.1, roof), m.neutral)


def tree(m: Maker) -> None:
    trunk, green = m.u(0.4, 0.8), m.hue(m.u(0.22, 0.42))
    m.rod((0, 0, 0), (0, 0, trunk), m.u(0.1, 0.18), (0.45, 0.28, 0.15), top=0.8)
    if m.chance(0.5):
        for level in range(int(m.rng.integers(2, 4))):
            base = trunk + 0.35 * level
            m.rod((0, 0, base), (0, 0, base + 0.65), 0.62 - 0.14 * level, green, top=0.0)
    else:
        m.ball((0, 0, trunk + 0.45), (0.6, 0.6, m.u(0.45, 0.65)), green, **m.pattern())
        for _ in range(int(m.rng.integers(2, 6))):
            angle, z = m.u(0, 6.28), trunk + m.u(0.2, 0.8)
            m.ball((0.5 * np.cos(angle), 0.5 * np.sin(angle), z), 0.13, m.second)


def snowman(m: Maker) -> None:
    low, middle, head = m.u(0.5, 0.6), m.u(0.36, 0.45), m.u(0.24, 0.32)
    color = m.neutral if m.neutral[0] > 0.5 else m.main
    m.ball((0, 0, low), low, color, **m.pattern())
    m.ball((0, 0, 2 * low + middle * 0.7), middle, color)
    top = 2 * low + 1.5 * middle + head
    m.ball((0, 0, top), head, color)
    m.rod((head * 0.8, 0, top), (head * 0.8 + 0.35, 0, top), 0.08, (0.95, 0.5, 0.1), top=0.0)
    for side in (-1, 1):
        m.ball((head * 0.82, side * 0.12, top + 0.12), 0.05, (0.05, 0.05, 0.05))
    m.rod((0, 0, top + head * 0.7), (0, 0, top + head * 0.8), head * 1.2, m.second)
    m.rod((0, 0, top + head * 0.7), (0, 0, top + head + 0.3), head * 0.75, m.second)
    m.ring((0, 0, top - head), middle * 0.85, 0.22, m.second, "z")


def quadruped(m: Maker) -> None:
    length, leg, girth = m.u(0.5, 0.75), m.u(0.35, 0.6), m.u(0.26, 0.36)
    z = leg + girth * 0.8
    m.ball((0, 0, z), (length, girth, girth), m.main, **m.pattern())
    _legs(m, length * 0.6, girth * 0.6, z, 0.09, m.main)
    head, hz = (length + m.u(0.0, 0.2), 0.0), z + m.u(0.3, 0.6)
    m.rod((length * 0.6, 0, z), (head[0], 0, hz), 0.16, m.main, top=0.8)
    m.ball((head[0], 0, hz), (0.27, 0.22, 0.22), m.main)
    m.ball((head[0] + 0.22, 0, hz - 0.05), (0.15, 0.13, 0.11), m.second)
    for side in (-1, 1):
        m.ball((head[0] + 0.17, side * 0.14, hz + 0.11), 0.045, (0.05, 0.05, 0.05))
        m.ball((head[0] - 0.05, side * 0.17, hz + 0.2), (0.05, 0.07, m.u(0.1, 0.2)), m.second)
    m.rod((-length * 0.9, 0, z), (-length - 0.3, 0, z + m.u(-0.1, 0.4)), 0.07, m.second, top=0.4)


def bear(m: Maker) -> None:
    fur, belly = m.main, m.second
    m.ball((0, 0, 0.5), (0.42, 0.45, 0.5), fur, **m.pattern())
    m.ball((0.16, 0, 0.5), (0.32, 0.33, 0.36), belly)
    m.ball((0.05, 0, 1.2), 0.38, fur)
    m.ball((0.36, 0, 1.12), (0.16, 0.17, 0.14), belly)
    m.ball((0.5, 0, 1.17), 0.06, (0.05, 0.05, 0.05))
    arm = m.u(-0.3, 0.4)
    for side in (-1, 1):
        m.ball((0.03, side * 0.32, 1.5), (0.08, 0.14, 0.14), fur)
        m.ball((0.34, side * 0.15, 1.3), 0.05, (0.05, 0.05, 0.05))
        m.rod((0.1, side * 0.35, 0.75), (0.25, side * 0.72, 0.75 + arm), 0.15, fur, top=0.8)
        m.rod((0.1, side * 0.25, 0.15), (0.6, side * 0.38, 0.14), 0.17, fur)
        m.rod((0.6, side * 0.38, 0.14), (0.64, side * 0.39, 0.14), 0.15, belly)


def duck(m: Maker) -> None:
    m.ball((0, 0, 0.42), (0.6, 0.42, 0.42), m.main, **m.pattern())
    m.ball((-0.5, 0, 0.62), (0.25, 0.15, 0.2), m.main)
    neck = m.u(0.8, 1.1)
    m.rod((0.35, 0, 0.5), (0.42, 0, neck), 0.2, m.main, top=0.8)
    m.ball((0.45, 0, neck), 0.29, m.main)
    m.rod((0.65, 0, neck - 0.04), (0.95, 0, neck - 0.08), 0.13, (0.95, 0.55, 0.1), top=0.5)
    for side in (-1, 1):
        m.ball((0.64, side * 0.16, neck + 0.1), 0.06, (0.05, 0.05, 0.05))
        m.ball((-0.1, side * 0.4, 0.5), (0.36, 0.1, 0.2), m.second)


def robot(m: Maker) -> None:
    width, depth = m.u(0.35, 0.5), m.u(0.22, 0.32)
    for side in (-1, 1):
        m.box((0, side * width * 0.55, 0.3), (0.14, 0.13, 0.3), m.second)
        m.box((0.08, side * width * 0.55, 0.06), (0.24, 0.15, 0.06), m.neutral)
        m.rod(
            (0, side * (width + 0.1), 1.15), (m.u(0, 0.5), side * (width + 0.2), 0.6), 0.1, m.second
        )
    m.box((0, 0, 0.95), (depth, width, 0.38), m.main, **m.pattern())
    m.box((depth, 0, 1.0), (0.03, width * 0.5, 0.16), m.second)
    head = m.u(0.2, 0.3)
    m.box((0, 0, 1.42 + head), (head, head * 1.2, head), m.neutral)
    for side in (-1, 1):
        m.ball((head, side * head * 0.5, 1.5 + head), 0.07, m.second)
    m.rod((0, 0, 1.4 + 2 * head), (0, 0, 1.7 + 2 * head), 0.03, m.neutral)
    m.ball((0, 0, 1.7 + 2 * head), 0.08, m.main)


def rocket(m: Maker) -> None:
    height, radius = m.u(0.9, 1.3), m.u(0.24, 0.34)
    m.rod((0, 0, 0.3), (0, 0, 0.3 + height), radius, m.main, **m.pattern())
    m.rod((0, 0, 0.3 + height), (0, 0, 0.8 + height), radius, m.second, top=0.05)
    m.rod((0, 0, 0.1), (0, 0, 0.3), radius * 0.9, m.neutral, top=0.6)
    m.ball((radius * 0.9, 0, 0.1 + height * 0.8), 0.13, (0.55, 0.8, 0.95))
    for angle in np.arange(3) * 2.094:
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
        m.box(turn @ [radius + 0.12, 0, 0.3], (0.2, 0.04, 0.3), m.second, rotation=turn)


def mushroom(m: Maker) -> None:
    stem, cap = m.u(0.5, 0.9), m.u(0.5, 0.75)
    m.rod((0, 0, 0), (0, 0, stem), m.u(0.16, 0.26), (0.95, 0.9, 0.8), top=0.8)
    m.ball((0, 0, stem), (cap, cap, m.u(0.3, 0.5)), m.main, **m.pattern())
    for _ in range(int(m.rng.integers(3, 8))):
        angle = m.u(0, 6.28)
        x, y = cap * 0.68 * np.cos(angle), cap * 0.68 * np.sin(angle)
        m.ball((x, y, stem + 0.24), 0.11, (0.97, 0.97, 0.97))


def cake(m: Maker) -> None:
    radius, z = m.u(0.6, 0.8), 0.0
    for level in range(int(m.rng.integers(1, 4))):
        height = m.u(0.25, 0.4)
        color = m.main if level % 2 == 0 else m.second
        m.rod((0, 0, z), (0, 0, z + height), radius, color, **m.pattern())
        z, radius = z + height, radius * m.u(0.65, 0.8)
    for angle in np.arange(int(m.rng.integers(1, 6))) * 1.2566:
        x, y = radius * 0.7 * np.cos(angle), radius * 0.7 * np.sin(angle)
        m.rod((x, y, z), (x, y, z + 0.3), 0.05, m.second)
        m.ball((x, y, z + 0.34), (0.05, 0.05, 0.08), (1.0, 0.75, 0.2))


def bottle(m: Maker) -> None:
    radius, height = m.u(0.28, 0.4), m.u(0.8, 1.2)
    m.rod((0, 0, 0), (0, 0, height), radius, m.main, **m.pattern())
    m.rod((0, 0, height * 0.3), (0, 0, height * 0.75), radius * 1.02, m.second, **m.pattern())
    m.rod((0, 0, height), (0, 0, height + 0.25), radius, m.main, top=0.4)
    m.rod((0, 0, height + 0.25), (0, 0, height + 0.55), radius * 0.4, m.main)
    m.rod((0, 0, height + 0.5), (0, 0, height + 0.65), radius * 0.48, m.neutral)


def sofa(m: Maker) -> None:
    width, depth = m.u(0.8, 1.2), m.u(0.4, 0.55)
    m.box((0, 0, 0.25), (depth, width, 0.2), m.main, **m.pattern())
    m.box((-depth, 0, 0.55), (0.15, width, 0.5), m.main, **m.pattern())
    for side in (-1, 1):
        m.box((0, side * width, 0.38), (depth, 0.13, 0.33), m.main)
        m.box((-depth * 0.5, side * width * 0.45, 0.62), (0.1, 0.25, 0.22), m.second)


def plane(m: Maker) -> None:
    length, span = m.u(0.8, 1.1), m.u(0.8, 1.2)
    m.ball((0, 0, 0.4), (length, 0.18, 0.18), m.main, **m.pattern())
    m.box((0.1, 0, 0.42), (0.2, span, 0.03), m.second, **m.pattern())
    m.box((-length * 0.85, 0, 0.45), (0.12, span * 0.4, 0.03), m.second)
    m.box((-length * 0.87, 0, 0.62), (0.12, 0.03, 0.2), m.second)
    m.ball((length * 0.55, 0, 0.52), (0.2, 0.12, 0.12), (0.55, 0.8, 0.95))
    m.rod((length, 0, 0.4), (length + 0.05, 0, 0.4), 0.2, m.neutral)


def train(m: Maker) -> None:
    _wheels(m, (-0.6, -0.1, 0.4), 0.32, 0.17, (0.12, 0.12, 0.12))
    m.box((0, 0, 0.3), (0.9, 0.3, 0.08), m.neutral)
    m.rod((-0.2, 0, 0.65), (0.85, 0, 0.65), 0.28, m.main, **m.pattern())
    m.box((-0.5, 0, 0.78), (0.32, 0.34, 0.42), m.second)
    m.box((-0.5, 0, 1.22), (0.4, 0.4, 0.05), m.main)
    m.rod((0.55, 0, 0.85), (0.55, 0, 1.25), 0.1, m.neutral, top=1.4)
    m.ball((0.1, 0, 0.93), 0.13, m.second)


def tower(m: Maker) -> None:
    z = 0.0
    for _ in range(int(m.rng.integers(2, 5))):
        half, height, color = m.u(0.25, 0.55), m.u(0.15, 0.4), m.hue(m.u(0, 1))
        if m.chance(0.5):
            m.box((m.u(-0.1, 0.1), m.u(-0.1, 0.1), z + height), (half, half, height), color)
        else:
            m.rod((0, 0, z), (0, 0, z + 2 * height), half, color, top=m.u(0.6, 1), **m.pattern())
        z += 2 * height
    if m.chance(0.5):
        m.rod((0, 0, z), (0, 0, z + 0.5), 0.35, m.main, top=0.0)


def composition(m: Maker) -> None:
    solids: tuple[Solid, ...] = ("ball", "box", "frustum", "torus")
    for _ in range(int(m.rng.integers(2, 6))):
        solid = solids[int(m.rng.integers(len(solids)))]
        half = m.rng.uniform(0.2, 0.5, 3) if solid != "torus" else [m.u(0.35, 0.5)] * 3
        shape = m.u(0.25, 0.4) if solid == "torus" else m.u(0, 1)
        rotation = _frame(m.rng.normal(size=3)) if m.chance(0.5) else None
        centre = m.rng.uniform(-0.45, 0.45, 3)
        color = m.hue(m.u(0, 1))
        m.add(solid, centre, half, color, rotation=rotation, shape=shape, **m.pattern())


KINDS: dict[str, Callable[[Maker], None]] = {
    kind.__name__: kind
    for kind in (
        chair, table, lamp, mug, car, truck, house, tree, snowman, quadruped, bear, duck,
        robot, rocket, mushroom, cake, bottle, sofa, plane, train, tower, composition,
    )
}  # fmt: skip


def random_scene(seed: int, kind: str | None = None) -> Scene:
    """A seeded random object: the same seed always gives the same object.

    Args:
        seed: any non-negative integer.
        kind: one of :data:`KINDS`; None draws one.

    Raises:
        ValueError: for a negative seed or an unknown kind.
    """
    if seed < 0:
        raise ValueError(f"seed: expected a non-negative integer, got {seed}")
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    rng = np.random.default_rng(seed)
    drawn = list(KINDS)[int(rng.integers(len(KINDS)))]
    name = kind or drawn
    maker = Maker(rng)
    KINDS[name](maker)
    yaw_deg, light = rng.uniform(0, 360), rng.normal(size=3)
    light[2] = abs(light[2]) + 0.5
    x, y, z = (float(value) for value in light / np.linalg.norm(light))
    scene = Scene(tuple(maker.parts), (x, y, z), name, seed)
    return scene.turned(float(yaw_deg)).normalized()
