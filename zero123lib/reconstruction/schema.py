"""What a recipe says: threestudio's YAML as far as the embedded engine reads it, and its own part.

Sections nest and are named as in the YAML, so that a field's place here is its key there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from zero123lib._choices import Preprocess, Sampler
from zero123lib._config import Listed, NonNegative, Number, Pair, Positive, Range, Several, settings
from zero123lib._errors import ArgumentError
from zero123lib.fields.settings import Stages
from zero123lib.reconstruction.schedules import Schedule, ShareSchedule
from zero123lib.reconstruction.schema_outputs import Count, Elevation, Int, Outputs, Refine, Whole

# views: generated views, to which a field is fitted
# sds: score distillation, from the field that is there already, or from a first one
StageName = Literal["views", "sds"]

# trained: the 49.13 degrees that Zero123 was trained with, as far away as shows the same
# recipe: as `data` says; threestudio's 20 degrees at 3.8, say
CameraChoice = Literal["trained", "recipe"]

# blob: Magic3D's, as threestudio has it
# hull: a ball cut by the input's silhouette
Initial = Literal["blob", "hull"]

Fov = Annotated[Number, Field(gt=0, lt=180)]
# One for all steps, or a list for `resolution_milestones`.
Sizes = Count | Several[Count]
# As an environment says it, too; and a name may look like a number.
Flag = Annotated[bool, Field(strict=False)]
Text = Annotated[str, Field(strict=False, coerce_numbers_to_str=True)]


def _check_sizes(section: Any, *names: str) -> None:
    """Hold images to squares, and lists to one more entry than milestones."""
    if section.width != section.height:
        got = f"{section.width!r} beside {section.height!r}"
        raise ArgumentError("width", "the height, as images are square", got)
    wanted = len(section.resolution_milestones) + 1
    for name in names:
        value = getattr(section, name)
        if isinstance(value, Sequence) and len(value) != wanted:
            expected = f"{wanted} numbers, one more than resolution_milestones"
            raise ArgumentError(name, expected, str(list(value)))


@settings
class RandomCamera:
    """``data.random_camera``: the cameras of novel views.

    Attributes:
        height, width, batch_size: pixels and views per step; lists for `resolution_milestones`.
        resolution_milestones: steps at which the next entry of those lists is taken.
        elevation_range, azimuth_range: degrees; azimuth relative to the input's camera.
        camera_distance_range: scene units, of the camera of `fovy_range`.
        fovy_range: degrees.
    """

    height: Sizes = 64
    width: Sizes = 64
    batch_size: Sizes = 1
    resolution_milestones: Listed[Int] = ()
    elevation_range: Range[Elevation] = (-10.0, 80.0)
    azimuth_range: Range[Number] = (-180.0, 180.0)
    camera_distance_range: Range[Positive] = (3.8, 3.8)
    fovy_range: Range[Fov] = (20.0, 20.0)

    def __post_init__(self) -> None:
        _check_sizes(self, "height", "batch_size")


@settings
class Data:
    """``data``: the input view.

    Attributes:
        height, width: pixels at which it is compared; lists for `resolution_milestones`.
        resolution_milestones: steps at which the next entry of those lists is taken.
        default_elevation_deg: of the camera that took it, unless the caller says.
        default_camera_distance: scene units.
        default_fovy_deg: degrees.
    """

    height: Sizes = 128
    width: Sizes = 128
    resolution_milestones: Listed[Int] = ()
    default_elevation_deg: Elevation = 0.0
    default_camera_distance: Positive = 3.8
    default_fovy_deg: Fov = 20.0
    random_camera: RandomCamera = RandomCamera()

    def __post_init__(self) -> None:
        _check_sizes(self, "height")


@settings
class FieldSection(Stages):
    """``embedded.field``: the voxels.

    Attributes:
        initial: see :data:`Initial`; of distillation that begins from nothing.
        learning_rate: of distillation; null is ``optimizer.args.lr``. threestudio's is for a
            network, by which a step changes every place at once; voxels need larger ones.
        latent: colours are latents, rendered at the model's latent size (the official recipe).
    """

    samples: Count = 64
    initial: Initial = "blob"
    learning_rate: NonNegative | None = None
    latent: Flag = False


@settings
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

    elevations_deg: Several[Elevation] = (-10.0, 15.0, 45.0)
    azimuths: Count = 12
    steps: Count | None = None
    sampler: Sampler = "ddim"
    opaque_darkness: Annotated[Number, Field(gt=0, le=1)] | None = None


@settings
class Fit:
    """``embedded.fit``: how the field is fitted to them, see
    :class:`zero123lib.fields.fitting.FitSettings`.

    Attributes:
        color_steps: further steps, of the colours alone, of a field that was made solid.
        input_weight: how much a pixel of the input counts against one of a made view.
    """

    steps: Count = 400
    color_steps: Whole = 100
    rays: Count = 2048
    density_rate: NonNegative = 0.05
    color_rate: NonNegative = 0.2
    rgb: Schedule = 1.0
    mask: Schedule = 0.5
    opaque: Schedule = 0.0
    density_variation: Schedule = 0.0
    color_variation: Schedule = 0.0
    robust: Positive = 1.0
    hull_tolerance: Number = Field(default=0.15, ge=0, lt=1)
    hull_margin_px: Whole = 0
    hull_density: Positive = 30.0
    input_weight: NonNegative = 16.0


@settings
class Embedded:
    """``system.guidance.embedded``: what threestudio has no key for.

    Attributes:
        stages: in order.
        preprocess: how the image is framed, see :data:`zero123lib.views.images.Preprocess`.
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

    stages: Several[StageName] = ("sds",)
    preprocess: Preprocess = "auto"
    camera: CameraChoice = "trained"
    keep_silhouette: Flag = True
    variant: Literal["sds", "sjc", "csd", "ism"] = "sds"
    weighting: Literal["sigma2", "uniform", "sigma_over_alpha", "alpha_sigma2"] | None = None
    near_view: Schedule = 0.0
    depth_smooth: Schedule = 0.0
    depth_smooth_input: Schedule = 0.0
    near_view_shift: NonNegative = 0.05
    density_variation: Schedule = 0.0
    field: FieldSection = FieldSection()
    views: Views = Views()
    fit: Fit = Fit()
    outputs: Outputs = Outputs()
    refine: Refine = Refine()
    preview_every: Whole = 25

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


