"""Views around an object that agree with each other: what ``pipe.orbit`` can do for it.

    none         every view on its own, all in one batch
    viewfusion   one after the other, each conditioned on the photo and on the nearest views before
                 it (ViewFusion, Yang et al. 2024), see :mod:`zero123lib.diffusion.several`
    mutual       all in one batch, their self-attention shared with the photo's own view, see
                 :mod:`zero123lib.diffusion.mutual`

All begin at the same noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zero123lib._choices import Consistency
from zero123lib.diffusion import arguments, samplers
from zero123lib.diffusion.outputs import Condition
from zero123lib.diffusion.several import check_input_poses, distances_deg, view_weights
from zero123lib.views.images import Prepared, to_pil
from zero123lib.views.poses import RelativePose

# Zero123Pipeline, whose module imports this one.
Pipeline = Any

# How many views before it a view is conditioned on, beside the photo.
_MEMORY = 2
# Made views count as if so much farther away than the photo, which is no guess.
_HANDICAP_DEG = 20.0


def consistent_views(
    pipe: Pipeline,
    condition: Condition | Sequence[Condition],
    poses: Sequence[RelativePose],
    consistency: Consistency,
    *,
    input_poses: Sequence[RelativePose] | None = None,
    generator: torch.Generator | list[torch.Generator] | None = None,
    latents: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """Make views that agree, one per pose, ``[N, 3, H, W]`` in [-1, 1], float32.

    Args:
        condition, input_poses: one photo, or several with their cameras.
        consistency: see the top of the module.
        generator, latents: as for :meth:`~zero123lib.diffusion.pipeline.Zero123Pipeline.sample`.
        **options: of :meth:`~zero123lib.diffusion.pipeline.Zero123Pipeline.views`.
    """
    arguments.check_choice("consistency", consistency, Consistency)
    arguments.check_poses(poses)
    arguments.check_generator(generator, len(poses))
    photos, origins = check_input_poses(condition, input_poses)
    if consistency == "viewfusion":
        return _one_by_one(pipe, photos, origins, poses, generator, latents, **options)
    noise: dict[str, Any] = {"generator": generator, "latents": latents}
    mutual = consistency == "mutual"
    return pipe.views(photos, poses, input_poses=origins, mutual=mutual, **noise, **options)


def _one_by_one(
    pipe: Pipeline,
    photos: Sequence[Condition],
    photo_poses: Sequence[RelativePose],
    poses: Sequence[RelativePose],
    generator: torch.Generator | list[torch.Generator] | None,
    latents: Tensor | None,
    **options: Any,
) -> Tensor:
    """Make views from the photos' cameras outwards, to both sides in turn."""
    if latents is None:
        # Where the model runs, also while offloading has its weights elsewhere.
        device = pipe._execution_device
        latents = samplers.unit_noise(pipe.latent_shape, len(poses), generator, device)
    latents = arguments.checked_latents(latents, (len(poses), *pipe.latent_shape))
    order = distances_deg(photo_poses, poses).amin(1).argsort(stable=True).tolist()
    made: dict[int, Tensor] = {}
    known: dict[int, Condition] = {}
    for place in order:
        away = distances_deg([poses[one] for one in known], [poses[place]])[0] if known else None
        nearest = [] if away is None else away.argsort(stable=True)[:_MEMORY].tolist()
        before = [list(known)[one] for one in nearest]
        origins = [*photo_poses, *(poses[one] for one in before)]
        handicaps = [0.0] * len(photos) + [_HANDICAP_DEG] * len(before)
        view = pipe.views(
            [*photos, *(known[one] for one in before)],
            [poses[place]],
            input_poses=origins,
            input_weights=view_weights(origins, [poses[place]], handicaps_deg=handicaps),
            latents=latents[place : place + 1],
            generator=[generator[place]] if isinstance(generator, list) else generator,
            **options,
        )
        made[place], known[place] = view[0], pipe.encode(_as_condition(pipe, view[0]))
    return torch.stack([made[place] for place in range(len(poses))])


def _as_condition(pipe: Pipeline, view: Tensor) -> Prepared:
    """Take a made view ``[3, H, W]`` as an image, at the model's size."""
    size = pipe.image_size
    if view.shape[-1] != size:
        view = torch.nn.functional.interpolate(view[None], (size, size), mode="area")[0]
    image = to_pil(view)
    return Prepared(image, image.convert("RGBA"), view.cpu(), "none", "none", 1.0)
