"""What diffusers' own features do to a pipeline of ours: the table of docs/compatibility.md, run.

Each row of the table has the code that its test runs, and the word for what comes of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers.utils.hub_utils as hub_utils
import pytest
import torch
from diffusers import DiffusionPipeline, EulerDiscreteScheduler
from diffusers.callbacks import (
    MultiPipelineCallbacks,
    PipelineCallback,
    SDCFGCutoffCallback,
)
from peft import LoraConfig
from torch import Tensor, nn
from torch._dynamo import OptimizedModule

from zero123lib.diffusion.model import OneTokenAttnProcessor, disable_one_token
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.poses import RelativePose

MakePipeline = Callable[..., Zero123Pipeline]

DOCS = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
POSES = [RelativePose(azimuth_deg=45), RelativePose(elevation_deg=20)]
CPU = torch.device("cpu")

# What a feature does to the views: nothing but rounding; what its lower precision does; something
# that is wanted; or it is refused, with the words that follow.
EXACT, NEAR, OTHER, REFUSED = "same views", "near", "other views", "refused"
TOLERANCE = {EXACT: 2e-5, NEAR: 0.1}
FAMILIES = ("bundled", "published")


@dataclass(frozen=True)
class Row:
    """A feature: what it does to a pipeline, and what comes of it."""

    act: Callable[[Any], Any]
    outcome: str
    words: str = ""
    families: tuple[str, ...] = FAMILIES
    call: dict[str, Any] = field(default_factory=dict)
    check: Callable[[Any], bool] = lambda pipe: True


def euler(pipe: Any) -> None:
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)


def remade(pipe: Any, again: Any) -> Any:
    again.set_progress_bar_config(disable=True)
    return again


def compiled(pipe: Any) -> None:
    torch.compiler.reset()
    pipe.unet.compile_repeated_blocks(backend="eager", fullgraph=True)


def has_compiled_blocks(pipe: Any) -> bool:
    blocks = [m for m in pipe.unet.modules() if type(m).__name__ in pipe.unet._repeated_blocks]
    return bool(blocks) and all(block._compiled_call_impl is not None for block in blocks)


def compiled_whole(pipe: Any) -> None:
    torch.compiler.reset()
    pipe.unet = torch.compile(pipe.unet, backend="eager")


def fused(pipe: Any) -> None:
    pipe.fuse_qkv_projections(vae=False)


def unfused(pipe: Any) -> None:
    fused(pipe)
    pipe.unfuse_qkv_projections(vae=False)


def adapter(pipe: Any) -> None:
    torch.manual_seed(0)
    config = LoraConfig(r=2, target_modules=["to_v", "to_out.0"], init_lora_weights=False)
    pipe.unet.add_adapter(config)


def without_adapter(pipe: Any) -> None:
    adapter(pipe)
    pipe.unet.disable_lora()


def freeu(pipe: Any) -> None:
    pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)


def without_freeu(pipe: Any) -> None:
    freeu(pipe)
    pipe.disable_freeu()


def casted(network: Any, dtype: torch.dtype = torch.bfloat16) -> None:
    network.enable_layerwise_casting(storage_dtype=dtype, compute_dtype=torch.float32)


def stored_in(dtype: torch.dtype) -> Callable[[Any], bool]:
    return lambda pipe: any(weight.dtype == dtype for weight in pipe.unet.parameters())


def stock_attention(pipe: Any) -> bool:
    return not any(isinstance(p, OneTokenAttnProcessor) for p in pipe.unet.attn_processors.values())


def away(pipe: Any) -> bool:
    """Whether all weights are where offloading leaves them between calls: nowhere."""
    networks = [one for one in pipe.components.values() if isinstance(one, nn.Module)]
    return all(weight.is_meta for network in networks for weight in network.parameters())


class Halving(PipelineCallback):
    """A callback as diffusers' official ones are written."""

    @property
    def tensor_inputs(self) -> list[str]:
        return ["latents"]

    def callback_fn(self, pipeline: Any, step_index: int, timesteps: Any, callback_kwargs: Any):
        if step_index == self.config["cutoff_step_index"]:
            callback_kwargs["latents"] = callback_kwargs["latents"] / 2
        return callback_kwargs


def halving(step: int) -> Halving:
    return Halving(cutoff_step_ratio=None, cutoff_step_index=step)  # pyright: ignore[reportArgumentType]


