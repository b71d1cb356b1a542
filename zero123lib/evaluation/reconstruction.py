"""How well a recipe finds the shape of objects whose shape is known: held-out procedural scenes.

The input is the image of :func:`scene_samples` with its alpha; the recipe is told the camera
that took it, so that both shapes lie in one world. Volume IoU is over the midpoints of a grid on
the cube that holds every object, Chamfer distance between points drawn evenly on both surfaces;
PSNR and LPIPS are of the mesh's images from :data:`EIGHT` cameras, and from the input's own. Two
answers that need no model stand beside: the visual hull of the input's silhouette within the unit
box, and the ball at the origin whose silhouette has the input's area.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib._versions import versions
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.evaluation.mesh_images import EIGHT, MeshScores, mesh_scores
from zero123lib.evaluation.predictions import evaluated_kinds
from zero123lib.evaluation.protocol_report import PREDICTION, ProtocolReport
from zero123lib.evaluation.samples import Sample, SceneSample, scene_samples
from zero123lib.evaluation.view_pairs import ObjectScores
from zero123lib.fields.hull import visual_hull
from zero123lib.fields.occupancy import evaluate, lattice
from zero123lib.lpips import WEIGHTS, file_digest
from zero123lib.meshes.mesh import Camera, Mesh
from zero123lib.metrics import chamfer_distance, surface_points, volume_iou
from zero123lib.reconstruction.cameras import OrbitCamera, equal_distance
from zero123lib.reconstruction.engine import Finished, Progress, reconstruct
from zero123lib.reconstruction.recipes import read_recipe
from zero123lib.reconstruction.videos import look
from zero123lib.scenes import Scene, render
from zero123lib.views.cameras import FOV_DEG, camera_to_world, focal_px
from zero123lib.views.eight_bits import to_uint8
from zero123lib.views.poses import Pose

HALF_EXTENT, CELLS = 0.6, 96
_SURFACE_POINTS = 20_000
# A report's columns, their titles and formats.
_COLUMNS = {
    "iou": ("IoU", ".3f"),
    "chamfer": ("Chamfer", ".2f"),
    "psnr": ("PSNR", ".2f"),
    "lpips": ("LPIPS", ".3f"),
    "input_psnr": ("in PSNR", ".2f"),
    "input_lpips": ("in LPIPS", ".3f"),
    "hull_iou": ("hull", ".3f"),
    "ball_iou": ("ball", ".3f"),
}
# A point of a part's shell that is this deep inside another part is no surface.
_BURIED = 1e-3


@dataclass(frozen=True, eq=False)
class Scored:
    """One object.

    Attributes:
        index, seed, kind: of the object.
        iou: of volumes, in [0, 1].
        chamfer: mean distance of either surface's points to the other surface, of both ways, in
            hundredths of the object's longest side; NaN without a mesh.
        psnr, lpips: of the mesh's images from eight cameras, dB and distance; NaN without a mesh.
        input_psnr, input_lpips: from the input's camera.
        hull_iou, ball_iou: of the two answers that need no model.
        seconds: stage by stage.
        input, truth, found: images ``[H, W, 3]`` in [0, 1]: what was given, and the object and
            the field from the side.
    """

    index: int
    seed: int
    kind: str
    iou: float
    chamfer: float
    psnr: float
    lpips: float
    input_psnr: float
    input_lpips: float
    hull_iou: float
    ball_iou: float
    seconds: dict[str, float]
    input: Tensor
    truth: Tensor
    found: Tensor

    @property
    def name(self) -> str:
        """Name the object, unlike all others of its report."""
        return f"{self.index:03d} {self.kind}"

    def by_object(self) -> ObjectScores:
        """Return its numbers in the form of all protocols; what it has no mesh for is left out."""
        found = {
            "psnr_db": self.psnr,
            "lpips": self.lpips,
            "chamfer": self.chamfer / 100,
            "volume_iou": self.iou,
        }
        measured = {name: [value] for name, value in found.items() if not math.isnan(value)}
        trivial = {"hull": self.hull_iou, "ball": self.ball_iou}
        answers = {PREDICTION: measured}
        answers |= {name: {"volume_iou": [iou]} for name, iou in trivial.items()}
        return ObjectScores(self.name, ["mesh"], answers, "" if len(measured) == 4 else "no mesh")


@dataclass(frozen=True, eq=False)
class ShapeReport:
    """All objects; ``weights`` is the SHA-256 of the model's."""

    model: str
    weights: str
    recipe: str
    seed: int
    kinds: Sequence[str]
    scored: Sequence[Scored]

    @property
    def by_object(self) -> ProtocolReport:
        """Return the report in the form of all protocols, with intervals over objects."""
        return ProtocolReport(
            "reconstruction",
            "held-out procedural objects, each from one image whose camera is told",
            {},
            [one.by_object() for one in self.scored],
            {"lpips": "alex", "sha256": file_digest(WEIGHTS)},
            (),
            (f"recipe {self.recipe}", "hull and ball are volumes without a surface or colours"),
        )

    def mean(self, name: str) -> float:
        """Return the mean of a number over the objects that have it."""
        return float(np.nanmean([getattr(one, name) for one in self.scored]))

    @property
    def seconds(self) -> list[float]:
        """Return the seconds per object, outputs left out."""
        return [sum(v for k, v in one.seconds.items() if k != "outputs") for one in self.scored]

    def to_dict(self, command: str | None = None) -> dict[str, Any]:
        """Return plain values for JSON."""
        names = tuple(_COLUMNS)
        return {
            "protocol": "reconstruction",
            "model": self.model,
            "weights": self.weights,
            "recipe": self.recipe,
            "seed": self.seed,
            "kinds": list(self.kinds),
            "objects": [
                {
                    "seed": one.seed,
                    "kind": one.kind,
                    **{n: _number(getattr(one, n)) for n in names},
                    "seconds": {k: round(v, 1) for k, v in one.seconds.items()},
                }
                for one in self.scored
            ],
            "by_object": self.by_object.numbers(),
            "mean": {name: _number(self.mean(name)) for name in names},
            "versions": versions(),
            "command": command,
        }

    def table(self) -> str:
        """Return some lines of text for people."""
        names = [title for title, _ in _COLUMNS.values()]
        rows = [f"{'object':14}" + "".join(f"{name:>9}" for name in [*names, "seconds"])]
        values = {one: [getattr(one, name) for name in _COLUMNS] for one in self.scored}
        lines = [(one.kind, values[one], s) for one, s in zip(values, self.seconds, strict=True)]
        means = [self.mean(name) for name in _COLUMNS]
        for kind, numbers, seconds in [*lines, ("mean", means, float(np.mean(self.seconds)))]:
            formats = [form for _, form in _COLUMNS.values()]
            cells = [f"{n:9{form}}" for n, form in zip(numbers, formats, strict=True)]
            rows.append(f"{kind:14}{''.join(cells)}{seconds:9.1f}")
        rows += self.by_object.spans()
        rows.append(f"kinds of objects: {', '.join(self.kinds)}")
        return "\n".join(rows)


