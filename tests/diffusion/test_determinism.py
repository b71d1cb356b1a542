"""The same seed gives the same bytes; threads and batch sizes move rounding alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from zero123lib.views.folder import png
from zero123lib.views.images import to_pils
from zero123lib.views.poses import orbit

POSES = orbit(5, 10.0)
# Of values in [-1, 1]; half a level of 8 bits is 0.004.
TOLERANCE = 1e-4


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def made(pipe: Any, image: Tensor, **options: Any) -> Tensor:
    condition = pipe.encode(pipe.prepare(image))
    generator = torch.Generator().manual_seed(11)
    return pipe.views(condition, POSES, generator=generator, num_inference_steps=3,
                      guidance_scale=2.0, **options)  # fmt: skip


def digests(views: Tensor) -> list[str]:
    """Of the files that are written."""
    return [hashlib.sha256(png(one)).hexdigest() for one in to_pils(views)]


@pytest.mark.parametrize("sampler", ["official", "ddim", "unipc", "dpmpp", "euler"])
def test_the_same_seed_gives_the_same_files(pipe: Any, image: Tensor, sampler: str) -> None:
    first, second = (made(pipe, image, sampler=sampler) for _ in range(2))
    assert torch.equal(first, second) and digests(first) == digests(second)
    assert len(set(digests(first))) == len(POSES)


def test_threads_move_rounding_alone(
    pipe: Any, image: Tensor, threads: Callable[[int], None]
) -> None:
    found = []
    for count in (1, 2, 3):
        threads(count)
        found.append(made(pipe, image))
    for other in found[1:]:
        assert (other - found[0]).abs().max() <= TOLERANCE
        levels = [np.asarray(one, int) for views in (found[0], other) for one in to_pils(views)]
        assert np.abs(np.stack(levels[:5]) - np.stack(levels[5:])).max() <= 1


def test_batch_sizes_move_rounding_alone(pipe: Any, image: Tensor) -> None:
    whole = made(pipe, image)
    for size in (1, 2, 4):
        assert (made(pipe, image, max_batch_size=size) - whole).abs().max() <= TOLERANCE
