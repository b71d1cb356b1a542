"""What the pipeline refuses: wrong arguments by their names, and numbers that are not finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from zero123lib._errors import NotFiniteError
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.poses import RelativePose

MakePipeline = Callable[..., Zero123Pipeline]

POSES = [RelativePose(), RelativePose(-20, 45, 0.1)]

nan, inf = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"poses": []}, "poses: expected at least one RelativePose, got an empty list"),
        ({"poses": [(0, 45)]}, "poses: expected a list of RelativePose, got one of tuple"),
        ({"poses": POSES[0]}, "poses: expected a list of RelativePose, got RelativePose"),
        ({"poses": "45"}, "poses: expected a list of RelativePose, got str"),
        ({"num_inference_steps": 0}, "num_inference_steps: expected a whole number from 1 to 1000"),
        ({"num_inference_steps": 1001}, "num_inference_steps: expected .* got 1001"),
        ({"num_inference_steps": 5.0}, "num_inference_steps: expected .* got 5.0"),
        ({"num_inference_steps": nan}, "num_inference_steps: expected .* got nan"),
        ({"num_inference_steps": True}, "num_inference_steps: expected .* got True"),
        ({"guidance_scale": nan}, "guidance_scale: expected a number of at least 0, got nan"),
        ({"guidance_scale": inf}, "guidance_scale: expected a number of at least 0, got inf"),
        ({"guidance_scale": -1.0}, "guidance_scale: expected a number of at least 0, got -1.0"),
        ({"guidance_scale": "3"}, "guidance_scale: expected a number of at least 0, got '3'"),
        ({"sampler": "heun"}, "sampler: expected one of 'official', 'ddim', .* got 'heun'"),
        ({"sampler": []}, r"sampler: expected one of 'official', 'ddim', .* got \[\]"),
        ({"eta": 1.5}, r"eta: expected a number in \[0, 1\], got 1.5"),
        ({"eta": nan}, r"eta: expected a number in \[0, 1\], got nan"),
        ({"eta": "1"}, r"eta: expected a number in \[0, 1\], got '1'"),
        ({"eta": 0.5, "sampler": "dpmpp"}, "eta: expected 0, as 'dpmpp' adds no noise, got 0.5"),
        ({"output_type": "jpg"}, "output_type: expected one of 'pil', .* got 'jpg'"),
        ({"preprocess": "crop"}, "preprocess: expected .* got 'crop'"),
        ({"foreground_ratio": 0.0}, "foreground_ratio: expected .* got 0.0"),
        ({"foreground_ratio": nan}, "foreground_ratio: expected .* got nan"),
        ({"max_batch_size": 0}, "max_batch_size: expected a whole number of at least 1, .* got 0"),
        ({"max_batch_size": 2.5}, "max_batch_size: expected a whole number .* got 2.5"),
        ({"generator": 7}, "generator: expected a torch.Generator or a list of them, got int"),
        (
            {"generator": [torch.Generator()]},
            r"generator: expected one per pose \(2\), got",
        ),
        ({"latents": torch.zeros(2, 4, 1, 1)}, r"latents: expected a tensor \[2, 48, 8, 8\], got"),
        ({"latents": torch.full((2, 48, 8, 8), nan)}, "latents: expected finite values, got NaN"),
        ({"condition_elevation_deg": nan}, r"condition_elevation_deg: expected a number in \[-90"),
        ({"condition_elevation_deg": 91}, r"condition_elevation_deg: expected .* got 91"),
        ({"image": "absent.png"}, "image: expected .* got 'absent.png'"),
        ({"image": torch.zeros(3, 16, 16)}, r"image: expected a tensor \[3, 32, 32\], got"),
        ({"image": torch.full((3, 32, 32), nan)}, r"image: expected tensor values in \[-1, 1\]"),
        ({"image": torch.full((3, 32, 32), 2.0)}, r"image: expected tensor values in \[-1, 1\]"),
        (
            {"callback_on_step_end_tensor_inputs": ["noise"]},
            r"callback_on_step_end_tensor_inputs: expected \['latents'\], got \['noise'\]",
        ),
    ],
)
def test_wrong_arguments_are_named_on_one_line(
    make_pipeline: MakePipeline, image: Tensor, arguments: dict[str, Any], message: str
) -> None:
    pipe: Any = make_pipeline()
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        pipe(**{"image": image, "poses": POSES, "num_inference_steps": 1, **arguments})
    assert "\n" not in str(caught.value)


def test_numbers_may_be_numpys(pipe: Any, image: Tensor) -> None:
    def made(**arguments: Any) -> Tensor:
        noise = torch.Generator().manual_seed(0)
        return pipe(image, POSES, output_type="latent", generator=noise, **arguments).images

    plain = made(num_inference_steps=3, guidance_scale=1.5)
    numpys = made(
        num_inference_steps=np.int64(3),
        guidance_scale=np.float32(1.5),
        eta=np.float32(0),
        max_batch_size=np.int32(2),
    )
    assert torch.equal(plain, numpys)


def test_unknown_encoding_is_refused(make_pipeline: MakePipeline) -> None:
    with pytest.raises(
        ValueError, match="encoding: expected one of zero123, stable-zero123, got 'zero124'"
    ):
        make_pipeline(encoding="zero124")


@pytest.mark.parametrize("sampler", ["ddim", "unipc", "dpmpp", "euler"])
def test_what_is_not_finite_is_named_at_its_step(pipe: Any, image: Tensor, sampler: str) -> None:
    """From the third evaluation on the network answers NaN in one view of two."""
    calls = []

    def spoil(module: Any, inputs: Any, output: Any) -> Any:
        calls.append(None)
        if len(calls) >= 3:
            output.sample[-1] = torch.nan
        return output

    hook = pipe.unet.register_forward_hook(spoil)
    options = {"num_inference_steps": 5, "guidance_scale": 1.0, "sampler": sampler}
    try:
        with pytest.raises(NotFiniteError, match="latents: .* after step 3 of .* got NaN"):
            pipe(image, [RelativePose()] * 2, **options)
    finally:
        hook.remove()
    pipe(image, [RelativePose()], num_inference_steps=1)


def test_an_image_that_is_not_finite_is_named_not_black(
    pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents = torch.zeros(1, *pipe.latent_shape)
    for value in (torch.nan, torch.inf):
        spoilt = latents.clone()
        spoilt[0, 0, 0, 0] = value
        with pytest.raises(NotFiniteError, match="^latents: expected finite numbers"):
            pipe.decode(spoilt)
    decode = pipe.vae.decode

    def overflowing(part: Tensor) -> Any:
        made = decode(part)
        made.sample[0, 0, 0, 0] = torch.inf
        return made

    monkeypatch.setattr(pipe.vae, "decode", overflowing)
    with pytest.raises(NotFiniteError, match="^vae: expected finite images in torch.float32"):
        pipe.decode(latents)
