"""Stand-ins for a pipeline whose answers are known."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from zero123lib.evaluation import samples, scene_samples

SIZE = 32


class Echo:
    """Answers every sample with the input, and remembers what it was asked."""

    image_size, model_name, licence = SIZE, "echo", None
    config = {"num_inference_steps": 9, "guidance_scale": 1.5}  # noqa: RUF012
    trained_on = {}  # noqa: RUF012
    components = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.asked: list[SimpleNamespace] = []

    def __call__(self, condition, poses, **options):
        self.asked.append(SimpleNamespace(condition=condition, poses=poses, **options))
        return [self.answer(condition).expand(len(poses), -1, -1, -1)]

    def recommended(self, steps=None, scale=None):
        own = self.config["num_inference_steps"], self.config["guidance_scale"]
        return own[0] if steps is None else steps, own[1] if scale is None else scale

    def answer(self, condition):
        return (condition + 1) / 2


class Oracle(Echo):
    """Knows the true views of the first samples."""

    model_name = "oracle"

    def __init__(self, objects: int, views: int) -> None:
        super().__init__()
        self.known = list(scene_samples(objects, views, SIZE))

    def answer(self, condition):
        return next(q.targets for q in self.known if torch.equal(q.condition, condition))


@pytest.fixture(scope="module", autouse=True)
def few_mean_scenes() -> Iterator[None]:
    """The mean of training images is of a few: each set of kinds asks for hundreds of renders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "_MEAN_SCENES", 8)
        samples._mean_image.cache_clear()
        yield
    samples._mean_image.cache_clear()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture(scope="session")
def oracle() -> Oracle:
    return Oracle(4, 2)
