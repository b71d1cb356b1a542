"""Original files: what is read, what is refused, and what the user is told."""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from zero123lib.diffusion.checkpoints.errors import (
    CheckpointError,
    DamagedCheckpointError,
    MismatchedCheckpointError,
)
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.poses import RelativePose

Save = Callable[..., Path]
Load = Callable[..., Any]
Views = Callable[[Any], Tensor]


POSE = RelativePose(azimuth_deg=30)


@pytest.fixture
def load(original: Any) -> Load:
    """Load a file of the small model."""

    def read(path: Path, **options: Any) -> Any:
        return Zero123Pipeline.from_pretrained(path, original_config=original.config, **options)

    return read


def test_a_ckpt_makes_the_same_views(original: Any, save: Save, load: Load, views: Views) -> None:
    pipe = load(save(original.state))
    assert torch.equal(views(pipe), views(original.networks))
    assert (pipe.model_name, pipe.image_size) == ("zero123", 32)


def test_a_safetensors_file_and_a_yaml_file_do_too(
    original: Any, views: Views, tmp_path: Path
) -> None:
    save_file(original.state, tmp_path / "zero123.safetensors")
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(original.config))
    pipe = Zero123Pipeline.from_pretrained(
        str(tmp_path / "zero123.safetensors"), original_config=str(tmp_path / "model.yaml")
    )
    assert torch.equal(views(pipe), views(original.networks))


def test_the_average_is_taken_unless_told(original: Any, save: Save, load: Load) -> None:
    path = save(original.averaged())
    weights = original.networks["unet"].state_dict()
    averaged, raw = load(path).unet.state_dict(), load(path, use_ema=False).unet.state_dict()
    assert all(torch.equal(averaged[name], weights[name] * 0.5) for name in weights)
    assert all(torch.equal(raw[name], weights[name]) for name in weights)


