"""Original files: what is read, what is refused, and what the user is told."""

from __future__ import annotations

import copy
import json
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


def _without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda config: config["model"]["params"].pop(key)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_without("unet_config"), "no 'unet_config'"),
        (_without("scale_factor"), "no 'scale_factor'"),
        (
            lambda c: c["model"]["params"]["unet_config"]["params"].update(num_classes=10),
            "unet_config has num_classes, which no Zero123 has",
        ),
        (
            lambda c: c["model"]["params"]["first_stage_config"]["params"]["ddconfig"].update(
                attn_resolutions=[16]
            ),
            r"attn_resolutions of the VAE is \[16\]",
        ),
    ],
)
def test_configs_that_are_none_are_refused(
    original: Any, save: Save, change: Callable[[dict[str, Any]], Any], reason: str
) -> None:
    config = copy.deepcopy(original.config)
    change(config)
    with pytest.raises(ValueError, match=f"^original_config: expected .*{reason}"):
        Zero123Pipeline.from_pretrained(save(original.state), original_config=config)


def test_a_config_file_that_is_none_is_refused(original: Any, save: Save, tmp_path: Path) -> None:
    path = save(original.state)
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    (tmp_path / "broken.yaml").write_text("model: [")
    for name in ("list.yaml", "broken.yaml", "absent.yaml"):
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
