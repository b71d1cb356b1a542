"""Look at every view of a data set and say what is wrong: `zero123 dataset check`.

Two kinds of findings. What training would skip is *bad*: files that cannot be read, cameras that
are not those of the layout, objects with fewer than two usable views. What it would take although
it looks wrong is *suspect*: images without transparency, views cut off by the image's edge, two
views from one camera, and objects whose size does not go with the field of view.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zero123lib._words import count
from zero123lib.views.cameras import FOV_DEG, focal_px
from zero123lib.views.poses import Pose, wrap_azimuth_deg

from .batches import check_whole
from .drawing import StoredObject, read_view, view_files
from .folder import find_objects, open_object
from .samples import SampleError
from .tars import find_shards, is_shards, read_counts, read_shard

# Two cameras nearer than this are the same one.
SAME_DEG, SAME_RADIUS = 0.01, 1e-4

# Of an object in the unit box, the point farthest from the origin is between half a side and half
# a diagonal away; the rest is leave for soft edges, and for views that do not show it.
LEAST_REACH, MOST_REACH = 0.4, 0.9

_VISIBLE = 128  # of 255


@dataclass(frozen=True)
class ViewFacts:
    """Holds what one usable view shows.

    Attributes:
        name: such as "000".
        size: pixels.
        pose: of its camera.
        has_alpha: whether some pixel is see-through.
        foreground: mean of alpha, in [0, 1].
        cut_off: whether the object touches the image's edge.
        reach: how far from the origin the ray through the outermost visible pixel passes it, scene
            units, if the field of view is 49.13 degrees; None without transparency. No farther
            than the object's outermost point, and about as far in most views.
    """

    name: str
    size: int
    pose: Pose
    has_alpha: bool
    foreground: float
    cut_off: bool
    reach: float | None


@dataclass(frozen=True)
class ObjectFacts:
    """Holds what one object has.

    Attributes:
        name: of the object, or of a shard.
        views: the usable ones.
        bad: name -> reason of what training would skip.
        suspect: name -> reason of what it would take although it looks wrong.
    """

    name: str
    views: tuple[ViewFacts, ...]
    bad: dict[str, str]
    suspect: dict[str, str]


@dataclass
class Report:
    """Holds what a data set has, added up over its objects.

    Attributes:
        objects: with at least two usable views.
        views: usable ones.
        sizes: pixels -> number of views.
        with_alpha: number of views that are see-through somewhere.
        ranges: least and most of elevation_deg, radius, foreground and reach, over the views.
        bad, suspect: name -> reason.
    """

    objects: int = 0
    views: int = 0
    sizes: dict[int, int] = field(default_factory=dict)
    with_alpha: int = 0
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    suspect: dict[str, str] = field(default_factory=dict)

    def add(self, facts: ObjectFacts) -> None:
        """Count one more object in."""
        self.objects += len(facts.views) >= 2
        self.views += len(facts.views)
        self.bad.update(facts.bad)
        self.suspect.update(facts.suspect)
        for view in facts.views:
            self.sizes[view.size] = self.sizes.get(view.size, 0) + 1
            self.with_alpha += view.has_alpha
            self._widen("elevation_deg", view.pose.elevation_deg)
            self._widen("radius", view.pose.radius)
            self._widen("foreground", view.foreground)
            if view.reach is not None:
                self._widen("reach", view.reach)

    def _widen(self, name: str, value: float) -> None:
        low, high = self.ranges.get(name, (value, value))
        self.ranges[name] = min(low, value), max(high, value)


def check_dataset(path: str | Path, workers: int = 1) -> Iterator[tuple[int, list[ObjectFacts]]]:
    """Look at all objects of a data set.

    Args:
        path: as for `open_pairs`.
        workers: processes that share the objects of a folder, or the shards.

    Yields:
        The number of parts (objects of a folder, or shards), and the facts of the next of them.

    Raises:
        ValueError: there is no data set, or `workers` is below 1.
    """
    check_whole("workers", workers, 1)
    if is_shards(path):
        parts = find_shards(path)
        look = partial(check_shard, counts=read_counts(parts))
    else:
        parts = find_objects(Path(path))
        look = partial(_check_folder, Path(path))
    if workers == 1:
        yield from ((len(parts), look(part)) for part in parts)
        return
    # Not forked: torch's threads do not survive that.
    pool = ProcessPoolExecutor(min(workers, len(parts)), get_context("spawn"))
    try:
        chunk = 4 if len(parts) > 8 * workers else 1
        for facts in pool.map(look, parts, chunksize=chunk):
            yield len(parts), facts
    finally:
        pool.shutdown(cancel_futures=True)


def check_shard(url: str, counts: dict[str, int]) -> list[ObjectFacts]:
    """Return the facts of a shard's objects, and of the shard where something is wrong with it."""
    bad: dict[str, str] = {}
    objects: Generator[StoredObject] = read_shard(url, bad.__setitem__)
    with closing(objects):
        facts = [check_object(stored) for stored in objects]
    if not facts:
        bad.setdefault(url, "expected objects with views (a/000.png and a/000.npy, ...), got none")
    if len(facts) != counts.get(url, len(facts)):
        bad.setdefault(url, f"expected {counts[url]} objects, as indexed, got {len(facts)}")
    return [*facts, ObjectFacts(url, (), bad, {})] if bad else facts


