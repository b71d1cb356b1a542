"""Vehicles, driving towards +x on z = 0."""

from __future__ import annotations

import numpy as np

from zero123lib.scenes.objects.maker import (
    DARK_GLASS,
    GLASS,
    LIGHT,
    RED,
    STEEL,
    WHITE,
    Look,
    Maker,
    mix,
    turn_z,
)


def _lights(m: Maker, front: float, back: float, y: float, z: float) -> None:
    for side in (-1, 1):
        m.ball((front, side * y, z), (0.06, 0.1, 0.09), LIGHT)
        m.box((back, side * y, z), (0.04, 0.1, 0.07), RED)


def car(m: Maker) -> None:
    """Build a saloon, an estate or a beetle: a body, a cabin with windows, lights."""
    length, width, wheel = m.u(0.82, 0.98), m.u(0.46, 0.54), m.u(0.21, 0.26)
    body = wheel + 0.16
    paint = {"color": m.main}
    m.box((0, 0, body), (length, width, 0.2), **paint, bevel=0.14)
    cabin, x = m.u(0.46, 0.6), m.u(-0.22, -0.05)
    glass = (x, 0, body + 0.32)
    if m.chance(0.3):
        m.ball((x, 0, body + 0.1), (cabin * 1.25, width * 0.92, 0.55), DARK_GLASS)
        m.ball((x, 0, body + 0.17), (cabin * 1.1, width * 0.8, 0.53), m.main)
    else:
        m.taper(glass, (cabin, width * 0.92, 0.2), DARK_GLASS, top=(0.68, 0.8))
        m.box((x, 0, body + 0.52), (cabin * 0.7, width * 0.76, 0.05), m.main, bevel=0.045)
        for low, high in ((-0.96, -0.66), (0.0, 0.0), (0.96, 0.66)):
            for side in (-1, 1):
                foot = (x + cabin * low, side * width * 0.9, body + 0.14)
                m.rod(foot, (x + cabin * high, side * width * 0.75, body + 0.52), 0.04, m.main)
    m.wheels((-length * 0.58, length * 0.58), width + 0.02, wheel)
    _lights(m, length, -length, width * 0.68, body + 0.03)
    for end in (-1, 1):
        m.box((end * length, 0, body - 0.12), (0.05, width * 0.95, 0.05), STEEL)
    if m.chance(0.2):
        m.box((x, 0, body + 0.61), (0.14, 0.2, 0.06), m.accent)


def truck(m: Maker) -> None:
    """Build a cab in front of a box, a tank or a tipper."""
    width, wheel = m.u(0.42, 0.5), m.u(0.2, 0.25)
    m.box((0, 0, wheel + 0.06), (1.05, width * 0.85, 0.08), DARK_GLASS)
    m.box((0.82, 0, wheel + 0.42), (0.28, width, 0.38), m.main, bevel=0.1)
    m.box((0.98, 0, wheel + 0.55), (0.14, width * 0.88, 0.15), GLASS, bevel=0.04)
    for side in (-1, 1):
        m.box((0.86, side * width, wheel + 0.55), (0.14, 0.02, 0.13), GLASS, bevel=0.0)
    load = m.u(0.4, 0.55)
    kind = m.pick(("box", "tank", "tipper"))
    if kind == "box":
        m.box((-0.35, 0, wheel + load + 0.12), (0.78, width, load), **m.paint(m.second, m.accent))
    elif kind == "tank":
        m.pill((-1.15, 0, wheel + 0.55), (0.48, 0, wheel + 0.55), 0.42, m.second,
               color2=m.accent, pattern="stripes", frequency=1.5)  # fmt: skip
    else:
        turn = np.diag([1.0, -1.0, -1.0])
        m.taper((-0.35, 0, wheel + 0.42), (0.85, width * 1.05, 0.3), m.second, top=(0.8, 0.8),
                rotation=turn)  # fmt: skip
        m.ball((-0.35, 0, wheel + 0.7), (0.7, width * 0.85, 0.25), m.jitter("#a07c50"))
    m.wheels((-0.85, -0.38, 0.75), width + 0.02, wheel)
    _lights(m, 1.09, -1.08, width * 0.7, wheel + 0.18)


