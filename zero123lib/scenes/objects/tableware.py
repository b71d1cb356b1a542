"""Food and what it is served in, standing on z = 0 and facing +x."""

from __future__ import annotations

import numpy as np

from zero123lib.scenes.objects.maker import ORANGE, STEEL, WHITE, Maker, mix


def _around(count: int, radius: float, phase: float = 0.0) -> list[tuple[float, float]]:
    angles = np.arange(count) * 2 * np.pi / count + phase
    return [(float(radius * np.cos(a)), float(radius * np.sin(a))) for a in angles]


def mug(m: Maker) -> None:
    """Build a mug of coffee with a handle at the front."""
    radius, height = m.u(0.42, 0.55), m.u(0.85, 1.1)
    top = m.u(0.95, 1.12)
    m.rod((0, 0, 0.03), (0, 0, height), radius, top=top, **m.paint())
    m.rod((0, 0, 0), (0, 0, 0.04), radius * 0.85, m.second)
    rim = radius * top
    m.ring((0, 0, height), rim, 0.07, m.main, "z")
    m.rod((0, 0, height), (0, 0, height + 0.015), rim * 0.9, m.jitter("#4a2a18"))
    m.ring((radius + 0.04, 0, height * 0.52), height * m.u(0.3, 0.36), 0.2, m.main, "y")


def teapot(m: Maker) -> None:
    """Build a round body, a spout at the front, a handle at the back, a lid."""
    r = m.u(0.5, 0.6)
    paint = m.paint()
    m.ball((0, 0, r * 0.85), (r, r, r * 0.85), **paint)
    m.rod((0, 0, 0), (0, 0, 0.12), r * 0.6, m.second)
    m.rod((r * 0.7, 0, r * 0.7), (r * 1.65, 0, r * 1.45), 0.17, m.main, top=0.5)
    m.ring((-r * 1.05, 0, r * 0.95), r * 0.58, 0.18, m.second, "y")
    m.dome((0, 0, r * 1.58), (r * 0.52, r * 0.52, 0.16), m.second)
    m.ball((0, 0, r * 1.58 + 0.2), 0.09, m.accent)


def bottle(m: Maker) -> None:
    """Build a bottle with a shoulder, a label and a cap."""
    radius, height = m.u(0.34, 0.44), m.u(0.75, 1.05)
    body = m.main if m.chance(0.5) else m.jitter(m.pick(("#3f6b45", "#7a4a24", "#4f7fa3")))
    m.rod((0, 0, 0), (0, 0, height), radius, body)
    m.dome((0, 0, height), (radius, radius, radius * 0.8), body)
    m.rod((0, 0, height * 0.22), (0, 0, height * 0.8), radius * 1.02, **m.paint(m.second, m.accent))
    end = height + radius * 0.7 + m.u(0.3, 0.45)
    m.rod((0, 0, height), (0, 0, end), radius * 0.4, body, top=0.85)
    m.rod((0, 0, end - 0.06), (0, 0, end + 0.1), radius * 0.44, m.accent)


def cake(m: Maker) -> None:
    """Build a cake: tiers of icing, cherries around, candles on top."""
    radius, z = m.u(0.6, 0.75), 0.08
    m.rod((0, 0, 0), (0, 0, 0.08), radius * 1.2, WHITE)
    paint, icing = m.paint(), mix(m.second, WHITE, 0.5)
    for level in range(int(m.rng.integers(1, 4))):
        height = m.u(0.28, 0.4)
        m.rod((0, 0, z), (0, 0, z + height), radius, **paint)
        m.ring((0, 0, z + height), radius * 1.06, 0.1, icing, "z")
        m.rod((0, 0, z + height), (0, 0, z + height + 0.04), radius * 0.98, icing)
        if level == 0:
            for x, y in _around(8, radius * 0.88):
                m.ball((x, y, z + height + 0.08), 0.085, m.accent)
        z, radius = z + height + 0.04, radius * m.u(0.62, 0.7)
    for x, y in _around(int(m.rng.integers(1, 5)), radius * 0.65):
        m.rod((x, y, z), (x, y, z + 0.28), 0.05, m.accent)
        m.ball((x, y, z + 0.33), (0.05, 0.05, 0.09), (1.0, 0.75, 0.2))


def burger(m: Maker) -> None:
    """Build a burger: bun, lettuce, cheese and meat."""
    r, z = m.u(0.6, 0.7), 0.0
    bun = m.jitter("#cf8f48")
    m.dome((0, 0, 0.22), (r, r, 0.22), bun, down=True)
    m.rod((0, 0, 0.2), (0, 0, 0.4), r * 1.02, m.jitter("#5f3824"))
    z = 0.4
    if m.chance(0.7):
        m.box((0, 0, z + 0.02), (r * 0.82, r * 0.82, 0.03), m.jitter("#f2b632"), bevel=0.0)
        z += 0.05
    if m.chance(0.6):
        m.rod((0, 0, z), (0, 0, z + 0.09), r * 0.97, m.jitter("#c23a2e"))
        z += 0.09
    m.rod((0, 0, z), (0, 0, z + 0.06), r * 1.1, m.jitter("#79a83b"))
    m.dome((0, 0, z + 0.06), (r, r, m.u(0.38, 0.5)), bun, color2=mix(bun, WHITE, 0.75),
           pattern="dots", frequency=4.0)  # fmt: skip


