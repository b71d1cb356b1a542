"""The loop: steps as a generator, on one process or several."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader

from zero123lib.datasets.pairs import Batch, PairDataset, PairSource
from zero123lib.training.config import ComputeConfig
from zero123lib.training.objective import draw
from zero123lib.training.optimization import ema_decay, rate_factor
from zero123lib.training.sharding import gathered
from zero123lib.training.state import TrainState, micro_batch
from zero123lib.training.workers import start_worker


@dataclass(frozen=True)
class TrainProgress:
    """After a step.

    Attributes:
        step, pairs: done since the run began.
        loss: mean squared error of the step's pairs.
        learning_rate: of the first group.
        gradient_norm: before clipping.
        pairs_per_second: of this step, all processes together.
        done: fraction of the budget.
        seconds: since the run began, what is done between the steps included.
        skipped: name -> reason of corrupt samples that this process or its workers have met.
        stopping: this was the last step, since a process was asked to stop.
    """

    step: int
    pairs: int
    loss: float
    learning_rate: float
    gradient_norm: float
    pairs_per_second: float
    done: float
    seconds: float
    skipped: Mapping[str, str]
    stopping: bool


def _attention(config: ComputeConfig) -> AbstractContextManager[Any]:
    return sdpa_kernel(SDPBackend.MATH) if config.attention == "plain" else nullcontext()


def train(
    state: TrainState, source: PairSource, stop: Callable[[], bool] = lambda: False
) -> Generator[TrainProgress]:
    """Train in place until the budget is budget_progress, yielding after every step.

    All processes yield at the same steps with the same numbers, ``skipped`` excepted.

    Args:
        source: of the training pairs.
        stop: asked after every step; where any process says yes, all stop.

    Raises:
        FloatingPointError: the loss or its gradient is no longer finite; the weights are those of
            the step before.
        ValueError: no usable data is left.
    """
    config = state.config
    micro, accumulate = micro_batch(config, state.accelerator.num_processes)
    dataset = _dataset(state, source, micro, accumulate)
    loader = _loader(dataset, config.data.workers, state.accelerator.device)
    with _loaded(loader) as batches:
        yield from _steps(state, dataset, batches, stop)


def _steps(
    state: TrainState, dataset: PairDataset, batches: Iterator[Batch], stop: Callable[[], bool]
) -> Generator[TrainProgress, None, None]:
    """Yield the steps of :func:`train`, with the batches to come."""
    config, accelerator = state.config, state.accelerator
    micro, accumulate = micro_batch(config, accelerator.num_processes)
    shape = state.pipe.latent_shape
    clock = time.monotonic()
    while (done := budget_progress(state)) < 1:
        factor = rate_factor(state.step, done, config.schedule)
        for group in state.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        loss = torch.zeros((), device=accelerator.device)
        norm = math.nan
        for index in range(accumulate):
            numbers = _pair_numbers(state, index, micro, accumulate)
            draws = draw(config.seed, numbers, shape, config.objective.posterior == "sample")
            batch = _on_device(_next(batches), accelerator.device)
            with accelerator.accumulate(state.model), _attention(config.compute):
                with accelerator.autocast():
                    part = state.loss(state.model, batch, draws, state.step)
                accelerator.backward(part)
                loss += part.detach() / accumulate
                if accelerator.sync_gradients:
                    now = time.monotonic()
                    value, stopping, lasted = _all_reduced(
                        accelerator, float(loss), stop(), now - clock
                    )
                    norm = _clipped_norm(state)
                    _check_finite(state, value, norm)
                    clock = now
                state.optimizer.step()
                state.optimizer.zero_grad()
        state.step += 1
        state.seconds += lasted
        updates = state.updates_before + state.step
        state.average.update(ema_decay(updates, config.ema.decay))
        yield TrainProgress(
            step=state.step,
            pairs=state.step * config.batch.size,
            loss=value,
            learning_rate=state.optimizer.param_groups[0]["lr"],
            gradient_norm=norm,
            pairs_per_second=config.batch.size / max(lasted, 1e-9),
            done=budget_progress(state),
            seconds=state.seconds,
            skipped=dataset.skipped,
            stopping=stopping,
        )
        if stopping:
            return


def budget_progress(state: TrainState) -> float:
    """Fraction of the budget that is budget_progress, 0 to 1."""
    budget = state.config.budget
    fractions = [0.0]
    if budget.steps is not None:
        fractions.append(state.step / budget.steps)
    if budget.minutes is not None:
        fractions.append(state.seconds / (60 * budget.minutes))
    return min(1.0, max(fractions))


def _dataset(state: TrainState, source: PairSource, micro: int, accumulate: int) -> PairDataset:
    """Return this process's share of the micro-batches, from the step at hand on."""
    processes = state.accelerator.num_processes
    first = state.step * accumulate * processes + state.accelerator.process_index
    return PairDataset(source, first, processes, micro)


def _loader(dataset: PairDataset, workers: int, device: torch.device) -> DataLoader:
    more: dict[str, Any] = {"prefetch_factor": 4} if workers else {}
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        worker_init_fn=start_worker,
        # From pinned memory alone does a copy to a GPU run beside what the GPU does.
        pin_memory=device.type == "cuda",
        **more,
    )


@contextmanager
def _loaded(loader: DataLoader) -> Iterator[Iterator[Batch]]:
    """Hand out the loader's batches.

    Its workers end with it, whatever traceback still holds them: they do not hear of SIGTERM, by
    which an interpreter that exits would end them and wait.
    """
    batches: Any = iter(loader)
    try:
        yield batches
    finally:
        if loader.num_workers:
            batches._shutdown_workers()


def _next(batches: Iterator[Batch]) -> Batch:
    """Return the next batch; an error in a worker comes without the worker's traceback around
    it."""
    try:
        return next(batches)
    except ValueError as error:
        raise ValueError(str(error).rstrip().rpartition("\nValueError: ")[2]) from error


def _pair_numbers(state: TrainState, index: int, micro: int, accumulate: int) -> range:
    """Return numbers of the pairs in this process's micro-batch ``index`` of the step at hand."""
    processes = state.accelerator.num_processes
    number = (state.step * accumulate + index) * processes + state.accelerator.process_index
    return range(number * micro, (number + 1) * micro)


def _on_device(batch: Batch, device: torch.device) -> Batch:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def _all_reduced(
    accelerator: Accelerator, loss: float, stop: bool, lasted: float
) -> tuple[float, bool, float]:
    """Return of all processes: the mean loss, whether any is to stop, and the longest time."""
    if accelerator.num_processes == 1:
        return loss, stop, lasted
    mine = torch.tensor([[loss, float(stop), lasted]], device=accelerator.device)
    every: Any = accelerator.gather(mine)
    return float(every[:, 0].mean()), bool(every[:, 1].any()), float(every[:, 2].max())


def _clipped_norm(state: TrainState) -> float:
    """Return the gradient's norm, before it is clipped."""
    limit = state.config.optimizer.clip_norm
    norm: Any = state.accelerator.clip_grad_norm_(
        state.model.parameters(), math.inf if limit is None else limit
    )
    return float(gathered(norm, True))


def _check_finite(state: TrainState, loss: float, norm: float) -> None:
    # Gradients that overflow fp16 are the scaler's business: it skips the step and scales less.
    scaled = state.config.compute.precision == "fp16"
    for name, value in (("loss", loss), ("gradient", 0.0 if scaled else norm)):
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{name}: expected a finite number at step {state.step}, got {value}"
            )
