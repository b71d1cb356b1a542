"""The files of a set of views: PNGs with their cameras, sheet, animation, film, and a zip."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image

from zero123lib._files import write_bytes
from zero123lib._optional import MissingExtraError, require
from zero123lib.diffusion.doubt import spread
from zero123lib.views.colmap import colmap_files
from zero123lib.views.eight_bits import to_uint8
from zero123lib.views.folder import ANIMATION, SHEET, png, view_files
from zero123lib.views.images import alpha_from_white, composite, contact_sheet, to_tensor
from zero123lib.views.paths import CameraPath
from zero123lib.views.poses import Pose

# In the zip of views, of the mesh of the same object.
GAUSSIANS = "gaussians.ply"
FILM_FPS = 12
# A film of few views is over in a blink: it goes round until it lasts so long.
FILM_LEAST_S = 3.0
# Colours of the uncertainty, from none to most: dark violet, magenta, orange, pale yellow.
_HEAT = np.array([[13, 8, 60], [126, 3, 140], [229, 92, 48], [252, 253, 191]], float)
# This spread between seeds, over the range of colours, is the brightest.
_MOST_SPREAD = 0.25
# Of views on white: what is less opaque is the white, as a model makes it.
_VEIL = 0.05


@dataclass(frozen=True, eq=False)
class Made:
    """Views and how they came about.

    Attributes:
        condition: the image as the model saw it.
        views: seed by seed, camera by camera; RGBA when the background was taken away.
        cameras: of one seed's views, absolute.
        labels: of one seed's views.
        seeds: of the noise.
        made_by: program, model, licence and settings, for transforms.json.
        path: that the cameras are on, if they are on one.
        gaussians: the object's mesh as Gaussians, a PLY, where it has one.
    """

    condition: Image.Image
    views: Sequence[Image.Image]
    cameras: Sequence[Pose]
    labels: Sequence[str]
    seeds: Sequence[int]
    made_by: dict[str, Any]
    path: CameraPath | None = None
    gaussians: bytes | None = None

    @property
    def fps(self) -> float:
        """Return how many views a second the film shows."""
        return FILM_FPS if self.path is None else len(self.cameras) / self.path.duration_s

    def by_seed(self) -> list[Sequence[Image.Image]]:
        """Return one list of views per seed."""
        count = len(self.cameras)
        return [self.views[i * count : (i + 1) * count] for i in range(len(self.seeds))]

    def captions(self) -> list[str]:
        """Return one line per view; the seed where there are several."""
        return captions(self.labels, self.seeds)


def captions(labels: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """Return one line per view, seed by seed; the seed where there are several."""
    if len(seeds) == 1:
        return list(labels)
    return [f"{label} · seed {seed}" for seed in seeds for label in labels]


def write(made: Made, folder: Path) -> dict[str, Path]:
    """Write the files of `made` into an empty folder.

    Returns:
        Paths by kind: "sheet", "gif", "mp4", "zip", and "uncertainty" where there are several
        seeds. "mp4" is missing where imageio-ffmpeg is.
    """
    files = view_files(
        made.views,
        list(made.cameras) * len(made.seeds),
        condition=made.condition,
        labels=["your picture", *made.captions()],
        animation=[composite(view) for view in made.by_seed()[0]],
        made_by=made.made_by,
        path=made.path,
    )
    shown = {"sheet": SHEET, "gif": ANIMATION}
    if len(made.seeds) > 1:
        shown["uncertainty"] = "uncertainty.png"
        files["uncertainty.png"] = png(uncertainty_sheet(made))
    paths = {}
    try:
        write_film(folder / "orbit.mp4", made.by_seed()[0], made.fps)
        paths["mp4"] = folder / "orbit.mp4"
    except MissingExtraError:
        pass  # a film is an extra: the page then offers the GIF alone
    for name in shown.values():
        write_bytes(folder / name, files[name])
    # For other tools, beside transforms.json, in whose world they are.
    names = [f"{index:03d}.png" for index in range(len(made.views))]
    cameras = list(made.cameras) * len(made.seeds)
    files |= colmap_files(names, cameras, made.views[0].width)
    if made.gaussians is not None:
        files[GAUSSIANS] = made.gaussians
    write_zip(folder / "views.zip", files, list(paths.values()))
    shown["zip"] = "views.zip"
    return {**paths, **{kind: folder / name for kind, name in shown.items()}}


def write_zip(path: Path | BinaryIO, files: dict[str, bytes], others: Sequence[Path] = ()) -> None:
    """Write a zip of contents by name, and of files by theirs."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for other in others:
            archive.write(other, other.name)


def write_film(path: Path, views: Sequence[Image.Image], fps: float = FILM_FPS) -> None:
    """Write an H.264 MP4 of views in turn, round and round for some seconds, sides made even.

    Args:
        path: to write.
        views: of one size.
        fps: how many of them a second.

    Raises:
        MissingExtraError: imageio or imageio-ffmpeg is not there.
    """
    imageio = require("imageio.v2", "video")
    require("imageio_ffmpeg", "video")
    width, height = (side - side % 2 for side in views[0].size)
    frames = [np.asarray(composite(view).crop((0, 0, width, height))) for view in views]
    rounds = max(1, round(FILM_LEAST_S * fps / len(frames)))
    with imageio.get_writer(
        path, format="FFMPEG", fps=fps, codec="libx264", macro_block_size=1, quality=8
    ) as film:
        for frame in frames * rounds:
            film.append_data(frame)


def std_over_seeds(views: Sequence[Image.Image]) -> np.ndarray:
    """Return :func:`zero123lib.diffusion.doubt.spread` of one camera's views by several seeds."""
    return spread((torch.stack([to_tensor(composite(view)) for view in views]) + 1) / 2).numpy()


def heat(values: np.ndarray) -> Image.Image:
    """Return an image of `std_over_seeds`: dark is agreement, bright is 0.25 and more."""
    place = np.clip(values / _MOST_SPREAD, 0.0, 1.0) * (len(_HEAT) - 1)
    channels = [np.interp(place, range(len(_HEAT)), _HEAT[:, i]) for i in range(3)]
    return Image.fromarray(np.stack(channels, -1).round().astype(np.uint8))


def uncertainty_sheet(made: Made) -> Image.Image:
    """Return where the seeds disagree, camera by camera, with the mean over the image."""
    maps = [std_over_seeds(views) for views in zip(*made.by_seed(), strict=True)]
    labels = [
        f"{label}: {values.mean():.3f}" for label, values in zip(made.labels, maps, strict=True)
    ]
    return contact_sheet([heat(values) for values in maps], labels=labels)


def without_background(view: Image.Image) -> Image.Image:
    """Return the RGBA of a view on white, without the veil that a model leaves there."""
    rgba = alpha_from_white((to_tensor(view) + 1) / 2)
    rgba[..., 3][rgba[..., 3] < _VEIL] = 0
    return Image.fromarray(to_uint8(rgba).numpy())
