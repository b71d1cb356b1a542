"""The example images of the app, rendered from this project's own scenes.

    python -m zero123lib.app.examples

writes the PNG files beside this one again. Their seeds are held out: no model of this
repository was trained on these objects.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from zero123lib.scenes import HELD_OUT_SEED, random_scene, render
from zero123lib.views.eight_bits import to_uint8
from zero123lib.views.poses import Pose

FOLDER = Path(__file__).parent
SIZE_PX = 256
# Of the camera that looks at them: from a little above.
ELEVATION_DEG = 20.0

# Kind of object, which of the held-out ones, and the azimuth that shows it well.
EXAMPLES = (
    ("bear", 3, 30.0),
    ("car", 7, 30.0),
    ("chair", 0, 30.0),
    ("duck", 10, 30.0),
    ("house", 4, 30.0),
    ("mug", 3, 30.0),
)


def example_image(kind: str, number: int, azimuth_deg: float) -> Image.Image:
    """Draw one object on a transparent background, RGBA."""
    scene = random_scene(HELD_OUT_SEED + number, kind)
    rgba = render(scene, [Pose(ELEVATION_DEG, azimuth_deg)], SIZE_PX).rgba[0]
    return Image.fromarray(to_uint8(rgba).numpy())


def write_examples(folder: Path) -> list[Path]:
    """Render every example into `folder`; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for kind, number, azimuth_deg in EXAMPLES:
        file = folder / f"{kind}.png"
        example_image(kind, number, azimuth_deg).save(file, optimize=True)
        files.append(file)
    return files


def example_files() -> list[str]:
    """Return the rendered examples that ship with the app."""
    return [str(FOLDER / f"{kind}.png") for kind, _, _ in EXAMPLES]