def _check_folder(root: Path, name: str) -> list[ObjectFacts]:
    return [check_object(open_object(root, name))]


def check_object(stored: StoredObject) -> ObjectFacts:
    """Return the facts of one object."""
    names, lonely = view_files(stored.files)
    bad = {f"{stored.name}/{view}": reason for view, reason in lonely.items()}
    views = []
    for name in names:
        try:
            sample = read_view(stored, name)
        except SampleError as error:
            bad[f"{stored.name}/{name}"] = str(error)
        else:
            views.append(_view_facts(name, sample.image, sample.pose))
    if len(views) < 2:
        bad[stored.name] = f"expected at least 2 usable views, got {len(views)}"
    suspect = {f"{stored.name}/{view}": why for view, why in _suspect_views(views).items()}
    reaches = [view.reach for view in views if view.reach is not None]
    if reaches and not LEAST_REACH <= max(reaches) <= MOST_REACH:
        suspect[stored.name] = (
            f"expected an object in the unit box, reaching {LEAST_REACH} to {MOST_REACH} from its "
            f"middle, got {max(reaches):.2f}: its size, or a field of view other than {FOV_DEG} "
            "degrees"
        )
    return ObjectFacts(stored.name, tuple(views), bad, suspect)


def _view_facts(name: str, image: Image.Image, pose: Pose) -> ViewFacts:
    if image.mode != "RGBA":
        return ViewFacts(name, image.width, pose, False, 1.0, False, None)
    alpha = np.asarray(image.getchannel("A"))
    seen = alpha >= _VISIBLE
    edge = np.concatenate([seen[0], seen[-1], seen[:, 0], seen[:, -1]])
    has_alpha = bool((alpha < 255).any())
    return ViewFacts(
        name,
        image.width,
        pose,
        has_alpha,
        float(alpha.mean() / 255.0),
        has_alpha and bool(edge.any()),
        _reach(seen, pose.radius) if has_alpha else None,
    )


def _reach(seen: np.ndarray, radius: float) -> float | None:
    """Return how far from the origin the ray through the outermost visible pixel passes it."""
    rows, columns = np.nonzero(seen)
    if not len(rows):
        return None
    middle = (len(seen) - 1) / 2.0
    away_px = float(np.hypot(rows - middle, columns - middle).max())
    return radius * math.sin(math.atan(away_px / focal_px(len(seen))))


def _suspect_views(views: list[ViewFacts]) -> dict[str, str]:
    """Name -> reason of views that look wrong, the last reason of each."""
    found: dict[str, str] = {}
    for index, view in enumerate(views):
        if not view.has_alpha:
            found[view.name] = "expected transparency around the object, got an opaque image"
        elif view.cut_off:
            found[view.name] = "expected the whole object, got one that the image's edge cuts off"
        twin = next((other for other in views[:index] if _same(other.pose, view.pose)), None)
        if twin is not None:
            found[view.name] = f"expected a camera of its own, got the one of {twin.name}"
    return found


def _same(a: Pose, b: Pose) -> bool:
    turned = abs(wrap_azimuth_deg(a.azimuth_deg - b.azimuth_deg))
    across = turned * math.cos(math.radians(a.elevation_deg))
    raised = abs(a.elevation_deg - b.elevation_deg)
    return max(across, raised) < SAME_DEG and abs(a.radius - b.radius) < SAME_RADIUS


def report_json(report: Report) -> dict[str, Any]:
    """Return the report as plain values for `json.dump`."""
    return {
        "objects": report.objects,
        "views": report.views,
        "sizes_px": {str(size): count for size, count in sorted(report.sizes.items())},
        "with_alpha": report.with_alpha,
        "ranges": {name: list(pair) for name, pair in report.ranges.items()},
        "bad": report.bad,
        "suspect": report.suspect,
    }


def report_lines(report: Report, most: int = 20) -> list[str]:
    """Say the report to people, with at most so many findings of a kind."""
    sizes = ", ".join(f"{number} of {size} px" for size, number in sorted(report.sizes.items()))
    objects, views = count(report.objects, "object"), count(report.views, "usable view")
    lines = [f"{objects} with {views}" + (f" ({sizes})" if sizes else "")]
    units = {
        "elevation_deg": ("elevation", " degrees"),
        "radius": ("radius", ""),
        "foreground": ("foreground", " of the image"),
        "reach": ("reach from the middle", f" at a field of view of {FOV_DEG:g} degrees"),
    }
    for name, (title, unit) in units.items():
        if name in report.ranges:
            low, high = report.ranges[name]
            lines.append(f"  {title}: {low:.3g} to {high:.3g}{unit}")
    if report.views:
        lines.append(f"  transparency: {report.with_alpha} of {count(report.views, 'view')}")
    lines += findings("suspect", report.suspect, most)
    good = "none that training would skip" if report.suspect else "all good"
    return lines + (findings("bad", report.bad, most) or [good])


def findings(title: str, found: Mapping[str, str], most: int = 20) -> list[str]:
    """Say a headline and the first of what was found; nothing where there is nothing."""
    if not found:
        return []
    lines = [f"{title}: {len(found)}"]
    lines += [f"  {name}: {reason}" for name, reason in list(found.items())[:most]]
    return lines + (["  ..."] if len(found) > most else [])
