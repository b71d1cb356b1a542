"""What a recipe says: threestudio's YAML as far as the embedded engine reads it, and its own part.

Sections nest and are named as in the YAML, so that a field's place here is its key there. OmegaConf
holds values to the types below; what a type cannot say is said in ``__post_init__``. Fields that
may be schedules or lists are ``Any``, as in threestudio, since OmegaConf knows no unions of them.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, fields
from typing import Any, Literal

from zero123lib._errors import ArgumentError
from zero123lib.reconstruction import checks
from zero123lib.reconstruction.schema_outputs import Outputs, Refine

# views: generated views, to which a field is fitted
# sds: score distillation, from the field that is there already, or from a first one
StageName = Literal["views", "sds"]

# trained: the 49.13 degrees that Zero123 was trained with, as far away as shows the same
# recipe: as `data` says; threestudio's 20 degrees at 3.8, say
CameraChoice = Literal["trained", "recipe"]

# blob: Magic3D's, as threestudio has it
# hull: a ball cut by the input's silhouette
Initial = Literal["blob", "hull"]


@dataclass(frozen=True)
class RandomCamera:
    """``data.random_camera``: the cameras of novel views.

    Attributes:
        height, width, batch_size: pixels and views per step; lists for `resolution_milestones`.
        resolution_milestones: steps at which the next entry of those lists is taken.
        elevation_range, azimuth_range: degrees; azimuth relative to the input's camera.
        camera_distance_range: scene units, of the camera of `fovy_range`.
        fovy_range: degrees.
    """

    height: Any = 64
    width: Any = 64
    batch_size: Any = 1
    resolution_milestones: tuple[int, ...] = ()
    elevation_range: tuple[float, float] = (-10.0, 80.0)
    azimuth_range: tuple[float, float] = (-180.0, 180.0)
    camera_distance_range: tuple[float, float] = (3.8, 3.8)
    fovy_range: tuple[float, float] = (20.0, 20.0)

    def __post_init__(self) -> None:
        checks.square(self, "height", "width")
        checks.sizes(self, "batch_size")
        for name in ("elevation_range", "azimuth_range", "camera_distance_range", "fovy_range"):
            low, high = getattr(self, name)
            if not low <= high:
                raise ArgumentError(name, "two numbers in order", f"[{low:g}, {high:g}]")
        if not -90 <= self.elevation_range[0] <= self.elevation_range[1] <= 90:
            raise ArgumentError(
                "elevation_range", "degrees in [-90, 90]", str(list(self.elevation_range))
            )
        checks.camera(self, "camera_distance_range", "fovy_range")


@dataclass(frozen=True)
class Data:
    """``data``: the input view.

    Attributes:
        height, width: pixels at which it is compared; lists for `resolution_milestones`.
        resolution_milestones: steps at which the next entry of those lists is taken.
        default_elevation_deg: of the camera that took it, unless the caller says.
        default_camera_distance: scene units.
        default_fovy_deg: degrees.
    """

    height: Any = 128
    width: Any = 128
    resolution_milestones: tuple[int, ...] = ()
    default_elevation_deg: float = 0.0
    default_camera_distance: float = 3.8
    default_fovy_deg: float = 20.0
    random_camera: RandomCamera = RandomCamera()

    def __post_init__(self) -> None:
        checks.square(self, "height", "width")
        if not -90 <= self.default_elevation_deg <= 90:
            raise ArgumentError(
                "default_elevation_deg", "degrees in [-90, 90]", f"{self.default_elevation_deg:g}"
            )
        checks.camera(self, "default_camera_distance", "default_fovy_deg")


@dataclass(frozen=True)
class FieldSection:
    """``embedded.field``: the voxels.

    Attributes:
        resolutions: nodes along each axis, stage by stage.
        milestones: share of the steps after which each further one begins.
        half_extent: half the side of the cube, world units; nothing is outside.
        samples: along each ray.
        initial: see :data:`Initial`; of distillation that begins from nothing.
        learning_rate: of distillation; null is ``optimizer.args.lr``. threestudio's is for a
            network, by which a step changes every place at once; voxels need larger ones.
        latent: colours are latents, rendered at the model's latent size (the official recipe).
    """

    resolutions: tuple[int, ...] = (48, 72, 96)
    milestones: tuple[float, ...] = (0.25, 0.5)
    half_extent: float = 0.6
    samples: int = 64
    initial: Initial = "blob"
    learning_rate: float | None = None
    latent: bool = False

    def __post_init__(self) -> None:
        checks.least(self, samples=1)
        if self.learning_rate is not None:
            checks.least(self, learning_rate=0)
        checks.least(self, resolutions=2)
        if not 0 < self.half_extent < math.inf:
            raise ArgumentError("half_extent", "above 0", f"{self.half_extent:g}")
        if len(self.resolutions) != len(self.milestones) + 1:
            raise ArgumentError(
                "milestones",
                f"{len(self.resolutions) - 1}, one fewer than resolutions",
                str(list(self.milestones)),
            )
        ascending = list(self.milestones) == sorted(self.milestones)
        if not ascending or not all(0 < share < 1 for share in self.milestones):
            raise ArgumentError(
                "milestones",
                "ascending shares of the steps, above 0 and below 1",
                str(list(self.milestones)),
            )


@dataclass(frozen=True)
class Views:
    """``embedded.views``: what is generated.

    Attributes:
        elevations_deg: absolute; one ring of views each.
        azimuths: views of a ring, evenly, the first at the input's azimuth.
        steps: ``num_inference_steps``; null is as the model recommends.
        sampler: see :data:`zero123lib.diffusion.samplers.Sampler`.
        opaque_darkness: how much darker than white a made pixel is that counts as all object;
            from 0 to this its alpha rises. null is as dark as the input's light parts are.
    """

    elevations_deg: tuple[float, ...] = (-10.0, 15.0, 45.0)
    azimuths: int = 12
    steps: int | None = None
    sampler: Literal["ddim", "official", "unipc", "dpmpp", "euler"] = "ddim"
    opaque_darkness: float | None = None

    def __post_init__(self) -> None:
        checks.least(self, azimuths=1)
        if self.steps is not None:
            checks.least(self, steps=1)
        if not self.elevations_deg or not all(-90 <= one <= 90 for one in self.elevations_deg):
            raise ArgumentError(
                "elevations_deg", "degrees in [-90, 90]", str(list(self.elevations_deg))
            )
        if self.opaque_darkness is not None and not 0 < self.opaque_darkness <= 1:
            raise ArgumentError(
                "opaque_darkness", "above 0 and at most 1", f"{self.opaque_darkness:g}"
            )


@dataclass(frozen=True)
class Fit:
    """``embedded.fit``: how the field is fitted to them, see
    :class:`zero123lib.fields.fitting.FitSettings`.

    Attributes:
        color_steps: further steps, of the colours alone, of a field that was made solid.
        input_weight: how much a pixel of the input counts against one of a made view.
    """

    steps: int = 400
    color_steps: int = 100
    rays: int = 2048
    density_rate: float = 0.05
    color_rate: float = 0.2
    rgb: Any = 1.0
    mask: Any = 0.5
    opaque: Any = 0.0
    density_variation: Any = 0.0
    color_variation: Any = 0.0
    robust: float = 1.0
    hull_tolerance: float = 0.15
    hull_margin_px: int = 0
    hull_density: float = 30.0
    input_weight: float = 16.0

    def __post_init__(self) -> None:
        checks.least(
            self, steps=1, color_steps=0, rays=1, density_rate=0, color_rate=0, input_weight=0,
            hull_margin_px=0,
        )  # fmt: skip
        for name in ("robust", "hull_density"):
            if not 0 < getattr(self, name) < math.inf:
                raise ArgumentError(name, "above 0", f"{getattr(self, name):g}")
        checks.schedules(self, "rgb", "mask", "opaque", "density_variation", "color_variation")
        if not 0 <= self.hull_tolerance < 1:
            raise ArgumentError(
                "hull_tolerance", "at least 0 and below 1", f"{self.hull_tolerance:g}"
            )


@dataclass(frozen=True)
class Embedded:
    """``system.guidance.embedded``: what threestudio has no key for.

    Attributes:
        stages: in order.
        preprocess: how the picture is framed, see :data:`zero123lib.views.images.Preprocess`.
        camera: see :data:`CameraChoice`.
        keep_silhouette: whether the hull, the field and the mesh have the input's silhouette,
            whatever the views made of it say.
        variant, weighting: of distillation, see :mod:`zero123lib.diffusion.distillation`; a null
            weighting is the variant's own.
        near_view, depth_smooth, depth_smooth_input: weights of the official recipe's losses on
            depth: between near views, and among neighbouring pixels of novel views and the input's.
        near_view_shift: how far a near view's eye is moved, scene units.
        density_variation: weight of the voxels' total variation, of distillation.
        preview_every: steps between previews of progress; 0 makes none.
    """

    stages: tuple[StageName, ...] = ("sds",)
    preprocess: Literal["auto", "official", "none"] = "auto"
    camera: CameraChoice = "trained"
    keep_silhouette: bool = True
    variant: Literal["sds", "sjc", "csd", "ism"] = "sds"
    weighting: Literal["sigma2", "uniform", "sigma_over_alpha", "alpha_sigma2"] | None = None
    near_view: Any = 0.0
    depth_smooth: Any = 0.0
    depth_smooth_input: Any = 0.0
    near_view_shift: float = 0.05
    density_variation: Any = 0.0
    field: FieldSection = FieldSection()
    views: Views = Views()
    fit: Fit = Fit()
    outputs: Outputs = dataclasses.field(default_factory=Outputs)
    refine: Refine = dataclasses.field(default_factory=Refine)
    preview_every: int = 25

    def __post_init__(self) -> None:
        orders = (("views",), ("sds",), ("views", "sds"))
        if tuple(self.stages) not in orders:
            raise ArgumentError("stages", "[views], [sds] or [views, sds]", str(list(self.stages)))
        if self.field.latent and "views" in self.stages:
            raise ArgumentError("field.latent", "false where there is a stage views", "true")
        if "views" not in self.stages and self.outputs.texture_from == "views":
            raise ArgumentError(
                "outputs.texture_from", "field where there is no stage views", "views"
            )
        if "views" not in self.stages and self.refine.steps:
            raise ArgumentError(
                "refine.steps", "0 where there is no stage views", str(self.refine.steps)
            )
        checks.schedules(
            self, "near_view", "depth_smooth", "depth_smooth_input", "density_variation"
        )
        checks.least(self, preview_every=0, near_view_shift=0)


@dataclass(frozen=True)
class Guidance:
    """``system.guidance``.

    Attributes:
        pretrained_model_name_or_path: the model, unless the caller says.
        guidance_scale: of generated views and of distillation.
        min_step_percent, max_step_percent: of all timesteps, shares in [0, 1].
        grad_clip: bound on each entry of the gradient; null is none.
    """

    pretrained_model_name_or_path: str = "tiny"
    guidance_scale: float = 3.0
    min_step_percent: Any = 0.02
    max_step_percent: Any = 0.98
    grad_clip: Any = None
    embedded: Embedded = Embedded()

    def __post_init__(self) -> None:
        checks.least(self, guidance_scale=0)
        checks.schedules(self, "min_step_percent", "max_step_percent", most=1.0)
        if self.grad_clip is not None:
            checks.schedules(self, "grad_clip")


@dataclass(frozen=True)
class Loss:
    """``system.loss``: weights of distillation's losses, each a number or a schedule."""

    lambda_sds: Any = 0.1
    lambda_rgb: Any = 500.0
    lambda_mask: Any = 50.0
    lambda_normal_smooth: Any = 0.0
    lambda_3d_normal_smooth: Any = 0.0
    lambda_orient: Any = 0.0
    lambda_sparsity: Any = 0.0
    lambda_opaque: Any = 0.0

    def __post_init__(self) -> None:
        checks.schedules(self, *(one.name for one in fields(self)))