def score_recipe(
    pipe: Zero123Pipeline,
    recipe: str,
    objects: int,
    *,
    first: int = 0,
    overrides: Sequence[str] = (),
    seed: int = 0,
    kinds: Collection[str] | None = None,
) -> Iterator[Progress | Scored]:
    """Reconstruct one held-out object after the other.

    Args:
        recipe: as :func:`zero123lib.reconstruction.recipes.read_recipe` takes it.
        objects: how many, at least 1.
        first: number of the first one; settings are chosen on others than those of the report.
        overrides: of the recipe's keys.
        seed: of all draws.
        kinds: of the objects; None takes what :func:`evaluated_kinds` says.

    Yields:
        The progress of an object, and then its scores.

    Raises:
        ValueError: an argument is out of range; the message names it.
    """
    read_recipe(recipe, overrides)
    if first < 0:
        raise ArgumentError("first", "at least 0", str(first))
    asked = evaluated_kinds(pipe, kinds)
    samples = scene_samples(first + objects, 1, pipe.image_size, asked)
    return _scores(pipe, recipe, islice(samples, first, None), overrides, seed)


def _scores(
    pipe: Zero123Pipeline,
    name: str,
    samples: Iterator[SceneSample],
    overrides: Sequence[str],
    seed: int,
) -> Iterator[Progress | Scored]:
    fov_deg = read_recipe(name, overrides).data.default_fovy_deg
    for sample in samples:
        camera = sample.condition_pose
        scene = sample.scene.turned(-camera.azimuth_deg)
        pose = Pose(camera.elevation_deg, 0.0, camera.radius)
        distance = equal_distance(camera.radius, FOV_DEG, fov_deg)
        told = [
            f"data.default_camera_distance={distance}",
            f"data.random_camera.camera_distance_range=[{distance}, {distance}]",
            "system.guidance.embedded.preprocess=none",
            f"system.guidance.embedded.field.half_extent={HALF_EXTENT}",
        ]
        rgba = render(scene, [pose], pipe.image_size).rgba[0]
        image = Image.fromarray(to_uint8(rgba).numpy())
        end = None
        for end in reconstruct(
            image,
            read_recipe(name, [*overrides, *told]),
            pipe=pipe,
            seed=seed,
            input_elevation_deg=camera.elevation_deg,
        ):
            if isinstance(end, Progress):
                yield end
        assert isinstance(end, Finished)
        yield _scored(sample, scene, pose, rgba, end)


