"""The training loop: its data, its loss, its gradients, and picking up where it stopped."""

from __future__ import annotations

import itertools

import pytest
import torch

from zero123lib.diffusion.patches import PatchAutoencoder
from zero123lib.scenes import HELD_OUT_SEED, random_scene, render
from zero123lib.training import data, loop, recipe
from zero123lib.training.recipe import TrainConfig

SMALL = TrainConfig(minutes=60, batch_size=4, views=3, pool_scenes=4, seed=1)


def first_batches(config: TrainConfig, count: int, first_seed: int = 0) -> list[dict]:
    return list(itertools.islice(data.ScenePairs(config, first_seed), count))


def test_pairs_repeat_by_seed_and_are_on_white():
    once, again = first_batches(SMALL, 3), first_batches(SMALL, 3)
    for a, b in zip(once, again, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)
    batch = once[0]
    assert batch["condition"].shape == batch["target"].shape == (4, 3, SMALL.size, SMALL.size)
    corners = batch["target"][:, :, :: SMALL.size - 1, :: SMALL.size - 1]
    assert (corners == 1).float().mean() > 0.9
    assert not torch.equal(batch["condition"], batch["target"])


def test_pose_of_a_pair_is_target_minus_condition(monkeypatch):
    """Pictures are replaced by their cameras; the pose vector must follow from the two."""
    seen = {}

    def remember(scene, poses, size, background):
        out = render(scene, poses, 4, background=background)
        for index, pose in enumerate(poses):
            out.rgba[index, ..., 0] = index / 255
            seen[scene.seed, index] = pose
        return out

    monkeypatch.setattr(data, "render", remember)
    config = TrainConfig(batch_size=1, views=4, pool_scenes=1)
    for seed, batch in enumerate(first_batches(config, 6)):
        source, target = (
            seen[seed, int(((batch[name][0, 0, 0, 0] + 1) * 127.5).round())]
            for name in ("condition", "target")
        )
        expected = torch.tensor(
            [
                -torch.tensor(target.elevation_deg - source.elevation_deg).deg2rad(),
                torch.tensor(target.azimuth_deg - source.azimuth_deg).deg2rad().sin(),
                torch.tensor(target.azimuth_deg - source.azimuth_deg).deg2rad().cos(),
                target.radius - source.radius,
            ]
        )
        assert torch.allclose(batch["pose"][0], expected, atol=1e-5)


def test_training_never_draws_a_held_out_object(monkeypatch):
    drawn = []
    monkeypatch.setattr(data, "random_scene", lambda seed: drawn.append(seed) or random_scene(0))
    first_batches(SMALL, 3, HELD_OUT_SEED - 2)
    assert len(drawn) > 4 and all(0 <= seed < HELD_OUT_SEED for seed in drawn)


def test_the_schedule_ends_in_pure_noise():
    alphas = recipe.tiny_scheduler().alphas_cumprod
    assert alphas[-1] == 0 and (alphas[1:] < alphas[:-1]).all() and alphas[0] > 0.99


def test_dropout_by_group_from_one_uniform(monkeypatch):
    """u < p drops CLIP, p..2p token and concat, 2p..3p concat, the rest nothing."""
    calls = {}

    class Recorder(torch.nn.Module):
        def forward(self, sample, timesteps, encoder_hidden_states):
            calls["concat"] = sample[:, 192:].abs().sum((1, 2, 3)) > 0
            calls["token"] = encoder_hidden_states[:, 0]
            return type("Out", (), {"sample": sample[:, :192]})()

    model = recipe.tiny_model()
    model.unet = Recorder()  # pyright: ignore[reportAttributeAccessIssue]
    model.camera_projection.proj.weight.data[:, :128] = torch.eye(128)
    batch = first_batches(SMALL, 1)[0]
    uniforms = iter([torch.tensor([0.1, 0.3, 0.5, 0.9]), torch.full((4,), 0.5)])
    monkeypatch.setattr(recipe.torch, "rand", lambda *a, **k: next(uniforms))
    config = TrainConfig(batch_size=4, dropout=0.2)
    recipe.denoising_loss(model, PatchAutoencoder(), recipe.tiny_scheduler(), batch, config)
    assert calls["concat"].tolist() == [True, False, False, True]
    pose_part = batch["pose"] @ model.camera_projection.proj.weight[:, 128:].T
    assert torch.allclose(calls["token"][0], pose_part[0], atol=1e-5)
    assert (calls["token"][1] == 0).all()
    assert calls["token"][2].abs().sum() > pose_part[2].abs().sum()


def test_a_resumed_run_has_the_same_weights_and_counters(tmp_path):
    config = TrainConfig(minutes=60, batch_size=2, views=2, pool_scenes=2)
    state = loop.start(config)
    steps = loop.train(config, state)
    progress = [next(steps) for _ in range(2)]
    steps.close()
    assert [p.step for p in progress] == [1, 2] and progress[1].pairs == 4
    loop.save_checkpoint(tmp_path / "run" / "checkpoint.pt", state, config)
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["checkpoint.pt"]
    again = loop.load_checkpoint(tmp_path / "run" / "checkpoint.pt", config)
    assert (again.step, again.pairs) == (2, 4) and again.seconds == state.seconds
    for name, value in state.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])
    moments = state.optimizer.state_dict()["state"]
    for key, entry in again.optimizer.state_dict()["state"].items():
        assert torch.equal(entry["exp_avg"], moments[key]["exp_avg"])


def test_the_average_warms_up():
    """After n steps the decay is (1 + n) / (10 + n), at most ema_decay."""
    state = loop.start(SMALL)
    before = state.ema.camera_projection.proj.bias.clone()
    with torch.no_grad():
        state.model.camera_projection.proj.bias.add_(1)
    state.step = 8
    loop._average(state, SMALL)
    assert torch.allclose(state.ema.camera_projection.proj.bias, before + 0.5)


def test_a_loss_that_is_not_finite_stops_the_run():
    state = loop.start(SMALL)
    with torch.no_grad():
        state.model.camera_projection.proj.bias.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="loss: expected a finite number at step 0"):
        next(loop.train(SMALL, state))
