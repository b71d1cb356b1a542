"""Animals and figures, standing on z = 0 and facing +x."""

from __future__ import annotations

import numpy as np

from zero123lib.scenes.objects.maker import BLACK, ORANGE, STEEL, WHITE, Look, Maker, mix


def _body(m: Maker, length: float, girth: float, leg: float, look: Look) -> float:
    """Return a barrel body on four legs; returns the height of its axis."""
    z = leg + girth * 0.75
    m.pill((-length - girth * 0.4, 0, z), (length + girth * 0.4, 0, z), girth, **look)
    hoof = mix(m.fur, BLACK, 0.6)
    for x in (-length * 0.85, length * 0.85):
        for side in (-1, 1):
            y = side * girth * 0.58
            m.rod((x, y, z), (x, y, 0), girth * 0.36, look["color"], top=0.8)
            m.rod((x, y, 0.08), (x, y, 0), girth * 0.32, hoof)
    return z


def quadruped(m: Maker) -> None:
    """Build a horse, a cow, a sheep or a pig: barrel, neck, muzzle, ears."""
    length, leg, girth = m.u(0.34, 0.46), m.u(0.26, 0.42), m.u(0.34, 0.42)
    look: Look = m.coat()
    z = _body(m, length, girth, leg, look)
    hx, hz = length + girth, z + m.u(0.36, 0.52)
    m.rod((length * 0.8, 0, z), (hx, 0, hz), girth * 0.62, m.fur, top=0.75)
    m.ball((hx + 0.04, 0, hz), (0.28, 0.25, 0.25), m.fur)
    m.ball((hx + 0.27, 0, hz - 0.07), (0.18, 0.18, 0.15), m.belly)
    m.eyes((hx + 0.2, 0, hz + 0.12), 0.15, 0.05)
    for side in (-1, 1):
        m.ball((hx - 0.06, side * 0.2, hz + 0.23), (0.07, 0.1, 0.14), m.fur)
    if m.chance(0.4):
        for side in (-1, 1):
            m.rod((hx, side * 0.1, hz + 0.18), (hx + 0.03, side * 0.2, hz + 0.44), 0.06, WHITE,
                  top=0.3)  # fmt: skip
    back = -length - girth * 0.3
    m.pill((back, 0, z + 0.14), (back - 0.24, 0, z - 0.28), 0.07, m.belly)


def cat(m: Maker) -> None:
    """Build a cat sitting or standing, with pointed ears and a raised tail."""
    look: Look = m.coat(m.pick(("plain", "zebra", "spots", "plain")))
    if m.chance(0.5):
        m.ball((0, 0, 0.42), (0.36, 0.34, 0.46), **look)
        m.ball((0.13, 0, 0.42), (0.27, 0.24, 0.36), m.belly)
        hx, hz = 0.12, 1.0
        for side in (-1, 1):
            m.pill((0.24, side * 0.14, 0.6), (0.32, side * 0.14, 0.0), 0.09, m.fur)
            m.ball((-0.02, side * 0.26, 0.16), (0.28, 0.14, 0.17), m.fur)
        m.pill((-0.3, 0, 0.14), (-0.62, 0.0, 0.5), 0.08, m.fur)
    else:
        z = _body(m, 0.36, 0.24, 0.28, look)
        hx, hz = 0.62, z + 0.3
        m.pill((-0.42, 0, z), (-0.72, 0, z + 0.62), 0.07, m.fur)
    m.ball((hx, 0, hz), (0.3, 0.33, 0.29), m.fur)
    m.ball((hx + 0.24, 0, hz - 0.09), (0.1, 0.15, 0.1), m.belly)
    m.ball((hx + 0.33, 0, hz - 0.04), 0.04, m.jitter("#d98a8a"))
    m.eyes((hx + 0.24, 0, hz + 0.07), 0.14, 0.055)
    for side in (-1, 1):
        m.rod((hx, side * 0.2, hz + 0.15), (hx, side * 0.25, hz + 0.45), 0.14, m.fur, top=0.05)


