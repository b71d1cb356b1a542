"""Every published layout of a diffusers folder, built from random weights, loads as it lies.

The ports: kxic's `cc_projection/` (class CCProjection, no config), bennyguo's and ashawkey's
`clip_camera_projection/` (class CLIPCameraProjection, with a config), half-precision variants,
pickled weights, shards, and the names that old versions of diffusers and transformers gave.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from zero123lib.diffusion.checkpoints.errors import (
    CheckpointError,
    DamagedCheckpointError,
    MismatchedCheckpointError,
    UnsafeCheckpointError,
)
from zero123lib.diffusion.checkpoints.parts import weight_files
from zero123lib.diffusion.pipeline import Zero123Pipeline

Views = Callable[[Any], Tensor]
Change = Callable[[Path], None]

# The modules and classes that the published indices name, none of which may be needed.
MODULES = {"pipeline_zero1to3", "clip_camera_projection"}
CLASSES = {"CCProjection", "CLIPCameraProjection"}

OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def weight_file(folder: Path) -> Path:
    return next(folder.glob("*.safetensors"))


def rewrite(path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    save_file(change(load_file(path)), path, {"format": "pt"})


def pickled(folder: Path) -> None:
    """All weights as `.bin` files, as before safetensors; transformers' have another stem too."""
    for path in list(folder.rglob("*.safetensors")):
        prefix = "pytorch_" if path.name.startswith("model") else ""
        name = path.name.replace(".safetensors", ".bin")
        torch.save(load_file(path), path.with_name(f"{prefix}{name}"))
        path.unlink()


def half_variant(folder: Path) -> None:
    """All weights in half precision under the variant's name, and no others."""
    for path in list(folder.rglob("*.safetensors")):
        halves = {name: tensor.half() for name, tensor in load_file(path).items()}
        save_file(halves, path.with_name(f"{path.stem}.fp16.safetensors"), {"format": "pt"})
        path.unlink()


