"""Real runs of a toy: they learn, resume to the bit, and train what they are told to."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.training.toy import NumberedPairs, toy_config, weights_of
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.training import lora
from zero123lib.training.checkpoints import resume, save_checkpoint
from zero123lib.training.data import training_pairs
from zero123lib.training.data_config import DataConfig, ScenesConfig
from zero123lib.training.loop import train
from zero123lib.training.output import averaged_pipeline, write_model
from zero123lib.training.state import make_accelerator, micro_batch, start
from zero123lib.views.poses import RelativePose


def run(state, source, steps: int | None = None) -> list[float]:
    generator = train(state, source)
    return [progress.loss for progress in itertools.islice(generator, steps)]


def same(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for name, weight in a.items():
        assert torch.equal(weight, b[name]), name


def test_a_run_lowers_its_loss(tmp_path, renders):
    config = toy_config(
        tmp_path, f"data.path={renders}", "budget.steps=60", "optimizer.learning_rate=5e-3",
        "objective.dropout=0",
    )  # fmt: skip
    state = start(config)
    losses = run(state, training_pairs(config, state.pipe))
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10]), losses


@pytest.mark.parametrize("cut", [1, 3])
@pytest.mark.parametrize("per_device", [1, 4])
def test_a_resumed_run_is_the_unbroken_one_to_the_bit(tmp_path, cut, per_device):
    """Weights, averages, moments and losses; 4 micro-batches per step, or one."""
    config = toy_config(tmp_path, f"batch.per_device={per_device}")
    whole = start(config)
    losses = run(whole, NumberedPairs())
    first = start(config)
    before = run(first, NumberedPairs(), cut)
    save_checkpoint(tmp_path / "run", first, None, 1)
    second = start(config)
    assert resume(tmp_path / "run", second) is not None and second.step == cut
    assert before + run(second, NumberedPairs()) == losses
    same(weights_of(second), weights_of(whole))
    same(second.average.weights, whole.average.weights)
    moments = whole.optimizer.state_dict()["state"]
    for key, entry in second.optimizer.state_dict()["state"].items():
        same(entry, moments[key])


def test_a_stop_in_the_middle_of_an_accumulation_finishes_the_step(tmp_path):
    """Asked after the second of four micro-batches, as by a signal."""
    config = toy_config(tmp_path, "batch.per_device=1")
    losses = run(start(config), NumberedPairs())
    state, source = start(config), NumberedPairs()
    progress = list(train(state, source, lambda: len(source.seen) > 5))
    assert [p.stopping for p in progress] == [False, True] and state.step == 2
    save_checkpoint(tmp_path / "run", state, None, 1)
    again = start(config)
    resume(tmp_path / "run", again)
    assert [p.loss for p in progress] + run(again, NumberedPairs()) == losses


def test_every_pair_comes_once_in_order(tmp_path):
    for per_device in (1, 2, 3, 4):
        source = NumberedPairs()
        config = toy_config(tmp_path, f"batch.per_device={per_device}", "budget.steps=2")
        run(start(config), source)
        assert source.seen == list(range(8))


def test_the_split_into_micro_batches_does_not_matter(tmp_path):
    weights = []
    for per_device in (1, 4):
        config = toy_config(tmp_path, f"batch.per_device={per_device}", "budget.steps=2")
        state = start(config)
        run(state, NumberedPairs())
        weights.append(weights_of(state))
    for name, weight in weights[0].items():
        assert torch.allclose(weight, weights[1][name], atol=1e-5), name


def test_micro_batches_divide_the_share(tmp_path):
    config = toy_config(tmp_path, "batch.size=1536", "batch.per_device=192")
    assert micro_batch(config, 8) == (192, 1)
    assert micro_batch(config, 1) == (192, 8)
    assert micro_batch(toy_config(tmp_path, "batch.size=30", "batch.per_device=8"), 2) == (5, 3)
    with pytest.raises(ValueError, match="batch.size: expected a multiple of the 3 processes"):
        micro_batch(toy_config(tmp_path), 3)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_bfloat16_trains_every_prediction_type(tmp_path, prediction_type):
    config = toy_config(
        tmp_path,
        f"initial.architecture.prediction_type={prediction_type}",
        "compute.precision=bf16",
        "compute.channels_last=true",
        "compute.gradient_checkpointing=true",
        "budget.steps=2",
    )
    state = start(config)
    before = weights_of(state)
    losses = run(state, NumberedPairs())
    assert all(torch.isfinite(torch.tensor(losses)))
    for name, weight in state.trained.items():
        assert weight.dtype == torch.float32 and not torch.equal(weight, before[name]), name


def test_half_precision_needs_a_gpu(tmp_path):
    config = toy_config(tmp_path, "compute.precision=fp16", "compute.device=cpu")
    with pytest.raises(ValueError, match="compute.precision: expected auto, fp32 or bf16 on a CPU"):
        make_accelerator(config.compute)


def test_gradient_checkpointing_changes_no_loss(tmp_path):
    losses = [
        run(start(toy_config(tmp_path, f"compute.gradient_checkpointing={on}")), NumberedPairs(), 2)
        for on in ("false", "true")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_one_token_trains_what_stock_attention_does(tmp_path):
    """Queries and keys of cross-attention have no gradient, so leaving them out changes nothing."""
    states = []
    for one_token in ("true", "false"):
        config = toy_config(
            tmp_path, f"trained.one_token={one_token}", "optimizer.weight_decay=0",
            "budget.steps=2",
        )  # fmt: skip
        states.append(start(config))
        run(states[-1], NumberedPairs())
    lean, stock = (weights_of(state) for state in states)
    extra = stock.keys() - lean.keys()
    assert extra and all("norm2" in n or "attn2.to_" in n for n in extra)
    for name, weight in lean.items():
        assert torch.allclose(weight, stock[name], atol=1e-5), name


def test_a_frozen_clip_and_vae_stay_as_they_are(tmp_path):
    state = start(toy_config(tmp_path, "trained.image_encoder=false"))
    before = {k: v.clone() for k, v in state.pipe.image_encoder.state_dict().items()}
    run(state, NumberedPairs(), 2)
    same(state.pipe.image_encoder.state_dict(), before)
    assert not any(name.startswith("image_encoder") for name in state.trained)


def test_lora_trains_adapters_and_projection_alone(tmp_path):
    config = toy_config(
        tmp_path, "trained.unet=lora", "trained.image_encoder=false", "trained.lora_rank=2",
        "optimizer.learning_rate=0.05",
    )  # fmt: skip
    state = start(config)
    base = {n: p.clone() for n, p in state.pipe.unet.named_parameters() if "lora_" not in n}
    run(state, NumberedPairs())
    names = set(state.trained)
    assert {n for n in names if n.startswith("unet.")} == {n for n in names if ".lora_" in n}
    assert {n for n in names if not n.startswith("unet.")} == {
        "camera_projection.proj.weight", "camera_projection.proj.bias",
    }  # fmt: skip
    for name, parameter in state.pipe.unet.named_parameters():
        if "lora_" not in name:
            assert torch.equal(parameter, base[name]), name
    write_model(tmp_path, state)
    merged = Zero123Pipeline.from_pretrained(tmp_path / "model").unet
    torch.manual_seed(0)
    inputs = torch.randn(2, 96, 4, 4), torch.tensor([10, 900]), torch.randn(2, 1, 16)
    with torch.no_grad():
        plain_start = start(config).pipe.unet(*inputs).sample
        with state.average.applied():
            adapted = state.pipe.unet(*inputs).sample
        assert torch.allclose(merged(*inputs).sample, adapted, atol=1e-5)
        assert not torch.allclose(plain_start, adapted, atol=1e-3)
    fresh: Any = start(toy_config(tmp_path)).pipe.unet
    name = "pytorch_lora_weights.safetensors"
    fresh.load_lora_adapter(tmp_path / "lora", prefix=None, weight_name=name)
    with torch.no_grad():
        assert torch.allclose(fresh(*inputs).sample, adapted, atol=1e-5)


def test_lora_on_frozen_weights_of_half_the_size(tmp_path):
    config = toy_config(
        tmp_path, "trained.unet=lora", "trained.image_encoder=false", "compute.precision=bf16",
        "compute.frozen_precision=bf16", "compute.gradient_checkpointing=true",
        "optimizer.learning_rate=0.05",
    )  # fmt: skip
    state = start(config)
    losses = run(state, NumberedPairs())
    assert all(torch.isfinite(torch.tensor(losses)))
    for name, parameter in state.pipe.unet.named_parameters():
        expected = torch.float32 if parameter.requires_grad else torch.bfloat16
        assert parameter.dtype == expected, name
    assert {p.dtype for p in state.pipe.vae.parameters()} <= {torch.bfloat16}
    write_model(tmp_path, state)
    assert Zero123Pipeline.from_pretrained(tmp_path / "model").unet.dtype == torch.float32


def test_lora_resumes(tmp_path):
    config = toy_config(tmp_path, "trained.unet=lora", "trained.image_encoder=false")
    losses = run(start(config), NumberedPairs())
    state = start(config)
    before = run(state, NumberedPairs(), 2)
    save_checkpoint(tmp_path / "run", state, None, 1)
    again = start(config)
    resume(tmp_path / "run", again)
    assert before + run(again, NumberedPairs()) == losses
    assert not lora.has_adapters(averaged_pipeline(again).unet)


def test_the_result_knows_what_its_start_knew_and_what_it_saw(tmp_path):
    state = start(toy_config(tmp_path))
    state.pipe.register_to_config(foreground_ratio=0.5, trained_on={"scene_kinds": ["mug"]})
    made = averaged_pipeline(state)
    assert (made.config["foreground_ratio"], made.trained_on) == (0.5, {"scene_kinds": ["mug"]})
    scenes = DataConfig(source="scenes", scenes=ScenesConfig(kinds=("car", "duck")))
    state.config = replace(state.config, data=scenes)
    assert averaged_pipeline(state).trained_on["scene_kinds"] == ["car", "duck"]
    state.config = replace(state.config, data=replace(scenes, scenes=ScenesConfig()))
    assert averaged_pipeline(state).trained_on["scene_kinds"] is None


def test_the_result_is_a_pipeline_of_the_averages(tmp_path):
    state = start(toy_config(tmp_path, "output.name=mine"))
    run(state, NumberedPairs())
    write_model(tmp_path, state)
    pipe = Zero123Pipeline.from_pretrained(tmp_path / "model")
    assert pipe.model_name == "mine"
    for name, average in state.average.weights.items():
        part, _, key = name.partition(".")
        assert torch.equal(getattr(pipe, part).state_dict()[key], average), name
    pipe.set_progress_bar_config(disable=True)
    call: dict[str, Any] = {"num_inference_steps": 2, "return_dict": False}
    images = pipe(torch.ones(3, 16, 16), [RelativePose(azimuth_deg=30)], **call)[0]
    assert images[0].size == (16, 16)
    # A second one takes the first one's place, and keeps a card that was put there.
    (tmp_path / "model" / "README.md").write_text("a card")
    write_model(tmp_path, state)
    assert (tmp_path / "model" / "README.md").read_text() == "a card"
    assert {p.name for p in tmp_path.iterdir()} == {"model", "toy.yaml"}
