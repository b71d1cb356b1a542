"""What a reconstruction leaves behind.

turntable.gif, .mp4     the field from all around; depth.mp4 and normals.mp4 likewise
views.png               the input and the model's views of it, where there are any
field.safetensors, .json  the field: ``load_field`` reads it
mesh.ply, mesh.glb      its surface: z-up as our world is, with colours at the vertices; and y-up
                        as glTF is, with a texture
metrics.json            how it came about, and how long it took; the last
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib._files import whole_file, write_bytes, write_json
from zero123lib._optional import MissingExtraError
from zero123lib._versions import versions
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.fields.levels import silhouette_level
from zero123lib.fields.occupancy import OccupancyGrid
from zero123lib.fields.volume import View, render_camera
from zero123lib.fields.voxels import VoxelField, VoxelSettings
from zero123lib.meshes.export import write_mesh
from zero123lib.meshes.mesh import Mesh
from zero123lib.reconstruction import videos
from zero123lib.reconstruction.cameras import Shot
from zero123lib.reconstruction.decoded import decoded_field
from zero123lib.reconstruction.meshed import Meshing, Pictures
from zero123lib.reconstruction.pictures import InputView
from zero123lib.reconstruction.recipes import Recipe
from zero123lib.views.cameras import camera_to_world
from zero123lib.views.images import contact_sheet, to_pils
from zero123lib.views.poses import Pose, camera_label

# What is left out of pictures, per world unit: over the cube's diagonal it hides 1 %.
_LEAST_DENSITY = 0.005
# Where the surface's density is looked for, per world unit.
_LEVELS = (0.05, 500.0)


class Outputs:
    """The result of a run and its files.

    Attributes:
        field: with colours in [0, 1].
        mesh: with colours at its vertices; None before it is made, or where there is none.
        level: the density per world unit that is its surface.
        files: by name, those written.
        notes: what to tell the user.
    """

    def __init__(
        self,
        recipe: Recipe,
        view: InputView,
        pipe: Zero123Pipeline,
        field: VoxelField,
        made: tuple[Tensor, Sequence[Pose]] | None = None,
        *,
        seed: int = 0,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        Args:
            field: as the last stage left it.
            made: views on white ``[N, 3, S, S]`` in [0, 1], and the cameras of these and others.
            seed: of all that is drawn.
            stop: asked between steps of refinement; True leaves the mesh unrefined.
        """
        self.field = field
        self.mesh: Mesh | None = None
        self.files: dict[str, Path] = {}
        self.notes: list[str] = []
        self.level: float | None = None
        self._refined: dict[str, Any] | None = None
        self._recipe, self._view, self._pipe, self._made = recipe, view, pipe, made
        self._seed, self._stop = seed, stop

    def make(self, out: Path | None) -> Iterator[tuple[int, int]]:
        """Make all, and write it where there is a folder; yields steps done and steps in all."""
        wanted = self._recipe.embedded.outputs
        frames = wanted.frames if out is not None else 0
        total = frames + 3 + self._recipe.embedded.refine.steps
        if self._recipe.embedded.field.latent:
            self.field = decoded_field(self.field, self._pipe, self._recipe, self._view, self._seed)
        self.field = self.field.cpu().requires_grad_(False)
        if out is not None:
            self._write_field(out)
        self.level = wanted.mesh_level or self._found_level()
        yield 1, total
        seen = []
        for index in range(frames):
            seen.append(self._look(index / frames))
            yield 2 + index, total
        if out is not None:
            self._write_turns(out, seen)
            self._write_views(out)
        yield frames + 2, total
        if wanted.mesh_resolution and self.level is not None:
            for step in self._make_mesh(out, self.level):
                yield frames + 2 + step, total
        yield total, total

    def _found_level(self) -> float | None:
        """The density whose surface has the picture's silhouette: the one that is known."""
        view = self._view
        masks, cameras = view.rgba[None, ..., 3], camera_to_world([view.shot.pose])
        try:
            return silhouette_level(self.field, masks, cameras, view.shot.fov_deg, between=_LEVELS)
        except ValueError as error:
            self.notes.append(f"no surface: {error}")
            return None

    def metrics(
        self,
        ended: str,
        steps: Mapping[str, tuple[int, int]],
        seconds: Mapping[str, float],
        losses: Mapping[str, Mapping[str, float]],
        seed: int,
    ) -> dict[str, Any]:
        """For JSON.

        Args:
            ended: ``"finished"``, ``"stopped"`` or ``"max_steps"``.
            steps: stage -> steps taken and steps in all.
        """
        recipe, pose = self._recipe, self._view.shot.pose
        return {
            "ended": ended,
            "recipe": recipe.name,
            "model": self._pipe.model_name,
            "model_licence": self._pipe.licence,
            "seed": seed,
            "input_camera": {
                "elevation_deg": pose.elevation_deg,
                "azimuth_deg": pose.azimuth_deg,
                "radius": pose.radius,
                "fov_deg": self._view.shot.fov_deg,
            },
            "stages": {
                name: {
                    "steps": taken,
                    "of": total,
                    "seconds": round(seconds.get(name, 0.0), 2),
                    "losses": dict(losses.get(name, {})),
                }
                for name, (taken, total) in steps.items()
            },
            "seconds": {name: round(value, 2) for name, value in seconds.items()},
            "surface_level": self.level,
            "mesh": self._mesh_facts(),
            "ignored_keys": list(recipe.ignored),
            "notes": self.notes,
            "versions": versions(),
            "recipe_text": recipe.text,
        }

    def write_metrics(self, out: Path, metrics: Mapping[str, Any]) -> None:
        """``metrics.json``."""
        self.files["metrics.json"] = out / "metrics.json"
        write_json(out / "metrics.json", metrics)

    def _look(self, turn: float) -> tuple[Tensor, Tensor, Tensor]:
        """The picture, the depth and the normals from a camera of the turntable."""
        wanted, shot = self._recipe.embedded.outputs, self._view.shot
        pose = Pose(wanted.elevation_deg, 360 * turn, shot.pose.radius)
        seen = look(self.field, Shot(pose, shot.fov_deg), wanted.size - wanted.size % 2)
        assert seen.normals is not None
        reach = self.field.half_extent * math.sqrt(3)
        nearness = (pose.radius + reach - seen.depth) / (2 * reach)
        white = (1 - seen.opacity)[..., None]
        return (
            seen.rgb,
            videos.grey((nearness * seen.opacity).clamp(0, 1)),
            (seen.normals + seen.opacity[..., None]) / 2 + white,
        )

    def _write_turns(self, out: Path, seen: list[tuple[Tensor, Tensor, Tensor]]) -> None:
        turns = dict(zip(("turntable", "depth", "normals"), zip(*seen, strict=True), strict=True))
        self.files["turntable.gif"] = out / "turntable.gif"
        videos.write_gif(out / "turntable.gif", turns["turntable"])
        try:
            for name, frames in turns.items():
                videos.write_mp4(out / f"{name}.mp4", frames)
                self.files[f"{name}.mp4"] = out / f"{name}.mp4"
        except MissingExtraError as error:
            self.notes.append(f"no MP4, the GIF alone: {error}")

    def _write_views(self, out: Path) -> None:
        if self._made is None:
            return
        pictures, poses = self._made
        labels = ["input", *(camera_label(one.relative_to(self._view.shot.pose)) for one in poses)]
        views = to_pils(pictures * 2 - 1) if len(pictures) else []
        sheet = contact_sheet([self._view.prepared.image, *views], labels=labels[: len(views) + 1])
        with whole_file(out / "views.png") as scratch:
            sheet.save(scratch)
        self.files["views.png"] = out / "views.png"

    def _write_field(self, out: Path) -> None:
        for file in write_field(out, self.field):
            self.files[file.name] = file

    def _make_mesh(self, out: Path | None, level: float) -> Iterator[int]:
        """The mesh and its files; yields after each step of refinement."""
        pictures = None
        if self._made is not None:
            pictures = Pictures.of(self._recipe, self._view, *self._made)
        making = Meshing(
            self._recipe,
            self.field,
            pictures,
            seed=self._seed,
            device=self._pipe.device if self._pipe.device.type == "cuda" else torch.device("cpu"),
            stop=self._stop,
        )
        yield from making.make(level, texture=out is not None)
        self.mesh, self._refined = making.mesh, making.refined
        self.notes += making.notes
        if out is None or self.mesh is None:
            return
        made = {"mesh.ply": self.mesh, "mesh.glb": making.textured or self.mesh}
        try:
            for name, mesh in made.items():
                write_mesh(out / name, mesh)
                self.files[name] = out / name
        except MissingExtraError as error:
            self.notes.append(f"no mesh files: {error}")

    def _mesh_facts(self) -> dict[str, Any] | None:
        if self.mesh is None:
            return None
        counts = {"vertices": len(self.mesh.vertices), "faces": len(self.mesh.faces)}
        return {**counts, "refined": self._refined}


