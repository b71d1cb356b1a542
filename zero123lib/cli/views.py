"""The arguments of `zero123 views` and `zero123 orbit`; `making.py` does the work."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zero123lib.cli import making
from zero123lib.cli.arguments import add_reading, degrees, finite, number, one_of, positive, whole

if TYPE_CHECKING:
    from zero123lib.views.poses import RelativePose

# Named again here, since the rooms that own them load torch; a test keeps them the same.
PRESETS = ("left", "above", "right", "below", "behind", "random")
PREPROCESS = ("auto", "official", "none")
SAMPLERS = ("official", "ddim", "unipc", "dpmpp", "euler")
DEVICES = ("auto", "cpu", "cuda", "mps")
DEFAULT_AZIMUTHS_DEG = tuple(45.0 * i for i in range(8))

VIEWS_EPILOG = """examples:
  zero123 views photo.png --azimuth 0 45 90 --elevation 20 --out views/
  zero123 views photo.png --preset left behind --out views/
  zero123 views *.png --steps 25 --out views/        (one folder per picture)

It writes 000.png, 001.png, ..., contact_sheet.png and transforms.json, replacing files of these
names. transforms.json has absolute cameras (OpenGL camera-to-world, z up): the input's camera lies
at azimuth 0, --input-elevation (0 unless given) and --input-radius."""

ORBIT_EPILOG = """example:
  zero123 orbit photo.png --count 16 --elevation 10 --out orbit/

It writes what `zero123 views` writes, and orbit.gif."""


def add_views(verbs: Any) -> None:
    """Add the verb `views` to a parser's verbs."""
    parser = _add_verb(verbs, "views", "the object from cameras that you name", VIEWS_EPILOG)
    cameras = parser.add_argument_group("cameras, relative to the picture's")
    _angle(cameras, "--azimuth", "counter-clockwise seen from above (0 45 ... 315)", nargs="+")
    _angle(cameras, "--elevation", "up; one, or one per azimuth (0)", nargs="+")
    _add_radius(cameras)
    cameras.add_argument(
        "--preset",
        nargs="+",
        type=one_of(PRESETS),
        metavar="NAME",
        help=f"instead of angles: {', '.join(PRESETS)}",
    )
    _add_common(parser)
    parser.set_defaults(run=making.run, poses=_views_poses, animate=False)


def add_orbit(verbs: Any) -> None:
    """Add the verb `orbit` to a parser's verbs."""
    parser = _add_verb(
        verbs, "orbit", "the object from cameras evenly around it, and a GIF", ORBIT_EPILOG
    )
    cameras = parser.add_argument_group("cameras, relative to the picture's")
    cameras.add_argument(
        "--count", type=whole(2, 360), default=16, metavar="N", help="how many (16)"
    )
    _angle(cameras, "--elevation", "up (0)", default=0.0)
    _add_radius(cameras)
    _add_common(parser)
    parser.set_defaults(run=making.run, poses=_orbit_poses, animate=True)


def _add_verb(verbs: Any, name: str, summary: str, epilog: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        description=f"Make pictures of {summary}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="PNG, JPEG or WebP picture"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    return parser


def _angle(group: Any, name: str, text: str, **more: Any) -> None:
    group.add_argument(name, type=degrees, metavar="DEG", help=text, **more)


def _add_radius(group: Any) -> None:
    group.add_argument(
        "--radius", "--zoom", type=finite, default=0.0, metavar="R", help="farther away (0)"
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    source = parser.add_argument_group("the picture")
    _angle(source, "--input-elevation", "its camera's elevation (0; Stable-Zero123 needs it)")
    source.add_argument(
        "--input-radius", type=positive, default=1.85, metavar="R", help="its distance (1.85)"
    )
    source.add_argument(
        "--preprocess",
        type=one_of(PREPROCESS),
        default="auto",
        metavar="HOW",
        help="auto: cut out and centre; official: as the official demo does; none (auto)",
    )
    source.add_argument(
        "--foreground-ratio",
        type=number(float, "a number above 0 and at most 1", lambda value: 0.0 < value <= 1.0),
        metavar="F",
        help="auto: longest side of the object over the picture's (0.78)",
    )
    model = parser.add_argument_group("the model")
    model.add_argument(
        "--model",
        default="tiny",
        metavar="NAME",
        help="a model's name, a folder, or a .ckpt or .safetensors file (tiny)",
    )
    add_reading(model)
    model.add_argument(
        "--device", type=one_of(DEVICES), default="auto", metavar="NAME",
        help="auto, cpu, cuda or mps (auto)",
    )  # fmt: skip
    model.add_argument(
        "--steps",
        type=whole(1, 1000),
        metavar="N",
        help="denoising steps; official takes about as many (the model's own)",
    )
    model.add_argument(
        "--guidance",
        type=number(float, "a finite number of at least 0", lambda value: 0.0 <= value < 1e4),
        metavar="G",
        help="guidance scale; 1 is none (the model's own)",
    )
    model.add_argument(
        "--sampler", type=one_of(SAMPLERS), default="ddim", metavar="NAME",
        help=f"{', '.join(SAMPLERS)} (ddim)",
    )  # fmt: skip
    model.add_argument(
        "--eta",
        type=number(float, "a number from 0 to 1", lambda value: 0.0 <= value <= 1.0),
        default=0.0,
        metavar="E",
        help="noise that official and ddim add on the way; the official demo has 1 (0)",
    )
    model.add_argument(
        "--seed", type=whole(0, 2**63 - 1), default=0, metavar="N", help="of the noise (0)"
    )


def _views_poses(args: argparse.Namespace) -> list[RelativePose]:
    import torch

    from zero123lib.views import poses

    if args.preset is not None:
        for name in ("azimuth", "elevation"):
            if getattr(args, name) is not None:
                raise ValueError(f"--preset: expected no --{name} beside it, got one")
        generator = torch.Generator().manual_seed(args.seed)
        return [_farther(poses.preset_pose(name, generator), args.radius) for name in args.preset]
    azimuths_deg = args.azimuth or DEFAULT_AZIMUTHS_DEG
    elevations_deg = args.elevation or [0.0]
    if len(elevations_deg) not in (1, len(azimuths_deg)):
        raise ValueError(
            f"--elevation: expected one, or one per azimuth ({len(azimuths_deg)}), "
            f"got {len(elevations_deg)}"
        )
    if len(elevations_deg) == 1:
        elevations_deg = elevations_deg * len(azimuths_deg)
    return [
        poses.RelativePose(elevation_deg, azimuth_deg, args.radius)
        for elevation_deg, azimuth_deg in zip(elevations_deg, azimuths_deg, strict=True)
    ]


def _farther(pose: RelativePose, radius: float) -> RelativePose:
    return type(pose)(pose.elevation_deg, pose.azimuth_deg, pose.radius + radius)


def _orbit_poses(args: argparse.Namespace) -> list[RelativePose]:
    from zero123lib.views.poses import orbit

    return orbit(args.count, args.elevation, args.radius)