def dog(m: Maker) -> None:
    """Build a dog with hanging ears and a long muzzle."""
    look: Look = m.coat(m.pick(("plain", "spots", "plain")))
    z = _body(m, m.u(0.36, 0.5), 0.26, m.u(0.22, 0.38), look)
    length = max(abs(part.offset[0]) for part in m.parts) * 0.9
    hx, hz = length + 0.3, z + 0.36
    m.rod((length * 0.7, 0, z), (hx - 0.05, 0, hz), 0.2, m.fur)
    m.ball((hx, 0, hz), (0.28, 0.26, 0.26), m.fur)
    m.pill((hx + 0.1, 0, hz - 0.06), (hx + 0.48, 0, hz - 0.08), 0.13, m.belly)
    m.ball((hx + 0.47, 0, hz - 0.02), 0.06, BLACK)
    m.eyes((hx + 0.23, 0, hz + 0.1), 0.12, 0.045)
    for side in (-1, 1):
        m.ball((hx - 0.05, side * 0.26, hz - 0.02), (0.11, 0.06, 0.22), mix(m.fur, BLACK, 0.35))
    m.pill((-length - 0.1, 0, z + 0.1), (-length - 0.4, 0, z + 0.42), 0.065, m.fur)
    if m.chance(0.5):
        m.ring((hx - 0.12, 0, hz - 0.2), 0.25, 0.16, m.accent, "z")


def elephant(m: Maker) -> None:
    """Build an elephant: big ears, a trunk, thick legs."""
    grey = m.jitter("#8f939b") if m.chance(0.7) else m.main
    z = 0.72
    m.ball((0, 0, z), (0.62, 0.44, 0.46), grey)
    for x in (-0.35, 0.33):
        for side in (-1, 1):
            m.rod((x, side * 0.24, z), (x, side * 0.24, 0), 0.17, grey, top=0.9)
            m.rod((x, side * 0.24, 0.07), (x, side * 0.24, 0), 0.17, WHITE)
    m.ball((0.65, 0, 0.98), (0.32, 0.3, 0.34), grey)
    lift = m.u(-0.1, 0.25)
    m.rod((0.86, 0, 0.95), (1.08, 0, 0.5), 0.14, grey, top=0.75)
    m.rod((1.07, 0, 0.53), (1.3, 0, 0.42 + lift), 0.105, grey, top=0.75)
    m.eyes((0.9, 0, 1.08), 0.19, 0.045)
    for side in (-1, 1):
        m.ball((0.52, side * 0.42, 1.0), (0.09, 0.28, 0.34), mix(grey, m.jitter("#e2a9a9"), 0.25))
        m.rod((0.86, side * 0.15, 0.8), (1.15, side * 0.19, 0.72), 0.055, WHITE, top=0.3)
    m.rod((-0.58, 0, 0.8), (-0.75, 0, 0.4), 0.05, grey)


def giraffe(m: Maker) -> None:
    """Build a giraffe: a long neck and patches."""
    m.fur, m.belly = m.jitter("#b8702f"), m.jitter("#f1dcae")
    look: Look = m.coat("patches") | {"frequency": 2.0}
    z = _body(m, 0.34, 0.25, m.u(0.55, 0.7), look)
    hx, hz = 0.62, z + m.u(0.75, 1.0)
    m.rod((0.3, 0, z), (hx, 0, hz), 0.2, **look, top=0.6)
    m.ball((hx + 0.08, 0, hz + 0.03), (0.25, 0.15, 0.15), m.fur)
    m.ball((hx + 0.28, 0, hz - 0.02), (0.12, 0.11, 0.1), m.belly)
    m.eyes((hx + 0.15, 0, hz + 0.1), 0.11, 0.04)
    for side in (-1, 1):
        m.pill((hx, side * 0.06, hz + 0.1), (hx - 0.02, side * 0.08, hz + 0.35), 0.04, m.wood)
        m.ball((hx - 0.06, side * 0.18, hz + 0.1), (0.05, 0.11, 0.06), m.fur)
    m.rod((-0.38, 0, z + 0.08), (-0.52, 0, z - 0.35), 0.04, m.wood)