def _scored(sample: Sample, scene: Scene, pose: Pose, rgba: Tensor, end: Finished) -> Scored:
    points = lattice(CELLS, HALF_EXTENT, centers=True)
    truth = scene.inside(points)
    found = evaluate(end.field.density, points) > (end.metrics["surface_level"] or math.inf)
    alpha = rgba[..., 3]
    side = Pose(20.0, 120.0, pose.radius)
    there = _mesh_scores(end.textured, EIGHT, render(scene, EIGHT, len(rgba)).rgba)
    here = _mesh_scores(end.textured, [pose], rgba[None])
    white = render(scene, [side], len(rgba), background="white").rgba[0, ..., :3]
    return Scored(
        sample.index,
        sample.seed,
        scene.name,
        float(volume_iou(found, truth)),
        _chamfer(end, scene),
        there.psnr,
        there.lpips,
        here.psnr,
        here.lpips,
        float(volume_iou(_hull(alpha, pose, points), truth)),
        float(volume_iou(points.norm(dim=-1) < ball_radius(alpha, pose.radius), truth)),
        dict(end.metrics["seconds"]),
        rgba[..., :3] * alpha[..., None] + 1 - alpha[..., None],
        white,
        look(end.field, OrbitCamera(side), len(rgba), normals=False).rgb,
    )


def ball_radius(alpha: Tensor, distance: float) -> float:
    """Return the radius of the ball at the origin that covers as much as an image's outline.

    Args:
        alpha: ``[S, S]``.
        distance: of the camera.
    """
    share = math.sqrt(float(alpha.mean()) / math.pi) * 2  # its radius, in halves of the image
    angle = math.atan(share / focal_px(2))
    return distance * math.sin(angle)


def _chamfer(end: Finished, scene: Scene) -> float:
    if end.mesh is None:
        return math.nan
    true = scene.mesh()
    points, normals = surface_points(true.vertices, true.faces, 2 * _SURFACE_POINTS, 0)
    buried = scene.inside(torch.from_numpy(points + _BURIED * normals)).numpy()
    faces = end.mesh.faces.numpy()
    found, _ = surface_points(end.mesh.vertices.double().numpy(), faces, _SURFACE_POINTS, 0)
    return 100 * chamfer_distance(found, points[~buried][:_SURFACE_POINTS])


def _mesh_scores(mesh: Mesh | None, poses: Sequence[Pose], true: Tensor) -> MeshScores:
    """NaN where there is no mesh."""
    if mesh is None:
        return MeshScores(math.nan, math.nan, math.nan)
    return mesh_scores(mesh, [Camera.at(pose, true.shape[1]) for pose in poses], true)


def _hull(alpha: Tensor, pose: Pose, points: Tensor) -> Tensor:
    camera = camera_to_world([pose])
    hull = visual_hull(alpha[None], camera, FOV_DEG, CELLS, half_extent=HALF_EXTENT)
    return hull & (points.abs().amax(-1) <= 0.5)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
