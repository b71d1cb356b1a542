"""The network that cuts out is the published one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from zero123lib.views.u2net import SIDE_PX, u2netp

# Of onnxruntime on the published file: scikit-image's astronaut at 320 px, bilinear; saliency,
# averaged over 80 x 80 pixels.
PUBLISHED = [
    [0.0001, 0.6001, 0.2349, 0.0],
    [0.1735, 0.9155, 0.2275, 0.0],
    [0.8484, 0.9991, 0.8264, 0.1735],
    [0.9729, 0.9935, 0.9977, 0.8822],
]


def test_is_the_published_network() -> None:
    import skimage.data

    shape = (SIDE_PX, SIDE_PX)
    image = Image.fromarray(skimage.data.astronaut()).resize(shape, Image.Resampling.BILINEAR)
    seen = u2netp()(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255)[0, 0]
    found = seen.reshape(4, 80, 4, 80).mean((1, 3))
    # Half precision of the weights is what is between them.
    torch.testing.assert_close(found, torch.tensor(PUBLISHED), atol=3e-3, rtol=0)


@pytest.mark.parametrize("shape", [(37, 50), (320, 64)])
def test_any_shape_passes(shape) -> None:
    seen = u2netp()(torch.rand(2, 3, *shape))
    assert seen.shape == (2, 1, *shape)
    assert float(seen.min()) >= 0 and float(seen.max()) <= 1