def bear(m: Maker) -> None:
    """Build a sitting teddy bear."""
    fur, belly = m.fur, m.belly
    m.ball((0, 0, 0.5), (0.42, 0.45, 0.5), fur)
    m.ball((0.16, 0, 0.5), (0.32, 0.33, 0.36), belly)
    m.ball((0.05, 0, 1.2), (0.38, 0.42, 0.37), fur)
    m.ball((0.36, 0, 1.12), (0.17, 0.19, 0.14), belly)
    m.ball((0.51, 0, 1.17), (0.05, 0.075, 0.055), BLACK)
    m.eyes((0.36, 0, 1.3), 0.16, 0.05)
    arm = m.u(-0.25, 0.3)
    for side in (-1, 1):
        m.ball((0.03, side * 0.34, 1.5), (0.09, 0.15, 0.15), fur)
        m.ball((0.08, side * 0.34, 1.5), (0.07, 0.1, 0.1), belly)
        m.pill((0.1, side * 0.28, 0.85), (0.3, side * 0.75, 0.72 + arm), 0.15, fur)
        m.pill((0.0, side * 0.25, 0.17), (0.72, side * 0.4, 0.17), 0.17, fur)
        m.ball((0.66, side * 0.39, 0.17), (0.08, 0.12, 0.12), belly)
    if m.chance(0.5):
        m.ball((0.35, 0, 0.88), (0.08, 0.09, 0.07), m.accent)
        for side in (-1, 1):
            m.ball((0.33, side * 0.16, 0.88), (0.07, 0.14, 0.11), m.accent)


def rabbit(m: Maker) -> None:
    """Build a rabbit: long ears, a round tail."""
    fur = m.fur
    m.ball((0, 0, 0.42), (0.48, 0.38, 0.42), **m.coat(m.pick(("plain", "plain", "spots"))))
    m.ball((0.42, 0, 0.82), (0.3, 0.28, 0.28), fur)
    m.ball((0.66, 0, 0.76), (0.1, 0.13, 0.09), m.belly)
    m.ball((0.75, 0, 0.79), 0.035, m.jitter("#d98a8a"))
    m.eyes((0.62, 0, 0.9), 0.16, 0.05)
    for side in (-1, 1):
        m.pill((0.36, side * 0.1, 0.95), (0.26, side * 0.2, 1.62), 0.1, fur)
        m.ball((0.36, side * 0.165, 1.33), (0.06, 0.06, 0.24), m.jitter("#e8b5b0"))
        m.ball((-0.1, side * 0.28, 0.22), (0.32, 0.16, 0.22), fur)
        m.pill((0.3, side * 0.18, 0.09), (0.62, side * 0.18, 0.09), 0.09, m.belly)
    m.ball((-0.5, 0, 0.4), 0.15, m.belly)


def duck(m: Maker) -> None:
    """Build a bath duck."""
    color = m.main if m.chance(0.6) else m.jitter("#f4c531")
    wing = mix(color, m.second, 0.45)
    m.ball((0, 0, 0.4), (0.62, 0.44, 0.4), color)
    m.rod((-0.35, 0, 0.5), (-0.78, 0, 0.78), 0.24, color, top=0.25)
    neck = m.u(0.85, 1.0)
    m.rod((0.32, 0, 0.5), (0.4, 0, neck), 0.24, color, top=0.85)
    m.ball((0.42, 0, neck + 0.04), (0.32, 0.3, 0.3), color)
    m.ball((0.76, 0, neck - 0.01), (0.2, 0.16, 0.06), ORANGE)
    m.eyes((0.62, 0, neck + 0.14), 0.17, 0.055)
    for side in (-1, 1):
        m.ball((-0.1, side * 0.38, 0.48), (0.36, 0.12, 0.22), wing)


