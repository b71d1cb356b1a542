"""Published protocols as data: which views count, what becomes of alpha, which metrics are meant.

Each is declared once, from the script that its authors published, quirks and all. Numbers of one
protocol are never to be compared with those of another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from zero123lib.lpips import Net
from zero123lib.views.poses import Pose

# composite: rgb * a + (1 - a), in float32;  clear: white where alpha is 0, and rgb as it is
# elsewhere;  half: white where alpha is below 128, and rgb elsewhere;  dropped: rgb as it is
Alpha = Literal["composite", "clear", "half", "dropped"]
ALPHA_RULES: Mapping[Alpha, str] = {
    "composite": "on white",
    "clear": "white where it is 0, colours as they are elsewhere",
    "half": "white where it is below one half, colours as they are elsewhere",
    "dropped": "dropped, colours as they are",
}
# torchmetrics single: of float32, as its authors' script has it
Similarity = Literal[
    "torchmetrics", "torchmetrics single", "uniform 7", "uniform 11", "zero-padded"
]
# clip: similarity of CLIP's features;  fid: distance of Inception's;  fid_clip: of CLIP's
OfWeights = Literal["clip", "fid", "fid_clip"]


@dataclass(frozen=True)
class Reading:
    """Says how the pixels of a file become numbers in [0, 1].

    Attributes:
        alpha: see :data:`Alpha`.
        needs_alpha: whether a file without alpha is refused.
        side_px: to which files of another size are resized, by Pillow's bicubic filter; None
            refuses them.
    """

    alpha: Alpha
    needs_alpha: bool = False
    side_px: int | None = None


@dataclass(frozen=True)
class Rig:
    """Says from where views are taken.

    Attributes:
        poses: of the views, in order.
        focal_px: of images of ``size_px``, whose principal point is the middle; None where it was
            not published.
        size_px: width and height.
    """

    poses: tuple[Pose, ...]
    focal_px: float | None
    size_px: int


def nearest_view(poses: Sequence[Pose], view: int) -> int:
    """Tell which other camera's direction is the nearest; of several, the first."""
    others = [index for index in range(len(poses)) if index != view]
    return min(others, key=lambda index: round(_angle_deg(poses[view], poses[index]), 6))


def _angle_deg(a: Pose, b: Pose) -> float:
    """Compute the angle between two cameras as the object sees them."""
    up_a, up_b = math.radians(a.elevation_deg), math.radians(b.elevation_deg)
    turn = math.radians(a.azimuth_deg - b.azimuth_deg)
    level = math.cos(up_a) * math.cos(up_b) * math.cos(turn)
    return math.degrees(math.acos(max(-1.0, min(1.0, level + math.sin(up_a) * math.sin(up_b)))))


@dataclass(frozen=True)
class Protocol:
    """A protocol on views.

    Attributes:
        name: as the command line calls it.
        about: whose it is, and what it compares, in a sentence.
        views: numbers of the views that count; None takes all that the truth has.
        size_px: width and height of the images; None takes the truth's.
        truth, prediction: how either is read.
        similarity: whose SSIM it is, see :mod:`zero123lib.metrics.similarity`.
        summed_singly: PSNR's squared errors are added in float32, see
            :func:`zero123lib.metrics.psnr_single`.
        lpips: on which trunk; None where its weights are not to be had.
        objects: how many there are in the published tables.
        rig: the cameras; None where each object has its own.
        missing: metrics of the publication that cannot be computed here, and why.
        of_weights: its metrics whose weights do not come along, see
            :data:`zero123lib.evaluation.embeddings.METRICS_OF_WEIGHTS`.
        published: rows of published tables on the same objects: PSNR, SSIM, LPIPS.
        choices: what the publication leaves open, and how it is taken here.
        input_view: name of the true view that a model is given; None where the truth's folder does
            not hold it.
    """

    name: str
    about: str
    views: range | None
    size_px: int | None
    truth: Reading
    prediction: Reading
    similarity: Similarity
    lpips: Net | None
    objects: int | None = None
    rig: Rig | None = None
    missing: tuple[str, ...] = ()
    of_weights: tuple[OfWeights, ...] = ()
    summed_singly: bool = False
    published: Mapping[str, tuple[float, float, float]] | None = None
    choices: tuple[str, ...] = ()
    input_view: str | None = "000"

    def alpha_rule(self) -> str:
        """Say what becomes of alpha."""
        true, made = (ALPHA_RULES[one.alpha] for one in (self.truth, self.prediction))
        return (
            f"alpha: {true}" if true == made else f"alpha: the truth's {true}; predictions' {made}"
        )


