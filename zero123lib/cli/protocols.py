"""`zero123 evaluate` by published protocols."""

from __future__ import annotations

from typing import Literal

from zero123lib._errors import ArgumentError
from zero123lib.cli.options import Flag
from zero123lib.cli.reporting import Features
from zero123lib.cli.scoring import (
    Making,
    Predictions,
    Scoring,
    Truth,
    Vgg,
    score,
    score_views,
)


def syncdreamer(
    predictions: Predictions,
    truth: Truth,
    /,
    *,
    meshes: Flag = False,
    engine: Flag = False,
    lpips_vgg: Vgg = None,
    scoring: Scoring = Scoring(),
    making: Making = Making(),
    features: Features = Features(),
) -> None:
    """Measure views or meshes by SyncDreamer's protocol, which most papers follow.

    Of each object 000.png to 015.png, 256 px: azimuths of 22.5 degrees from one
    to the next, elevation 30; view 0, the input, counts. Alpha goes on white.
    PSNR, SSIM as torchmetrics has it, LPIPS on VGG16, the same digits as
    eval_nvs.py. Baselines: the input for all cameras, a white image, the
    nearest other true view; with --engine the true views through a field of
    ours. --out and --model as for `zero123 evaluate folder`. Of a truth that
    has meshes, missing views are rendered into --out's truth/, unlit.

    --meshes compares OBJECT.ply, or OBJECT/mesh.ply, with the truth's depth
    images 000-depth.png to 015-depth.png, or those of its mesh, as eval_mesh.py
    does: Chamfer distance and volume IoU; F-score at 0.02 and normal
    consistency beside them. OBJ, PLY and STL files are taken with z up.
    Predictions are neither scaled nor aligned; of the truth all but
    mesh_aligned.ply are normalised, and the published set's objects turned.
    Baselines: the true mesh itself, and a ball.

        zero123 evaluate syncdreamer made/ gso/ --lpips-vgg vgg16.ckpt
        zero123 evaluate syncdreamer meshes/ gso/ --meshes

    Args:
        predictions: a folder of objects.
        truth: the same objects' true views, or meshes.
        meshes: compare meshes in place of views.
        engine: fit a field to each object's true views, as a baseline.
        lpips_vgg: file of VGG16's weights with LPIPS's heads; without it, no LPIPS.
    """
    if meshes:
        if engine:
            raise ArgumentError("engine", "no --meshes beside it", "both")
        if lpips_vgg is not None:
            raise ArgumentError("lpips_vgg", "no --meshes beside it", "both")
        making.refuse("--meshes")
        features.refuse("--meshes")
        from zero123lib.evaluation.evaluated import SYNC_MESHES, MeshesRun

        found = MeshesRun.of(SYNC_MESHES, predictions, truth, scoring.objects)
        return score(found, ["syncdreamer", str(predictions), str(truth), "--meshes"], scoring)
    from zero123lib.evaluation.protocols import SYNCDREAMER

    score_views(
        SYNCDREAMER, predictions, truth, scoring, features, making, lpips_vgg, engine=engine
    )


def eschernet(
    predictions: Predictions,
    truth: Truth,
    /,
    *,
    scenes: Literal["gso", "rtmv", "nerf"] = "gso",
    meshes: Flag = False,
    scoring: Scoring = Scoring(),
    making: Making = Making(),
    features: Features = Features(),
) -> None:
    """Measure views or meshes by EscherNet's protocol.

    Of each GSO object views 010.png to 024.png, of RTMV's 010.png to 019.png,
    of NeRF's synthetic scenes all that the truth has. Except for RTMV's the
    truth needs alpha: white where it is 0, colours as they are elsewhere. PSNR
    and SSIM of 8 bits, SSIM as scikit-image has it, LPIPS on AlexNet. --out and
    --model as for `zero123 evaluate folder`; a model is given view 000.

    --meshes compares OBJECT.ply, or OBJECT/mesh.ply, with the truth's, both
    scaled to the unit box: Chamfer distance of their vertices, volume IoU.

        zero123 evaluate eschernet made/ GSO30/
        zero123 evaluate eschernet meshes/ GSO30/ --meshes

    Args:
        predictions: a folder of objects.
        truth: the same objects' true views, RGBA; or meshes.
        scenes: which of its three data sets.
        meshes: compare meshes in place of views.
    """
    from zero123lib.evaluation.protocols import ESCHERNET, ESCHERNET_NERF, ESCHERNET_RTMV

    if not meshes:
        chosen = {"gso": ESCHERNET, "rtmv": ESCHERNET_RTMV, "nerf": ESCHERNET_NERF}[scenes]
        words = [] if scenes == "gso" else ["--scenes", scenes]
        return score_views(chosen, predictions, truth, scoring, features, making, options=words)
    making.refuse("--meshes")
    features.refuse("--meshes")
    if scenes != "gso":
        raise ArgumentError("scenes", "gso beside --meshes", scenes)
    from zero123lib.evaluation.evaluated import ESCHER_MESHES, MeshesRun

    found = MeshesRun.of(ESCHER_MESHES, predictions, truth, scoring.objects)
    score(found, ["eschernet", str(predictions), str(truth), "--meshes"], scoring)


