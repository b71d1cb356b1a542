"""Weights made from their names: the same tensors on every machine, at no cost to store.

A tensor's name, hashed, is the key of a counter-based generator (Philox), whose raw 64-bit stream
numpy promises never to change. Each word gives four values, on a grid that float32 holds exactly;
one multiplication and one addition follow, so that all values are the same to the last bit.

Scales make every detail of the networks count. Matrices go by their fan-in and norms are near 1, so
that inputs, outputs and attention's logits are of order 1; but what is on its way to a norm is
small, so that a norm's epsilon shows. No tensor is zero, not even where training starts from
zeros, and two names never share values: two tensors exchanged give other numbers.
"""

from __future__ import annotations

import hashlib
import math
import re

import numpy as np

# The grid: this many values in (-1, 1), half a step off its ends, standard deviation 1 / sqrt(3).
_LEVELS = 1 << 16

# Of what is on its way to a norm: little, and of that, constants still less than what varies.
_SMALL, _SMALLER = 1 / 32, 1 / 128
# Names are matched by their endings, without dots, as EMA names have none. Convolutions make their
# outputs small, but for those that end a network, change the resolution or the width, or lead to
# an attention's queries and keys; and so does the layer through which the time comes in. (Made-up
# latents are large, so the first convolution over them makes them small as well.)
_FULL_CONVOLUTION = re.compile(
    r"(out2|(?<!post_quant_)conv|conv_out|op|skip_connection|nin_shortcut|attn_1[qk])weight$"
)
_TIME = re.compile(r"emb_layers1weight$")
_FULL_BIAS = re.compile(
    r"(layers0|out0|norm[123]?|norm_out|ln_\w+|attn_1[qk]|post_quant_conv)bias$"
)


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 values of one tensor of the official ``state_dict``, by its full name."""
    mean, std = _moments(name, shape)
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    count = math.prod(shape)
    words = np.random.Philox(key=key).random_raw(-(-count // 4))
    values = words.astype("<u8", copy=False).view("<u2")[:count].astype(np.float32)
    values -= np.float32((_LEVELS - 1) / 2)
    values *= np.float32(math.sqrt(3) * std / (_LEVELS / 2))
    if mean:
        values += np.float32(mean)
    return values.reshape(shape)


def _moments(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and standard deviation."""
    plain = name.replace(".", "")
    if plain.endswith("bias"):
        return 0.0, 0.1 if _FULL_BIAS.search(plain) else _SMALLER
    if plain.endswith("embedding") or not shape:
        return 0.0, _SMALL
    if len(shape) == 1:
        return 1.0, 0.1
    # CLIP multiplies by its two projections from the right.
    summed = shape[:1] if name.endswith(("visual.proj", "text_projection")) else shape[1:]
    convolution = len(shape) == 4 and not _FULL_CONVOLUTION.search(plain)
    gain = _SMALL if convolution or _TIME.search(plain) else 1.0
    return 0.0, gain / math.sqrt(math.prod(summed))