def generators() -> list[torch.Generator]:
    """One per pose, which draw what one for all draws."""
    first, second = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    torch.randn(LATENTS["shape"], generator=second)
    return [first, second]


LATENTS: dict[str, Any] = {}

ROWS: dict[str, Row] = {
    # Made anew
    "Zero123Pipeline.from_pipe(pipe)": Row(
        lambda p: remade(p, Zero123Pipeline.from_pipe(p)), EXACT
    ),
    "Zero123Pipeline(**pipe.components)": Row(
        lambda p: remade(p, Zero123Pipeline(**p.components)), EXACT
    ),
    "DiffusionPipeline.from_pipe(pipe)": Row(
        DiffusionPipeline.from_pipe, REFUSED, "expected \\['args', 'kwargs'\\]"
    ),
    # Memory
    "pipe.enable_model_cpu_offload()": Row(
        lambda p: p.enable_model_cpu_offload(device=CPU), EXACT,
        check=lambda p: len(p._all_hooks) == 4,
    ),
    "pipe.enable_sequential_cpu_offload()": Row(
        lambda p: p.enable_sequential_cpu_offload(device=CPU), EXACT, check=away
    ),
    "pipe.enable_group_offload(..., offload_type='leaf_level')": Row(
        lambda p: p.enable_group_offload(CPU, offload_type="leaf_level"), EXACT
    ),
    "pipe.enable_group_offload(..., offload_type='block_level')": Row(
        lambda p: p.enable_group_offload(
            CPU, offload_type="block_level", num_blocks_per_group=1), EXACT
    ),
    "pipe.unet.enable_layerwise_casting(storage_dtype=torch.bfloat16, ...)": Row(
        lambda p: casted(p.unet), NEAR, check=stored_in(torch.bfloat16)
    ),
    "pipe.unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, ...)": Row(
        lambda p: casted(p.unet, torch.float8_e4m3fn), OTHER,
        check=stored_in(torch.float8_e4m3fn),
    ),
    "pipe.vae.enable_layerwise_casting(...)": Row(lambda p: casted(p.vae), NEAR),
    "pipe.vae.enable_slicing()": Row(
        lambda p: p.vae.enable_slicing(), EXACT, check=lambda p: p.vae.use_slicing
    ),
    "pipe.vae.enable_tiling()": Row(
        lambda p: p.vae.enable_tiling(), EXACT, check=lambda p: p.vae.use_tiling
    ),
    "pipe.enable_attention_slicing()": Row(
        lambda p: p.enable_attention_slicing(1), EXACT, check=stock_attention
    ),
    "pipe.to(torch.bfloat16)": Row(lambda p: p.to(torch.bfloat16), NEAR),
    "pipe.to(torch.float16)": Row(lambda p: p.to(torch.float16), NEAR),
    # Speed
    "pipe.unet.compile_repeated_blocks()": Row(
        compiled, EXACT, families=("published",), check=has_compiled_blocks
    ),
    "torch.compile(pipe.unet)": Row(
        compiled_whole, EXACT, families=("published",),
        check=lambda p: isinstance(p.unet, OptimizedModule),
    ),
    "pipe.unet.to(memory_format=torch.channels_last)": Row(
        lambda p: p.unet.to(memory_format=torch.channels_last) and None, EXACT
    ),
    "pipe.fuse_qkv_projections(vae=False)": Row(fused, EXACT, check=stock_attention),
    "pipe.fuse_qkv_projections()": Row(
        lambda p: p.fuse_qkv_projections(), EXACT, families=("published",)
    ),
    "pipe.fuse_qkv_projections() of the patch transform": Row(
        lambda p: p.fuse_qkv_projections(), REFUSED, "only supported for the VAE of type",
        families=("bundled",),
    ),
    "pipe.unfuse_qkv_projections(vae=False)": Row(unfused, EXACT),
    "pipe.unet.set_attention_backend('native')": Row(
        lambda p: p.unet.set_attention_backend("native"), EXACT,
        # diffusers' processors for UNets do not ask which backend there is.
        check=lambda p: not any(
            hasattr(one, "_attention_backend") for one in p.unet.attn_processors.values()
        ),
    ),
    "pipe.unet.set_default_attn_processor()": Row(
        lambda p: p.unet.set_default_attn_processor(), REFUSED, "set_default_attn_processor"
    ),
    "disable_one_token(pipe.unet)": Row(
        lambda p: disable_one_token(p.unet), EXACT, check=stock_attention
    ),
    # Looks
    "pipe.enable_freeu(...)": Row(freeu, OTHER),
    "pipe.disable_freeu()": Row(without_freeu, EXACT),
    "pipe.unet.add_adapter(LoraConfig(...))": Row(adapter, OTHER),
    "pipe.unet.disable_lora()": Row(without_adapter, EXACT),
    # Calls
    "pipe.scheduler = EulerDiscreteScheduler.from_config(...)": Row(
        euler, OTHER, families=("published",)
    ),
    "pipe(..., timesteps=[...])": Row(
        lambda p: None, EXACT,
        call={"num_inference_steps": None, "timesteps": [999, 749, 499, 249]},
    ),
    "pipe(..., sigmas=[...])": Row(
        lambda p: None, REFUSED, "sigmas: expected None with the sampler 'ddim'",
        call={"sigmas": [9.0, 1.0]},
    ),
    "pipe(..., sigmas=[...]) with a scheduler that takes them": Row(
        euler, OTHER, families=("published",), call={"sigmas": [9.0, 1.0]}
    ),
    "pipe(..., generator=[...])": Row(lambda p: None, EXACT, call={"generator": generators}),
    "pipe(..., callback_on_step_end=PipelineCallback(...))": Row(
        lambda p: None, OTHER, call={"callback_on_step_end": halving(2)}
    ),
    "pipe(..., callback_on_step_end=MultiPipelineCallbacks(...))": Row(
        lambda p: None, OTHER,
        call={"callback_on_step_end": MultiPipelineCallbacks([halving(2), halving(7)])},
    ),
    "pipe(..., callback_on_step_end=SDCFGCutoffCallback(...))": Row(
        lambda p: None, REFUSED, "callback_on_step_end_tensor_inputs: expected \\['latents'\\]",
        call={"callback_on_step_end": SDCFGCutoffCallback(cutoff_step_ratio=0.5)},
    ),
}  # fmt: skip


