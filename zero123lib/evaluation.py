"""How well a model turns objects whose other sides are known: held-out procedural scenes.

    python -m zero123lib.evaluation --model tiny --objects 64 --views 3

Every number stands beside three trivial answers to the same question: the input unchanged, a
blank (white) picture, and the mean of the training pictures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.metrics import psnr
from zero123lib.scenes import HELD_OUT_SEED, random_camera, random_scene, render
from zero123lib.views.poses import Pose

_MEAN_SCENES = 256


@dataclass(frozen=True)
class Question:
    """One held-out object: an input view, target cameras and the true answers.

    Attributes:
        condition: ``[3, S, S]`` in [-1, 1] on white.
        condition_pose: its camera.
        target_poses: N cameras.
        targets: ``[N, 3, S, S]`` in [0, 1] on white.
        inside: ``[N, S, S]``, the union of the input's and the target's silhouettes.
    """

    condition: Tensor
    condition_pose: Pose
    target_poses: tuple[Pose, ...]
    targets: Tensor
    inside: Tensor


def held_out_questions(objects: int, views: int, size: int) -> Iterator[Question]:
    """Always the same questions for the same numbers; seeds and cameras are held out."""
    random = torch.Generator().manual_seed(HELD_OUT_SEED)
    for index in range(objects):
        poses = [random_camera(random) for _ in range(views + 1)]
        rgba = render(random_scene(HELD_OUT_SEED + index), poses, size).rgba
        rgb, alpha = rgba[..., :3], rgba[..., 3:]
        pictures = (rgb * alpha + 1 - alpha).permute(0, 3, 1, 2)
        covered = alpha[..., 0] > 0
        yield Question(
            pictures[0] * 2 - 1, poses[0], tuple(poses[1:]), pictures[1:], covered[1:] | covered[0]
        )


def mean_training_picture(size: int) -> Tensor:
    """Mean ``[3, S, S]`` in [0, 1] of one training view of each of 256 scenes."""
    random = torch.Generator().manual_seed(0)
    total = torch.zeros(3, size, size)
    for seed in range(_MEAN_SCENES):
        pose = random_camera(random)
        rgba = render(random_scene(seed), [pose], size, background="white").rgba
        total += rgba[0, ..., :3].permute(2, 0, 1)
    return total / _MEAN_SCENES


def evaluate_scenes(
    pipe: Zero123Pipeline,
    objects: int = 64,
    views: int = 3,
    *,
    num_inference_steps: int = 50,
    guidance_scale: float = 3.0,
    progress: Callable[[Iterator[Question]], Iterable[Question]] = iter,
) -> dict:
    """PSNR of generated views and of the trivial answers.

    Returns:
        ``{"objects", "views", "steps", "guidance", "psnr_db", "inside": {"psnr_db"},
        "baselines": {"input" | "blank" | "mean": {"psnr_db", "inside": {"psnr_db"}}}}``; each
        PSNR is per picture, then averaged.
    """
    size = pipe.image_size
    mean = mean_training_picture(size)
    scores: dict[str, list[Tensor]] = {}
    for index, question in enumerate(progress(held_out_questions(objects, views, size))):
        poses = [pose.relative_to(question.condition_pose) for pose in question.target_poses]
        made: Any = pipe(
            question.condition,
            poses,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            generator=torch.Generator().manual_seed(index),
            condition_elevation_deg=question.condition_pose.elevation_deg,
            output_type="pt",
            return_dict=False,
        )[0]
        same = (question.condition + 1) / 2
        answers = {"model": made, "input": same, "blank": torch.ones_like(same), "mean": mean}
        for name, answer in answers.items():
            answer = answer.to(question.targets).expand_as(question.targets)
            whole = psnr(answer, question.targets)
            inside = psnr(answer, question.targets, question.inside)
            scores.setdefault(name, []).append(torch.stack([whole, inside]))
    table = {name: torch.cat(rows, 1).mean(1).tolist() for name, rows in scores.items()}
    entries = {
        name: {"psnr_db": round(whole, 2), "inside": {"psnr_db": round(inside, 2)}}
        for name, (whole, inside) in table.items()
    }
    return {
        "objects": objects,
        "views": views,
        "steps": num_inference_steps,
        "guidance": guidance_scale,
        **entries.pop("model"),
        "baselines": entries,
    }


def main(arguments: list[str] | None = None) -> None:
    """Print the report as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m zero123lib.evaluation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="tiny", help="a name, a folder or a checkpoint file")
    parser.add_argument("--objects", type=int, default=64)
    parser.add_argument("--views", type=int, default=3)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--guidance", type=float, default=3.0)
    options = parser.parse_args(arguments)
    pipe = Zero123Pipeline.from_pretrained(options.model)
    pipe.set_progress_bar_config(disable=True)
    report = evaluate_scenes(
        pipe,
        options.objects,
        options.views,
        num_inference_steps=options.steps,
        guidance_scale=options.guidance,
        progress=lambda questions: tqdm(questions, total=options.objects, unit="object"),
    )
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