@settings
class Guidance:
    """``system.guidance``.

    Attributes:
        pretrained_model_name_or_path: the model, unless the caller says.
        guidance_scale: of generated views and of distillation.
        min_step_percent, max_step_percent: of all timesteps, shares in [0, 1].
        grad_clip: bound on each entry of the gradient; null is none.
    """

    pretrained_model_name_or_path: Text = "tiny"
    guidance_scale: NonNegative = 3.0
    min_step_percent: ShareSchedule = 0.02
    max_step_percent: ShareSchedule = 0.98
    grad_clip: Schedule | None = None
    embedded: Embedded = Embedded()


@settings
class Loss:
    """``system.loss``: weights of distillation's losses, each a number or a schedule."""

    lambda_sds: Schedule = 0.1
    lambda_rgb: Schedule = 500.0
    lambda_mask: Schedule = 50.0
    lambda_normal_smooth: Schedule = 0.0
    lambda_3d_normal_smooth: Schedule = 0.0
    lambda_orient: Schedule = 0.0
    lambda_sparsity: Schedule = 0.0
    lambda_opaque: Schedule = 0.0


@settings
class OptimizerArguments:
    """``system.optimizer.args``."""

    lr: NonNegative = 0.01
    betas: Pair[Annotated[Number, Field(ge=0, lt=1)]] = (0.9, 0.99)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0


@settings
class Optimizer:
    """``system.optimizer``, of distillation."""

    name: Literal["Adam", "AdamW", "Adamax"] = "Adam"
    args: OptimizerArguments = OptimizerArguments()


@settings
class System:
    """``system``."""

    guidance: Guidance = Guidance()
    loss: Loss = Loss()
    optimizer: Optimizer = Optimizer()


@settings
class Trainer:
    """``trainer``: ``max_steps`` of distillation."""

    max_steps: Count = 600


@settings
class Checkpoint:
    """``checkpoint``: a state to go on from is written every so many steps."""

    every_n_train_steps: Count = 100


@settings
class Content:
    """The whole."""

    name: Text = "recipe"
    seed: Whole = 0
    data: Data = Data()
    system: System = System()
    trainer: Trainer = Trainer()
    checkpoint: Checkpoint = Checkpoint()
