"""LPIPS is the published metric, and a loss that can be descended."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.lpips import LEAST_SIDE_PX, LPIPS, TRUNKS, lpips_alex, lpips_vgg

# Of the package lpips 0.1.4, net alex, float32 weights: the drawing below against its plain
# version, against itself moved by three pixels, and against a white image.
OFFICIAL = {
    31: (0.01236, 0.02069, 0.36257),
    64: (0.08896, 0.04049, 0.72623),
    128: (0.16233, 0.04178, 0.68286),
}


def drawing(size: int) -> tuple[Tensor, Tensor]:
    """A disc on white, striped and plain, ``[1, 3, size, size]`` in [0, 1]."""
    unit = torch.linspace(0, 1, size)
    y, x = torch.meshgrid(unit, unit, indexing="ij")
    disc = ((x - 0.5) ** 2 + (y - 0.45) ** 2 < 0.09).float()
    color = torch.stack([x, y, 1 - x * y])
    stripes = (torch.sin(40 * x + 9 * y) > 0).float()
    striped = 1 - disc + disc * color * (0.5 + 0.5 * stripes)
    return striped[None], (1 - disc + disc * color * 0.75)[None]


@pytest.mark.parametrize("size", OFFICIAL)
def test_is_the_published_metric(size: int) -> None:
    striped, plain = drawing(size)
    others = torch.cat([plain, striped.roll(3, -1), torch.ones_like(plain)])
    found = lpips_alex()(others, striped.expand_as(others))
    assert found == pytest.approx(OFFICIAL[size], abs=1e-3)


def test_is_0_for_the_same_and_symmetric() -> None:
    striped, plain = drawing(64)
    metric = lpips_alex()
    assert metric(striped, striped) == 0
    assert torch.allclose(metric(striped, plain), metric(plain, striped))


def test_its_gradient_is_the_slope() -> None:
    striped, plain = drawing(40)
    at = ((striped + plain) / 2).double().requires_grad_()
    target, metric = striped.double(), LPIPS().double()
    metric.load_state_dict(lpips_alex().state_dict())
    (gradient,) = torch.autograd.grad(metric(at, target).sum(), at)
    step = 1e-4 * torch.nn.functional.normalize(gradient.flatten(), dim=0).view_as(gradient)
    with torch.no_grad():
        rise = (metric(at + step, target) - metric(at - step, target)) / 2e-4
    assert float(rise) == pytest.approx(float(gradient.norm()), rel=1e-2)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_its_gradient_is_finite_on_plain_images(value: float) -> None:
    made = torch.full((1, 3, 64, 64), value, requires_grad=True)
    for target in (made.detach(), drawing(64)[0]):
        (gradient,) = torch.autograd.grad(lpips_alex()(made, target).sum(), made)
        assert gradient.isfinite().all()


def test_half_precision_descends_as_float32_does() -> None:
    striped, plain = drawing(64)
    gradients = []
    for half in (False, True):
        made = plain.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = lpips_alex()(made, striped).sum()
        gradients.append(torch.autograd.grad(loss, made)[0].flatten())
    assert torch.cosine_similarity(*gradients, dim=0) > 0.9


def test_wrong_shapes_are_one_line() -> None:
    small = torch.zeros(1, 3, LEAST_SIDE_PX - 1, 64)
    with pytest.raises(ValueError, match=r"images: expected .* at least 31 px a side, got"):
        lpips_alex()(small, small)
    with pytest.raises(ValueError, match=r"prediction: expected the target's shape .*, got"):
        lpips_alex()(torch.zeros(1, 3, 64, 64), torch.zeros(2, 3, 64, 64))


def test_vgg_needs_its_file(tmp_path: Path) -> None:
    harmful = tmp_path / "harmful.ckpt"
    harmful.write_bytes(pickle.dumps(Path))
    for path, reason in ((tmp_path / "none.ckpt", "No such file"), (harmful, "it names pathlib")):
        with pytest.raises(ArgumentError, match=rf"path: expected VGG16 with .*{reason}"):
            lpips_vgg(path)


def test_vgg_is_the_published_metric_on_its_own_layers(tmp_path: Path) -> None:
    """Both layouts of the file give one network; its distance, layer by layer, is equation 1."""
    random, trunk = torch.Generator().manual_seed(0), TRUNKS["vgg"]
    shapes = [(out, inside, 3, 3) for inside, out, *_ in trunk.convolutions]
    weights = [torch.randn(s, generator=random) * (2 / (9 * s[1])) ** 0.5 for s in shapes]
    heads = [torch.rand(shapes[layer][0], generator=random) for layer in trunk.layers]
    # torchvision's places of VGG16's convolutions, and lpips' slices up to each counted layer.
    places, ends = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), (4, 9, 16, 23, 30)
    state, tree = {}, {"VGG16_0": {}}
    for index, (place, weight) in enumerate(zip(places, weights, strict=True)):
        slice_ = 1 + sum(place >= end for end in ends)
        state[f"net.slice{slice_}.{place}.weight"] = weight
        state[f"net.slice{slice_}.{place}.bias"] = torch.zeros(len(weight))
        kernel = weight.permute(2, 3, 1, 0).numpy()
        tree["VGG16_0"][f"Conv_{index}"] = {"kernel": kernel, "bias": np.zeros(len(weight))}
    for index, head in enumerate(heads):
        state[f"lin{index}.model.1.weight"] = head[None, :, None, None]
        tree[f"NetLinLayer_{index}"] = {"Conv_0": {"kernel": head.numpy()[None, None, :, None]}}
    torch.save(state, tmp_path / "vgg.pth")
    (tmp_path / "vgg16.ckpt").write_bytes(pickle.dumps(tree))
    striped, plain = drawing(32)
    found = [
        float(lpips_vgg(tmp_path / name)(striped, plain)) for name in ("vgg.pth", "vgg16.ckpt")
    ]
    assert found[0] == found[1]

    x = torch.cat([striped, plain]) * 2 - 1
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    x, expected = (x - shift[:, None, None]) / scale[:, None, None], 0.0
    for place, weight in enumerate(weights):
        if place in (2, 4, 7, 10):
            x = torch.nn.functional.max_pool2d(x, 2)
        x = torch.nn.functional.conv2d(x, weight, padding=1).relu()
        if place in trunk.layers:
            a, b = torch.nn.functional.normalize(x, dim=1)
            head = heads[trunk.layers.index(place)]
            expected += float(((a - b) ** 2 * head[:, None, None]).sum(0).mean())
    assert found[0] == pytest.approx(expected, rel=1e-4)