def icecream(m: Maker) -> None:
    """Build an ice cream: scoops on a waffle cone."""
    waffle = m.jitter("#d29a55")
    dark = mix(waffle, (0.3, 0.15, 0.05), 0.5)
    m.rod((0, 0, 0.95), (0, 0, 0), 0.42, waffle, top=0.12, color2=dark,
          pattern="checks", frequency=3.0)  # fmt: skip
    m.ring((0, 0, 0.95), 0.47, 0.18, waffle, "z")
    flavours = [m.jitter(c) for c in ("#f3a8b5", "#f5e3b8", "#6b4128", "#a9d6b0", "#e8b04a")]
    z = 1.08
    for index in range(int(m.rng.integers(1, 3))):
        radius = 0.45 - 0.07 * index
        color = m.pick(flavours)
        m.ball((0, 0, z + 0.08), radius, color)
        m.ring((0, 0, z - 0.02), radius * 1.12, 0.2, color, "z")
        z += 0.5
    if m.chance(0.6):
        m.ball((0, 0, z + 0.06), 0.13, m.jitter("#c0272d"))


def donut(m: Maker) -> None:
    """Build a ring with icing and sprinkles, lying down."""
    dough, icing = m.jitter("#cf9450"), m.main
    m.ring((0, 0, 0.3), 0.85, 0.36, dough, "z")
    m.ring((0, 0, 0.36), 0.84, 0.345, icing, "z", color2=m.accent, pattern="spots", frequency=4.0)
    for x, y in _around(9, 0.54, m.u(0, 1)):
        m.ball((x, y, 0.645), (0.07, 0.05, 0.04), m.pick((m.second, m.accent, WHITE)))


def apple(m: Maker) -> None:
    """Build an apple or an orange with a stem and a leaf."""
    color = m.jitter(m.pick(("#c23b2e", "#8fae3c", "#e2a13a", "#d8672f")))
    r = 0.6
    m.ball((0, 0, 0.55), (r, r, m.u(0.5, 0.58)), color,
           color2=mix(color, (0.95, 0.85, 0.4), 0.45), pattern="fade")  # fmt: skip
    m.rod((0, 0, 1.0), (0.08, 0, 1.35), 0.05, m.wood)
    leaf = np.array([[0.8, 0, -0.6], [0, 1, 0], [0.6, 0, 0.8]])
    m.ball((0.28, 0, 1.28), (0.26, 0.13, 0.04), m.jitter("#5b8c3a"), rotation=leaf)


def pineapple(m: Maker) -> None:
    """Build a scaly fruit with a crown of leaves."""
    skin, green = m.jitter("#d9a036"), m.jitter("#4d8a3e")
    m.ball((0, 0, 0.6), (0.45, 0.45, 0.62), skin, color2=mix(skin, (0.4, 0.2, 0.05), 0.6),
           pattern="checks", frequency=3.2)  # fmt: skip
    for count, reach, height in ((6, 0.42, 1.5), (4, 0.2, 1.75)):
        for x, y in _around(count, reach, 0.3 * count):
            m.rod((x * 0.2, y * 0.2, 1.1), (x, y, height), 0.13, green, top=0.05)


def vase(m: Maker) -> None:
    """Build a vase with a few flowers."""
    r = m.u(0.36, 0.46)
    paint = m.paint()
    m.ball((0, 0, r * 1.05), (r, r, r * 1.05), **paint)
    m.rod((0, 0, 0), (0, 0, 0.15), r * 0.75, m.main, top=1.05)
    neck = r * 2.35
    m.rod((0, 0, r * 1.7), (0, 0, neck), r * 0.5, m.main, top=1.3)
    m.ring((0, 0, neck), r * 0.72, 0.14, m.main, "z")
    green = m.jitter("#4d7f3c")
    for x, y in _around(int(m.rng.integers(3, 6)), 0.38, m.u(0, 1)):
        z = neck + m.u(0.35, 0.55)
        m.rod((0, 0, neck - 0.1), (x, y, z), 0.04, green)
        m.ball((x, y, z), (0.17, 0.17, 0.13), m.accent)
        m.ball((x * 1.1, y * 1.1, z + 0.08), 0.08, ORANGE)


def pot(m: Maker) -> None:
    """Build a cooking pot with two handles and a lid."""
    r, h = m.u(0.55, 0.7), m.u(0.5, 0.7)
    body = m.main if m.chance(0.6) else STEEL
    m.rod((0, 0, 0), (0, 0, h), r, body)
    m.ring((0, 0, h), r * 1.05, 0.07, STEEL, "z")
    m.dome((0, 0, h), (r * 0.97, r * 0.97, 0.22), mix(body, WHITE, 0.25))
    m.ball((0, 0, h + 0.28), 0.1, m.accent)
    for side in (-1, 1):
        m.box((0, side * (r + 0.12), h * 0.75), (0.18, 0.16, 0.06), m.accent)
