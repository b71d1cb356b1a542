"""Buildings, plants and free stacks, standing on z = 0 and facing +x."""

from __future__ import annotations

import numpy as np

from zero123lib.scenes.objects.maker import (
    DARK_GLASS,
    GLASS,
    LIGHT,
    WHITE,
    Look,
    Maker,
    frame,
    mix,
    turn_z,
)
from zero123lib.scenes.primitives import Solid
from zero123lib.scenes.scene import Color

_BROWN: Color = (0.36, 0.24, 0.15)


def _roof_look(m: Maker) -> Look:
    color = m.jitter(m.pick(("#a8452f", "#7d3b2e", "#5c6672", "#8a5a3c", "#44617a")))
    return {"color": color, "color2": mix(color, (0, 0, 0), 0.45), "pattern": "tiles",
            "frequency": 2.0}  # fmt: skip


def _wall_look(m: Maker) -> Look:
    if m.chance(0.35):
        brick = m.jitter("#b0553c")
        return {"color": brick, "color2": mix(brick, WHITE, 0.5), "pattern": "bricks",
                "frequency": 2.2}  # fmt: skip
    if m.chance(0.3):
        return m.timber("tiles") | {"frequency": 2.5}
    return {"color": mix(m.second if m.chance(0.6) else m.main, WHITE, 0.35)}


def _window(m: Maker, x: float, y: float, z: float, size: float, along: str) -> None:
    thin, frame_color = 0.03, WHITE
    half = (thin, size, size) if along == "y" else (size, thin, size)
    m.box((x, y, z), half, frame_color, bevel=0.0)
    more = 0.015
    inner = (thin + more, size * 0.78, size * 0.78) if along == "y" else (
        size * 0.78, thin + more, size * 0.78)  # fmt: skip
    m.box((x, y, z), inner, DARK_GLASS, bevel=0.0)


def house(m: Maker) -> None:
    """Build a house: walls, a gable or hipped roof, a door at the front, windows, a chimney."""
    x, y, wall = m.u(0.5, 0.62), m.u(0.6, 0.8), m.u(0.34, 0.46)
    if m.chance(0.25):
        wall *= 1.7
    walls, roof, rise = _wall_look(m), _roof_look(m), m.u(0.26, 0.4)
    m.box((0, 0, wall), (x, y, wall), **walls, bevel=0.0)
    top = 2 * wall + rise
    if m.chance(0.65):
        turn = turn_z(np.pi / 2)  # The ridge runs along y, so the door is under the eaves.
        m.taper((0, 0, top), (y * 1.14, x * 1.2, rise), top=(1.0, 0.0), rotation=turn, **roof)
    else:
        m.taper((0, 0, top), (x * 1.2, y * 1.15, rise), top=(0.0, 0.35), **roof)
    door = m.accent
    shift = m.pick((0.0, -0.25, 0.25)) * y
    m.box((x, shift, 0.27), (0.035, 0.17, 0.3), WHITE, bevel=0.0)
    m.box((x, shift, 0.25), (0.055, 0.135, 0.27), door, bevel=0.0)
    m.box((x + 0.08, shift, 0.03), (0.12, 0.2, 0.03), m.stone)
    for level in (0.42, 0.42 + wall) if wall > 0.5 else (0.42,):
        for side in (-1, 1):
            if abs(side * y * 0.62 - shift) > 0.3 or level > 0.5:
                _window(m, x, side * y * 0.62, level, 0.16, "y")
            _window(m, 0, side * y, level, 0.16, "x")
            _window(m, -x, side * y * 0.5, level, 0.16, "y")
    if m.chance(0.65):
        brick = m.jitter("#a0523d")
        m.box(
            (-x * 0.45, y * 0.5, 2 * wall + rise * 1.3), (0.1, 0.1, rise * 0.95), brick, bevel=0.0
        )
        m.box(
            (-x * 0.45, y * 0.5, 2 * wall + rise * 2.25), (0.125, 0.125, 0.04), m.stone, bevel=0.0
        )


