"""What `from_pretrained` takes of diffusers' arguments, and what a remade pipeline keeps."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from inspect import getsource
from pathlib import Path
from re import findall
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.convert import convert
from zero123lib.diffusion.model import CameraProjection
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.poses import RelativePose

MakePipeline = Callable[..., Zero123Pipeline]
POSES = [RelativePose(azimuth_deg=45), RelativePose(elevation_deg=20)]


@pytest.fixture(scope="module")
def folder(make_pipeline: MakePipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("saved") / "chairs"
    make_pipeline(
        encoding="stable-zero123",
        num_inference_steps=3,
        guidance_scale=1.5,
        trained_on={"scene_kinds": ["mug"]},
    ).save_pretrained(place)
    return place


def load(folder: Path, **arguments: Any) -> Any:
    pipe = Zero123Pipeline.from_pretrained(folder, **arguments)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def views(pipe: Any, image: Tensor, **arguments: Any) -> Tensor:
    arguments = {"generator": torch.Generator().manual_seed(3), **arguments}
    return pipe(image, POSES, condition_elevation_deg=10, output_type="pt", **arguments).images


def test_remade_pipelines_keep_the_encoding(make_pipeline: MakePipeline, image: Tensor) -> None:
    pipe = make_pipeline(encoding="stable-zero123", num_inference_steps=3, licence="mit")
    expected = views(pipe, image)
    remade = {
        "components": Zero123Pipeline(**pipe.components, num_inference_steps=3),
        "both": Zero123Pipeline(**pipe.components, **pipe.parameters),
        "from_pipe": Zero123Pipeline.from_pipe(pipe),
        "copy": copy.deepcopy(pipe),
        "parts": Zero123Pipeline(**copy.deepcopy(pipe.components), num_inference_steps=3),
    }
    for name, again in remade.items():
        again.set_progress_bar_config(disable=True)
        assert again.config["encoding"] == "stable-zero123", name
        assert torch.equal(views(again, image), expected), name
    for name in ("both", "from_pipe", "copy"):
        kept = {k: v for k, v in remade[name].config.items() if not k.startswith("_")}
        assert kept == {k: v for k, v in pipe.config.items() if not k.startswith("_")}


def test_another_encoding_than_the_layers_is_refused(make_pipeline: MakePipeline) -> None:
    pipe = make_pipeline(encoding="stable-zero123")
    message = (
        "encoding: expected 'stable-zero123', as the camera projection was trained with, "
        "got 'zero123'"
    )
    for remake in (Zero123Pipeline, lambda **parts: Zero123Pipeline.from_pipe(pipe, **parts)):
        with pytest.raises(ArgumentError, match=f"^{message}$"):
            remake(**pipe.components, encoding="zero123")
    assert Zero123Pipeline(**pipe.components).config["encoding"] == "stable-zero123"


def test_a_camera_projection_brings_its_encoding(
    make_pipeline: MakePipeline, folder: Path, image: Tensor
) -> None:
    pipe, stable = make_pipeline(num_inference_steps=3, guidance_scale=1.5), load(folder)
    assert pipe.config["encoding"] == "zero123"
    pipe.camera_projection = stable.camera_projection
    assert pipe.config["encoding"] == "stable-zero123"
    assert torch.equal(views(pipe, image), views(stable, image))
    fresh = CameraProjection(32, 4)
    pipe.camera_projection = fresh
    assert (pipe.config["encoding"], fresh.config["encoding"]) == ("stable-zero123",) * 2


def test_a_folder_says_the_encoding_with_its_layer(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for part in folder.iterdir():
        (other / part.name).symlink_to(part)
    (other / "model_index.json").unlink()
    index = json.loads((folder / "model_index.json").read_text())
    del index["encoding"]
    (other / "model_index.json").write_text(json.dumps(index))
    assert load(other).config["encoding"] == "stable-zero123"
    *_, _ = convert(other, tmp_path / "converted")
    written = json.loads((tmp_path / "converted/model_index.json").read_text())
    assert written["encoding"] == "stable-zero123"
    # Who knows better says so.
    assert load(folder, encoding="zero123").camera_projection.config["encoding"] == "zero123"
    config = json.loads((folder / "camera_projection/config.json").read_text())
    (other / "camera_projection").unlink()
    (other / "camera_projection").mkdir()
    config["encoding"] = "plücker"
    (other / "camera_projection/config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="^source: expected encoding of camera_projection"):
        load(other)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_inference_steps", 0, "a whole number from 1 to 1000, got 0"),
        ("num_inference_steps", None, "a whole number from 1 to 1000, got None"),
        ("guidance_scale", -1.0, "a number of at least 0, got -1.0"),
        ("foreground_ratio", float("nan"), "a number above 0 and at most 1, got nan"),
        ("model_name", 7, "a text, got 7"),
        (
            "trained_on",
            {"kinds": ["mug"]},
            "a mapping of some of domain, .*, got ",
        ),
    ],
)
def test_settings_are_checked(
    make_pipeline: MakePipeline, folder: Path, name: str, value: Any, message: str
) -> None:
    for make in (make_pipeline, lambda **settings: load(folder, **settings)):
        with pytest.raises(ArgumentError, match=f"^{name}: expected {message}"):
            make(**{name: value})


def test_settings_take_the_checkpoints_place(folder: Path) -> None:
    pipe = load(folder, guidance_scale=2.5, model_name="mine")
    stated = (pipe.config["guidance_scale"], pipe.config["num_inference_steps"], pipe.model_name)
    assert stated == (2.5, 3, "mine")


HARMLESS: list[dict[str, Any]] = [
    {"low_cpu_mem_usage": True},
    {"low_cpu_mem_usage": False},
    {"trust_remote_code": False},
    {"use_safetensors": True},
    {"device": "cpu", "device_map": "cpu"},
    {"device_map": torch.device("cpu")},
    {"dtype": torch.float32, "torch_dtype": torch.float32},
    {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
    {"quantization_config": None, "max_memory": None, "offload_folder": None},
    {"cache_dir": "cache", "revision": "main", "token": "t", "local_files_only": True},
]


@pytest.mark.parametrize("arguments", HARMLESS, ids=lambda given: " ".join(given))
def test_what_changes_nothing_is_taken(folder: Path, arguments: dict[str, Any]) -> None:
    pipe, plain = load(folder, **arguments), load(folder)
    weights = plain.unet.state_dict()
    assert all(torch.equal(w, weights[name]) for name, w in pipe.unet.state_dict().items())
    assert pipe.device == torch.device("cpu") and pipe.dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"use_safetensors": False}, "use_safetensors: expected True or None, as pickles"),
        ({"low_cpu_mem_usage": "yes"}, "low_cpu_mem_usage: expected True or False, got 'yes'"),
        ({"device_map": "balanced"}, "device_map: expected one device, .* got 'balanced'"),
        ({"device_map": "auto"}, "device_map: expected one device, .* got 'auto'"),
        ({"device_map": {"unet": 0}}, "device_map: expected one device, .* got {'unet': 0}"),
        ({"device_map": "tpu9"}, "device_map: expected a torch device that is here"),
        ({"device": "cpu", "device_map": "meta"}, "device_map: expected the same as device, cpu"),
        (
            {"dtype": torch.float16, "torch_dtype": torch.bfloat16},
            "dtype: expected the same as torch_dtype, torch.bfloat16, got torch.float16",
        ),
        ({"dtype": "float16"}, "torch_dtype: expected one of torch.float32, .* got 'float16'"),
        ({"max_memory": {0: "1GB"}}, "max_memory: expected None, as a model lies on one device"),
        ({"offload_state_dict": True}, "offload_state_dict: expected None, as a model lies"),
        ({"quantization_config": object()}, "quantization_config: expected None; quantise"),
        ({"custom_pipeline": "mine"}, "custom_pipeline: expected None; DiffusionPipeline"),
        ({"use_onnx": True}, "use_onnx: expected None, as there is no ONNX"),
        ({"safety_checker": object()}, "safety_checker: expected None, as these models have none"),
        ({"output_loading_info": True}, "output_loading_info: expected False, as what does not"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    folder: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        load(folder, **arguments)
    assert "\n" not in str(caught.value)


def test_every_argument_of_diffusers_is_known(folder: Path) -> None:
    """Each is either taken or refused in words; none meets the TypeError for a slip of the pen."""
    names = set(findall(r'kwargs\.pop\(\s*"(\w+)"', getsource(DiffusionPipeline.from_pretrained)))
    assert {"torch_dtype", "device_map", "use_safetensors", "trust_remote_code"} <= names
    for name in names:
        load(folder, **{name: None})
    with pytest.raises(TypeError, match="^use_safetensor: expected an argument of from_pretrained"):
        load(folder, use_safetensor=True)


def test_safetensors_alone(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "pickled"
    load(folder).save_pretrained(other)
    weights = load(folder).unet.state_dict()
    (other / "unet/diffusion_pytorch_model.safetensors").unlink()
    torch.save(weights, other / "unet/diffusion_pytorch_model.bin")
    assert torch.equal(load(other).unet.state_dict()["conv_in.bias"], weights["conv_in.bias"])
    with pytest.raises(ValueError, match="^source: expected weights of unet, such as .*safetensor"):
        load(other, use_safetensors=True)
    torch.save({"state_dict": {}}, tmp_path / "zero123.ckpt")
    with pytest.raises(ArgumentError, match="^use_safetensors: expected None for .*zero123.ckpt"):
        load(tmp_path / "zero123.ckpt", use_safetensors=True)


def test_a_variant_that_is_not_there_is_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(folder)
    assert "variant" not in caplog.text
    load(folder, variant="fp16")
    assert "has no weights of the variant 'fp16'" in caplog.text


BY_DIFFUSERS = """
import sys, torch
from diffusers import DiffusionPipeline
from zero123lib.views.poses import RelativePose
torch.set_num_threads(1)
folder, image, out = sys.argv[1:]
try:
    DiffusionPipeline.from_pretrained(folder)
    raise SystemExit("it ran code of a folder that nobody trusts")
except ValueError as error:
    assert "trust_remote_code=True" in str(error), error
poses = [RelativePose(azimuth_deg=45), RelativePose(elevation_deg=20)]
found = []
for more in ({}, {"custom_pipeline": folder}):
    pipe = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True, **more)
    found.append(pipe(torch.load(image), poses, condition_elevation_deg=10, output_type="pt",
                      generator=torch.Generator().manual_seed(3)).images)
from zero123lib import Zero123Pipeline
assert type(pipe) is Zero123Pipeline
assert pipe.trained_on == {"scene_kinds": ["mug"]}
torch.save(found, out)
"""


def test_diffusers_loads_a_folder_of_ours(folder: Path, image: Tensor, tmp_path: Path) -> None:
    torch.save(image, tmp_path / "image.pt")
    files = [str(path) for path in (folder, tmp_path / "image.pt", tmp_path / "views.pt")]
    subprocess.run([sys.executable, "-c", BY_DIFFUSERS, *files], check=True)
    expected = views(load(folder, one_token=False), image)  # as diffusers has cross-attention
    for found in torch.load(tmp_path / "views.pt"):
        assert torch.equal(found, expected)