def bus(m: Maker) -> None:
    """Build a long body with a row of windows, or two on a double-decker."""
    width, double = m.u(0.36, 0.42), m.chance(0.35)
    height = 0.62 if double else 0.4
    m.box((0, 0, 0.2 + height), (1.1, width, height), m.main, bevel=0.1)
    m.box((0, 0, 0.36), (1.105, width + 0.005, 0.06), m.second, bevel=0.02)
    for z in (0.62, 1.14) if double else (0.68,):
        for index in range(5):
            x = -0.85 + 0.42 * index
            for side in (-1, 1):
                m.box((x, side * width, z), (0.16, 0.025, 0.14), DARK_GLASS, bevel=0.0)
        m.box((1.1, 0, z), (0.025, width * 0.8, 0.16), DARK_GLASS, bevel=0.0)
        m.box((-1.1, 0, z), (0.025, width * 0.6, 0.12), DARK_GLASS, bevel=0.0)
    m.wheels((-0.65, 0.65), width + 0.02, 0.2)
    _lights(m, 1.1, -1.1, width * 0.7, 0.38)


def train(m: Maker) -> None:
    """Build a steam engine: a boiler, a chimney, a cab."""
    brass = m.jitter("#d9b04a")
    m.wheels((-0.6, -0.1, 0.4), 0.34, 0.18)
    m.box((0, 0, 0.32), (0.92, 0.28, 0.08), m.accent)
    m.rod((-0.3, 0, 0.68), (0.85, 0, 0.68), 0.3, m.main)
    for x in (0.0, 0.4, 0.8):
        m.rod((x - 0.03, 0, 0.68), (x + 0.03, 0, 0.68), 0.315, brass)
    m.rod((0.85, 0, 0.68), (0.9, 0, 0.68), 0.24, mix(m.main, (0, 0, 0), 0.5))
    m.box((-0.55, 0, 0.78), (0.34, 0.36, 0.42), m.second)
    for side in (-1, 1):
        m.box((-0.55, side * 0.36, 0.9), (0.18, 0.02, 0.16), DARK_GLASS, bevel=0.0)
    m.box((-0.55, 0, 1.24), (0.42, 0.43, 0.06), m.main, bevel=0.05)
    m.rod((0.6, 0, 0.85), (0.6, 0, 1.25), 0.09, DARK_GLASS, top=1.5)
    m.ball((0.18, 0, 0.98), (0.14, 0.14, 0.16), brass)
    m.rod((0.88, 0, 0.9), (0.95, 0, 0.9), 0.09, LIGHT)
    m.taper((0.98, 0, 0.2), (0.16, 0.3, 0.14), m.accent, top=(0.3, 0.9))


def plane(m: Maker) -> None:
    """Build a plump propeller plane or a small jet."""
    length, span = m.u(0.85, 1.0), m.u(0.85, 1.05)
    m.ball((0, 0, 0.5), (length, 0.24, 0.25), m.main, color2=m.second,
           pattern=m.pick(("plain", "two-tone", "plain")))  # fmt: skip
    m.box((0.12, 0, 0.46), (0.26, span, 0.05), m.second, bevel=0.045)
    m.box((-length * 0.82, 0, 0.55), (0.15, span * 0.42, 0.04), m.second, bevel=0.035)
    m.box((-length * 0.86, 0, 0.75), (0.14, 0.04, 0.24), m.accent, bevel=0.035)
    m.ball((length * 0.42, 0, 0.66), (0.26, 0.15, 0.15), DARK_GLASS)
    if m.chance(0.5):
        m.rod((length * 0.9, 0, 0.5), (length + 0.06, 0, 0.5), 0.14, m.accent, top=0.5)
        m.box((length + 0.02, 0, 0.5), (0.025, 0.05, 0.4), DARK_GLASS, bevel=0.02)
    else:
        for side in (-1, 1):
            y = side * span * 0.45
            m.pill((-0.1, y, 0.36), (0.5, y, 0.36), 0.11, STEEL)
    for x, y in ((0.3, -0.22), (0.3, 0.22), (-0.55, 0)):
        m.rod((x, y, 0.4), (x, y, 0.14), 0.04, STEEL)
        m.rod((x, y - 0.05, 0.11), (x, y + 0.05, 0.11), 0.11, DARK_GLASS)