def views(pipe: Any, image: Tensor, **call: Any) -> Tensor:
    call = {"num_inference_steps": 4, "generator": torch.Generator().manual_seed(0), **call}
    LATENTS["shape"] = pipe.latent_shape
    call = {name: value() if value is generators else value for name, value in call.items()}
    return pipe(image, POSES, guidance_scale=2.0, output_type="pt", **call).images


@pytest.fixture(scope="module")
def plain(make_pipeline: MakePipeline, image: Tensor) -> dict[str, Tensor]:
    return {family: views(make_pipeline(family), image) for family in FAMILIES}


CASES = [
    pytest.param(name, family, id=f"{name} {family}")
    for name, row in ROWS.items()
    for family in row.families
]


@pytest.mark.filterwarnings("ignore:.*torch_dtype.*deprecated:FutureWarning")
@pytest.mark.usefixtures("cpu_as_accelerator")
@pytest.mark.parametrize(("name", "family"), CASES)
def test_feature(
    make_pipeline: MakePipeline, image: Tensor, plain: dict[str, Tensor], name: str, family: str
) -> None:
    row, pipe = ROWS[name], make_pipeline(family)
    if row.outcome == REFUSED:
        with pytest.raises((ValueError, TypeError), match=row.words):
            row.act(pipe)
            views(pipe, image, **row.call)
        return
    again = row.act(pipe)
    pipe = again if isinstance(again, DiffusionPipeline) else pipe
    found = views(pipe, image, **row.call)
    assert row.check(pipe)
    assert torch.isfinite(found).all()
    difference = float((found - plain[family]).abs().max())
    if row.outcome == OTHER:
        assert difference > 1e-3
    else:
        assert difference <= TOLERANCE[row.outcome]
        assert difference > 0 or row.outcome != NEAR or ("vae" in name and family == "bundled")


def test_the_table_is_what_was_run() -> None:
    table = DOCS.read_text().partition("## Features")[2]
    lines = re.findall(r"^\| `(.+?)`(.*?) \| (.+?) \|", table, re.M)
    told = {code + text: outcome for code, text, outcome in lines}
    assert told == {name: row.outcome for name, row in ROWS.items()}