def castle(m: Maker) -> None:
    """Build a keep between towers with pointed roofs, a gate at the front."""
    stone, roof = m.stone, _roof_look(m)
    look: Look = {"color": stone, "color2": mix(stone, (0, 0, 0), 0.25), "pattern": "bricks",
            "frequency": 2.0}  # fmt: skip
    side, wall, tower = 0.62, m.u(0.28, 0.36), m.u(0.85, 1.1)
    m.box((0, 0, wall), (side, side, wall), **look, bevel=0.0)
    for sx in (-1, 1):
        for sy in (-1, 1):
            x, y = sx * side, sy * side
            m.rod((x, y, 0), (x, y, tower), 0.2, stone, color2=mix(stone, WHITE, 0.2),
                  pattern="two-tone")  # fmt: skip
            m.rod((x, y, tower), (x, y, tower + 0.45), 0.27, top=0.0, **roof)
    for place in (-0.32, 0.0, 0.32):
        for sign in (-1, 1):
            m.box((sign * side, place, 2 * wall + 0.05), (0.06, 0.09, 0.06), stone, bevel=0.0)
            m.box((place, sign * side, 2 * wall + 0.05), (0.09, 0.06, 0.06), stone, bevel=0.0)
    keep = m.u(0.6, 0.8)
    m.box((-0.05, 0, keep), (0.3, 0.3, keep), stone, bevel=0.0)
    m.taper((-0.05, 0, 2 * keep + 0.22), (0.37, 0.37, 0.22), top=(0.0, 0.0), **roof)
    m.box((side, 0, 0.2), (0.03, 0.16, 0.2), _BROWN, bevel=0.0)
    m.rod((side - 0.03, 0, 0.4), (side + 0.03, 0, 0.4), 0.16, _BROWN)
    for sign in (-1, 1):
        m.box((-0.05, sign * 0.3, keep * 1.6), (0.07, 0.025, 0.1), DARK_GLASS, bevel=0.0)
        m.box((-0.05 + sign * 0.3, 0, keep * 1.6), (0.025, 0.07, 0.1), DARK_GLASS, bevel=0.0)


def lighthouse(m: Maker) -> None:
    """Build a striped tapering tower with a lantern, a door at its foot."""
    height, base = m.u(1.3, 1.6), m.u(0.42, 0.5)
    m.dome((0, 0, 0), (base * 1.6, base * 1.5, 0.22), m.stone)
    m.rod((0, 0, 0.1), (0, 0, height), base, m.main, top=0.6, color2=WHITE, pattern="stripes",
          frequency=m.u(1.4, 2.4))  # fmt: skip
    m.rod((0, 0, height), (0, 0, height + 0.07), base * 0.85, m.accent)
    m.rod((0, 0, height + 0.07), (0, 0, height + 0.3), base * 0.45, LIGHT)
    m.dome((0, 0, height + 0.3), (base * 0.58, base * 0.58, 0.22), m.accent)
    m.ball((0, 0, height + 0.55), 0.06, m.accent)
    m.box((base * 0.9, 0, 0.36), (0.06, 0.13, 0.22), m.accent)
    for z in (0.55, 0.85):
        m.box((base * (1 - 0.4 * z), 0, height * z), (0.04, 0.07, 0.1), DARK_GLASS, bevel=0.0)


def windmill(m: Maker) -> None:
    """Build a tower with four sails at the front."""
    height, base = m.u(1.0, 1.25), m.u(0.42, 0.5)
    m.rod((0, 0, 0), (0, 0, height), base, top=0.68, **_wall_look(m))
    m.dome((0, 0, height), (base * 0.76, base * 0.76, 0.32), **_roof_look(m))
    hub = (base * 0.95, 0, height + 0.05)
    m.rod((0, 0, height + 0.05), (base * 1.08, 0, height + 0.05), 0.07, m.wood)
    m.ball(hub, 0.11, m.accent)
    spin = m.u(0, np.pi / 2)
    for angle in np.arange(4) * np.pi / 2 + spin:
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
        m.box(np.array(hub) + turn @ [0.03, 0, 0.45], (0.03, 0.03, 0.45), m.wood,
              rotation=turn, bevel=0.0)  # fmt: skip
        m.box(np.array(hub) + turn @ [0.05, 0.1, 0.52], (0.02, 0.13, 0.34), WHITE, rotation=turn,
              color2=m.accent, pattern="stripes", frequency=2.4, bevel=0.0)  # fmt: skip
    m.box((base * 0.95, 0, 0.22), (0.07, 0.13, 0.22), m.accent)
    for side in (-1, 1):
        m.box((0, side * base * 0.82, height * 0.55), (0.09, 0.05, 0.1), DARK_GLASS, bevel=0.0)