def helicopter(m: Maker) -> None:
    """Build a glass nose, a tail, a rotor and skids."""
    m.ball((0, 0, 0.6), (0.55, 0.36, 0.38), m.main)
    m.ball((0.22, 0, 0.62), (0.4, 0.3, 0.31), DARK_GLASS)
    m.rod((-0.35, 0, 0.68), (-1.15, 0, 0.78), 0.14, m.main, top=0.5)
    m.box((-1.12, 0, 0.92), (0.11, 0.04, 0.24), m.second)
    m.rod((0, 0, 0.9), (0, 0, 1.1), 0.06, STEEL)
    spin = m.u(0, 3.14)
    for angle in (spin, spin + np.pi / 2):
        m.box((0, 0, 1.11), (0.95, 0.07, 0.025), m.accent, rotation=turn_z(angle), bevel=0.0)
    for side in (-1, 1):
        y = side * 0.3
        m.pill((-0.5, y, 0.06), (0.55, y, 0.06), 0.05, STEEL)
        for x in (-0.25, 0.25):
            m.rod((x, y, 0.06), (x, side * 0.2, 0.4), 0.04, STEEL)


def boat(m: Maker) -> None:
    """Build a sailing boat, or a steamer with funnels."""
    m.dome((0, 0, 0.42), (1.0, 0.4, 0.42), m.main, down=True)
    m.rod((0, 0, 0), (0, 0, 0.01), 0.2, m.main)
    deck: Look = m.timber("planks") | {"frequency": 3.0}
    m.add("frustum", (0, 0, 0.44), (1.0, 0.4, 0.04), **deck)
    if m.chance(0.5):
        height = m.u(1.1, 1.4)
        m.rod((0.05, 0, 0.4), (0.05, 0, 0.5 + height), 0.05, m.wood)
        m.taper((-0.42, 0, 0.55 + height / 2), (0.42, 0.025, height / 2), WHITE, top=(0.1, 1.0),
                color2=m.accent, pattern="stripes", frequency=1.5)  # fmt: skip
        m.taper((0.45, 0, 0.5 + height * 0.35), (0.32, 0.025, height * 0.35), m.accent,
                top=(0.1, 1.0))  # fmt: skip
    else:
        m.box((-0.1, 0, 0.6), (0.55, 0.26, 0.16), WHITE)
        m.box((0.05, 0, 0.84), (0.3, 0.2, 0.12), WHITE)
        m.box((0.34, 0, 0.86), (0.02, 0.16, 0.06), DARK_GLASS, bevel=0.0)
        for side in (-1, 1):
            for x in (-0.4, -0.1, 0.2):
                m.ball((x, side * 0.26, 0.62), (0.07, 0.02, 0.07), DARK_GLASS)
        for x in (-0.2, -0.45)[: 1 + m.chance(0.5)]:
            m.rod((x, 0, 0.7), (x, 0, 1.3), 0.11, m.accent, color2=WHITE, pattern="two-tone")


def tractor(m: Maker) -> None:
    """Build a tractor: big wheels behind, small ones in front, an open cab."""
    m.box((0.4, 0, 0.6), (0.5, 0.24, 0.22), m.main, bevel=0.08)
    m.box((-0.35, 0, 0.55), (0.4, 0.3, 0.2), m.main)
    m.box((-0.4, 0, 1.0), (0.28, 0.3, 0.26), GLASS, bevel=0.0)
    m.box((-0.4, 0, 1.3), (0.36, 0.38, 0.05), m.main)
    m.rod((0.5, 0.1, 0.8), (0.5, 0.1, 1.2), 0.05, DARK_GLASS)
    m.wheels((-0.45,), 0.52, 0.45, width=0.2)
    m.wheels((0.6,), 0.42, 0.25, width=0.16)
    m.box((0.9, 0, 0.6), (0.03, 0.18, 0.14), DARK_GLASS, bevel=0.0)
    for side in (-1, 1):
        m.ball((0.9, side * 0.17, 0.72), 0.06, LIGHT)


def rocket(m: Maker) -> None:
    """Build a rocket with a porthole and three fins."""
    height, radius = m.u(0.85, 1.1), m.u(0.3, 0.38)
    m.rod((0, 0, 0.3), (0, 0, 0.3 + height), radius, **m.paint(WHITE, m.main))
    m.dome((0, 0, 0.3 + height), (radius, radius, 0.65), m.main)
    m.rod((0, 0, 0.3), (0, 0, 0.1), radius * 0.7, DARK_GLASS, top=1.2)
    port = 0.3 + height * 0.72
    m.rod((radius * 0.8, 0, port), (radius + 0.05, 0, port), 0.17, m.accent)
    m.ball((radius + 0.03, 0, port), (0.06, 0.12, 0.12), GLASS)
    for angle in np.arange(3) * 2.0944 + np.pi / 3:
        turn = turn_z(angle)
        m.taper(turn @ [radius + 0.1, 0, 0.32], (0.32, 0.05, 0.32), m.main, top=(0.25, 1.0),
                rotation=turn)  # fmt: skip