def test_a_lora_file_comes_back(make_pipeline: MakePipeline, image: Tensor, tmp_path: Path) -> None:
    pipe, other = make_pipeline(), make_pipeline()
    unet: Any = other.unet
    adapter(pipe)
    expected = views(pipe, image)
    pipe.unet.save_lora_adapter(tmp_path)
    name = "pytorch_lora_weights.safetensors"
    unet.load_lora_adapter(tmp_path, prefix=None, weight_name=name, use_safetensors=True)
    assert torch.allclose(views(other, image), expected, atol=1e-5)
    unet.fuse_lora()
    assert torch.allclose(views(other, image), expected, atol=1e-4)


def test_push_to_hub_uploads_the_folder(
    make_pipeline: MakePipeline, image: Tensor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pipe, sent = make_pipeline(encoding="stable-zero123"), tmp_path / "sent"

    class Url:
        repo_id = "me/chairs"

    def upload(folder_path: Any, **rest: Any) -> None:
        assert rest["repo_id"] == "me/chairs"
        Path(folder_path).rename(sent)
        Path(folder_path).mkdir()

    class Card:
        def save(self, path: Any) -> None:
            Path(path).write_text("---\nlicense: mit\n---\n")

    monkeypatch.setattr(hub_utils, "create_repo", lambda *given, **rest: Url)
    monkeypatch.setattr(hub_utils, "upload_folder", upload)
    monkeypatch.setattr(hub_utils, "load_or_create_model_card", lambda *given, **rest: Card())
    monkeypatch.setattr(hub_utils, "populate_model_card", lambda card: card)
    pipe.push_to_hub("me/chairs")
    again = Zero123Pipeline.from_pretrained(sent)
    again.set_progress_bar_config(disable=True)
    assert (again.config["encoding"], again.licence) == ("stable-zero123", "mit")
    options = {"condition_elevation_deg": 5}
    assert torch.equal(views(again, image, **options), views(pipe, image, **options))


class Reuse:
    """Features of the deep blocks are reused at every other step (DeepCache, Ma et al. 2024).

    It finds the step at hand as the published helper does, by the timestep that the UNet is given.
    """

    def __init__(self, pipe: Any) -> None:
        self.steps: list[int] = []
        self.evaluated, self.kept = 0, None
        unet, deep = pipe.unet.forward, pipe.unet.mid_block.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            self.steps.append(list(pipe.scheduler.timesteps).index(args[1].item()))
            return unet(*args, **kwargs)

        def reused(*args: Any, **kwargs: Any) -> Any:
            if self.steps[-1] % 2 == 0:
                self.evaluated, self.kept = self.evaluated + 1, deep(*args, **kwargs)
            return self.kept

        pipe.unet.forward, pipe.unet.mid_block.forward = forward, reused


@pytest.mark.parametrize("sampler", ["ddim", "official", "unipc", None])
def test_helpers_find_the_step_at_hand(
    make_pipeline: MakePipeline, image: Tensor, sampler: Any
) -> None:
    pipe: Any = make_pipeline("published")
    if sampler is None:
        euler(pipe)
    plain = views(pipe, image, num_inference_steps=6, sampler=sampler)
    helper, count = Reuse(pipe), pipe.num_timesteps
    found = views(pipe, image, num_inference_steps=6, sampler=sampler)
    assert helper.steps == list(range(count))
    assert helper.evaluated == (count + 1) // 2
    assert 0 < (found - plain).abs().max() < 0.5


def test_progress_bar_is_configured_as_in_diffusers(
    make_pipeline: MakePipeline, image: Tensor, capsys: pytest.CaptureFixture
) -> None:
    pipe = make_pipeline()
    pipe.set_progress_bar_config(disable=False, desc="turning")
    views(pipe, image)
    assert "turning: 100%" in capsys.readouterr().err


def test_precision_by_component(make_pipeline: MakePipeline, tmp_path: Path) -> None:
    make_pipeline().save_pretrained(tmp_path)
    wanted: Any = {"unet": torch.bfloat16, "default": torch.float64}
    for argument in ("torch_dtype", "dtype"):
        pipe = Zero123Pipeline.from_pretrained(tmp_path, **{argument: wanted})
        found = {
            name: {weight.dtype for weight in network.parameters()}
            for name, network in pipe.components.items()
            if isinstance(network, nn.Module) and any(True for _ in network.parameters())
        }
        assert found.pop("unet") == {torch.bfloat16}
        assert set.union(*found.values()) == {torch.float64}