def ifusion(
    predictions: Predictions,
    truth: Truth,
    /,
    *,
    poses: Flag = False,
    lpips_vgg: Vgg = None,
    scoring: Scoring = Scoring(),
    features: Features = Features(),
) -> None:
    """Measure views or estimated cameras by iFusion's protocol.

    Of each object 000.png to 007.png, 256 px, the test views of its pair 0,1.
    White where alpha is below one half. SSIM with a Gaussian window of 11 and
    black beyond the border, LPIPS on VGG16. --out as for `zero123 evaluate
    folder`.

    --poses compares SCENE/0,1/transform.json and those of the 19 other ordered
    pairs, whose second frame is the estimate, with SCENE/train/transform.json:
    median errors of rotation and translation, and recall at 5 degrees.
    Baseline: the camera has not moved.

        zero123 evaluate ifusion made/ GSO/ --lpips-vgg vgg16.ckpt
        zero123 evaluate ifusion exp/GSO/ rendering/GSO/ --poses

    Args:
        predictions: a folder of objects.
        truth: the same objects' true views, or cameras.
        poses: compare cameras in place of views.
        lpips_vgg: file of VGG16's weights with LPIPS's heads; without it, no LPIPS.
    """
    if poses:
        if lpips_vgg is not None:
            raise ArgumentError("lpips_vgg", "no --poses beside it", "both")
        features.refuse("--poses")
        from zero123lib.evaluation.pose_pairs import PosesRun

        found = PosesRun.of(predictions, truth, scoring.objects)
        return score(found, ["ifusion", str(predictions), str(truth), "--poses"], scoring)
    from zero123lib.evaluation.protocols import IFUSION

    score_views(IFUSION, predictions, truth, scoring, features, vgg=lpips_vgg)


def free3d(
    predictions: Predictions,
    truth: Truth,
    /,
    *,
    scoring: Scoring = Scoring(),
    making: Making = Making(),
    features: Features = Features(),
) -> None:
    """Measure views by Free3D's protocol, without its LPIPS.

    Of each object 000.png to 011.png, 256 px, alpha dropped. SSIM as
    scikit-image has it, with a window of 11; FID on CLIP with the folder of
    ViT-B/32. The weights of SqueezeNet's LPIPS are not to be had, which the
    report says. --out and --model as for `zero123 evaluate folder`; a model is
    given view 000.

        zero123 evaluate free3d made/ GSO/ --clip clip-vit-base-patch32/

    Args:
        predictions: a folder of objects.
        truth: the same objects' true views.
    """
    from zero123lib.evaluation.protocols import FREE3D

    score_views(FREE3D, predictions, truth, scoring, features, making)


def sv3d(
    predictions: Predictions,
    truth: Truth,
    /,
    *,
    scoring: Scoring = Scoring(),
    making: Making = Making(),
    features: Features = Features(),
) -> None:
    """Measure views by SV3D's protocol; its CLIP score takes a folder of CLIP.

    Of each object 000.png to 020.png, 576 px, evenly all round at one
    elevation; view 0 is the input. Alpha goes on white. No script of it was
    published: SSIM as torchmetrics has it and LPIPS on AlexNet are our choice,
    which the report says. --out and --model as for `zero123 evaluate folder`.

        zero123 evaluate sv3d made/ orbits/ --clip clip-vit-large-patch14/

    Args:
        predictions: a folder of objects.
        truth: the same objects' true views.
    """
    from zero123lib.evaluation.protocols import SV3D

    score_views(SV3D, predictions, truth, scoring, features, making)


def paper(
    predictions: Predictions,
    truth: Truth,
    /,
    *,
    scoring: Scoring = Scoring(),
    making: Making = Making(),
    features: Features = Features(),
) -> None:
    """Measure views as the tables of Zero-1-to-3's paper do, as far as it says how.

    Of each object all views of the truth, 256 px, alpha on white; PSNR, SSIM
    and LPIPS. Neither script, objects nor cameras were published: SSIM as
    torchmetrics has it and LPIPS on AlexNet are our choice, and no published
    number stands beside. --out and --model as for `zero123 evaluate folder`.

        zero123 evaluate paper made/ GSO/

    Args:
        predictions: a folder of objects.
        truth: the same objects' true views.
    """
    from zero123lib.evaluation.protocols import PAPER

    score_views(PAPER, predictions, truth, scoring, features, making)
