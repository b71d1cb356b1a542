"""Furniture and things of the house, standing on z = 0 and facing +x."""

from __future__ import annotations

import numpy as np

from zero123lib.scenes.objects.maker import BLACK, BRASS, LIGHT, STEEL, WHITE, Look, Maker, mix


def _frame_look(m: Maker) -> Look:
    return m.timber() if m.chance(0.75) else {"color": m.accent}


def chair(m: Maker) -> None:
    """Build a chair: four legs, a seat and a back, which shows where the front is."""
    width, depth, seat = m.u(0.45, 0.58), m.u(0.45, 0.55), m.u(0.7, 0.95)
    look, cushion = _frame_look(m), m.paint()
    m.legs(depth * 0.84, width * 0.84, seat, m.u(0.07, 0.1), **look)
    m.box((0, 0, seat), (depth, width, 0.08), **look)
    m.box((0.03, 0, seat + 0.11), (depth * 0.9, width * 0.9, 0.07), **cushion, bevel=0.06)
    back = m.u(0.45, 0.65)
    x = -depth + 0.07
    if m.chance(0.5):
        m.box((x, 0, seat + back), (0.08, width, back), **cushion)
    else:
        for side in (-1, 1):
            m.box((x, side * (width - 0.07), seat + back), (0.07, 0.07, back), **look)
        for level in (0.7, 1.75):
            m.box((x, 0, seat + back * level), (0.05, width - 0.08, back * 0.2), **look)
    if m.chance(0.35):
        for side in (-1, 1):
            m.box((0, side * (width - 0.05), seat + 0.42), (depth, 0.07, 0.05), **look)
            m.box((depth * 0.8, side * (width - 0.05), seat + 0.22), (0.05, 0.05, 0.2), **look)


def stool(m: Maker) -> None:
    """Build a round padded seat on splayed legs."""
    height, radius = m.u(0.8, 1.3), m.u(0.42, 0.55)
    look: Look = _frame_look(m)
    for angle in np.arange(4) * np.pi / 2 + 0.785:
        c, s = np.cos(angle), np.sin(angle)
        top = (0.6 * radius * c, 0.6 * radius * s, height)
        m.rod(top, (radius * c, radius * s, 0), 0.07, **look)
    m.ring((0, 0, height * 0.35), radius * 0.98, 0.08, look["color"], "z")
    m.rod((0, 0, height), (0, 0, height + 0.1), radius, **look)
    m.dome((0, 0, height + 0.1), (radius * 0.97, radius * 0.97, 0.14), **m.paint())


def table(m: Maker) -> None:
    """Build a rectangular or a round table, sometimes with fruit on it."""
    length, width, height = m.u(0.75, 1.1), m.u(0.55, 0.75), m.u(0.6, 0.9)
    look: Look = _frame_look(m)
    if m.chance(0.6):
        m.legs(length * 0.86, width * 0.84, height, m.u(0.08, 0.11), **look)
        m.box((0, 0, height - 0.1), (length * 0.86, width * 0.84, 0.08), **look)
        boards: Look = m.timber("planks") | {"frequency": 2.4}
        m.box((0, 0, height), (length, width, 0.07), **boards)
    else:
        m.rod((0, 0, 0.08), (0, 0, height), 0.14, top=0.7, **look)
        m.dome((0, 0, 0), (width * 0.65, width * 0.65, 0.16), **look)
        m.rod((0, 0, height), (0, 0, height + 0.1), width * 1.15, **look)
    if m.chance(0.5):
        x, y = m.u(-0.25, 0.25), m.u(-0.15, 0.15)
        m.dome((x, y, height + 0.27), (0.3, 0.3, 0.2), m.second, down=True)
        for dx, dy, color in (
            (0.1, 0.08, "#c8402f"),
            (-0.1, 0.05, "#e0a63a"),
            (0, -0.1, "#7da23c"),
        ):
            m.ball((x + dx, y + dy, height + 0.31), 0.12, m.jitter(color))


def lamp(m: Maker) -> None:
    """Build a table lamp: a foot, a turned body and a shade."""
    height, shade = m.u(0.7, 1.1), m.u(0.5, 0.7)
    m.dome((0, 0, 0), (shade * 0.6, shade * 0.6, 0.14), m.accent)
    if m.chance(0.6):
        m.ball((0, 0, 0.12 + height * 0.35), (0.26, 0.26, height * 0.36), **m.paint(m.accent))
    m.rod((0, 0, 0.1), (0, 0, height + 0.1), 0.06, BRASS)
    end = height + m.u(0.5, 0.75)
    m.rod((0, 0, height), (0, 0, end), shade, top=m.u(0.5, 0.75), **m.paint())
    m.rod((0, 0, height - 0.015), (0, 0, height), shade * 0.93, LIGHT)


def sofa(m: Maker) -> None:
    """Build a padded sofa with cushions."""
    width, depth, paint = m.u(0.85, 1.15), m.u(0.42, 0.55), m.paint()
    m.legs(depth * 0.8, width * 0.85, 0.2, 0.07, **m.timber())
    m.box((0, 0, 0.28), (depth, width, 0.16), **paint)
    m.box((-depth + 0.1, 0, 0.62), (0.16, width, 0.46), **paint, bevel=0.12)
    for side in (-1, 1):
        m.box((0.02, side * width, 0.44), (depth, 0.15, 0.32), **paint, bevel=0.13)
        m.box((0.08, side * width * 0.44, 0.5), (depth - 0.1, width * 0.4, 0.12), m.main, bevel=0.1)
        m.box((-depth + 0.35, side * width * 0.45, 0.76), (0.1, 0.24, 0.2), m.accent, bevel=0.099)