def tree(m: Maker) -> None:
    """Build a broad-leaved tree, sometimes with fruit, or a fir."""
    trunk = m.u(0.4, 0.65)
    green = m.jitter(m.pick(("#4f7f3a", "#6d9a3c", "#3d6b46", "#8a9c3d", "#c98a35", "#e3a0b4")))
    light = mix(green, (1, 1, 0.7), 0.25)
    m.rod((0, 0, 0), (0, 0, trunk + 0.2), m.u(0.14, 0.2), m.wood, top=0.7)
    if m.chance(0.4):
        green = m.jitter(m.pick(("#2f6142", "#3f7350", "#4a7d58")))
        for level in range(3):
            base, wide = trunk * 0.7 + 0.42 * level, 0.68 - 0.15 * level
            m.rod((0, 0, base), (0, 0, base + 0.72), wide, green, top=0.0,
                  color2=mix(green, WHITE, 0.25), pattern="fade")  # fmt: skip
        if m.chance(0.4):
            m.ball((0, 0, trunk * 0.7 + 1.6), 0.1, LIGHT)
            for index in range(10):
                angle, z = index * 2.4, trunk * 0.7 + 0.12 + 0.11 * index
                wide = 0.64 - 0.4 * (z - trunk * 0.7)
                m.ball((wide * np.cos(angle), wide * np.sin(angle), z), 0.07, m.accent)
        return
    top = trunk + 0.45
    m.ball((0, 0, top + 0.1), (0.58, 0.58, 0.5), green, color2=light, pattern="fade")
    phase = m.u(0, 6.28)
    for angle in np.arange(4) * np.pi / 2 + phase:
        place = (0.38 * np.cos(angle), 0.38 * np.sin(angle), top - 0.1 + 0.12 * np.sin(2 * angle))
        m.ball(place, 0.36, green, color2=light, pattern="fade")
    if m.chance(0.4):
        for angle in np.arange(12) * np.pi / 6 + phase:
            lift = 0.15 * np.sin(5 * angle)
            edge = 0.38 * max(abs(np.cos(2 * (angle - phase))), 0.45) + 0.33
            place = (edge * np.cos(angle), edge * np.sin(angle), top - 0.05 + lift)
            m.ball(place, 0.09, m.accent)


def cactus(m: Maker) -> None:
    """Build a cactus with arms in a pot."""
    green = m.jitter("#5a8f4c")
    pot: Look = m.paint(m.jitter("#c06a42")) | {"pattern": "plain"}
    m.rod((0, 0, 0.4), (0, 0, 0), 0.42, top=0.72, **pot)
    m.rod((0, 0, 0.36), (0, 0, 0.48), 0.47, **pot)
    height = m.u(1.3, 1.6)
    look: Look = {"color": green, "color2": mix(green, WHITE, 0.25), "pattern": "sectors"}
    m.pill((0, 0, 0.2), (0, 0, height), 0.26, **look, frequency=3.0)
    for side, z in ((-1, m.u(0.75, 0.9)), (1, m.u(0.7, 1.0))):
        m.pill((0, side * 0.1, z), (0, side * 0.58, z), 0.14, green)
        m.pill((0, side * 0.5, z - 0.1), (0, side * 0.5, z + m.u(0.35, 0.5)), 0.14, green)
    if m.chance(0.7):
        m.ball((0, 0, height), (0.16, 0.16, 0.1), m.jitter("#e58aa6"))


def mushroom(m: Maker) -> None:
    """Build a cap with white dots; sometimes a dwarf's house."""
    stem, cap = m.u(0.5, 0.75), m.u(0.58, 0.7)
    color = m.main if m.chance(0.4) else m.jitter(m.pick(("#c5372c", "#a8693c", "#d98a3a")))
    m.rod((0, 0, 0), (0, 0, stem + 0.1), m.u(0.24, 0.32), (0.94, 0.90, 0.80), top=0.75)
    high = m.u(0.42, 0.55)
    m.dome((0, 0, stem), (cap, cap, high), color)
    m.rod((0, 0, stem - 0.03), (0, 0, stem), cap * 0.97, (0.93, 0.87, 0.74))
    for ring, tilt in ((7, 0.35), (4, 0.95)):
        for index in range(ring):
            angle = index * 6.2832 / ring + tilt
            flat = cap * np.cos(tilt)
            place = (flat * np.cos(angle), flat * np.sin(angle), stem + high * np.sin(tilt))
            m.ball(place, (0.1, 0.1, 0.08), WHITE)
    if m.chance(0.35):
        m.box((0.26, 0, 0.18), (0.06, 0.12, 0.18), _BROWN)
        m.ball((0.3, 0.07, 0.18), 0.025, LIGHT)


def gift(m: Maker) -> None:
    """Build a wrapped box with a ribbon and a bow."""
    x, y, z = m.u(0.45, 0.6), m.u(0.45, 0.6), m.u(0.3, 0.5)
    m.box((0, 0, z), (x, y, z), **m.paint(), bevel=0.03)
    for half in ((x + 0.012, 0.1, z + 0.012), (0.1, y + 0.012, z + 0.012)):
        m.box((0, 0, z), half, m.accent, bevel=0.0)
    for side in (-1, 1):
        turn = np.array([[1, 0, 0], [0, 0.87, -side * 0.5], [0, side * 0.5, 0.87]])
        m.ball((0, side * 0.19, 2 * z + 0.11), (0.11, 0.22, 0.1), m.accent, rotation=turn)
    m.ball((0, 0, 2 * z + 0.06), 0.09, mix(m.accent, (0, 0, 0), 0.2))