def bird(m: Maker) -> None:
    """Build a small bird on two legs."""
    color, breast = m.main, mix(m.second, WHITE, 0.3)
    tilt = np.array([[0.88, 0, -0.47], [0, 1, 0], [0.47, 0, 0.88]])
    m.ball((0, 0, 0.7), (0.52, 0.35, 0.35), color, rotation=tilt)
    m.ball((0.14, 0, 0.66), (0.4, 0.29, 0.3), breast, rotation=tilt)
    m.ball((0.4, 0, 1.08), 0.27, color)
    m.rod((0.6, 0, 1.06), (0.85, 0, 1.0), 0.1, ORANGE, top=0.05)
    m.eyes((0.55, 0, 1.17), 0.15, 0.05)
    m.taper((-0.62, 0, 0.42), (0.12, 0.16, 0.3), mix(color, BLACK, 0.3), top=(0.6, 0.6),
            rotation=np.array([[0.5, 0, 0.87], [0, 1, 0], [-0.87, 0, 0.5]]))  # fmt: skip
    for side in (-1, 1):
        m.ball((-0.14, side * 0.31, 0.7), (0.42, 0.09, 0.22), mix(color, BLACK, 0.3), rotation=tilt)
        m.rod((0.05, side * 0.12, 0.45), (0.08, side * 0.12, 0.05), 0.04, ORANGE)
        m.ball((0.14, side * 0.12, 0.04), (0.15, 0.08, 0.04), ORANGE)


def penguin(m: Maker) -> None:
    """Build a penguin: dark back, white front."""
    dark = m.jitter("#2b313d") if m.chance(0.75) else m.main
    m.ball((0, 0, 0.62), (0.42, 0.46, 0.62), dark)
    m.ball((0.12, 0, 0.58), (0.36, 0.36, 0.53), WHITE)
    m.ball((0.02, 0, 1.3), (0.31, 0.32, 0.3), dark)
    for side in (-1, 1):
        m.ball((0.19, side * 0.12, 1.3), (0.13, 0.13, 0.17), WHITE)
        m.ball((-0.02, side * 0.48, 0.72), (0.16, 0.07, 0.38), dark)
        m.ball((0.2, side * 0.2, 0.06), (0.26, 0.16, 0.07), ORANGE)
    m.eyes((0.31, 0, 1.36), 0.12, 0.045)
    m.rod((0.28, 0, 1.24), (0.56, 0, 1.2), 0.09, ORANGE, top=0.1)


def fish(m: Maker) -> None:
    """Build a tall fish with fins, swimming above its lowest fin."""
    look: Look = {"color": m.main, "color2": m.second, "frequency": 1.4}
    look["pattern"] = m.pick(("sectors", "fade", "plain", "zebra"))
    m.ball((0, 0, 0.6), (0.68, m.u(0.24, 0.32), 0.46), **look)
    for z, lean in ((0.82, 0.55), (0.38, -0.55)):
        c, s = np.cos(lean), np.sin(lean)
        turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        m.ball((-0.8, 0, z), (0.34, 0.05, 0.16), m.accent, rotation=turn)
    m.ball((-0.05, 0, 1.03), (0.36, 0.045, 0.2), m.accent)
    m.ball((-0.05, 0, 0.17), (0.22, 0.045, 0.17), m.accent)
    for side in (-1, 1):
        m.ball((0.4, side * 0.19, 0.7), 0.1, WHITE)
        m.ball((0.44, side * 0.26, 0.7), 0.055, BLACK)
        m.ball((0.0, side * 0.29, 0.5), (0.2, 0.05, 0.11), m.accent)
    m.ball((0.67, 0, 0.54), (0.07, 0.1, 0.07), mix(m.main, BLACK, 0.3))


def turtle(m: Maker) -> None:
    """Build a patterned shell, a head, four flippers."""
    skin = m.jitter("#8aa04f") if m.chance(0.7) else m.second
    shell = m.jitter("#6b5a33") if m.chance(0.5) else m.main
    m.dome((0, 0, 0.22), (0.68, 0.58, m.u(0.42, 0.55)), shell, color2=mix(shell, WHITE, 0.45),
           pattern=m.pick(("patches", "checks", "dots")), frequency=1.8)  # fmt: skip
    m.ring((0, 0, 0.22), 0.68, 0.1, mix(shell, BLACK, 0.3), "z")
    m.dome((0, 0, 0.22), (0.58, 0.5, 0.14), mix(skin, WHITE, 0.4), down=True)
    m.rod((0.5, 0, 0.25), (0.88, 0, 0.42), 0.14, skin, top=0.9)
    m.ball((0.95, 0, 0.46), (0.23, 0.19, 0.19), skin)
    m.eyes((1.06, 0, 0.56), 0.11, 0.045)
    for x in (-0.42, 0.42):
        for side in (-1, 1):
            m.pill((x, side * 0.35, 0.25), (x * 1.2, side * 0.6, 0.0), 0.13, skin)
    m.rod((-0.6, 0, 0.2), (-0.88, 0, 0.12), 0.1, skin, top=0.1)