def old_names(folder: Path) -> None:
    """The VAE's attention as diffusers named it before 0.18, CLIP's buffer before 4.31."""

    def vae(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        renamed = {}
        for name, tensor in weights.items():
            for new, old in OLD_NAMES.items():
                name = name.replace(new, old) if "mid_block.attentions" in name else name
            renamed[name] = tensor
        assert sum("proj_attn" in name for name in renamed) == 4
        return renamed

    rewrite(weight_file(folder / "vae"), vae)
    buffer = {"vision_model.embeddings.position_ids": torch.arange(5)[None]}
    rewrite(weight_file(folder / "image_encoder"), lambda weights: {**weights, **buffer})


def kxic(folder: Path) -> None:
    old_names(folder)
    index = json.loads((folder / "model_index.json").read_text())
    del index["camera_projection"]
    index |= {
        "_class_name": "Zero1to3StableDiffusionPipeline",
        "cc_projection": ["pipeline_zero1to3", "CCProjection"],
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "safety_checker": [None, None],
        "requires_safety_checker": False,
    }
    (folder / "model_index.json").write_text(json.dumps(plain(index)))
    (folder / "feature_extractor").mkdir()
    (folder / "feature_extractor/preprocessor_config.json").write_text("{}")
    projection = (folder / "camera_projection").rename(folder / "cc_projection")
    (projection / "config.json").unlink()
    rename = {"proj.weight": "projection.weight", "proj.bias": "projection.bias"}
    rewrite(weight_file(projection), lambda w: {rename[name]: w[name] for name in w})


def clip_camera(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    del index["camera_projection"]
    index |= {
        "_class_name": "Zero123Pipeline",
        "clip_camera_projection": ["clip_camera_projection", "CLIPCameraProjection"],
    }
    (folder / "model_index.json").write_text(json.dumps(plain(index)))
    projection = (folder / "camera_projection").rename(folder / "clip_camera_projection")
    config = json.loads((projection / "config.json").read_text())
    config["_class_name"] = "CLIPCameraProjection"
    (projection / "config.json").write_text(json.dumps(config))


def plain(index: dict[str, Any]) -> dict[str, Any]:
    """An index without what only our own folders say."""
    ours = ("encoding", "model_name", "num_inference_steps", "guidance_scale", "domain")
    return {name: value for name, value in index.items() if not name.startswith(ours)}


LAYOUTS: dict[str, tuple[Change, ...]] = {
    "ours": (),
    "kxic": (kxic,),
    "kxic, pickled": (kxic, pickled),
    "bennyguo": (clip_camera,),
    "bennyguo, old names": (clip_camera, old_names),
    "ashawkey, pickled": (clip_camera, old_names, pickled),
    "fp16 variant": (clip_camera, half_variant),
    "fp16 variant, pickled": (clip_camera, half_variant, pickled),
}


@pytest.fixture
def folder(original: Any, scheduler: Any, tmp_path: Path) -> Path:
    """The small model, as our own `save_pretrained` writes it."""
    pipe = Zero123Pipeline(**original.networks, scheduler=scheduler)
    pipe.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_layouts_load(folder: Path, original: Any, views: Views, layout: str) -> None:
    for change in LAYOUTS[layout]:
        change(folder)
    pipe = Zero123Pipeline.from_pretrained(folder, encoding="zero123")
    assert not MODULES & {part for name in sys.modules for part in name.split(".")}
    # Not getattr, which would make lazy modules look for them.
    assert not any(CLASSES & vars(module).keys() for module in list(sys.modules.values()))
    for name, network in original.networks.items():
        read, weights = pipe.components[name].state_dict(), network.state_dict()
        half = "fp16" in layout
        assert read.keys() == weights.keys()
        assert all(
            torch.equal(read[w], weights[w].half().float() if half else weights[w]) for w in weights
        )
    if "fp16" not in layout:
        assert torch.equal(views(pipe), views(original.networks))


def test_shards_of_either_format(original: Any, scheduler: Any, tmp_path: Path) -> None:
    pipe = Zero123Pipeline(**original.networks, scheduler=scheduler)
    pipe.save_pretrained(tmp_path / "model", max_shard_size="1MB")
    unet = tmp_path / "model/unet"
    assert len(list(unet.glob("*-of-*.safetensors"))) > 2
    weights = original.networks["unet"].state_dict()
    for make in (lambda folder: None, pickled):
        make(tmp_path / "model")
        read = Zero123Pipeline.from_pretrained(tmp_path / "model").unet.state_dict()
        assert all(torch.equal(read[name], weights[name]) for name in weights)
    next(unet.glob("*-00002-of-*.bin")).unlink()
    with pytest.raises(CheckpointError, match="expected all [0-9]+ shards of unet, got"):
        Zero123Pipeline.from_pretrained(tmp_path / "model")


def test_a_sharded_variant(original: Any, scheduler: Any, tmp_path: Path) -> None:
    pipe = Zero123Pipeline(**original.networks, scheduler=scheduler)
    pipe.save_pretrained(tmp_path / "model", max_shard_size="1MB", variant="fp16")
    assert list((tmp_path / "model/unet").glob("*.fp16-00002-of-*.safetensors"))
    assert not list((tmp_path / "model/unet").glob("*model-*.safetensors"))
    read = Zero123Pipeline.from_pretrained(tmp_path / "model").unet.state_dict()
    weights = original.networks["unet"].state_dict()
    assert all(torch.equal(read[name], weights[name]) for name in weights)


def shards(*parts: str, stem: str = "diffusion_pytorch_model") -> list[str]:
    return [f"{stem}{part}.safetensors" for part in parts]


FULL = ("-00001-of-00002", "-00002-of-00002")


@pytest.mark.parametrize(
    ("found", "variant", "files"),
    [
        (shards("", "-backup"), None, shards("")),
        (shards("", *FULL), None, shards("")),
        (shards(*FULL), None, shards(*FULL)),
        (shards(*FULL), "fp16", shards(*FULL)),
        (
            shards(*FULL, ".fp16-00001-of-00001"),
            "fp16",
            shards(".fp16-00001-of-00001"),
        ),
        # Older versions put the variant behind the shard.
        (
            shards(*FULL, "-00001-of-00002.fp16", "-00002-of-00002.fp16"),
            None,
            shards(*FULL),
        ),
        (
            shards("-00001-of-00002.fp16", "-00002-of-00002.fp16"),
            None,
            shards("-00001-of-00002.fp16", "-00002-of-00002.fp16"),
        ),
        (shards("", ".fp16"), "fp16", shards(".fp16")),
        (shards(".bf16", ".fp16"), None, shards(".bf16")),
    ],
)
def test_which_files_hold_the_weights(
    found: list[str], variant: str | None, files: list[str]
) -> None:
    assert weight_files("unet", found, variant, Path("model")) == files
    other = [name.replace("diffusion_pytorch_model", "model") for name in found]
    wanted = [name.replace("diffusion_pytorch_model", "model") for name in files]
    assert weight_files("image_encoder", other, variant, Path("model")) == wanted


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (shards("-backup"), "expected weights of unet, .* got none"),
        (shards("-00001-of-two"), "expected weights of unet, .* got none"),
        (shards(stem="model"), "expected weights of unet, .* got none"),
        (shards("-00001-of-00002"), "expected all 2 shards of unet, got 1"),
        (shards("-00001-of-00002", "-00003-of-00002"), "expected all 2 shards"),
        (shards("-00001-of-00002", "-00002-of-00003", "-00003-of-00003"), "expected all 3 shards"),
        (shards(*FULL, "-00001-of-00001"), "expected all 2 shards of unet, got 3"),
        (shards(".fp16-00001-of-00002", "-00001-of-00002.fp16"), "expected all 2 shards"),
        (shards("-00001-of-00002", "-00002-of-00002.fp16"), "expected all 2 shards"),
        (shards("-00000-of-00000"), "expected all 0 shards"),
    ],
)
def test_files_that_make_no_set_are_refused(found: list[str], message: str) -> None:
    with pytest.raises(DamagedCheckpointError, match=f"^source: {message}.*'model'"):
        weight_files("unet", found, None, Path("model"))


