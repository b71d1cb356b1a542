"""Limits of the app, and what its operator decides."""

from __future__ import annotations

import os
from dataclasses import dataclass

MAX_VIEWS = 36
MAX_SEEDS = 4
# Views times seeds of one request.
MAX_IMAGES = 72
# Of a path of the camera, with its bounds of seconds.
MAX_FRAMES, MAX_KEYFRAMES, DURATION_S = 72, 36, (0.5, 60.0)
# Of a cut-out that is fixed by brush; the page makes one.
MAX_LAYERS = 8
MAX_STEPS = 200
MAX_GUIDANCE = 30.0
MAX_ZOOM = 0.5
MAX_SEED = 2**31 - 1
MIN_RATIO = 0.2
# Of a mesh: its faces, and texels along the side of its texture.
FACES, TEXTURE_SIZES = (1_000, 100_000), (256, 2048)
MAX_FILE_SIZE = "20mb"
# Of one request: an image with what goes around it; anything else is numbers and short texts.
MAX_UPLOAD_BYTES = 21 * 2**20
MAX_BODY_BYTES = 2**20
# In which all of a request has to arrive: 21 MB at 1.4 Mbit/s.
MAX_BODY_S = 120.0
MAX_PIXELS = 40_000_000
# Requests that wait; the next one is told that the app is busy.
MAX_WAITING = 32
# Requests for one view that may be at hand together; one is worked at, the others know their place.
VIEWS_AT_ONCE = 16
# The same of orbits, and of requests that cut out.
LONG_AT_ONCE, CUT_OUTS_AT_ONCE = 4, 16
# Whoever waits for a turn sleeps in a thread.
THREADS = 96
# Files that no session cleared away are looked for every ten minutes and deleted after two hours.
DELETE_CACHE_S = (600, 7200)
# A session that nobody has used for so long is forgotten, with its files.
SESSION_S = 3600
MAX_SESSIONS = 512
# Cut-outs and prepared images in memory, of all visitors together: at most some 900 MB.
MAX_REMEMBERED = 32
# Cut-outs that are made together; by rembg, which may have to be imported for minutes first.
CUTTING, CUTTING_BY_REMBG = 2, 1

# What the following hand is shown: few steps, and of a solver made for few.
PREVIEW_STEPS = 8
# An image of the work in progress at most this often.
LIVE_EVERY_S = 0.4

# ZeroGPU's clock per request: getting ready, each view's step, enlarging a view (81 GFLOP at
# 256 px, whatever the factor); never beyond its own limit.
GPU_READY_S, GPU_VIEW_STEP_S, GPU_UPSCALE_S, GPU_MOST_S = 15.0, 0.06, 0.2, 120
# Of which a mesh may grow for this share; the rest is for its surface, its texture and the files.
GPU_GROWING = 0.6

DEFAULT_AZIMUTHS = "0, 45, 90, 135, 180, 225, 270, 315"


@dataclass(frozen=True)
class Options:
    """Holds what the operator decides.

    Attributes:
        max_queue: requests that may wait.
        models: names that visitors may choose besides the app's own; "any" is any name or path.
        recipe_overrides: of every recipe's keys, for machines that should do less.
    """

    max_queue: int = MAX_WAITING
    models: str | tuple[str, ...] = ()
    recipe_overrides: tuple[str, ...] = ()


def options(
    models: str | None,
    max_queue: int = MAX_WAITING,
    *,
    host: str = "127.0.0.1",
    share: bool = False,
) -> Options:
    """Decide what visitors may do.

    Args:
        models: names that they may choose, separated by commas; "any" is any name or path. None is
            "any" where only this machine can connect, else none.
        max_queue: requests that may wait.
        host: address that is listened on.
        share: whether there is a public link.
    """
    if models is None:
        alone = host in ("127.0.0.1", "localhost", "::1") and not share
        return Options(max_queue, "any" if alone and "SPACE_ID" not in os.environ else ())
    names = tuple(name.strip() for name in models.split(",") if name.strip())
    return Options(max_queue, "any" if names == ("any",) else names)
