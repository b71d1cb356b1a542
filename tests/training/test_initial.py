"""Starting weights: image variations in either layout, widened without effect; fresh ones."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPVisionModelWithProjection

from tests.diffusion.checkpoints.conftest import WIDTH, YAML, random_networks
from tests.training.toy import NumberedPairs, toy_config
from zero123lib.diffusion.checkpoints import names
from zero123lib.diffusion.checkpoints.errors import CheckpointError
from zero123lib.diffusion.checkpoints.original import original_origins
from zero123lib.diffusion.model import disable_one_token
from zero123lib.training.initial import load_initial
from zero123lib.training.loop import train
from zero123lib.training.recipe import Architecture, tiny_pipeline
from zero123lib.training.state import start

# That went into the average of the original file.
UPDATES = 20


def four_channels(seed: int) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    config = {**random_networks(seed)["unet"].config, "in_channels": 4}
    unet = UNet2DConditionModel.from_config(config)
    assert isinstance(unet, UNet2DConditionModel)
    return unet.eval()


@pytest.fixture(scope="module")
def networks():
    return {**random_networks(), "unet": four_channels(1)}


@pytest.fixture(scope="module")
def averaged():
    return four_channels(2)


@pytest.fixture(scope="module")
def folder(networks, tmp_path_factory):
    """As lambdalabs/sd-image-variations-diffusers is."""
    path = tmp_path_factory.mktemp("variations")
    for name in ("unet", "vae", "image_encoder"):
        networks[name].save_pretrained(path / name)
    DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").save_config(
        path / "scheduler"
    )
    index = {
        "_class_name": "StableDiffusionImageVariationPipeline",
        "unet": ["diffusers", UNet2DConditionModel.__name__],
        "vae": ["diffusers", AutoencoderKL.__name__],
        "image_encoder": ["transformers", CLIPVisionModelWithProjection.__name__],
    }
    (path / "model_index.json").write_text(json.dumps(index))
    return path


@pytest.fixture(scope="module")
def original(networks, averaged, tmp_path_factory):
    """As sd-image-conditioned is: weights, their average, VAE and CLIP; and its YAML."""
    path = tmp_path_factory.mktemp("original")
    taken: dict[str, dict] = {}
    three = {name: networks[name] for name in ("unet", "vae", "image_encoder")}
    for part, origins in original_origins(three).items():
        for name, origin in origins.items():
            weight = networks[part].state_dict()[name]
            taken.setdefault(origin.name, {})[origin.take] = weight
    state = {name: names.joined(parts).clone() for name, parts in taken.items()}
    for name, origin in original_origins({**three, "unet": averaged})["unet"].items():
        state[names.ema_name(origin.name)] = averaged.state_dict()[name]
    state["model_ema.decay"] = torch.tensor(0.9999)
    state["model_ema.num_updates"] = torch.tensor(UPDATES, dtype=torch.int32)
    torch.save({"state_dict": state}, path / "variations.ckpt")
    (path / "variations.yaml").write_text(yaml.safe_dump(YAML))
    return path / "variations.ckpt"


def variations_config(tmp_path, path):
    source = f"{{image_variations: {path}}}"
    if path.is_file():
        source = f"{{image_variations: {path}, original_config: {path.with_suffix('.yaml')}}}"
    return toy_config(tmp_path, f"initial={source}", "trained.image_encoder=false")


def assert_same_function(widened: UNet2DConditionModel, plain: UNet2DConditionModel) -> None:
    """For any concat latent, noise, time and context."""
    torch.manual_seed(0)
    noise, context = torch.randn(3, 4, 4, 4), torch.randn(3, 1, WIDTH)
    for concat in (torch.zeros(3, 4, 4, 4), torch.randn(3, 4, 4, 4), 50 * torch.randn(3, 4, 4, 4)):
        for t in (0, 500, 999):
            with torch.no_grad():
                made = widened(torch.cat([noise, concat], 1), t, context).sample
                expected = plain(noise, t, context).sample
            assert (made - expected).abs().max() <= 5e-6


@pytest.mark.parametrize("layout", ["folder", "original"])
def test_image_variations_widened_do_the_same(layout, request, networks, averaged, tmp_path):
    path = request.getfixturevalue(layout)
    state = start(variations_config(tmp_path, path))
    pipe = state.pipe
    assert pipe.unet.config["in_channels"] == 8
    assert_same_function(pipe.unet, networks["unet"])
    disable_one_token(pipe.unet)
    assert_same_function(pipe.unet, networks["unet"])
    with state.average.applied():
        assert_same_function(pipe.unet, networks["unet"] if layout == "folder" else averaged)
    embedding, pose = torch.randn(2, WIDTH), torch.randn(2, 4)
    assert torch.equal(pipe.camera_projection(embedding, pose)[:, 0], embedding)
    for name in ("vae", "image_encoder"):
        for key, weight in networks[name].state_dict().items():
            assert torch.equal(getattr(pipe, name).state_dict()[key], weight), key
    # Zeros, not absent: training can make use of the new channels.
    conv_in = state.trained["unet.conv_in.weight"]
    assert conv_in.shape[1] == 8 and (conv_in[:, 4:] == 0).all()


def test_an_average_that_is_there_is_gone_on_with(original, tmp_path):
    """As official: its count of updates comes along, so its decay does not warm up again."""
    state = start(variations_config(tmp_path, original))
    before = {name: weight.clone() for name, weight in state.average.weights.items()}
    next(train(state, NumberedPairs(size=state.pipe.image_size)))
    for name, weight in state.trained.items():
        # Update 21 has the decay 22 / 31, within the limit of 0.9.
        expected = before[name].lerp(weight, 9 / 31)
        assert torch.allclose(state.average.weights[name], expected, atol=1e-6), name


def test_image_variations_take_another_size(folder, tmp_path):
    config = variations_config(tmp_path, folder)
    sized = load_initial(toy_config(tmp_path, f"initial={{image_variations: {folder}}}"))
    assert sized.pipe.image_size == 32 and config.data.size is None
    bigger = toy_config(tmp_path, f"initial={{image_variations: {folder}}}", "data.size=64")
    assert load_initial(bigger).pipe.image_size == 64
    odd = toy_config(tmp_path, f"initial={{image_variations: {folder}}}", "data.size=65")
    with pytest.raises(ValueError, match="data.size: expected a multiple of 8, got 65"):
        load_initial(odd)


def test_a_zero123_is_no_image_variations(tmp_path):
    tiny_pipeline(Architecture(), 0).save_pretrained(tmp_path / "tiny")
    with pytest.raises(CheckpointError, match="expected image variations, whose UNet takes"):
        load_initial(toy_config(tmp_path, f"initial={{image_variations: {tmp_path / 'tiny'}}}"))


def test_fresh_weights_follow_from_the_seed(tmp_path):
    once, again = (load_initial(toy_config(tmp_path)).pipe for _ in range(2))
    other = load_initial(toy_config(tmp_path, "seed=1")).pipe
    for name in ("unet", "image_encoder", "camera_projection"):
        first = getattr(once, name).state_dict()
        for key, weight in getattr(again, name).state_dict().items():
            assert torch.equal(weight, first[key])
    assert not torch.equal(once.unet.conv_in.weight, other.unet.conv_in.weight)


def test_another_size_than_the_models_is_told(tmp_path):
    with pytest.raises(ValueError, match="data.size: expected 16, the initial model's, got 32"):
        load_initial(toy_config(tmp_path, "data.size=32"))


def test_the_bundled_model_is_a_start(tmp_path):
    pipe = load_initial(toy_config(tmp_path, "initial=tiny")).pipe
    assert pipe.model_name == "tiny"
