"""What is given up for speed: tiers as data, and the model as a tier asks it.

Every entry of a :class:`Tier` is one published short cut, and each can be had alone:
``pipe(photo, poses, speed=Tier(deep_every=2))``. What each costs in quality is measured by
``benchmarks/speed.py``; docs/speed.md has the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from zero123lib._choices import Sampler, Speed
from zero123lib._errors import ArgumentError
from zero123lib.diffusion.arguments import check_choice, check_whole
from zero123lib.diffusion.deep_features import DeepFeatures
from zero123lib.diffusion.devices import computes_bfloat16


@dataclass(frozen=True)
class Tier:
    """Say what is left out, and what is computed in its place.

    Attributes:
        steps: at most so many, where a call names neither steps nor a sampler and the checkpoint
            recommends more; None leaves them.
        sampler: of those fewer steps.
        guidance_interval: noise levels at which guidance acts, as shares of all timesteps from 0,
            clean, to 1, pure noise; beyond them no unconditional pass is made (Kynkäänniemi et
            al. 2024, "Applying guidance in a limited interval").
        guidance_every: of so many steps within it, one makes the unconditional pass; the others
            use what it changed again (Lv et al. 2025, "FasterCache").
        deep_every: of so many steps, one runs the UNet's deep blocks, see
            :mod:`zero123lib.diffusion.deep_features`; of one image alone, without ``mutual``.
        bfloat16: multiply in bfloat16 where the device has instructions for it, in the UNet and in
            the VAE's decoder.

    Raises:
        ArgumentError: an entry is out of range.
    """

    steps: int | None = None
    sampler: Sampler = "ddim"
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    guidance_every: int = 1
    deep_every: int = 1
    bfloat16: bool = False

    def __post_init__(self) -> None:
        check_choice("sampler", self.sampler, Sampler)
        shares: Any = self.guidance_interval
        two = isinstance(shares, Sequence) and len(shares) == 2
        if not (two and all(isinstance(one, Real) for one in shares)) or not (
            0 <= shares[0] <= shares[1] <= 1
        ):
            expected = "two ascending shares in [0, 1]"
            raise ArgumentError("guidance_interval", expected, repr(shares))
        for name in ("steps", "guidance_every", "deep_every"):
            value = getattr(self, name)
            if (name, value) != ("steps", None):
                check_whole(name, value, 1)

    def planned(self, steps: int, sampler: Any) -> tuple[int, Any]:
        """Return the steps and the sampler that a call takes which names neither.

        Args:
            steps: what the checkpoint recommends.
            sampler: what runs otherwise.
        """
        if self.steps is None or steps <= self.steps:
            return steps, sampler
        return self.steps, self.sampler

    def precision(self, kind: str) -> torch.dtype | None:
        """Return what a kind of device, such as "cpu", is to multiply in; None changes nothing."""
        return torch.bfloat16 if self.bfloat16 and computes_bfloat16(kind) else None

    def narrowed(self, dtype: torch.dtype, kind: str) -> AbstractContextManager[Any]:
        """Return what a network whose weights have a type runs in, on a kind of device.

        One of another type than float32 was loaded so, and stays.
        """
        precision = self.precision(kind) if dtype == torch.float32 else None
        return nullcontext() if precision is None else torch.autocast(kind, precision)


# Evaluates the UNet: noisy latents, timestep, guidance scales and what deep blocks said before.
Ask = Callable[[Tensor, Tensor, Sequence[float], DeepFeatures | None], list[Tensor]]

TIERS: Mapping[Speed, Tier] = {
    "exact": Tier(),
    "balanced": Tier(steps=30, sampler="dpmpp", guidance_every=2, bfloat16=True),
    "fast": Tier(steps=16, sampler="dpmpp", guidance_every=2, deep_every=2, bfloat16=True),
}


def tier_of(speed: Speed | Tier) -> Tier:
    """Return a tier by its name, or the one that is given.

    Raises:
        ArgumentError: there is no such tier.
    """
    if isinstance(speed, Tier):
        return speed
    check_choice("speed", speed, Speed)
    return TIERS[speed]


class TieredModel:
    """Ask a model about one job, step after step, as a tier has it.

    Args:
        ask: evaluates the UNet, ``ask(x, t, scales, deep)``: see
            :func:`zero123lib.diffusion.guidance.guided`.
        scale: of the guidance; tiers change nothing at 1 and below, where nothing is extrapolated.
        total: number of timesteps T.
    """

    def __init__(
        self,
        tier: Tier,
        unet: Any,
        ask: Ask,
        scale: float,
        total: int,
    ) -> None:
        self._tier, self._ask, self._scale, self._total = tier, ask, scale, total
        self._deep = DeepFeatures(unet) if tier.deep_every > 1 else None
        self._dtype = unet.dtype
        self._step, self._guided_steps = 0, 0
        self._difference: Tensor | None = None

    def __call__(self, x: Tensor, t: int | Tensor) -> Tensor:
        """Return the guided output ``[N, C, h, w]`` float32 at noisy latents ``x``."""
        if self._deep is not None:
            self._deep.shallow = self._step % self._tier.deep_every != 0
        self._step += 1
        with self._tier.narrowed(self._dtype, x.device.type):
            return self._guided(x, torch.as_tensor(t, device=x.device), self._within(t))

    def _within(self, t: int | Tensor) -> bool:
        """Tell whether guidance acts at a timestep; [0, 1] has both ends, t = 0 and T - 1."""
        low, high = self._tier.guidance_interval
        return (low, high) == (0, 1) or low <= (float(t) + 1) / self._total <= high

    def _guided(self, x: Tensor, t: Tensor, within: bool) -> Tensor:
        scale, tier = self._scale, self._tier
        if scale <= 1:
            return self._ask(x, t, [scale], self._deep)[0]
        if not within:
            return self._ask(x, t, [1.0], self._deep)[0]
        due = self._guided_steps % tier.guidance_every == 0
        self._guided_steps += 1
        if due or self._difference is None:
            uncond, cond = self._ask(x, t, [0.0, 1.0], self._deep)
            if tier.guidance_every > 1:
                self._difference = cond - uncond
            return uncond.lerp(cond, scale)
        return self._ask(x, t, [1.0], self._deep)[0] + (scale - 1) * self._difference