def look(field: VoxelField, shot: Shot, size: int, *, normals: bool = True) -> View:
    """A picture of a field on white, without gradient."""
    device = field.raw_density.device
    with torch.no_grad():
        occupancy = OccupancyGrid.of(
            field.density,
            field.half_extent,
            field.resolution - 1,
            _LEAST_DENSITY,
            device=device,
        )
        camera = camera_to_world(shot.pose).to(device)
        return render_camera(
            field, camera, size, shot.fov_deg, occupancy=occupancy, normals=normals
        )


def preview(field: VoxelField, shot: Shot, size: int, pipe: Zero123Pipeline) -> Tensor:
    """A picture ``[H, W, 3]`` in [0, 1] for progress; one of latents is decoded."""
    if field.settings.bounds == "unit":
        return look(field, shot, size, normals=False).rgb.cpu()
    latents = look(field, shot, pipe.latent_shape[-1], normals=False).rgb
    return ((pipe.decode(latents.permute(2, 0, 1)[None])[0] + 1) / 2).permute(1, 2, 0).cpu()


def write_field(out: Path, field: VoxelField) -> tuple[Path, Path]:
    """``field.safetensors`` and ``field.json``, each whole or not at all."""
    weights, settings = out / "field.safetensors", out / "field.json"
    tensors = {name: one.detach().contiguous() for name, one in field.state_dict().items()}
    write_bytes(weights, save(tensors))
    write_json(settings, {"kind": "VoxelField", "settings": asdict(field.settings)})
    return weights, settings


def load_field(folder: str | Path) -> VoxelField:
    """The field of a folder that :func:`write_field` wrote.

    Raises:
        ValueError: there is none, or it cannot be read.
    """
    folder = Path(folder)
    try:
        settings = json.loads((folder / "field.json").read_text())["settings"]
        if settings["box"] is not None:
            settings["box"] = tuple(map(tuple, settings["box"]))
        field = VoxelField(VoxelSettings(**settings))
        field.load_state_dict(load_file(folder / "field.safetensors"))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ArgumentError("folder", f"a field in {str(folder)!r}", str(reason)) from error
    return field.requires_grad_(False)
