"""`zero123 views` and `zero123 orbit`: the object from other cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from zero123lib._choices import Consistency, Preset
from zero123lib._errors import ArgumentError
from zero123lib.cli.making import Making, Sampling, Source
from zero123lib.cli.options import Degrees, Finite, Model, renaming, whole
from zero123lib.cli.telling import Telling
from zero123lib.views.paths import PATH_PRESETS, CameraPath, preset_path, read_path
from zero123lib.views.poses import Pose, RelativePose, absolute_poses, preset_pose
from zero123lib.views.poses import orbit as around

CAMERAS = Parameter(group=Group("Cameras, relative to the image's", sort_key=1))

Images = Annotated[list[str], Parameter(name="IMAGE")]
Out = Annotated[Path, Parameter(metavar="DIR")]
Radius = Annotated[Finite, Parameter(name=("--radius", "--zoom")), CAMERAS]


def views(
    images: Images,
    /,
    *,
    out: Out,
    azimuth: Annotated[list[Degrees] | None, CAMERAS] = None,
    elevation: Annotated[list[Degrees] | None, CAMERAS] = None,
    radius: Radius = 0.0,
    preset: Annotated[list[Preset] | None, CAMERAS] = None,
    source: Source = Source(),
    model: Model = Model(),
    sampling: Sampling = Sampling(),
    telling: Telling = Telling(),
) -> int:
    """Make images of the object from cameras that you name.

    It writes 000.png, 001.png, ..., contact_sheet.png and transforms.json,
    replacing files of these names. transforms.json has absolute cameras
    (OpenGL camera-to-world, z up): the image's own is at azimuth 0,
    --input-elevation and --input-radius. Of several images each gets a folder
    in DIR; those that cannot be used are named at the end. With --cameras they are
    photos of one object, which all have their say.

        zero123 views photo.png --azimuth 0 45 90 --elevation 20 --out views/
        zero123 views photo.png --preset left behind --out views/
        zero123 views a.png b.png --steps 25 --out views/
        zero123 pose front.png side.png --out posed/
        zero123 views front.png side.png --cameras posed/ --out views/

    Args:
        images: image files (PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or HEIC), folders of them, or -.
        out: folder to write.
        azimuth: counter-clockwise seen from above (0 45 ... 315).
        elevation: up; one, or one per azimuth (0).
        radius: farther away.
        preset: cameras by name, in place of angles.
    """
    given = (azimuth, elevation, radius, preset, sampling.seed)
    up = "elevation" if preset is None else "preset"
    return Making("views", out, source, model, sampling, telling).make(
        images, lambda camera: poses_of(*given), up
    )


def orbit(
    images: Images,
    /,
    *,
    out: Out,
    count: Annotated[int, whole(2, 360), CAMERAS] = 16,
    elevation: Annotated[Degrees, CAMERAS] = 0.0,
    radius: Radius = 0.0,
    consistency: Consistency = "none",
    path: Annotated[str | None, Parameter(metavar="NAME|JSON"), CAMERAS] = None,
    source: Source = Source(),
    model: Model = Model(),
    sampling: Sampling = Sampling(),
    telling: Telling = Telling(),
) -> int:
    """Make images of the object from cameras evenly around it, and a GIF.

    It writes what `zero123 views` writes, and orbit.gif. With --path the
    cameras are on a path of that name, or on that of a transforms.json,
    as the app and this command write it.

        zero123 orbit photo.png --count 16 --elevation 10 --out orbit/
        zero123 orbit photo.png --path spiral --count 24 --out spiral/
        zero123 orbit photo.png --path spiral/transforms.json --out again/

    Args:
        images: image files (PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or HEIC), folders of them, or -.
        out: folder to write.
        count: how many, the first where the image's own is.
        elevation: up.
        radius: farther away.
        consistency: viewfusion makes each view of the photo and the views before it, mutual shares
            the photo's attention with all.
        path: ring, spiral, rise, sway or zoom, or a transforms.json.
    """
    making = Making("orbit", out, source, model, sampling, telling, consistency)
    start = RelativePose(elevation, 0.0, radius)
    if path is None:
        return making.make(images, lambda camera: around(count, elevation, radius), "elevation")

    def on_path(camera: Pose) -> list[RelativePose]:
        making.path = way = path_of(path, start, camera)
        return way.sample(count)

    return making.make(images, on_path, "path")


def path_of(name: str, start: RelativePose, camera: Pose) -> CameraPath:
    """Return the path of a name or of a transforms.json, for an image's camera."""
    if name in PATH_PRESETS:
        absolute_poses(camera, [start])
        if name == "zoom" and start.radius:
            raise ArgumentError("radius", "none beside --path zoom", f"{start.radius:g}")
        bounds = (-90.0 - camera.elevation_deg, 90.0 - camera.elevation_deg)
        return preset_path(name, start, bounds)
    if start != RelativePose():
        raise ArgumentError("path", "no --elevation or --radius beside a file", repr(name))
    if not Path(name).exists():
        expected = f"{', '.join(PATH_PRESETS)} or a transforms.json"
        raise ArgumentError("path", expected, f"{name!r}, and there is no such file")
    way = read_path(name, camera)
    with renaming(radius="path"):
        absolute_poses(camera, [one.pose for one in way.keyframes], "path")
    return way


def poses_of(
    azimuths: list[float] | None,
    elevations: list[float] | None,
    radius: float,
    presets: list[Preset] | None,
    seed: int,
) -> list[RelativePose]:
    """Return the cameras that angles or presets name."""
    if presets is not None:
        for name, angles in (("azimuth", azimuths), ("elevation", elevations)):
            if angles is not None:
                raise ArgumentError("preset", f"no --{name} beside it", "one")
        generator = None
        if "random" in presets:
            import torch

            generator = torch.Generator().manual_seed(seed)
        found = [preset_pose(name, generator) for name in presets]
        return [RelativePose(p.elevation_deg, p.azimuth_deg, p.radius + radius) for p in found]
    azimuths = azimuths or [45.0 * i for i in range(8)]
    elevations = elevations or [0.0]
    if len(elevations) == 1:
        elevations = elevations * len(azimuths)
    if len(elevations) != len(azimuths):
        expected = f"one, or one per azimuth ({len(azimuths)})"
        raise ArgumentError("elevation", expected, str(len(elevations)))
    return [RelativePose(*angles, radius) for angles in zip(elevations, azimuths, strict=True)]
