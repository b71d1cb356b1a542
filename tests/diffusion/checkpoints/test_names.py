"""The names of weights in original files agree with the converter that diffusers has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)

from zero123lib.diffusion.checkpoints import names, original
from zero123lib.diffusion.checkpoints.canonical import empty_network

CONFIGS = Path(original.__file__).parent / "configs"
CONVERTERS: dict[str, Any] = {
    "unet": convert_ldm_unet_checkpoint,
    "vae": convert_ldm_vae_checkpoint,
}


class Name(str):
    """A name in the place of a tensor: the converters only rename, and look at shapes."""

    shape = ()
    ndim = 0


def empty(name: str) -> Any:
    config = json.loads((CONFIGS / f"{name}.json").read_text())
    return empty_network(name, config, Path("published"))


@pytest.mark.parametrize("part", CONVERTERS)
def test_every_published_weight_has_the_name_that_diffusers_knows(part: str) -> None:
    networks = {name: empty(name) for name in ("unet", "vae")}
    clip = {"hidden_size": 64, "num_attention_heads": 1, "num_hidden_layers": 1}
    networks["image_encoder"] = empty_network("image_encoder", clip, Path("small"))
    networks["camera_projection"] = empty_network("camera_projection", {}, Path("published"))
    origins = original.original_origins(networks)[part]
    files = [origin.name for origin in origins.values()]
    assert len(set(files)) == len(files) == len(networks[part].state_dict())
    converted = CONVERTERS[part]({name: Name(name) for name in files}, networks[part].config)
    assert {name: origin.name for name, origin in origins.items()} == converted


def test_published_sizes() -> None:
    sizes = {name: sum(p.numel() for p in empty(name).parameters()) for name in ("unet", "vae")}
    assert sizes == {"unet": 859_532_484, "vae": 83_653_863}


def test_average_has_the_name_without_dots() -> None:
    name = "model.diffusion_model.input_blocks.0.0.weight"
    assert names.ema_name(name) == "model_ema.diffusion_modelinput_blocks00weight"


@pytest.mark.parametrize("takes", [["whole"], ["transposed"], ["linear"], ["q", "k", "v"]])
def test_what_is_taken_apart_is_joined_again(takes: list[names.Take]) -> None:
    shape = (6, 4, 1, 1) if takes == ["linear"] else (6, 4)
    tensor = torch.arange(24.0).reshape(shape)
    parts: dict[names.Take, torch.Tensor]
    parts = {take: names.Origin("x", take).read(tensor) for take in takes}
    assert torch.equal(names.joined(parts), tensor)


def test_clip_attention_is_split_by_rows_in_the_order_of_q_k_v() -> None:
    # torch.nn.MultiheadAttention: in_proj_weight is q, k and v stacked.
    attention = torch.nn.MultiheadAttention(4, 1)
    q, k, v = attention.in_proj_weight.chunk(3)
    name = "vision_model.encoder.layers.5.self_attn.{}_proj.weight"
    for letter, expected in {"q": q, "k": k, "v": v}.items():
        origin = names.clip_origin(name.format(letter))
        assert origin.name == f"{names.CLIP}transformer.resblocks.5.attn.in_proj_weight"
        assert torch.equal(origin.read(attention.in_proj_weight), expected)


@pytest.mark.parametrize(
    ("take", "shape", "fitting"),
    [
        ("linear", (4, 4, 3, 3), (4, 4)),
        ("linear", (4, 4, 1, 2), (4, 4)),
        ("transposed", (4, 6, 1), (6, 4)),
        ("transposed", (4,), (4, 4)),
        ("q", (), (4,)),
    ],
)
def test_what_cannot_be_taken_fits_nothing(
    take: names.Take, shape: tuple[int, ...], fitting: tuple[int, ...]
) -> None:
    assert names.Origin("x", take).read(torch.zeros(shape)).shape != fitting


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 10, 11, 13, 14])
def test_rows_of_another_number_than_three_times_fit_nothing(rows: int) -> None:
    takes: list[names.Take] = ["q", "k", "v"]
    shapes = [names.Origin("x", take).read(torch.zeros(rows, 4)).shape for take in takes]
    assert shapes != [(4, 4)] * 3
    assert sum(shape[0] for shape in shapes) == rows
