"""What a UNet's deep blocks said, used again at the next steps (DeepCache: Ma et al. 2024).

Between neighbouring steps the features of low resolution hardly change. A *shallow* pass runs the
blocks of full resolution alone, the first down block and the last up block, and takes what comes
from below as the last full pass had it.

The blocks ask a context variable what to do, so that passes run side by side in threads, and the
UNet's own forward is still what runs: offloading, casting and compiled transformer blocks go on as
they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from zero123lib._errors import ArgumentError


@dataclass(eq=False)
class _Pass:
    """Hold what the last up block takes from below: found in full passes, given to shallow ones."""

    features: Tensor | None
    shallow: bool


_PASS: ContextVar[_Pass | None] = ContextVar("zero123lib_pass", default=None)


class DeepFeatures:
    """Remember the deep features of a job's batches, with and without their condition.

    Attributes:
        shallow: whether the next passes take what is remembered. Set it between two steps.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        """Prepare the UNet, which stays as it is for everybody else.

        Raises:
            ArgumentError: it has one block each way, of which none is deep.
        """
        _prepare(unet)
        self.shallow = False
        self._kept: dict[tuple[int, str], Tensor] = {}

    @contextmanager
    def used(self, batch: int, conditions: Sequence[str]) -> Iterator[None]:
        """Make the UNet's pass within a shallow one where it may be, else remember it.

        Args:
            batch: number of the batch within its step.
            conditions: what is stacked in the pass, in order, such as ``["null", "image"]``.
        """
        keys = [(batch, name) for name in conditions]
        shallow = self.shallow and all(key in self._kept for key in keys)
        features = torch.cat([self._kept[key] for key in keys]) if shallow else None
        at_hand = _Pass(features, shallow)
        token = _PASS.set(at_hand)
        try:
            yield
        finally:
            _PASS.reset(token)
        if not shallow:
            if at_hand.features is None:
                expected = "exact with a UNet that was compiled whole before its first other use"
                raise ArgumentError("speed", expected, "one that reuses features")
            # What another condition said is older than this pass.
            self._kept = {key: value for key, value in self._kept.items() if key[0] != batch}
            self._kept.update(zip(keys, at_hand.features.chunk(len(keys)), strict=True))


def _prepare(unet: UNet2DConditionModel) -> None:
    downs, ups = list[Any](unet.down_blocks), list[Any](unet.up_blocks)
    if len(downs) < 2:
        raise ArgumentError("speed", "exact with a UNet of one block", "another")
    for block in downs[1:]:
        residuals = len(block.resnets) + bool(block.downsamplers)
        _wrap(block, partial(_down, residuals))
    for block in [*([unet.mid_block] if unet.mid_block is not None else []), *ups[:-1]]:
        _wrap(block, _deep)
    _wrap(ups[-1], _last)


def _wrap(block: Any, how: Any) -> None:
    """Put a rule before a block's forward, once."""
    if not getattr(block, "_asks_for_pass", False):
        block.forward = partial(how, block.forward)
        block._asks_for_pass = True


def _down(residuals: int, forward: Any, *args: Any, **kwargs: Any) -> Any:
    """Run a deep down block; a shallow pass gets placeholders that only other deep blocks take."""
    at_hand = _PASS.get()
    if at_hand is None or not at_hand.shallow:
        return forward(*args, **kwargs)
    sample = kwargs["hidden_states"]
    return sample, (sample,) * residuals


def _deep(forward: Any, *args: Any, **kwargs: Any) -> Any:
    """Run the middle or a deep up block, or leave it out."""
    at_hand = _PASS.get()
    if at_hand is None or not at_hand.shallow:
        return forward(*args, **kwargs)
    return args[0] if args else kwargs["hidden_states"]


def _last(forward: Any, *args: Any, **kwargs: Any) -> Any:
    """Run the last up block, on what is remembered in a shallow pass."""
    at_hand = _PASS.get()
    if at_hand is None:
        return forward(*args, **kwargs)
    if at_hand.shallow:
        kwargs["hidden_states"] = at_hand.features
    else:
        at_hand.features = kwargs["hidden_states"]
    return forward(*args, **kwargs)