def guitar(m: Maker) -> None:
    """Build an upright guitar: two round bouts, a neck, a sound hole at the front."""
    wood, dark = m.wood, mix(m.wood, (0, 0, 0), 0.6)
    if m.chance(0.4):
        wood = m.main
    for z, radius in ((0.5, 0.5), (1.05, 0.38)):
        m.rod((-0.14, 0, z), (0.14, 0, z), radius, wood)
        m.rod((0.13, 0, z), (0.15, 0, z), radius * 0.94, mix(wood, WHITE, 0.3))
    m.rod((0.14, 0, 0.9), (0.165, 0, 0.9), 0.17, dark)
    m.box((0.17, 0, 0.45), (0.04, 0.2, 0.05), dark, bevel=0.0)
    m.box((0.15, 0, 1.6), (0.05, 0.08, 0.6), dark, bevel=0.02)
    m.box((0.12, 0, 2.28), (0.06, 0.14, 0.16), wood)
    m.box((0.19, 0, 1.35), (0.02, 0.05, 0.9), GLASS, bevel=0.0)
    for side in (-1, 1):
        for z in (2.2, 2.34):
            m.ball((0.12, side * 0.17, z), 0.045, WHITE)


def shoe(m: Maker) -> None:
    """Build a sneaker with a sole and laces."""
    m.box((0, 0, 0.09), (0.85, 0.32, 0.09), WHITE, bevel=0.085)
    m.ball((0.4, 0, 0.18), (0.45, 0.3, 0.27), m.main)
    m.box((-0.35, 0, 0.36), (0.45, 0.29, 0.28), m.main, bevel=0.2)
    m.box((-0.42, 0, 0.6), (0.3, 0.22, 0.1), m.second, bevel=0.09)
    m.rod((-0.42, 0, 0.66), (-0.42, 0, 0.71), 0.19, mix(m.main, (0, 0, 0), 0.6))
    lean = np.array([[0.87, 0, 0.5], [0, 1, 0], [-0.5, 0, 0.87]])
    m.box((0.1, 0, 0.47), (0.3, 0.15, 0.06), m.second, rotation=lean)
    for index in range(3):
        x = -0.05 + 0.15 * index
        m.pill((x, -0.19, 0.59 - 0.09 * index), (x, 0.19, 0.59 - 0.09 * index), 0.035, WHITE)
    for side in (-1, 1):
        m.box((-0.3, side * 0.29, 0.34), (0.22, 0.02, 0.07), m.accent, bevel=0.0)


def tower(m: Maker) -> None:
    """Build a stack of building blocks, each a little smaller."""
    z, half = 0.0, m.u(0.48, 0.58)
    colors = [m.main, m.second, m.accent, m.hue(m.u(0, 1))]
    for level in range(int(m.rng.integers(2, 5))):
        height, color = m.u(0.16, 0.3), colors[level % 4]
        if m.chance(0.5):
            m.box((0, 0, z + height), (half, half, height), color)
        else:
            m.rod((0, 0, z), (0, 0, z + 2 * height), half, color, top=m.u(0.75, 1))
        z, half = z + 2 * height, half * m.u(0.72, 0.88)
    finish = m.pick(("cone", "dome", "pyramid"))
    if finish == "cone":
        m.rod((0, 0, z), (0, 0, z + 0.55), half, m.accent, top=0.0)
    elif finish == "dome":
        m.dome((0, 0, z), (half, half, half), m.main)
    else:
        m.taper((0, 0, z + 0.25), (half, half, 0.25), m.second, top=(0.0, 0.0))


def composition(m: Maker) -> None:
    """Build solids of any kind in any pose, close together, seldom apart."""
    solids: tuple[Solid, ...] = ("ball", "box", "round", "frustum", "torus", "taper", "dome")
    for _ in range(int(m.rng.integers(2, 5))):
        solid = m.pick(solids)
        half = m.rng.uniform(0.25, 0.55, 3) if solid != "torus" else [m.u(0.4, 0.55)] * 3
        shape: object = m.u(0.25, 0.4) if solid == "torus" else m.u(0, 1)
        if solid == "round":
            shape = (m.u(0.2, 0.5),) * 3
        if solid == "taper":
            shape = (m.u(0, 1), m.u(0, 1))
        rotation = frame(m.rng.normal(size=3)) if m.chance(0.5) else None
        centre = m.rng.uniform(-0.4, 0.4, 3)
        look = m.paint(m.pick((m.main, m.second, m.accent)), m.hue(m.u(0, 1)))
        m.add(solid, centre, half, rotation=rotation, shape=shape, **look)
