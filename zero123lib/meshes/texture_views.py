"""A texture from images of known cameras, by gradient descent on what the images show.

What texels a pixel shows is found once (`texture_samples`); then texels are changed until the
pixels are those of the images. The gradient is what the pixels lack, given back to the texels by
their shares; divided by what each texel counts in all images, a step neither needs a length nor
oscillates (SIRT: Gilbert 1972). Detail that the images do not hold stays as smooth as the start.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from zero123lib._choices import Upscale
from zero123lib._errors import ArgumentError
from zero123lib.meshes.atlas import unwrap
from zero123lib.meshes.filling import inpaint
from zero123lib.meshes.mesh import Camera, Mesh
from zero123lib.meshes.shading import to_linear, to_srgb
from zero123lib.meshes.texels import filled
from zero123lib.meshes.texture import atlas_texels, textured
from zero123lib.meshes.texture_samples import Samples, ViewFit, sample_views
from zero123lib.upscaling import upscaled

# Of the descent, what `agreed_steps` chooses from, and what it takes where it cannot tell.
_STEPS, _STEPS_UNTOLD = (0, 4, 20), 4
_HELD_OUT = 4
# Steps in which texels come to show the trusted image, interpolated to pixels so much smaller, and
# then as it is: each pixel mixes few texels, and they settle soon.
_TRUSTED_STEPS, _FINER, _OWN_STEPS = 12, 4, 4
# The cosines of surfaces towards the trusted image's camera between which it comes to decide.
_TRUSTED_COSINES = (0.15, 0.5)
# Other images are made so many times brighter or darker at most, by no fewer pixels than these.
_MOST_GAIN, _LEAST_OVERLAP = 2.0, 16.0
# How many times nearer to a silhouette than other images it already counts in full.
_TRUSTED_EDGE = 1.5


def texture_from_views(
    mesh: Mesh,
    images: Tensor,
    cameras: Sequence[Camera],
    size: int = 1024,
    fit: ViewFit | None = None,
    backend: str = "auto",
    *,
    view_weights: Tensor | None = None,
    trusted: int | None = None,
    detail: Tensor | None = None,
    upscale: Upscale = 1,
) -> Mesh:
    """Give a mesh the texture that images show. Their light becomes part of it.

    Texels that no image shows well are filled from around them on the surface, those between the
    charts from the nearest chart.

    Args:
        mesh: its texture coordinates are used where it has some, else it is unwrapped.
        images: sRGB in [0, 1] ``[V, S, S, 3]``, or with straight alpha ``[V, S, S, 4]``, which
            says what is not the object.
        cameras: of the images, each of their size.
        size: of the square texture, texels.
        fit: see `ViewFit`.
        backend: of `rasterizer`.
        view_weights: how much each image counts, above 0 ``[V]``; None counts all alike.
        trusted: number of the image that is known where the others are guesses. Where it shows a
            surface squarely it decides; towards grazing angles and silhouettes less and less.
        detail: the trusted image at more pixels ``[D, D, 4]``, D a multiple of S.
        upscale: how many times larger the images are made first, by a network, see
            :func:`zero123lib.upscaling.upscaled`.

    Returns:
        The mesh with an opaque uint8 texture ``[size, size, 4]``; to be shown with
        `shading.AMBIENT`.

    Raises:
        ValueError: shapes do not fit, the images are not finite, or none shows the mesh.
        MissingExtraError: a backend, or xatlas, is not installed.
    """
    fit = fit or ViewFit()
    check_views(images, cameras)
    view_weights = check_view_weights(view_weights, len(images))
    if trusted is not None and not 0 <= trusted < len(images):
        raise ArgumentError("trusted", f"the number of one of {len(images)} images", str(trusted))
    images = upscaled(images.movedim(-1, 1), upscale).movedim(1, -1)
    cameras = [replace(camera, size=upscale * camera.size) for camera in cameras]
    mesh = mesh if mesh.uv is not None else unwrap(mesh, size)
    texels = atlas_texels(mesh, size)
    samples = sample_views(mesh, images, cameras, size, fit, backend)
    fine = None
    if trusted is not None and bool((samples.views == trusted).any()):
        image = images[trusted] if detail is None else detail
        fine = _finer_samples(mesh, image, cameras[trusted], size, fit, backend)
    used, samples, fine = _compacted(samples, fine)
    weight = view_weights.to(samples.inner)
    if fine is not None and trusted is not None:
        samples = balanced(samples, len(used), fit, weight, trusted)
    colors = fit_texels(samples, len(used), fit, weight)
    if fine is not None:
        colors = show_image(fine, colors, _TRUSTED_STEPS)
        if detail is None:
            # Its own pixels, too, which are not quite the means of what was interpolated.
            colors = show_image(samples.those(samples.views == trusted), colors, _OWN_STEPS)
    texture = mesh.vertices.new_zeros(size * size, 3)
    texture[used] = to_srgb(colors)
    seen = torch.zeros(size * size, dtype=torch.bool, device=texture.device)
    seen[used] = samples.adjoint(len(used))(samples.inner[:, None])[:, 0] >= fit.least_weight
    near = texels.face_ids >= 0
    seen = seen.reshape(size, size) & near
    if not bool(seen.any()):
        raise ArgumentError("images", "some that show the mesh", "none that does")
    whole = inpaint(mesh, texels, texture.reshape(size, size, 3), seen)
    return textured(mesh, filled(whole, near))


def check_views(images: Tensor, cameras: Sequence[Camera]) -> None:
    """Raise ValueError where images and cameras do not fit together."""
    shape = list(images.shape)
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] not in (3, 4) or 0 in shape:
        raise ArgumentError("images", "a shape [V, S, S, 3 or 4]", str(shape))
    if not images.is_floating_point() or not bool(((images >= 0.0) & (images <= 1.0)).all()):
        raise ArgumentError("images", "floating numbers in [0, 1]", "others")
    if len(cameras) != shape[0]:
        raise ArgumentError("cameras", f"one per image ({shape[0]})", str(len(cameras)))
    for camera in cameras:
        if camera.size != shape[1]:
            raise ArgumentError("cameras", f"size {shape[1]}, as the images'", str(camera.size))


def check_view_weights(view_weights: Tensor | None, count: int) -> Tensor:
    """Return how much each of `count` images counts, with mean 1."""
    view_weights = (
        torch.ones(count) if view_weights is None else view_weights.detach().float().cpu()
    )
    if list(view_weights.shape) != [count] or not bool(
        ((view_weights > 0.0) & view_weights.isfinite()).all()
    ):
        raise ArgumentError(
            "view_weights", f"{count} numbers above 0, one per image", str(view_weights)
        )
    return view_weights / view_weights.mean()


def fit_texels(samples: Samples, count: int, fit: ViewFit, view_weights: Tensor) -> Tensor:
    """Find linear colours ``[count, 3]`` of texels whose pixels are those of the images.

    Args:
        view_weights: how much each image counts ``[V]``.
    """
    steps = agreed_steps(samples, count, fit, view_weights) if fit.steps is None else fit.steps
    descent = islice(_descent(samples, count, fit, view_weights), steps + 1)
    return deque(tqdm(descent, "texture", steps + 1, delay=2, disable=None), maxlen=1).pop()


def agreed_steps(samples: Samples, count: int, fit: ViewFit, view_weights: Tensor) -> int:
    """Find how many steps suit images: many where they agree, few where they contradict each other.

    Every fourth image is held out, and the steps win whose texture is nearest to those, where the
    others show it. Of fewer than four images none can be spared; then, and where the others show
    nothing of it, few steps are taken.
    """
    held = samples.views % _HELD_OUT == _HELD_OUT - 1
    if not bool(held.any()):
        return _STEPS_UNTOLD
    others, asked = samples.those(~held), samples.those(held)
    known = others.adjoint(count)(others.inner[:, None])[:, 0] >= fit.least_weight
    asked = asked.those(known[asked.texels].all(1))
    if not len(asked.targets):
        return _STEPS_UNTOLD
    weights = _weights(asked, fit, view_weights)
    errors = {}
    for step, colors in enumerate(
        islice(_descent(others, count, fit, view_weights), _STEPS[-1] + 1)
    ):
        if step in _STEPS:
            off = (to_srgb(asked.predicted(colors)) - asked.targets).square()
            errors[step] = float((weights * off).sum())
    return min(errors, key=lambda step: errors[step])


def _descent(samples: Samples, count: int, fit: ViewFit, view_weights: Tensor) -> Iterator[Tensor]:
    """Linear colours ``[count, 3]`` of texels, after no step, after one, and so on."""
    adjoint = samples.adjoint(count)
    weights = _weights(samples, fit, view_weights)
    colors = to_linear(adjoint(weights * samples.targets) / _at_least(adjoint(weights)))
    goal = to_linear(samples.targets)
    while True:
        yield colors
        pixels = samples.predicted(colors)
        error = (to_srgb(pixels) - samples.targets).square().sum(-1, keepdim=True)
        trusted = weights / (1.0 + error / fit.robust**2).sqrt()
        change = adjoint(trusted * (goal - pixels)) / _at_least(adjoint(trusted))
        colors = (colors + change).clamp(0.0, 1.0)


def _weights(samples: Samples, fit: ViewFit, view_weights: Tensor) -> Tensor:
    """Return how much pixels count ``[P, 1]``."""
    return (view_weights[samples.views] * samples.inner * samples.facing**fit.sharpness).unsqueeze(
        -1
    )


def balanced(
    samples: Samples, count: int, fit: ViewFit, view_weights: Tensor, trusted: int
) -> Samples:
    """Give the other images the exposure of the trusted one, where both show the same surface.

    A gain for each channel, in linear light, makes the means alike (gain compensation: Brown and
    Lowe 2007); else the trusted image would stand out from what is around it.
    """
    mine = samples.views == trusted
    others, own = samples.those(~mine), samples.those(mine)
    weights, adjoint = _weights(others, fit, view_weights), others.adjoint(count)
    total = adjoint(weights)
    colors = to_linear(adjoint(weights * others.targets) / _at_least(total))
    own = own.those((total[:, 0] > 0.0)[own.texels].all(1))
    certain = certainty(own).unsqueeze(-1)
    wanted, had = (
        (certain * to_linear(own.targets)).sum(0),
        (certain * own.predicted(colors)).sum(0),
    )
    if float(certain.sum()) < _LEAST_OVERLAP:
        return samples
    gain = (wanted / had.clamp_min(1e-6)).clamp(1.0 / _MOST_GAIN, _MOST_GAIN)
    lit = to_srgb(gain * to_linear(samples.targets))
    return replace(samples, targets=torch.where(mine.unsqueeze(-1), samples.targets, lit))


def _finer_samples(
    mesh: Mesh, image: Tensor, camera: Camera, size: int, fit: ViewFit, backend: str
) -> Samples:
    """Return what an image shows, brought to pixels near the texels: else they would show its
    squares."""
    finer = max(min(max(_FINER, len(image) // camera.size), size // camera.size), 1)
    alpha = image[..., 3:] if image.shape[-1] == 4 else torch.ones_like(image[..., :1])
    whole = torch.cat([image[..., :3] * alpha, alpha], -1).permute(2, 0, 1)[None]
    smooth = F.interpolate(whole, [finer * camera.size] * 2, mode="bicubic", antialias=True)[0]
    smooth = smooth.permute(1, 2, 0).clamp(0.0, 1.0)
    straight = (smooth[..., :3] / smooth[..., 3:].clamp_min(1e-6)).clamp(0.0, 1.0)
    one_each = replace(fit, supersample=1, edge_px=fit.edge_px * finer)
    near = replace(camera, size=camera.size * finer)
    made = torch.cat([straight, smooth[..., 3:]], -1)
    return sample_views(mesh, made[None], [near], size, one_each, backend)


def _compacted(samples: Samples, fine: Samples | None) -> tuple[Tensor, Samples, Samples | None]:
    """Return the texels that are used, and the samples with their numbers among those."""
    if fine is None:
        used, compact = torch.unique(samples.texels, return_inverse=True)
        return used, replace(samples, texels=compact), None
    parts = (samples.texels, fine.texels)
    used, compact = torch.unique(torch.cat([part.flatten() for part in parts]), return_inverse=True)
    first, second = compact.split([part.numel() for part in parts])
    return (
        used,
        replace(samples, texels=first.reshape(samples.texels.shape)),
        replace(fine, texels=second.reshape(fine.texels.shape)),
    )


def show_image(samples: Samples, colors: Tensor, steps: int) -> Tensor:
    """Change texels until they show one image, as far as it shows the surface squarely.

    A pixel's goal lies between what the texels show and what the image shows. SIRT again, of this
    image alone.

    Args:
        samples: of the image.
        colors: linear, of all texels ``[T, 3]``.
        steps: of the descent.

    Returns:
        Linear colours ``[T, 3]``.
    """
    if not len(samples.inner):
        return colors
    adjoint = samples.adjoint(len(colors))
    goal = torch.lerp(
        samples.predicted(colors), to_linear(samples.targets), certainty(samples).unsqueeze(-1)
    )
    total = _at_least(adjoint(torch.ones_like(samples.inner).unsqueeze(-1)))
    for _ in range(steps):
        change = adjoint(goal - samples.predicted(colors)) / total
        colors = (colors + change).clamp(0.0, 1.0)
    return colors


def certainty(samples: Samples) -> Tensor:
    """Tell how far an image decides about what its pixels show ``[P]``, 0 to 1."""
    low, high = _TRUSTED_COSINES
    square = ((samples.facing - low) / (high - low)).clamp(0.0, 1.0)
    square = square * square * (3.0 - 2.0 * square)
    return square * (_TRUSTED_EDGE * samples.inner.sqrt()).clamp(max=1.0)


def _at_least(weights: Tensor) -> Tensor:
    """Return weights to divide by; where they are 0, so is what is divided."""
    return weights.clamp(min=1e-20)