def snowman(m: Maker) -> None:
    """Build a snowman: three balls, a carrot, a hat and a scarf."""
    low, middle, head = m.u(0.5, 0.56), m.u(0.38, 0.44), m.u(0.28, 0.33)
    snow = mix(WHITE, (0.8, 0.87, 0.95), m.u(0, 0.5))
    m.ball((0, 0, low * 0.95), low, snow)
    centre = 1.85 * low + middle * 0.6
    m.ball((0, 0, centre), middle, snow)
    top = centre + middle * 0.8 + head * 0.75
    m.ball((0, 0, top), head, snow)
    m.rod((head * 0.85, 0, top), (head + 0.38, 0, top - 0.03), 0.09, ORANGE, top=0.05)
    m.eyes((head * 0.85, 0, top + 0.12), 0.12, 0.05)
    for z in (-0.15, 0.1):
        m.ball((middle * 0.97, 0, centre + z), 0.055, BLACK)
    brim = top + head * 0.75
    hat = m.main if m.chance(0.5) else mix(m.main, BLACK, 0.8)
    m.rod((0, 0, brim), (0, 0, brim + 0.05), head * 1.25, hat)
    m.rod((0, 0, brim), (0, 0, brim + 0.4), head * 0.8, hat)
    m.rod((0, 0, brim + 0.05), (0, 0, brim + 0.14), head * 0.82, m.accent)
    m.ring((0, 0, top - head * 0.8), middle * 0.88, 0.26, m.accent, "z")
    m.pill(
        (middle * 0.7, 0.12, top - head * 0.8), (middle * 0.98, 0.2, centre - 0.12), 0.09, m.accent
    )
    for side in (-1, 1):
        m.rod((0, side * middle * 0.8, centre + 0.1), (0.1, side * (middle + 0.42), centre + 0.35),
              0.045, m.wood)  # fmt: skip


def robot(m: Maker) -> None:
    """Build a boxy robot with a screen on its chest."""
    width, depth = m.u(0.4, 0.5), m.u(0.28, 0.36)
    metal = STEEL if m.chance(0.5) else m.second
    reach = m.u(0.0, 0.4)
    for side in (-1, 1):
        m.pill((0, side * width * 0.55, 0.65), (0, side * width * 0.55, 0.05), 0.14, metal)
        m.box((0.08, side * width * 0.55, 0.09), (0.26, 0.18, 0.09), m.accent)
        shoulder, hand = (0, side * (width + 0.1), 1.15), (reach, side * (width + 0.17), 0.66)
        m.ball(shoulder, 0.15, m.accent)
        m.rod(shoulder, hand, 0.1, metal)
        m.ball(hand, 0.14, m.accent)
    m.box((0, 0, 0.92), (depth, width, 0.4), m.main, bevel=0.1)
    m.box((depth, 0, 1.0), (0.04, width * 0.6, 0.18), mix(m.main, BLACK, 0.65))
    for index, color in enumerate((m.accent, m.second, WHITE)):
        m.ball((depth + 0.03, (index - 1) * width * 0.35, 0.72), 0.05, color)
    head = m.u(0.25, 0.31)
    z = 1.36 + head
    m.rod((0, 0, 1.25), (0, 0, 1.45), 0.14, metal)
    m.box((0, 0, z), (head, head * 1.25, head), metal, bevel=0.08)
    for side in (-1, 1):
        m.ball((head, side * head * 0.5, z + 0.06), 0.09, WHITE)
        m.ball((head + 0.07, side * head * 0.5, z + 0.06), 0.045, BLACK)
        m.rod((0, side * head * 1.2, z), (0, side * head * 1.45, z), 0.1, m.accent)
    m.box((head, 0, z - 0.14), (0.03, head * 0.6, 0.035), BLACK, bevel=0.0)
    m.rod((0, 0, z + head), (0, 0, z + head + 0.2), 0.035, m.accent)
    m.ball((0, 0, z + head + 0.24), 0.08, m.accent)