def test_without_an_average_the_weights_are_taken_with_a_notice(
    original: Any, save: Save, load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = load(save(original.state), encoding="zero123")
    assert "zero123.ckpt has no running average (EMA)" in caplog.text
    weights = original.networks["unet"].state_dict()
    assert all(torch.equal(tensor, weights[n]) for n, tensor in pipe.unet.state_dict().items())
    caplog.clear()
    load(save(original.state), encoding="zero123", use_ema=False)
    assert not caplog.text


def test_half_of_an_average_is_refused(original: Any, save: Save, load: Load) -> None:
    state = original.averaged()
    del state["model_ema.diffusion_modelout2bias"]
    with pytest.raises(MismatchedCheckpointError, match="lacks 1 of .*modelout2bias; use_ema"):
        load(save(state))


def test_the_guessed_encoding_is_announced(
    original: Any, save: Save, load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    for name, encoding in [
        ("stable_zero123.ckpt", "stable-zero123"),
        ("StableZero123_C.ckpt", "stable-zero123"),
        ("zero123-xl.ckpt", "zero123"),
        ("105000.ckpt", "zero123"),
    ]:
        caplog.clear()
        assert load(save(original.state, name)).config["encoding"] == encoding
        assert f"its name suggests '{encoding}'" in caplog.text
    caplog.clear()
    pipe = load(save(original.state, "stable.ckpt"), encoding="zero123", use_ema=False)
    assert pipe.config["encoding"] == "zero123"
    assert not caplog.text


def test_the_encoding_is_saved_with_the_pipeline(
    original: Any, save: Save, load: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(save(original.state), encoding="stable-zero123").save_pretrained(tmp_path / "zero123")
    caplog.clear()
    again = Zero123Pipeline.from_pretrained(tmp_path / "zero123")
    assert again.config["encoding"] == "stable-zero123"
    assert not caplog.text


def test_stable_zero123_asks_for_the_elevation(original: Any, save: Save, load: Load) -> None:
    pipe = load(save(original.state), encoding="stable-zero123")
    with pytest.raises(ValueError, match="^condition_elevation_deg: expected the input view's"):
        pipe(torch.zeros(3, 32, 32), [POSE], num_inference_steps=1)
    low, high = (
        pipe(
            torch.zeros(3, 32, 32),
            [POSE],
            num_inference_steps=1,
            condition_elevation_deg=elevation_deg,
            generator=torch.Generator().manual_seed(0),
            output_type="latent",
        ).images
        for elevation_deg in (0.0, 60.0)
    )
    assert not torch.equal(low, high)


def test_precision_and_device(original: Any, save: Save, load: Load) -> None:
    path = save(original.state)
    half = load(path, torch_dtype=torch.float16, device="cpu")
    assert {p.dtype for p in half.unet.parameters()} == {torch.float16}
    mixed = load(path, torch_dtype={"default": torch.bfloat16, "vae": torch.float32})
    assert (mixed.unet.dtype, mixed.vae.dtype) == (torch.bfloat16, torch.float32)


def test_the_file_can_go_once_it_is_read(
    original: Any, save: Save, load: Load, views: Views
) -> None:
    path = save(original.state)
    pipe = load(path)
    path.write_bytes(bytes(path.stat().st_size))
    path.unlink()
    assert torch.equal(views(pipe), views(original.networks))


def _nan(state: dict[str, Tensor]) -> None:
    state["first_stage_model.decoder.conv_out.bias"][1] = torch.nan


def _infinity(state: dict[str, Tensor]) -> None:
    state["model.diffusion_model.out.2.weight"][0, 0, 0, 0] = torch.inf


def _shape(state: dict[str, Tensor]) -> None:
    state["model.diffusion_model.out.2.weight"] = torch.zeros(4, 16, 3, 3)


def _absent(state: dict[str, Tensor]) -> None:
    del state["cond_stage_model.model.visual.ln_post.weight"]


def _too_many(state: dict[str, Tensor]) -> None:
    state["model.diffusion_model.input_blocks.9.0.weight"] = torch.zeros(3)


def _integers(state: dict[str, Tensor]) -> None:
    state["cc_projection.bias"] = torch.zeros(768, dtype=torch.int64)


def _wide_attention(state: dict[str, Tensor]) -> None:
    name = "first_stage_model.encoder.mid.attn_1.q.weight"
    state[name] = state[name].repeat(1, 1, 3, 3)


def _rows(state: dict[str, Tensor]) -> None:
    name = "cond_stage_model.model.visual.transformer.resblocks.0.attn.in_proj_weight"
    state[name] = state[name][:-2]


def _few_rows(state: dict[str, Tensor]) -> None:
    _rows(state)
    name = "cond_stage_model.model.visual.transformer.resblocks.0.attn.in_proj_weight"
    state[name] = state[name][:4]


def _no_positions(state: dict[str, Tensor]) -> None:
    state["cond_stage_model.model.visual.positional_embedding"] = torch.zeros(0, 64)


def _long_pose(state: dict[str, Tensor]) -> None:
    state["cc_projection.weight"] = torch.zeros(768, 775)


def _narrow_projection(state: dict[str, Tensor]) -> None:
    state["cc_projection.weight"] = torch.zeros(512, 516)
    state["cc_projection.bias"] = torch.zeros(512)


def _narrow_clip(state: dict[str, Tensor]) -> None:
    state["cond_stage_model.model.visual.proj"] = torch.zeros(64, 512)
    _narrow_projection(state)


def _flat_clip(state: dict[str, Tensor]) -> None:
    state["cond_stage_model.model.visual.conv1.weight"] = torch.zeros(3)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_nan, "expected finite numbers in vae decoder.conv_out.bias, got NaN or infinity"),
        (_infinity, "expected finite numbers in unet conv_out.weight, got NaN or infinity"),
        (_shape, r"expected unet conv_out.weight of shape \[4, 32, 3, 3\].*got \[4, 16, 3, 3\]"),
        (_absent, "expected all weights of image_encoder, got all but 1, .*post_layernorm.weight"),
        (_too_many, "1 weights beyond them, such as model.diffusion_model.input_blocks.9"),
        (_integers, "expected camera_projection proj.bias .* in floating point, got"),
        (_wide_attention, r"to_q.weight of shape \[64, 64\].*got \[64, 64, 3, 3\]"),
        (_rows, r"v_proj.weight of shape \[64, 64\].*got \[62, 64\]"),
        (_few_rows, r"_proj.weight of shape \[64, 64\].*got \[2, 64\]"),
        (_no_positions, "expected image_size of image_encoder as .*, got 0"),
        (_long_pose, r"camera projection from 768 \+ 4 numbers to 768, .*got 768 \+ 7 numbers"),
        (_narrow_projection, r"camera projection from 768 \+ 4 numbers to 768, .*got 512 \+ 4"),
        (_narrow_clip, "UNet whose context is 512 wide, as CLIP's embedding is, got 768"),
        (_flat_clip, r"visual.conv1.weight with 4 axes, got \[3\]"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    original: Any, save: Save, load: Load, damage: Callable[[dict[str, Tensor]], None], message: str
) -> None:
    state = {name: tensor.clone() for name, tensor in original.state.items()}
    damage(state)
    with pytest.raises(MismatchedCheckpointError, match=message) as caught:
        load(save(state))
    assert str(caught.value).startswith("source: expected")
    assert "\n" not in str(caught.value)


def test_numbers_too_large_for_half_precision_are_refused(
    original: Any, save: Save, load: Load
) -> None:
    state = {name: tensor.clone() for name, tensor in original.state.items()}
    state["cc_projection.bias"][0] = 1e6
    path = save(state)
    assert load(path).camera_projection.proj.bias[0] == 1e6
    with pytest.raises(MismatchedCheckpointError, match="numbers that fit torch.float16"):
        load(path, torch_dtype=torch.float16)


def test_other_sizes_need_their_config(original: Any, save: Save) -> None:
    with pytest.raises(CheckpointError, match="original_config"):
        Zero123Pipeline.from_pretrained(save(original.state))


# The YAML's sections, and where each lies.
MODEL: list[str] = ["model", "params"]
UNET = [*MODEL, "unet_config", "params"]
VAE = [*MODEL, "first_stage_config", "params"]
DDCONFIG = [*VAE, "ddconfig"]
ABSENT = object()


def changed(config: dict[str, Any], place: list[str], key: str, value: Any) -> dict[str, Any]:
    """A copy of a YAML with one other value."""
    result = section = copy.deepcopy(config)
    for name in place:
        section = section[name]
    if value is ABSENT:
        del section[key]
    else:
        section[key] = value
    return result


@pytest.mark.parametrize(
    ("place", "key", "values"),
    [
        (MODEL, "unet_config", [ABSENT, None, "x", [1]]),
        (MODEL, "scale_factor", [ABSENT, "x", None, 0, -1, math.nan, math.inf, True]),
        (MODEL, "timesteps", ["1000", 0, -5, 1000.0, 10**11, None]),
        (MODEL, "linear_start", ["a", 0, -1e-3, 2, math.nan, [0.1]]),
        (MODEL, "linear_end", ["a", math.inf]),
        (MODEL, "image_size", [math.inf, 0, -4, "4", None, 10**9]),
        (MODEL, "parameterization", ["v", "x0", None]),
        (MODEL, "beta_schedule", ["cosine", "sqrt_linear"]),
        (MODEL, "given_betas", [[0.1]]),
        (MODEL, "scale_by_std", [True]),
        (MODEL, "conditioning_key", ["crossattn"]),
        (UNET, "num_classes", [10]),
        (UNET, "num_res_blocks", [[2, 2], 0, 10**7, 2.0]),
        (UNET, "channel_mult", [[], [0], ["1"], 1, "12", [1, None], [1] * 9]),
        (UNET, "model_channels", [10**7, "32"]),
        (UNET, "attention_resolutions", [4, ["a"], None]),
        (UNET, "context_dim", [[768], "768"]),
        (UNET, "num_heads", [0, "2", ABSENT]),
        (UNET, "num_head_channels", [0, "x", 7]),
        (UNET, "transformer_depth", [0, [1], 10**7]),
        (UNET, "use_spatial_transformer", [False]),
        (UNET, "dims", [3]),
        (VAE, "embed_dim", [3, "4", 8]),
        (VAE, "ddconfig", [ABSENT, 3]),
        (DDCONFIG, "attn_resolutions", [[16]]),
        (DDCONFIG, "ch_mult", [[], [1.5], [0, 1]]),
        (DDCONFIG, "double_z", [False]),
        (DDCONFIG, "tanh_out", [True]),
        (DDCONFIG, "something", [1]),
    ],
)
def test_configs_that_are_none_are_refused(
    original: Any, save: Save, place: list[str], key: str, values: list[Any]
) -> None:
    path = save(original.state)
    for value in values:
        config = changed(original.config, place, key, value)
        with pytest.raises(ValueError, match=f"^original_config: expected .*{key}") as caught:
            Zero123Pipeline.from_pretrained(path, original_config=config)
        assert "\n" not in str(caught.value)
        assert not isinstance(caught.value, CheckpointError)


def test_what_changes_nothing_may_be_said(original: Any, save: Save) -> None:
    config = original.config
    for place, key, value in [
        (MODEL, "parameterization", "eps"),
        (MODEL, "beta_schedule", "linear"),
        (UNET, "num_head_channels", -1),
        (UNET, "use_checkpoint", True),
        (VAE, "embed_dim", 4),
        (DDCONFIG, "double_z", True),
        (DDCONFIG, "resolution", 256),
    ]:
        config = changed(config, place, key, value)
    read = Zero123Pipeline.from_pretrained(save(original.state), original_config=config)
    plain = Zero123Pipeline.from_pretrained(save(original.state), original_config=original.config)
    for name in ("unet", "vae", "scheduler"):
        assert dict(read.components[name].config) == dict(plain.components[name].config)


def test_a_config_file_that_is_none_is_refused(original: Any, save: Save, tmp_path: Path) -> None:
    path = save(original.state)
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    (tmp_path / "broken.yaml").write_text("model: [")
    (tmp_path / "deep.yaml").write_text("[" * 20_000)
    (tmp_path / "long.yaml").write_text("#" * (2 << 20))
    os.mkfifo(tmp_path / "pipe.yaml")
    for name in ("list", "broken", "deep", "long", "pipe", "absent"):
        name = f"{name}.yaml"
        with pytest.raises(ValueError, match=f"^original_config: expected .*{name}"):
            Zero123Pipeline.from_pretrained(path, original_config=tmp_path / name)


def test_truncated_files_are_named_for_it(
    original: Any, save: Save, load: Load, tmp_path: Path
) -> None:
    whole = save(original.state).read_bytes()
    for part in (0.3, 0.9, 0.9999):
        (tmp_path / "cut.ckpt").write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(DamagedCheckpointError):
            load(tmp_path / "cut.ckpt")


def test_settings_that_a_file_of_ours_carries(
    original: Any, load: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"encoding": "stable-zero123", "model_name": "mine"}
    metadata = {"zero123lib": json.dumps(settings)}
    save_file(original.state, tmp_path / "x.safetensors", metadata)
    pipe = load(tmp_path / "x.safetensors", use_ema=False)
    assert (pipe.config["encoding"], pipe.model_name) == ("stable-zero123", "mine")
    assert not caplog.text


def test_settings_that_are_nobodys_are_ignored(original: Any, load: Load, tmp_path: Path) -> None:
    path = tmp_path / "zero123.safetensors"
    for text in ('{"unet": 1, "foo": 1, "model_name": null}', "[1]", "{", "[" * 100_000):
        save_file(original.state, path, {"zero123lib": text})
        assert load(path, encoding="zero123", use_ema=False).model_name == "zero123"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("encoding", ["zero", 1, ["zero123"], {}]),
        ("model_name", [1, ["x"]]),
        ("num_inference_steps", [0, 1001, 50.0, "50", True, 10**400]),
        ("guidance_scale", [-1, "3", math.nan, math.inf, True, 10**400]),
        ("trained_on", [1, [], {"kinds": ["mug"]}]),
        ("domain", [1]),
        ("scene_kinds", [1, "mug", [], [1], ["x" * 101], ["x"] * 1001]),
        (
            "trained_on.domain_statistics",
            [1, {}, {"own_view_lpips": "x"}, {"own_view_lpips": 1, "x": 1}],
        ),
    ],
)
def test_settings_of_other_kinds_are_refused(
    original: Any, load: Load, tmp_path: Path, name: str, values: list[Any]
) -> None:
    path = tmp_path / "zero123.safetensors"
    expected = rf"^source: expected (trained_on\.)?{name} to be"
    for value in values:
        stated = value
        for key in reversed(name.split(".")):
            stated = {key: stated}
        save_file(original.state, path, {"zero123lib": json.dumps(stated)})
        with pytest.raises(MismatchedCheckpointError, match=expected) as e:
            load(path, use_ema=False)
        assert str(path) in str(e.value)
        assert "\n" not in str(e.value)
