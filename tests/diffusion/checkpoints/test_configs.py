"""Configs of a folder, from anybody: what they ask for beyond a network of sense is refused."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
from torch import Tensor

from zero123lib.diffusion.checkpoints.canonical import make_scheduler
from zero123lib.diffusion.checkpoints.errors import (
    CheckpointError,
    DamagedCheckpointError,
    MismatchedCheckpointError,
    UnsupportedCheckpointError,
)
from zero123lib.diffusion.pipeline import Zero123Pipeline

Views = Callable[[Any], Tensor]

CONFIGS = {
    "index": "model_index.json",
    "unet": "unet/config.json",
    "vae": "vae/config.json",
    "clip": "image_encoder/config.json",
    "projection": "camera_projection/config.json",
    "scheduler": "scheduler/scheduler_config.json",
}


@pytest.fixture(scope="module")
def saved(original: Any, scheduler: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model, whose configs the tests change and put back."""
    folder = tmp_path_factory.mktemp("configs") / "model"
    Zero123Pipeline(**original.networks, scheduler=scheduler).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path) -> Any:
    kept = {path: path.read_bytes() for path in saved.rglob("*.json")}
    yield saved
    for path, content in kept.items():
        path.unlink()
        path.write_bytes(content)


def change(folder: Path, part: str, **values: Any) -> None:
    path = folder / CONFIGS[part]
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def refused(folder: Path, error: type[CheckpointError], message: str = "") -> None:
    with pytest.raises(error, match=f"^source: expected .*{message}") as caught:
        Zero123Pipeline.from_pretrained(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize("value", ["owner/kernel", "flash_attention_2", "eager", {"": "a/b"}])
def test_clips_attention_is_not_the_configs_choice(
    folder: Path, original: Any, views: Views, key: str, value: Any
) -> None:
    change(folder, "clip", **{key: value}, auto_map={"AutoModel": "owner/code--m.C"})
    pipe = Zero123Pipeline.from_pretrained(folder, encoding="zero123")
    assert pipe.image_encoder.config._attn_implementation == "sdpa"
    assert not hasattr(pipe.image_encoder.config, "auto_map")
    assert not any(name.split(".")[0] == "kernels" for name in sys.modules)


def test_what_a_class_does_not_declare_has_no_effect(
    folder: Path, original: Any, views: Views
) -> None:
    more: dict[str, Any] = {
        "quantization_config": {"load_in_8bit": True, "quant_method": "bitsandbytes"},
        "auto_map": {"AutoModel": "owner/code--model.Class"},
        "norm_type": "ada_norm_zero",
        "dtype": "float16",
        "torch_dtype": "float16",
        "return_dict": False,
        "output_attentions": True,
        "_name_or_path": "owner/name",
        "nothing": [1, {"a": [2]}],
    }
    for part in ("unet", "vae", "clip", "projection", "scheduler"):
        defaults = list(json.loads((folder / CONFIGS[part]).read_text()))
        change(folder, part, **more, _use_default_values=defaults)
    pipe = Zero123Pipeline.from_pretrained(folder, encoding="zero123")
    for name in ("unet", "vae", "camera_projection", "scheduler"):
        assert not (more.keys() - {"_name_or_path"}) & pipe.components[name].config.keys()
    assert not views(pipe).ne(views(original.networks)).any()


@pytest.mark.parametrize(
    ("part", "key", "values"),
    [
        ("clip", "hidden_size", ["64", 0, -64, 64.0, 10**7, None, [64], True]),
        ("clip", "num_hidden_layers", [10**7, 0, "2"]),
        ("clip", "num_attention_heads", [0, 3, "1"]),
        ("clip", "image_size", [[28, 28], 10**9, None]),
        ("clip", "patch_size", [0, -14, 10**9]),
        ("clip", "hidden_act", ["nothing", 1, "owner/activation", None]),
        ("clip", "layer_norm_eps", ["x", -1, math.nan]),
        ("clip", "projection_dim", [512]),
        ("clip", "num_channels", [4]),
        ("unet", "layers_per_block", [10**7, 0, "2", [10**7] * 2, 2.0, [[[[[1]]]]]]),
        ("unet", "transformer_layers_per_block", [10**7, [[10**7]], [1] * 100]),
        ("unet", "block_out_channels", [10**7, [10**7] * 2, [32] * 10_000, [], "32", ["32"]]),
        ("unet", "down_block_types", [["x"] * 2, 1, ["DownBlock2D"], [1, 2]]),
        ("unet", "cross_attention_dim", [512, "768", [768, 768]]),
        ("unet", "in_channels", [4, 9, None]),
        ("unet", "norm_eps", ["x", 0]),
        ("unet", "norm_num_groups", [0, 7, 10**12]),
        ("unet", "sample_size", [None, "4", [4, 4], 10**9]),
        ("unet", "act_fn", ["nothing", 1]),
        ("unet", "attention_head_dim", [0, "x", {}]),
        ("unet", "dropout", [2, "x"]),
        ("vae", "latent_channels", [8, 0, 10**7]),
        ("vae", "scaling_factor", ["x", 0, -1, math.inf, 10**400, None]),
        ("vae", "layers_per_block", [10**7, [1]]),
        ("vae", "in_channels", [4]),
        ("projection", "embedding_dim", [512, "768", 10**7]),
        ("projection", "additional_embeddings", [7, 0, -764]),
        ("scheduler", "num_train_timesteps", ["1000", 0, -1, 1e3, 10**11, 10_001, None, []]),
        ("scheduler", "beta_schedule", ["foo", 1, None, "sigmoid"]),
        ("scheduler", "beta_start", ["a", -1, math.nan, None, 2]),
        ("scheduler", "trained_betas", [["a"], [], 1, [0.1] * 20_000, [[0.1]]]),
        ("scheduler", "prediction_type", ["flow", 1, None]),
        ("scheduler", "steps_offset", ["1", 10**11]),
        ("scheduler", "clip_sample", ["no", 1]),
        ("index", "encoding", ["zero", {}]),
        ("index", "num_inference_steps", ["8", 0]),
        ("index", "guidance_scale", [math.nan]),
        ("index", "trained_on", [{"domain_statistics": {"grain": 1}}]),
    ],
)
def test_values_beyond_sense_are_refused(
    folder: Path, part: str, key: str, values: list[Any]
) -> None:
    text = (folder / CONFIGS[part]).read_text()
    for value in values:
        change(folder, part, **{key: value})
        refused(folder, MismatchedCheckpointError)
        (folder / CONFIGS[part]).write_text(text)


def test_null_may_stand_for_false(folder: Path, original: Any, views: Views) -> None:
    change(folder, "unet", upcast_attention=None, use_linear_projection=None)
    pipe = Zero123Pipeline.from_pretrained(folder, encoding="zero123")
    assert not views(pipe).ne(views(original.networks)).any()


def test_a_patch_autoencoder_has_bounds(folder: Path) -> None:
    config = {"_class_name": "PatchAutoencoder", "patch_size": 4096}
    (folder / CONFIGS["vae"]).write_text(json.dumps(config))
    refused(folder, MismatchedCheckpointError, "patch_size")


@pytest.mark.parametrize("part", ["vae", "unet"])
@pytest.mark.parametrize("name", [{}, [], 1, None, "a\nb", "x" * 5000])
def test_class_names_that_are_none(folder: Path, part: str, name: Any) -> None:
    change(folder, part, _class_name=name)
    refused(folder, UnsupportedCheckpointError)


@pytest.mark.parametrize(
    "name",
    [
        "SchedulerMixin", "FlowMatchEulerDiscreteScheduler", "KarrasVeScheduler",
        "UnCLIPScheduler", "EDMEulerScheduler", "os.system", "NoSuchScheduler", {}, 1,
        "UNet2DConditionModel", "a\nScheduler",
    ],
)  # fmt: skip
def test_schedulers_without_betas_are_refused(folder: Path, name: Any) -> None:
    change(folder, "scheduler", _class_name=name)
    refused(folder, UnsupportedCheckpointError)


def test_a_scheduler_that_means_other_noise_is_refused(folder: Path) -> None:
    change(folder, "scheduler", _class_name="CogVideoXDDIMScheduler")
    refused(folder, MismatchedCheckpointError, "not that of its betas")


@pytest.mark.parametrize(
    "name", ["DDIM", "DDPM", "PNDM", "EulerDiscrete", "DPMSolverMultistep", "UniPCMultistep"]
)
def test_schedulers_come_back_as_they_were(name: str) -> None:
    """Those of a zero-SNR DDIM's config too, of which PNDM, for one, keeps what it cannot use."""
    ddim = diffusers.DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    kind = getattr(diffusers, f"{name}Scheduler")
    config = dict(kind.from_config(ddim.config).config)
    again = make_scheduler({**config, "_class_name": kind.__name__}, Path("model"))
    assert type(again) is kind
    assert again.config["rescale_betas_zero_snr"] is True
    hidden = ("_use_default_values", "_class_name")
    kept = {key: value for key, value in config.items() if key not in hidden}
    assert {key: again.config[key] for key in kept} == kept


@pytest.mark.parametrize("part", CONFIGS)
def test_files_that_are_no_json_are_refused(folder: Path, part: str) -> None:
    path = folder / CONFIGS[part]
    for text in ("", "{", "[1]", "1", "[" * 100_000, '{"a":' * 100_000, '{"a": ' + "9" * 5000):
        path.write_text(text)
        refused(folder, DamagedCheckpointError, path.name)
    path.write_bytes(b"\xff\xfe")
    refused(folder, DamagedCheckpointError, path.name)
    path.unlink()
    os.mkfifo(path)  # opening it would wait for ever
    refused(folder, DamagedCheckpointError, path.name)
