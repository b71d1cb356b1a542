"""A path of the camera: keyframes, a curve through them, and how time goes by on it.

Between keyframes the camera takes a monotone cubic (PCHIP: Fritsch and Carlson, SIAM J. Numer.
Anal. 17, 1980), which never leaves the range of its two neighbours: a path goes over no pole and
no closer than its keyframes do. Angles around the object take the shorter way from one to the next.

In a transforms.json the keyframes stand beside the frames, so that a path is read as it was made:

    "camera_path": {"duration_s": 4.0, "easing": "linear", "closed": true, "keyframes": [
        {"at": 0.0, "elevation_deg": 0.0, "azimuth_deg": 0.0, "radius": 0.0}, ...]}
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from zero123lib._choices import Easing, PathPreset
from zero123lib._errors import ArgumentError

from .listings import find_listing
from .poses import Pose, RelativePose, absolute_poses, wrap_azimuth_deg

if TYPE_CHECKING:
    import numpy as np

# In a transforms.json.
KEY = "camera_path"
DURATION_S = 4.0
_START = RelativePose()
# Whole numbers may be larger than any float.
_MOST = sys.float_info.max
EASINGS: tuple[Easing, ...] = get_args(Easing)
PATH_PRESETS: tuple[PathPreset, ...] = get_args(PathPreset)

_EASE: dict[Easing, Callable[[float], float]] = {
    "linear": lambda t: t,
    "ease-in": lambda t: t * t,
    "ease-out": lambda t: t * (2.0 - t),
    "ease-in-out": lambda t: t * t * (3.0 - 2.0 * t),
}


@dataclass(frozen=True)
class Keyframe:
    """Where the camera is at a moment.

    Args:
        at: the moment, a share of the path's duration in [0, 1].
        pose: relative to the image's camera.

    Raises:
        ArgumentError: ``at`` is no such share.
    """

    at: float
    pose: RelativePose

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", _number("at", self.at, 0.0, 1.0))


@dataclass(frozen=True)
class CameraPath:
    """Keyframes and the way from each to the next.

    Args:
        keyframes: at least one, in the order of their moments. Before the first and after the last
            the camera rests, unless the path is closed.
        duration_s: how long the path takes, seconds above 0.
        easing: how time goes by over the whole path, by CSS's names: smoothly from 0 to 1.
        closed: the camera goes on from the last keyframe to the first, at the end of the time.

    Raises:
        ArgumentError: one of them is not as said.
    """

    keyframes: tuple[Keyframe, ...]
    duration_s: float = DURATION_S
    easing: Easing = "linear"
    closed: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "keyframes", tuple(self.keyframes))
        object.__setattr__(self, "duration_s", _number("duration_s", self.duration_s, 0.0))
        if not self.duration_s > 0.0:
            raise ArgumentError("duration_s", "seconds above 0", f"{self.duration_s:g}")
        if self.easing not in EASINGS:
            raise ArgumentError("easing", f"one of {', '.join(EASINGS)}", repr(self.easing))
        if not isinstance(self.closed, bool):
            raise ArgumentError("closed", "true or false", repr(self.closed))
        moments = [one.at for one in self.keyframes]
        if not moments:
            raise ArgumentError("keyframes", "at least one", "none")
        if any(later <= sooner for sooner, later in pairwise(moments)):
            raise ArgumentError("keyframes", "moments that grow", str(moments))
        if self.closed and moments[-1] - moments[0] >= 1.0:
            expected = "less than the whole time from first to last, as the path is closed"
            raise ArgumentError("keyframes", expected, str(moments))

    def poses(self, moments: Sequence[float]) -> list[RelativePose]:
        """Return where the camera is at shares of the duration, azimuth in (-180, 180]."""
        import numpy as np
        from scipy.interpolate import PchipInterpolator

        places, cameras = self._knots()
        asked = np.array([_EASE[self.easing](share) for share in moments])
        asked = np.clip(asked, places[0], places[-1])
        curve = PchipInterpolator(places, cameras) if len(places) > 1 else lambda _: cameras
        found = np.broadcast_to(curve(asked), (len(asked), 3))
        return [RelativePose(up, wrap_azimuth_deg(around), far) for up, around, far in found]

    def sample(self, count: int) -> list[RelativePose]:
        """Return ``count`` cameras at even times: of a closed path the first is not there again.

        Raises:
            ArgumentError: fewer than one.
        """
        if count < 1:
            raise ArgumentError("count", "at least 1 view", str(count))
        steps = count if self.closed else max(1, count - 1)
        return self.poses([index / steps for index in range(count)])

    def frame_ms(self, count: int) -> int:
        """Return for how long each of ``count`` frames is shown, milliseconds."""
        return max(1, round(1000.0 * self.duration_s / count))

    def _knots(self) -> tuple[np.ndarray, np.ndarray]:
        """Return moments ``[N]`` and cameras ``[N, 3]`` (elevation, continuous azimuth, radius)."""
        import numpy as np

        table = [(k.pose.elevation_deg, k.pose.azimuth_deg, k.pose.radius) for k in self.keyframes]
        moments = np.array([one.at for one in self.keyframes])
        cameras = np.array([*table, table[0]] if self.closed else table)
        cameras[:, 1] = np.unwrap(cameras[:, 1], period=360.0)
        if not self.closed:
            return moments, cameras
        # Turn after turn: at the seam the curve is as smooth as anywhere.
        turn = np.array([0.0, cameras[-1, 1] - cameras[0, 1], 0.0])
        return (
            np.concatenate([moments - 1.0, moments, moments + 1.0]),
            np.concatenate([cameras[:-1] - turn, cameras[:-1], cameras[:-1] + turn]),
        )


def preset_path(
    name: str,
    start: RelativePose = _START,
    elevations_deg: tuple[float, float] = (-90.0, 90.0),
    duration_s: float = DURATION_S,
) -> CameraPath:
    """Return a path by name.

    Args:
        name: ring goes around once; spiral rises by 50 degrees in two turns; rise goes up by 60;
            sway goes 35 to either side; zoom goes from 0.3 farther than the image's camera to 0.3
            closer.
        start: where it begins; ring, sway and zoom keep its elevation, all but zoom its radius.
        elevations_deg: relative ones that the camera keeps to.
        duration_s: how long it takes.

    Raises:
        ArgumentError: no such name.
    """
    if name not in PATH_PRESETS:
        raise ArgumentError("name", f"one of {', '.join(PATH_PRESETS)}", repr(name))
    # Elevation, azimuth and radius beside the start.
    moves, easing, closed = {
        "ring": ([(0.0, 90.0 * i, 0.0) for i in range(4)], "linear", True),
        "spiral": ([(50.0 * i / 8, 90.0 * i, 0.0) for i in range(9)], "linear", False),
        "rise": ([(0.0, 0.0, 0.0), (60.0, 0.0, 0.0)], "ease-in-out", False),
        "sway": ([(0.0, side, 0.0) for side in (0.0, 35.0, 0.0, -35.0)], "linear", True),
        "zoom": ([(0.0, 0.0, 0.3), (0.0, 0.0, -0.3)], "ease-in-out", False),
    }[name]
    low, high = elevations_deg
    steps = len(moves) if closed else len(moves) - 1
    keyframes = [
        Keyframe(
            index / steps,
            RelativePose(
                min(max(start.elevation_deg + up, low), high),
                wrap_azimuth_deg(start.azimuth_deg + around),
                far if name == "zoom" else start.radius + far,
            ),
        )
        for index, (up, around, far) in enumerate(moves)
    ]
    return CameraPath(tuple(keyframes), duration_s, cast(Easing, easing), closed)


def path_content(path: CameraPath) -> dict[str, Any]:
    """Return what a transforms.json holds of a path, under ``camera_path``."""
    keyframes = [{"at": one.at, **asdict(one.pose)} for one in path.keyframes]
    return {
        "duration_s": path.duration_s,
        "easing": path.easing,
        "closed": path.closed,
        "keyframes": keyframes,
    }


def path_from_content(content: Any, name: str = KEY) -> CameraPath:
    """Make the path of what :func:`path_content` returned.

    Args:
        content: as it was parsed.
        name: what to call it in complaints.

    Raises:
        ArgumentError: it is none; the message names the keyframe and the key.
    """
    listed = content.get("keyframes") if isinstance(content, Mapping) else None
    if not isinstance(listed, list):
        raise ArgumentError(name, "a path of the camera: an object with keyframes", _short(content))
    keyframes = []
    for index, one in enumerate(listed):
        where = f"{name}.keyframes[{index}]"
        if not isinstance(one, Mapping):
            raise ArgumentError(where, "an object", _short(one))
        try:
            pose = RelativePose(
                *(
                    _number(key, one.get(key, 0.0))
                    for key in ("elevation_deg", "azimuth_deg", "radius")
                )
            )
            keyframes.append(Keyframe(one.get("at"), pose))  # type: ignore[arg-type]
        except ArgumentError as error:
            raise error.within(where) from error
    own = {key: content[key] for key in ("duration_s", "easing", "closed") if key in content}
    try:
        return CameraPath(tuple(keyframes), **own)
    except ArgumentError as error:
        raise error.within(name) from error


def path_files_content(path: CameraPath, source: Pose, count: int) -> dict[str, Any]:
    """Return a transforms.json of a path whose views are yet to be made.

    Args:
        path: whose keyframes and cameras it holds.
        source: the image's own camera.
        count: of the cameras.
    """
    from .transforms import transforms_json

    cameras = absolute_poses(source, path.sample(count))
    names = [f"{index:03d}.png" for index in range(count)]
    return {KEY: path_content(path), **transforms_json(names, cameras)}


def path_from_transforms(content: Any, source: Pose) -> CameraPath:
    """Make the path of a parsed transforms.json: its own, or one through its cameras in order.

    Args:
        content: of any make.
        source: the image's own camera, which the cameras of other makes are seen from.

    Raises:
        ArgumentError: it lists no cameras, or such as do not look at the origin.
    """
    from .transforms import poses_from_transforms

    if isinstance(content, Mapping) and KEY in content:
        return path_from_content(content[KEY])
    try:
        cameras = [pose.relative_to(source) for pose in poses_from_transforms(content)]
    except ArgumentError as error:
        raise error.renamed("path" if error.name == "views" else f"path, {error.name}") from error
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ArgumentError("path", "cameras that look at the object's middle", reason) from error
    last = max(1, len(cameras) - 1)
    return CameraPath(tuple(Keyframe(i / last, one) for i, one in enumerate(cameras)))


def read_path(place: str | Path, source: Pose) -> CameraPath:
    """Read the path of a transforms.json, or of a folder with one; see `path_from_transforms`.

    Raises:
        ArgumentError: there is no such file, or it holds no path.
    """
    try:
        listing = find_listing(Path(place))
        content = json.loads(listing.read_text())
    except ArgumentError as error:
        raise error.renamed("path") from error
    except (OSError, ValueError, RecursionError) as error:
        expected = f"a transforms.json in {str(place)!r}"
        raise ArgumentError("path", expected, f"{type(error).__name__}") from error
    return path_from_transforms(content, source)


def _number(name: str, value: Any, low: float = -_MOST, high: float = _MOST) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        bounds = f" from {low:g} to {high:g}" if high < _MOST else ""
        raise ArgumentError(name, f"a finite number{bounds}", _short(value))
    return float(value)


def _short(value: Any) -> str:
    return f"{value!r:.60}"