def test_a_weight_in_two_shards_is_refused(original: Any, scheduler: Any, tmp_path: Path) -> None:
    pipe = Zero123Pipeline(**original.networks, scheduler=scheduler)
    pipe.save_pretrained(tmp_path / "model", max_shard_size="1MB")
    first, second, *_ = sorted((tmp_path / "model/unet").glob("*.safetensors"))
    name, tensor = next(iter(load_file(first).items()))
    rewrite(second, lambda weights: {**weights, name: tensor + 1})
    with pytest.raises(MismatchedCheckpointError, match=f"each weight of unet once, got {name} tw"):
        Zero123Pipeline.from_pretrained(tmp_path / "model")


def test_old_attention_of_another_kernel_is_refused(folder: Path) -> None:
    def widen(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        name = "encoder.mid_block.attentions.0.query.weight"
        return {**weights, name: weights[name][:, :, None, None].repeat(1, 1, 3, 3)}

    old_names(folder)
    rewrite(weight_file(folder / "vae"), widen)
    with pytest.raises(MismatchedCheckpointError, match=r"got \[64, 64, 3, 3\]"):
        Zero123Pipeline.from_pretrained(folder)


class Evil:
    """Makes a file where it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return Path.touch, (self.canary,)


@pytest.mark.parametrize("part", ["unet", "vae", "image_encoder", "camera_projection"])
def test_pickles_of_a_folder_run_no_code(folder: Path, tmp_path: Path, part: str) -> None:
    pickled(folder)
    path, canary = next((folder / part).glob("*.bin")), tmp_path / "canary"
    weights = torch.load(path, weights_only=True)
    torch.save({**weights, "evil": Evil(canary)}, path)
    with pytest.raises(UnsafeCheckpointError, match="^source: expected"):
        Zero123Pipeline.from_pretrained(folder)
    assert not canary.exists()
    torch.load(path, weights_only=False)
    assert canary.exists()  # it would have


def test_which_of_two_variants(folder: Path, original: Any) -> None:
    weights = {w: t.clone() for w, t in original.networks["unet"].state_dict().items()}
    path = weight_file(folder / "unet")
    halves = {name: (2 * tensor).half() for name, tensor in weights.items()}
    save_file(halves, path.with_name(f"{path.stem}.fp16.safetensors"))

    def first(**options: Any) -> float:
        read = Zero123Pipeline.from_pretrained(folder, **options).unet.state_dict()
        return float(read["conv_in.bias"][0] / weights["conv_in.bias"][0])

    assert first() == 1
    assert first(variant="fp16") == pytest.approx(2, rel=1e-3)
    assert first(torch_dtype=torch.float16) == pytest.approx(2, rel=1e-3)
    assert first(torch_dtype=torch.float16, variant="bf16") == pytest.approx(1, rel=1e-3)


def test_a_component_of_ones_own_takes_the_place(folder: Path, scheduler: Any) -> None:
    from diffusers import PNDMScheduler

    own = PNDMScheduler.from_config(scheduler.config)
    assert Zero123Pipeline.from_pretrained(folder, scheduler=own).scheduler is own
    with pytest.raises(TypeError, match="^text_encoder: expected an argument of from_pretrained"):
        Zero123Pipeline.from_pretrained(folder, text_encoder=None)


def test_no_projection_is_named(folder: Path) -> None:
    (folder / "camera_projection").rename(folder / "projection")
    with pytest.raises(CheckpointError, match="expected a camera projection in one of"):
        Zero123Pipeline.from_pretrained(folder)


@pytest.mark.parametrize(
    ("part", "name"), [("vae", "AutoencoderTiny"), ("unet", "UNet2DModel"), ("unet", "os.system")]
)
def test_other_classes_are_refused(folder: Path, part: str, name: str) -> None:
    path = folder / part / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "_class_name": name}))
    with pytest.raises(CheckpointError, match=f"^source: expected {part} to be .*, got '{name}'"):
        Zero123Pipeline.from_pretrained(folder)


def test_other_schedulers_are_refused(folder: Path) -> None:
    path = folder / "scheduler/scheduler_config.json"
    path.write_text(json.dumps({"_class_name": "DiffusionPipeline"}))
    with pytest.raises(CheckpointError, match="one of diffusers' schedulers, got 'DiffusionPipe"):
        Zero123Pipeline.from_pretrained(folder)


def test_original_config_is_for_original_files(folder: Path) -> None:
    with pytest.raises(ValueError, match="^original_config: expected None for a diffusers folder"):
        Zero123Pipeline.from_pretrained(folder, original_config="model.yaml")