def bench(m: Maker) -> None:
    """Build a park bench of planks on two frames."""
    width, metal = m.u(0.9, 1.2), mix(BLACK, STEEL, m.u(0.1, 0.5))
    for row in range(3):
        m.box((-0.27 + 0.27 * row, 0, 0.55), (0.12, width, 0.05), **m.timber())
    for row in range(2):
        m.box((-0.46 - 0.05 * row, 0, 0.84 + 0.27 * row), (0.05, width, 0.12), **m.timber())
    for side in (-1, 1):
        y = side * width * 0.78
        m.box((0.3, y, 0.25), (0.06, 0.07, 0.25), metal)
        m.box((-0.38, y, 0.25), (0.06, 0.07, 0.25), metal)
        m.box((-0.04, y, 0.48), (0.42, 0.06, 0.05), metal)
        m.rod((-0.4, y, 0.45), (-0.55, y, 1.24), 0.06, metal)


def bed(m: Maker) -> None:
    """Build a bed with a headboard, a pillow and a blanket."""
    width, look = m.u(0.5, 0.75), _frame_look(m)
    m.box((0, 0, 0.25), (1.0, width, 0.14), **look)
    m.box((-1.0, 0, 0.5), (0.08, width + 0.04, 0.5), **look)
    m.box((1.0, 0, 0.3), (0.07, width + 0.03, 0.3), **look)
    m.box((0, 0, 0.42), (0.94, width * 0.94, 0.14), WHITE, bevel=0.1)
    m.box((0.28, 0, 0.46), (0.68, width * 0.99, 0.15), **m.paint(), bevel=0.1)
    count = 2 if width > 0.6 else 1
    for i in range(count):
        y = (i - (count - 1) / 2) * width
        m.box((-0.65, y, 0.6), (0.2, width * 0.8 / count, 0.1), m.second, bevel=0.099)


def cabinet(m: Maker) -> None:
    """Build a chest of drawers or a wardrobe with knobs at the front."""
    width, depth, height = m.u(0.5, 0.8), m.u(0.3, 0.42), m.u(0.45, 0.85)
    look: Look = m.timber() if m.chance(0.65) else {"color": m.main}
    front: Look = look | {"color": mix(look["color"], WHITE, 0.25)}
    m.legs(depth * 0.8, width * 0.85, 0.2, 0.07, **look)
    m.box((0, 0, 0.15 + height), (depth, width, height), **look)
    m.box((0.02, 0, 0.15 + 2 * height), (depth + 0.05, width + 0.05, 0.05), **look)
    rows = int(m.rng.integers(2, 4))
    for row in range(rows):
        z = 0.2 + (row + 0.5) * (2 * height - 0.1) / rows
        m.box((depth, 0, z), (0.04, width * 0.88, (height - 0.12) / rows), **front)
        for side in (-1, 1):
            m.ball((depth + 0.07, side * width * 0.4, z), 0.06, BRASS)


def clock(m: Maker) -> None:
    """Build a mantel clock: a round dial in a case."""
    radius, time = m.u(0.42, 0.55), m.u(0, 6.28)
    look: Look = m.timber() if m.chance(0.6) else {"color": m.main}
    z = radius + 0.25
    m.box((0, 0, 0.1), (0.32, radius * 1.15, 0.1), **look)
    m.box((0, 0, z * 0.55), (0.2, radius * 0.8, z * 0.5), **look)
    m.rod((-0.22, 0, z), (0.22, 0, z), radius, **look)
    m.ring((0.2, 0, z), radius * 1.02, 0.09, BRASS, "x")
    m.rod((0.2, 0, z), (0.235, 0, z), radius * 0.88, WHITE)
    for angle, length, width in ((time, 0.72, 0.035), (time * 5 % 6.28, 0.5, 0.05)):
        tip = (0.25, radius * length * np.sin(angle), z + radius * length * np.cos(angle))
        m.pill((0.25, 0, z), tip, width, BLACK)
    for angle in np.arange(4) * np.pi / 2:
        spot = (0.23, radius * 0.74 * np.sin(angle), z + radius * 0.74 * np.cos(angle))
        m.ball(spot, 0.045, m.accent)


def barrel(m: Maker) -> None:
    """Build two tapering halves of staves under iron hoops."""
    radius, height = m.u(0.45, 0.6), m.u(0.55, 0.75)
    staves: Look = m.timber("planks") | {"frequency": 2.4}
    for sign in (-1, 1):
        m.rod((0, 0, height), (0, 0, height * (1 + sign)), radius, top=0.78, **staves)
    iron = mix(BLACK, STEEL, 0.3)
    for z, share in ((0.12, 0.83), (0.62, 0.96), (1.38, 0.96), (1.88, 0.83)):
        m.rod((0, 0, height * (z - 0.07)), (0, 0, height * (z + 0.07)), radius * share + 0.02, iron)
    if m.chance(0.6):
        m.rod((radius * 0.9, 0, 0.3), (radius + 0.22, 0, 0.3), 0.06, BRASS)
        m.pill((radius + 0.14, 0, 0.22), (radius + 0.14, 0, 0.48), 0.05, BRASS)
