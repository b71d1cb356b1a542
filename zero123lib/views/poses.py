"""Where a camera is, and how one camera lies to another.

World: z-up, right-handed; the object is centred at the origin, longest side 1.
`Pose` is a camera on a sphere that looks at the origin, with +z up in its image:

    elevation_deg   angle above the xy-plane, up is positive, in [-90, 90]
    azimuth_deg     angle in the xy-plane from +x, counter-clockwise seen from above
    radius          distance to the origin, in scene units

`RelativePose` is target minus condition, in the same units: positive elevation raises the
camera, positive azimuth moves it to its right, positive radius moves it away.

The polar angle theta = 90 deg - elevation of the published checkpoints exists only inside the
encodings, where raising the camera is a *negative* polar delta.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast, get_args

from zero123lib._choices import Encoding, Preset
from zero123lib._errors import ArgumentError

# Torch loads with the first tensor: cameras are checked before that, where images are asked for.
if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Of `Encoding`:
# zero123:        [d_theta, sin d_phi, cos d_phi, d_radius]
# stable-zero123: [d_theta, sin d_phi, cos d_phi, theta of the condition], radius dropped
# It belongs to the checkpoint: its tensors alone cannot tell which one it was trained with.


def _freeze_numbers(pose: Pose | RelativePose) -> None:
    """Replace the three fields by plain finite floats, or say which one is not a number."""
    units = {"elevation_deg": "degrees", "azimuth_deg": "degrees", "radius": "scene units"}
    for name, unit in units.items():
        value = getattr(pose, name)
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise ArgumentError(name, f"a finite number of {unit}", repr(value))
        object.__setattr__(pose, name, number)


@dataclass(frozen=True)
class RelativePose:
    """Target camera minus condition camera.

    Args:
        elevation_deg: how far the camera is raised, degrees.
        azimuth_deg: how far it turns counter-clockwise seen from above, degrees.
        radius: how much farther away it goes, scene units.

    Raises:
        ValueError: a number is missing, infinite or NaN.
    """

    elevation_deg: float = 0.0
    azimuth_deg: float = 0.0
    radius: float = 0.0

    def __post_init__(self) -> None:
        _freeze_numbers(self)


@dataclass(frozen=True)
class Pose:
    """A camera on the sphere, looking at the origin (conventions at the top of the module).

    Args:
        elevation_deg: degrees in [-90, 90].
        azimuth_deg: degrees, any number of turns.
        radius: scene units, above 0. Training used 1.5 to 2.2; 1.85 is their middle.

    Raises:
        ValueError: a number is not finite or out of range.
    """

    elevation_deg: float = 0.0
    azimuth_deg: float = 0.0
    radius: float = 1.85

    def __post_init__(self) -> None:
        _freeze_numbers(self)
        if not -90.0 <= self.elevation_deg <= 90.0:
            raise ArgumentError("elevation_deg", "degrees in [-90, 90]", f"{self.elevation_deg:g}")
        if not self.radius > 0.0:
            raise ArgumentError("radius", "a distance above 0", f"{self.radius:g}")

    @property
    def polar_deg(self) -> float:
        """Return the angle from +z, degrees in [0, 180]."""
        return 90.0 - self.elevation_deg

    def moved(self, by: RelativePose) -> Pose:
        """Return the target camera that lies `by` away from this condition camera.

        Raises:
            ValueError: the move goes over a pole or through the origin.
        """
        return Pose(
            self.elevation_deg + by.elevation_deg,
            self.azimuth_deg + by.azimuth_deg,
            self.radius + by.radius,
        )

    def relative_to(self, condition: Pose) -> RelativePose:
        """Return this camera minus `condition`; azimuth in (-180, 180]."""
        return RelativePose(
            self.elevation_deg - condition.elevation_deg,
            wrap_azimuth_deg(self.azimuth_deg - condition.azimuth_deg),
            self.radius - condition.radius,
        )


def absolute_poses(
    source: Pose, poses: Sequence[RelativePose], argument: str = "elevation"
) -> list[Pose]:
    """Place the cameras of views.

    Args:
        source: the image's own camera.
        poses: of the views, relative to it.
        argument: what the caller calls where their elevations come from.

    Raises:
        ArgumentError: one lies beyond a pole, or not above 0 from the object's middle.
    """
    for pose in poses:
        if not -90.0 <= source.elevation_deg + pose.elevation_deg <= 90.0:
            expected = "a camera between straight below and straight above, -90 to 90 degrees"
            got = f"{source.elevation_deg:g} + {pose.elevation_deg:g}"
            raise ArgumentError(argument, expected, got)
        if not source.radius + pose.radius > 0.0:
            expected = "a camera farther than 0 from the object's middle"
            raise ArgumentError("radius", expected, f"{source.radius:g} + {pose.radius:g}")
    return [source.moved(pose) for pose in poses]


def wrap_azimuth_deg(azimuth_deg: float) -> float:
    """Return the same direction in (-180, 180] degrees."""
    wrapped = math.remainder(azimuth_deg, 360.0)
    return 180.0 if wrapped == -180.0 else wrapped


def zero123_vector(elevation_deg: Tensor, azimuth_deg: Tensor, radius: Tensor) -> Tensor:
    """Return the pose vector of Zero-1-to-3 (section 3.2; official `ldm/data/simple.py: get_T`).

    Args:
        elevation_deg, azimuth_deg: target minus condition, degrees, shapes [...].
        radius: target minus condition, scene units, shape [...].

    Returns:
        [..., 4] = [d_theta, sin d_phi, cos d_phi, d_radius], radians and scene units.
    """
    import torch

    d_theta, d_phi = -torch.deg2rad(elevation_deg), torch.deg2rad(azimuth_deg)
    parts = torch.broadcast_tensors(d_theta, torch.sin(d_phi), torch.cos(d_phi), radius)
    return torch.stack(parts, dim=-1)


def stable_zero123_vector(
    elevation_deg: Tensor, azimuth_deg: Tensor, condition_elevation_deg: Tensor
) -> Tensor:
    """Return Stable-Zero123's pose vector: the radius gives way to the condition's polar angle.

    Args:
        elevation_deg, azimuth_deg: target minus condition, degrees, shapes [...].
        condition_elevation_deg: absolute elevation of the input view, degrees, shape [...].

    Returns:
        [..., 4] = [d_theta, sin d_phi, cos d_phi, theta_condition], radians.
    """
    import torch

    return zero123_vector(elevation_deg, azimuth_deg, torch.deg2rad(90.0 - condition_elevation_deg))


def check_encoding(encoding: str) -> None:
    """Raise ArgumentError unless it is the name of an encoding."""
    if encoding not in get_args(Encoding):
        names = " or ".join(repr(name) for name in get_args(Encoding))
        raise ArgumentError("encoding", names, repr(encoding))


def encode_poses(
    poses: Sequence[RelativePose],
    encoding: Encoding = "zero123",
    condition_elevation_deg: float | None = None,
) -> Tensor:
    """Return pose vectors as the named checkpoint family expects them.

    Args:
        poses: N relative poses.
        encoding: the family, see `Encoding`.
        condition_elevation_deg: absolute elevation of the input view in [-90, 90]; needed by,
            and only used by, stable-zero123.

    Returns:
        float32 [N, 4].

    Raises:
        ValueError: unknown encoding, or stable-zero123 without the condition's elevation.
    """
    check_encoding(encoding)
    import torch

    table = torch.tensor(
        [[pose.elevation_deg, pose.azimuth_deg, pose.radius] for pose in poses],
        dtype=torch.float64,
    ).reshape(-1, 3)
    elevation_deg, azimuth_deg, radius = table.unbind(-1)
    if encoding == "zero123":
        return zero123_vector(elevation_deg, azimuth_deg, radius).float()
    if condition_elevation_deg is None:
        raise ArgumentError(
            "condition_elevation_deg",
            "the input view's elevation in degrees",
            "None; a stable-zero123 checkpoint is conditioned on it",
        )
    condition = table.new_tensor(Pose(condition_elevation_deg).elevation_deg)
    return stable_zero123_vector(elevation_deg, azimuth_deg, condition).float()


# The buttons of the official demo (`gradio_new.py`); its sixth, "random", is `random_pose`.
PRESETS: dict[Preset, RelativePose] = {
    "left": RelativePose(azimuth_deg=-90.0),
    "above": RelativePose(elevation_deg=90.0),
    "right": RelativePose(azimuth_deg=90.0),
    "below": RelativePose(elevation_deg=-90.0),
    "behind": RelativePose(azimuth_deg=180.0),
}
PRESET_NAMES: tuple[Preset, ...] = get_args(Preset)


def preset_pose(name: str, generator: torch.Generator | None = None) -> RelativePose:
    """Return the camera of a button of the official demo, one of `PRESET_NAMES`.

    Args:
        name: which.
        generator: of "random", as for `random_pose`.

    Raises:
        ValueError: no such button.
    """
    if name not in PRESET_NAMES:
        raise ArgumentError("name", f"one of {', '.join(PRESET_NAMES)}", repr(name))
    return random_pose(generator) if name == "random" else PRESETS[cast(Preset, name)]


def camera_label(pose: RelativePose) -> str:
    """Tell where a view's camera is, in a few words: "45° right, 20° up, closer"."""
    azimuth = wrap_azimuth_deg(round(pose.azimuth_deg, 1))
    elevation, radius = round(pose.elevation_deg, 1), round(pose.radius, 3)
    side = "" if abs(azimuth) in (0, 180) else " right" if azimuth > 0 else " left"
    height = f", {abs(elevation):g}° {'up' if elevation > 0 else 'down'}" if elevation else ""
    far = f", {'farther' if radius > 0 else 'closer'}" if radius else ""
    return f"{abs(azimuth):g}°{side}{height}{far}"