@dataclass(frozen=True)
class OptimizerArguments:
    """``system.optimizer.args``."""

    lr: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        checks.least(self, lr=0, eps=0, weight_decay=0)
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ArgumentError("betas", "two numbers in [0, 1)", str(list(self.betas)))


@dataclass(frozen=True)
class Optimizer:
    """``system.optimizer``, of distillation."""

    name: Literal["Adam", "AdamW", "Adamax"] = "Adam"
    args: OptimizerArguments = OptimizerArguments()


@dataclass(frozen=True)
class System:
    """``system``."""

    guidance: Guidance = Guidance()
    loss: Loss = Loss()
    optimizer: Optimizer = Optimizer()


@dataclass(frozen=True)
class Trainer:
    """``trainer``: ``max_steps`` of distillation."""

    max_steps: int = 600

    def __post_init__(self) -> None:
        checks.least(self, max_steps=1)


@dataclass(frozen=True)
class Checkpoint:
    """``checkpoint``: a state to go on from is written every so many steps."""

    every_n_train_steps: int = 100

    def __post_init__(self) -> None:
        checks.least(self, every_n_train_steps=1)


@dataclass(frozen=True)
class Content:
    """The whole."""

    name: str = "recipe"
    seed: int = 0
    data: Data = Data()
    system: System = System()
    trainer: Trainer = Trainer()
    checkpoint: Checkpoint = Checkpoint()

    def __post_init__(self) -> None:
        checks.least(self, seed=0)
        checks.milestones(self.data, ("height",), "data")
        checks.milestones(self.data.random_camera, ("height", "batch_size"), "data.random_camera")
