"""Seeded procedural objects: furniture, tableware, vehicles, animals, buildings, free forms.

Each kind is one short function from a :class:`~.maker.Maker` (random numbers, a palette, builders
of solids) to nothing: it places parts standing on the plane z = 0, facing +x, in free units.
:func:`random_scene` turns the object and normalises it. Most objects are mirror images across
y = 0, so that the side that a view does not show follows from the one that it shows.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Collection
from functools import lru_cache

import numpy as np

from zero123lib._errors import ArgumentError
from zero123lib.scenes.objects.animals import (
    bear,
    bird,
    cat,
    dog,
    duck,
    elephant,
    fish,
    giraffe,
    penguin,
    quadruped,
    rabbit,
    robot,
    snowman,
    turtle,
)
from zero123lib.scenes.objects.buildings import (
    cactus,
    castle,
    composition,
    gift,
    guitar,
    house,
    lighthouse,
    mushroom,
    shoe,
    tower,
    tree,
    windmill,
)
from zero123lib.scenes.objects.furniture import (
    barrel,
    bed,
    bench,
    cabinet,
    chair,
    clock,
    lamp,
    sofa,
    stool,
    table,
)
from zero123lib.scenes.objects.maker import Maker
from zero123lib.scenes.objects.tableware import (
    apple,
    bottle,
    burger,
    cake,
    donut,
    icecream,
    mug,
    pineapple,
    pot,
    teapot,
    vase,
)
from zero123lib.scenes.objects.vehicles import (
    boat,
    bus,
    car,
    helicopter,
    plane,
    rocket,
    tractor,
    train,
    truck,
)
from zero123lib.scenes.scene import Scene

# Seeds from here on are held out: evaluation draws from them alone, training never does.
HELD_OUT_SEED = 1_000_000_000

KINDS: dict[str, Callable[[Maker], None]] = {
    kind.__name__: kind
    for kind in (
        chair, stool, table, lamp, sofa, bench, bed, cabinet, clock, barrel,
        mug, teapot, bottle, cake, burger, icecream, donut, apple, pineapple, vase, pot,
        car, truck, bus, train, plane, helicopter, boat, tractor, rocket,
        quadruped, cat, dog, elephant, giraffe, bear, rabbit, duck, bird, penguin, fish, turtle,
        snowman, robot,
        house, castle, lighthouse, windmill, tree, cactus, mushroom, gift, guitar, shoe,
        tower, composition,
    )
}  # fmt: skip

# How often a kind is drawn; 1 where nothing is said.
_WEIGHTS = {"car": 2.0, "house": 2.0, "chair": 2.0, "mug": 2.0, "bear": 1.5, "duck": 1.5,
            "train": 1.5, "quadruped": 1.5, "guitar": 0.5, "giraffe": 0.7,
            "helicopter": 0.7, "composition": 0.7, "tower": 0.7}  # fmt: skip


def random_scene(
    seed: int, kind: str | None = None, *, kinds: Collection[str] | None = None
) -> Scene:
    """Return a seeded random object: the same arguments always give the same object.

    Args:
        seed: any non-negative integer.
        kind: one of :data:`KINDS`; None draws one.
        kinds: it is drawn from these, in any order; None: from all.

    Raises:
        ValueError: for a negative seed, an unknown kind, or none to draw from.
    """
    if seed < 0:
        raise ArgumentError("seed", "a non-negative integer", str(seed))
    if kind is not None and kind not in KINDS:
        raise ArgumentError("kind", f"one of {', '.join(KINDS)}", repr(kind))
    names, cumulative = _drawn_from(None if kinds is None else frozenset(kinds))
    rng = np.random.default_rng(seed)
    place = float(rng.uniform(0, cumulative[-1]))
    name = kind or names[int(np.searchsorted(cumulative, place, side="right"))]
    maker = Maker(rng)
    KINDS[name](maker)
    return (
        Scene(tuple(maker.parts), _light(rng), name, seed)
        .turned(float(rng.uniform(0, 360)))
        .normalized()
    )


def check_kinds(kinds: Collection[str]) -> None:
    """Raise ValueError unless there is one, and all are in :data:`KINDS`."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        got = reprlib.repr(unknown[0]) if unknown else "none"
        raise ArgumentError("kinds", f"some of {', '.join(KINDS)}", got)


@lru_cache
def _drawn_from(kinds: frozenset[str] | None) -> tuple[list[str], np.ndarray]:
    """Return names in the order of :data:`KINDS`, and the running sum of how often each is
    drawn."""
    if kinds is not None:
        check_kinds(kinds)
    names = [name for name in KINDS if kinds is None or name in kinds]
    return names, np.cumsum([_WEIGHTS.get(name, 1.0) for name in names])


def _light(rng: np.random.Generator) -> tuple[float, float, float]:
    """Return unit direction to the key light: from any side, 40 to 65 degrees high."""
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(40, 65))
    flat = np.cos(elevation)
    return float(flat * np.cos(azimuth)), float(flat * np.sin(azimuth)), float(np.sin(elevation))