SYNC_FOCAL_PX = 280.0
SYNC_RIG = Rig(tuple(Pose(30.0, 22.5 * k, 1.5) for k in range(16)), SYNC_FOCAL_PX, size_px=256)

FOLDER = Protocol(
    "folder",
    "anyone's predictions against anyone's truth, file by file of the same name",
    views=None,
    size_px=None,
    truth=Reading("composite"),
    prediction=Reading("composite"),
    similarity="torchmetrics",
    lpips="alex",
    of_weights=("clip", "fid"),
)
SYNCDREAMER = Protocol(
    "syncdreamer",
    "SyncDreamer's eval_nvs.py (Liu et al. 2023): 16 views, view 0, the input, among them",
    views=range(16),
    size_px=256,
    truth=Reading("composite"),
    prediction=Reading("composite"),
    similarity="torchmetrics single",
    summed_singly=True,
    lpips="vgg",
    objects=30,
    rig=SYNC_RIG,
    published={
        "Zero123": (18.93, 0.779, 0.166),
        "Zero123-XL": (19.47, 0.783, 0.159),
        "Stable Zero123": (19.79, 0.788, 0.153),
        "SyncDreamer": (20.05, 0.798, 0.146),
        "HarmonyView": (20.69, 0.825, 0.133),
    },
)
ESCHERNET = Protocol(
    "eschernet",
    "EscherNet's eval_2D_NVS.py on GSO (Kong et al. 2024): views 10 to 24 of 25 random ones",
    views=range(10, 25),
    size_px=256,
    truth=Reading("clear", needs_alpha=True, side_px=256),
    prediction=Reading("dropped"),
    similarity="uniform 7",
    lpips="alex",
    objects=30,
)
ESCHERNET_RTMV = replace(
    ESCHERNET,
    name="eschernet rtmv",
    about="EscherNet's eval_2D_NVS.py on RTMV (Kong et al. 2024): views 10 to 19 of 20 random ones",
    views=range(10, 20),
    truth=Reading("dropped"),
    objects=None,
)
ESCHERNET_NERF = replace(
    ESCHERNET,
    name="eschernet nerf",
    about="EscherNet's eval_2D_NVS.py on NeRF's scenes (Kong et al. 2024): all test views",
    views=None,
    prediction=Reading("dropped", side_px=256),
    objects=None,
)
IFUSION = Protocol(
    "ifusion",
    "iFusion's eval.py --nvs (Wu et al. 2023): 8 test views of the pair 0,1",
    views=range(8),
    size_px=256,
    truth=Reading("half"),
    prediction=Reading("half"),
    similarity="zero-padded",
    lpips="vgg",
    input_view=None,
    missing=("pose errors: they are of estimated cameras, see --poses",),
)
FREE3D = Protocol(
    "free3d",
    "Free3D's evaluation.py (Zheng and Vedaldi 2024): 12 views, alpha dropped",
    views=range(12),
    size_px=256,
    truth=Reading("dropped"),
    prediction=Reading("dropped"),
    similarity="uniform 11",
    lpips=None,
    objects=1030,
    missing=("LPIPS on SqueezeNet: its weights are not to be had",),
    of_weights=("fid_clip",),
    choices=("the published FID is on CLIP ViT-B/32",),
)
SV3D = Protocol(
    "sv3d",
    "SV3D's static orbits (Voleti et al. 2024): 21 views all round at the input's elevation",
    views=range(21),
    size_px=576,
    truth=Reading("composite"),
    prediction=Reading("composite"),
    similarity="torchmetrics",
    lpips="alex",
    objects=300,
    # Turns alone count: the elevation is the input's, whatever it is.
    rig=Rig(tuple(Pose(0.0, 360 * k / 21) for k in range(21)), focal_px=None, size_px=576),
    of_weights=("clip",),
    choices=(
        "no script was published: view 000 is the input, SSIM is torchmetrics', LPIPS on AlexNet",
    ),
)
PAPER = Protocol(
    "paper",
    "the tables of Zero-1-to-3 (Liu et al. 2023): views from cameras of each object's own",
    views=None,
    size_px=256,
    truth=Reading("composite"),
    prediction=Reading("composite"),
    similarity="torchmetrics",
    lpips="alex",
    of_weights=("fid",),
    choices=(
        "neither script, objects nor cameras were published: SSIM is torchmetrics', LPIPS on "
        "AlexNet, so no published row stands beside",
    ),
)
PROTOCOLS = {
    one.name: one
    for one in (
        *(FOLDER, SYNCDREAMER, ESCHERNET, ESCHERNET_RTMV, ESCHERNET_NERF),
        *(IFUSION, FREE3D, SV3D, PAPER),
    )
}
