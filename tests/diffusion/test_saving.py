"""What `save_pretrained` writes, `from_pretrained` reads back, in another process, to the bit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from zero123lib.diffusion.model import OneTokenAttnProcessor
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.poses import RelativePose

MakePipeline = Callable[..., Zero123Pipeline]

POSES = [RelativePose(azimuth_deg=45), RelativePose(elevation_deg=20)]

FRESH = """
import sys, torch
from zero123lib import RelativePose, Zero123Pipeline
torch.set_num_threads(1)
folder = sys.argv[1]
poses = [RelativePose(azimuth_deg=45), RelativePose(elevation_deg=20)]
for family in sys.argv[2:]:
    pipe = Zero123Pipeline.from_pretrained(f"{folder}/{family}")
    views = pipe(torch.load(f"{folder}/image.pt"), poses, num_inference_steps=2,
                 generator=torch.Generator().manual_seed(3), output_type="pt").images
    torch.save(views, f"{folder}/{family}.pt")
"""


def views(pipe: Any, image: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return pipe(image, POSES, num_inference_steps=2, generator=generator, output_type="pt").images


def test_round_trip_in_a_fresh_process(
    make_pipeline: MakePipeline, image: Tensor, tmp_path: Path
) -> None:
    families = ["bundled", "published"]
    torch.save(image, tmp_path / "image.pt")
    for family in families:
        # Shards of this size give several, as the bundled and the published UNets have.
        make_pipeline(family).save_pretrained(tmp_path / family, max_shard_size="100KB")
        assert len(list((tmp_path / family / "unet").glob("*.safetensors"))) > 1
    assert not list(tmp_path.rglob("*.bin"))
    subprocess.run([sys.executable, "-c", FRESH, str(tmp_path), *families], check=True)
    for family in families:
        read = torch.load(tmp_path / f"{family}.pt")
        assert torch.equal(read, views(make_pipeline(family), image))


def test_config_and_weights_come_back(make_pipeline: MakePipeline, tmp_path: Path) -> None:
    config = {
        "encoding": "stable-zero123",
        "model_name": "mine",
        "num_inference_steps": 30,
        "guidance_scale": 2.5,
        "foreground_ratio": 0.7,
        "trained_on": {
            "domain": "drawn objects",
            "domain_statistics": {"own_view_lpips": 0.25},
            "scene_kinds": ["mug", "car"],
        },
    }
    pipe = make_pipeline(**config)
    pipe.save_pretrained(tmp_path)
    again = Zero123Pipeline.from_pretrained(tmp_path)
    assert again.trained_on == config["trained_on"] and make_pipeline().trained_on == {}
    assert {name: again.config[name] for name in config} == config
    assert again.model_name == "mine"
    kept = {name: v for name, v in pipe.scheduler.config.items() if not name.startswith("_")}
    assert {name: again.scheduler.config[name] for name in kept} == kept
    for name, component in pipe.components.items():
        if isinstance(component, nn.Module):
            weights, read = component.state_dict(), again.components[name].state_dict()
            assert weights.keys() == read.keys()
            assert all(torch.equal(weights[key], read[key]) for key in weights)


def test_what_older_folders_say_beside_the_settings_is_known(
    make_pipeline: MakePipeline, tmp_path: Path
) -> None:
    known = {"domain": "drawn objects", "scene_kinds": ["mug", "car"]}
    make_pipeline().save_pretrained(tmp_path)
    file = tmp_path / "model_index.json"
    index = json.loads(file.read_text())
    del index["trained_on"]
    file.write_text(json.dumps({**index, **known, "domain_statistics": {"grain_threshold": 2.1}}))
    pipe = Zero123Pipeline.from_pretrained(tmp_path)
    assert pipe.trained_on == known and "domain" not in pipe.config
    assert Zero123Pipeline(**pipe.components, **pipe.parameters).trained_on == known
    assert Zero123Pipeline.from_pipe(pipe).trained_on == known


def test_a_model_without_a_name_is_called_by_its_folder(
    make_pipeline: MakePipeline, tmp_path: Path
) -> None:
    make_pipeline().save_pretrained(tmp_path / "chairs")
    assert Zero123Pipeline.from_pretrained(tmp_path / "chairs").model_name == "chairs"
    assert make_pipeline().model_name == "unnamed"


def test_half_precision_on_disk_is_single_in_memory(
    make_pipeline: MakePipeline, tmp_path: Path
) -> None:
    pipe = make_pipeline()
    weights = {name: w.half().float() for name, w in pipe.unet.state_dict().items()}
    for component in pipe.components.values():
        if isinstance(component, nn.Module):
            nn.Module.to(component, torch.float16)
    pipe.save_pretrained(tmp_path)
    again = Zero123Pipeline.from_pretrained(tmp_path)
    for component in again.components.values():
        if isinstance(component, nn.Module):
            assert {p.dtype for p in component.parameters()} <= {torch.float32}
    assert all(torch.equal(again.unet.state_dict()[name], w) for name, w in weights.items())
    half = Zero123Pipeline.from_pretrained(tmp_path, torch_dtype=torch.float16)
    assert half.dtype == torch.float16
    assert half.to(torch.float32).unet.dtype == torch.float32


def test_one_token_is_on_unless_told(make_pipeline: MakePipeline, tmp_path: Path) -> None:
    make_pipeline().save_pretrained(tmp_path)

    def processors(unet: UNet2DConditionModel) -> set[bool]:
        cross = {n: p for n, p in unet.attn_processors.items() if "attn2" in n}
        return {isinstance(processor, OneTokenAttnProcessor) for processor in cross.values()}

    assert processors(Zero123Pipeline.from_pretrained(tmp_path).unet) == {True}
    assert processors(Zero123Pipeline.from_pretrained(tmp_path, one_token=False).unet) == {False}


@pytest.mark.parametrize("name", ["no-such-model", "owner/no-such-model", ""])
def test_unknown_models_are_named_on_one_line(name: str) -> None:
    with pytest.raises(ValueError, match="^source: expected") as caught:
        Zero123Pipeline.from_pretrained(name)
    assert "\n" not in str(caught.value)


def _drop_weight(folder: Path) -> None:
    _rewrite(folder, lambda weights: weights.pop("proj.weight"))


def _reshape_weight(folder: Path) -> None:
    _rewrite(folder, lambda weights: weights.update({"proj.bias": torch.zeros(3)}))


def _rewrite(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    path = folder / "camera_projection/diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, {"format": "pt"})


def _drop_clip_weight(folder: Path) -> None:
    path = folder / "image_encoder/model.safetensors"
    weights = load_file(path)
    del weights["visual_projection.weight"]
    save_file(weights, path, {"format": "pt"})


def _text_for_weights(folder: Path) -> None:
    (folder / "unet/diffusion_pytorch_model.safetensors").write_text("not weights")


def _no_unet(folder: Path) -> None:
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()


def _no_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


def _broken_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("{")


def _other_pipeline(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    index["_class_name"] = "StableDiffusionPipeline"
    index["tokenizer"] = ["transformers", "CLIPTokenizer"]
    index["text_encoder"] = ["transformers", "CLIPTextModel"]
    (folder / "model_index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop_weight, "all weights of camera_projection, got all but 1, such as proj.weight"),
        (
            _drop_clip_weight,
            "all weights of image_encoder, got all but 1, such as visual_projection",
        ),
        (_reshape_weight, "proj.bias"),
        (_text_for_weights, "diffusion_pytorch_model.safetensors"),
        (_no_unet, "expected weights of unet, such as diffusion_pytorch_model.safetensors"),
        (_no_index, "expected a diffusers folder with .*model_index.json"),
        (_broken_index, "expected a readable model_index.json"),
        (_other_pipeline, "Stable Diffusion"),
    ],
)
def test_damaged_folders_are_refused(
    make_pipeline: MakePipeline, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    make_pipeline().save_pretrained(tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        Zero123Pipeline.from_pretrained(tmp_path)
    assert str(caught.value).startswith("source: expected")
    assert "\n" not in str(caught.value)