def elevation_on_sphere_deg(share: float, bounds_deg: tuple[float, float]) -> float:
    """Return the elevation, degrees, below which a share of a band of the sphere's area lies.

    Of uniform shares the cameras are uniform over the band between the two elevations.

    Args:
        share: in [0, 1].
        bounds_deg: lower and upper elevation.
    """
    low, high = (math.sin(math.radians(bound)) for bound in bounds_deg)
    elevation_deg = math.degrees(math.asin(low + (high - low) * share))
    # asin(sin(x)) leaves x by a rounding error.
    return min(max(elevation_deg, bounds_deg[0]), bounds_deg[1])


def random_pose(generator: torch.Generator | None = None) -> RelativePose:
    """Draw a camera as the official demo's "random" button does (`gradio_new.py`).

    Polar delta asin(U[-1, 1]) * 160 / pi, so within 80 degrees and dense near 0 as on a sphere;
    azimuth delta U[-150, 150]; no zoom.

    Args:
        generator: CPU generator; None draws from torch's global one.
    """
    import torch

    u, v = (2.0 * torch.rand(2, generator=generator, dtype=torch.float64) - 1.0).tolist()
    return RelativePose(elevation_deg=-math.asin(u) * 160.0 / math.pi, azimuth_deg=150.0 * v)


def orbit(count: int, elevation_deg: float = 0.0, radius: float = 0.0) -> list[RelativePose]:
    """Return `count` cameras evenly around the object, the first at azimuth 0, counter-clockwise.

    Args:
        count: how many, at least 1.
        elevation_deg, radius: the same relative elevation and distance for all.
    """
    if count < 1:
        raise ArgumentError("count", "at least 1 view", str(count))
    return [RelativePose(elevation_deg, 360.0 * i / count, radius) for i in range(count)]
