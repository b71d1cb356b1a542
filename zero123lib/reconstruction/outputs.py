"""What a reconstruction leaves behind.

In the order in which they are written:

    field.safetensors, .json   the field: ``load_field`` reads it
    mesh.ply, mesh.glb         its surface: z-up as our world is, with colours at the vertices;
                               and y-up as glTF is, with a texture
    views.png                  the input and the model's views of it, where there are any
    turntable.gif, .mp4        the field from all around; depth.mp4 and normals.mp4 likewise
    metrics.json               how it came about, and how long it took; the last
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib._files import whole_file, write_bytes, write_json
from zero123lib._optional import MissingExtraError
from zero123lib._versions import versions
from zero123lib.diffusion.apps import bundled_networks
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.fields.levels import silhouette_iso_level
from zero123lib.fields.voxels import VoxelField, VoxelSettings
from zero123lib.meshes.export import write_mesh
from zero123lib.meshes.mesh import Mesh
from zero123lib.reconstruction import videos
from zero123lib.reconstruction.cameras import OrbitCamera
from zero123lib.reconstruction.decoded import decoded_field
from zero123lib.reconstruction.meshed import Meshing
from zero123lib.reconstruction.posed import PosedViews
from zero123lib.reconstruction.recipes import Recipe
from zero123lib.reconstruction.state import METRICS, belongs_to
from zero123lib.reconstruction.subject import Photo, Subject
from zero123lib.reconstruction.videos import look
from zero123lib.views.images import contact_sheet, to_pils
from zero123lib.views.poses import Pose, camera_label

# Where the surface's density is looked for, per world unit.
_LEVELS = (0.05, 500.0)


class Outputs:
    """The result of a run and its files.

    Attributes:
        field: with colours in [0, 1].
        mesh: with colours at its vertices, where the images came with cameras in their world; None
            before it is made, or where there is none.
        textured: the mesh with a texture; None before it is made, or where there is none.
        level: the density per world unit that is its surface.
        files: by name, those written.
        notes: what to tell the user.
    """

    def __init__(
        self,
        recipe: Recipe,
        subject: Subject,
        field: VoxelField,
        made: tuple[Tensor, Sequence[Pose]] | None = None,
        *,
        seed: int = 0,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Begin with nothing made.

        Args:
            field: as the last stage left it.
            made: views on white ``[N, 3, S, S]`` in [0, 1], and the cameras of these and others.
            seed: of all that is drawn.
            stop: asked between steps of refinement; True leaves the mesh unrefined.
        """
        self.field = field
        self.mesh: Mesh | None = None
        self.textured: Mesh | None = None
        self.files: dict[str, Path] = {}
        self.notes: list[str] = []
        self.level: float | None = None
        self._refined: dict[str, Any] | None = None
        self._recipe, self._subject, self._made = recipe, subject, made
        self._seed, self._stop = seed, stop

    def make(self, out: Path | None) -> Iterator[tuple[int, int]]:
        """Make all, and write it where there is a folder; yields steps done and steps in all.

        The mesh is the first and the film the last, as one is what people wait for.
        """
        wanted, subject = self._recipe.embedded.outputs, self._subject
        frames = wanted.frames if out is not None else 0
        before_film = 2 + self._recipe.embedded.refine.steps
        total = before_film + frames + 1
        if self._recipe.embedded.field.latent and isinstance(subject, Photo):
            self.field = decoded_field(
                self.field, subject.pipe, self._recipe, subject.view, self._seed
            )
        # Where it is asked; what is written and returned lies on the CPU.
        asked = deepcopy(self.field).to(subject.device).requires_grad_(False)
        self.field = self.field.cpu().requires_grad_(False)
        if out is not None:
            # It tells of a run's files, and comes last.
            (out / METRICS).unlink(missing_ok=True)
            for file in write_field(out, self.field):
                self.files[file.name] = file
        self.level = wanted.mesh_level or self._found_level(asked)
        yield 1, total
        if wanted.mesh_resolution and self.level is not None:
            for step in self._make_mesh(asked, self.level):
                yield 1 + step, total
            self._write_mesh(out)
        yield before_film, total
        if out is not None:
            self._write_views(out)
            film: list[videos.Frame] = []
            for frame in videos.turn(asked, subject.camera, wanted):
                film.append(frame)
                yield before_film + len(film), total
            if film:
                self._write_film(out, film)
        yield total, total

    def _found_level(self, field: VoxelField) -> float | None:
        """Return the density whose surface has the silhouettes that are known."""
        masks, cameras, fov_deg = self._subject.silhouettes
        masks, cameras = (one.to(self._subject.device) for one in (masks, cameras))
        try:
            return silhouette_iso_level(field, masks, cameras, fov_deg, between=_LEVELS)
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
        """Return what metrics.json says.

        Args:
            ended: ``"finished"``, ``"stopped"`` or ``"max_steps"``.
            steps: stage -> steps taken and steps in all.
        """
        recipe, subject = self._recipe, self._subject
        pipe, pose = subject.pipe, subject.camera.pose
        camera = {
            "elevation_deg": pose.elevation_deg,
            "azimuth_deg": pose.azimuth_deg,
            "radius": pose.radius,
            "fov_deg": subject.camera.fov_deg,
        }
        return {
            "ended": ended,
            "recipe": recipe.name,
            "model": None if pipe is None else pipe.model_name,
            "model_licence": None if pipe is None else pipe.licence,
            "networks": self._networks(),
            "seed": seed,
            "input_camera": camera if isinstance(subject, Photo) else None,
            "world": None if isinstance(subject, Photo) else asdict(subject.views.world),
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
            "files": [*self.files, METRICS],
            "belongs_to": belongs_to(recipe, subject, seed),
            "versions": versions(),
            "recipe_text": recipe.text,
        }

    def _networks(self) -> list[str]:
        """Name the bundled networks that the photos passed through."""
        upscale, subject = self._recipe.embedded.outputs.texture_upscale, self._subject
        photos = subject.photos if isinstance(subject, Photo) else []
        methods = [one.prepared.method for one in photos] or [None]
        return list(dict.fromkeys(n for one in methods for n in bundled_networks(one, upscale)))

    def write_metrics(self, out: Path, metrics: Mapping[str, Any]) -> None:
        """Write ``metrics.json``."""
        self.files[METRICS] = out / METRICS
        write_json(out / METRICS, metrics)

    def _make_mesh(self, field: VoxelField, level: float) -> Iterator[int]:
        """Make the mesh; yields after each step of refinement."""
        views = None
        if isinstance(self._subject, Photo):
            if self._made is not None:
                views = PosedViews.of_input(self._recipe, self._subject.photos, *self._made)
        else:
            views = self._subject.views
        making = Meshing(
            self._recipe,
            field,
            views,
            self._subject.silhouette(self._recipe),
            seed=self._seed,
            device=self._subject.device,
            stop=self._stop,
        )
        yield from making.make(level)
        self._refined = making.refined
        self.mesh, self.textured = (self._in_world(one) for one in (making.mesh, making.textured))
        self.notes += making.notes

    def _in_world(self, mesh: Mesh | None) -> Mesh | None:
        """Return the mesh in the world that the images came in."""
        if mesh is None or isinstance(self._subject, Photo):
            return mesh
        return replace(mesh, vertices=self._subject.views.world.back(mesh.vertices))

    def _write_mesh(self, out: Path | None) -> None:
        if out is None or self.mesh is None:
            return
        made = {"mesh.ply": self.mesh, "mesh.glb": self.textured or self.mesh}
        try:
            for name, mesh in made.items():
                write_mesh(out / name, mesh)
                self.files[name] = out / name
        except MissingExtraError as error:
            self.notes.append(f"no mesh files: {error}")

    def _write_views(self, out: Path) -> None:
        if self._made is None or not isinstance(self._subject, Photo):
            return
        images, poses = self._made
        photos, camera = self._subject.photos, self._subject.camera.pose
        places = [*(one.camera.pose for one in photos[1:]), *poses]
        labels = ["input", *(camera_label(one.relative_to(camera)) for one in places)]
        labels[1 : len(photos)] = [f"input, {label}" for label in labels[1 : len(photos)]]
        made = to_pils(images * 2 - 1) if len(images) else []
        shown = [*(one.prepared.image for one in photos), *made]
        sheet = contact_sheet(shown, labels=labels[: len(shown)])
        with whole_file(out / "views.png") as scratch:
            sheet.save(scratch)
        self.files["views.png"] = out / "views.png"

    def _write_film(self, out: Path, film: Sequence[videos.Frame]) -> None:
        self.files["turntable.gif"] = out / "turntable.gif"
        videos.write_gif(out / "turntable.gif", [frame.color for frame in film])
        films = {
            "turntable.mp4": [frame.color for frame in film],
            "depth.mp4": [frame.depth for frame in film],
            "normals.mp4": [frame.normals for frame in film],
        }
        try:
            for name, frames in films.items():
                videos.write_mp4(out / name, frames)
                self.files[name] = out / name
        except MissingExtraError as error:
            self.notes.append(f"no MP4, the GIF alone: {error}")

    def _mesh_facts(self) -> dict[str, Any] | None:
        if self.mesh is None:
            return None
        counts = {"vertices": len(self.mesh.vertices), "faces": len(self.mesh.faces)}
        return {**counts, "refined": self._refined}


def preview(
    field: VoxelField, camera: OrbitCamera, size: int, pipe: Zero123Pipeline | None
) -> Tensor:
    """Render ``[H, W, 3]`` in [0, 1] for progress; what shows latents is decoded by the model."""
    if field.settings.bounds == "unit" or pipe is None:
        return look(field, camera, size, normals=False).rgb.cpu()
    latents = look(field, camera, pipe.latent_shape[-1], normals=False).rgb
    return ((pipe.decode(latents.permute(2, 0, 1)[None])[0] + 1) / 2).permute(1, 2, 0).cpu()


def write_field(out: Path, field: VoxelField) -> tuple[Path, Path]:
    """Return ``field.safetensors`` and ``field.json``, each whole or not at all."""
    weights, settings = out / "field.safetensors", out / "field.json"
    tensors = {name: one.detach().contiguous() for name, one in field.state_dict().items()}
    write_bytes(weights, save(tensors))
    write_json(settings, {"kind": "VoxelField", "settings": asdict(field.settings)})
    return weights, settings


def load_field(folder: str | Path) -> VoxelField:
    """Return the field of a folder that :func:`write_field` wrote.

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
