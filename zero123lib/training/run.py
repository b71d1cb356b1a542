"""What goes on around the training loop: bar, TensorBoard, validation, checkpoints, a clean stop.

All processes of a run go through the same calls; files are written and lines printed by the first
one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from zero123lib._errors import ArgumentError, RunError
from zero123lib._files import clear_unfinished, held_folder
from zero123lib._optional import require
from zero123lib._signals import StopRequest, stop_on_signals
from zero123lib._words import count
from zero123lib.training import checkpoints
from zero123lib.training.config import TrainConfig
from zero123lib.training.data import training_pairs, validation_pairs
from zero123lib.training.loop import TrainProgress, budget_progress, train
from zero123lib.training.mirror import RESULTS, Mirror
from zero123lib.training.output import write_model
from zero123lib.training.processes import end_training, on_main, restarts_fail
from zero123lib.training.state import TrainState, micro_batch, start
from zero123lib.training.validation import Validation

_BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
# Of the logged losses, each a mean since the one before it.
_LOG_STEPS = 10


class TrainingError(RunError):
    """A training run that cannot go on; without words on all processes but the first."""


def run_training(out: Path, config: TrainConfig, resume: bool) -> None:
    """Train by a config into a folder until the budget is spent or SIGINT or SIGTERM comes.

    Raises:
        ValueError: the config, the data or a checkpoint is of no use.
        TrainingError: the loss is no longer finite, or a file could not be written; the last
            checkpoint is then whole.
    """
    if not resume and checkpoints.whole_checkpoints(out, verify=False):
        raise ArgumentError("out", "a folder without checkpoints, or --resume", repr(str(out)))
    mirror = Mirror(config.saving.mirror) if config.saving.mirror else None
    with stop_on_signals() as request:
        state = start(config)
        main = state.accelerator.is_main_process
        with ExitStack() as held:
            held.callback(end_training, state.accelerator)
            try:
                if main:
                    held.enter_context(held_folder(out))
                _Run(out, mirror, state, request, held).go(resume)
            except (FloatingPointError, OSError) as error:
                raise TrainingError(_told(out, error) if main else "") from error


def _told(out: Path, error: Exception) -> str:
    saved = checkpoints.whole_checkpoints(out)
    kept = f"the last good state is {saved[0].folder}" if saved else "nothing was saved yet"
    return f"{' '.join(str(error).split())}; {kept}"


class _Run:
    """One run, from its first step in this process to its last."""

    def __init__(
        self,
        out: Path,
        mirror: Mirror | None,
        state: TrainState,
        request: StopRequest,
        held: ExitStack,
    ) -> None:
        self.out, self.mirror = out, mirror
        self.state, self.request, self.held = state, request, held
        self.main = state.accelerator.is_main_process
        self.skipped: Mapping[str, str] = {}
        # Folders that the mirror is to get with the next checkpoint.
        self.written: list[str] = []

    def go(self, resume: bool) -> None:
        state = self.state
        on_main(state.accelerator, lambda: self._meet_mirror(resume))
        source = training_pairs(state.config, state.pipe)
        checks = bool(state.config.validation.every_steps)
        self.validation = Validation.of(state, self._held_out()) if checks else None
        on_main(state.accelerator, lambda: clear_unfinished(self.out))
        if resume and (folder := checkpoints.resume(self.out, state)):
            self._say(f"going on from {folder}")
        self._say(self._summary())
        if restarts_fail():
            self._say(
                "torchrun cannot begin again after a loss: set "
                "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 where it is started"
            )
        self.best: float = on_main(state.accelerator, lambda: checkpoints.best_loss(self.out))
        self.saved_at = state.seconds
        self.log = _Log(self.out, state.step, self.held) if self.main else None
        stopped = self._loop(source)
        if self.skipped:
            name, reason = next(iter(self.skipped.items()))
            samples = count(len(self.skipped), "corrupt sample")
            self._say(f"skipped {samples}, such as {name}: {reason}")
        if stopped:
            signal = self.request.signal
            by = signal.name if signal else "a signal to another process"
            self._say(f"stopped by {by} after step {state.step}; --resume goes on from {stopped}")
        else:
            self._finish()

    def _summary(self) -> str:
        """Return what is about to be done, with what, and where to watch it."""
        state, config = self.state, self.state.config
        weights = sum(weight.numel() for weight in state.trained.values()) / 1e6
        processes = state.accelerator.num_processes
        micro, accumulate = micro_batch(config, processes)
        shares = f"{count(processes, 'process')} x {accumulate} x {micro}"
        return (
            f"training {weights:.2f} M weights on {state.accelerator.device}, "
            f"{config.compute.precision}; {config.batch.size} pairs a step "
            f"({shares}), budget {config.budget.words()}; "
            f"to watch: tensorboard --logdir {self.out / 'logs'}"
        )

    def _held_out(self) -> Any:
        config = self.state.config
        known = [one for one in config.data.sources if one.source == "pairs" and not one.held_out]
        if config.validation.path is None and known:
            self._say(
                "validation.path is null: validation is on other pairs of the training objects"
            )
        return validation_pairs(config, self.state.pipe)

    def _loop(self, source: Any) -> Path | None:
        """Train; where a signal came before the end, the checkpoint that was saved then."""
        state = self.state
        silent = None if self.main else True
        with tqdm(
            total=1.0,
            initial=budget_progress(state),
            desc=self.out.name,
            bar_format=_BAR,
            disable=silent,
        ) as bar:
            for progress in train(state, source, self.request):
                bar.set_postfix_str(
                    f"step {progress.step}, loss {progress.loss:.4f}, "
                    f"{progress.pairs_per_second:.1f} images/s",
                    refresh=False,
                )
                bar.update(progress.done - bar.n)
                self.skipped = progress.skipped
                if self.log is not None:
                    self.log.add(progress)
                if progress.done >= 1:
                    break
                if progress.stopping:
                    return self._save(None, last=True)
                self._keep(progress)
        return None

    def _keep(self, progress: TrainProgress) -> None:
        """Validate and save where it is time to."""
        saving, every = self.state.config.saving, self.state.config.validation.every_steps
        loss = None
        if every and progress.step % every == 0:
            loss = self._validate()
        minutes = (progress.seconds - self.saved_at) / 60
        due = saving.every_minutes is not None and minutes >= saving.every_minutes
        due |= saving.every_steps is not None and progress.step % saving.every_steps == 0
        better = loss is not None and loss < self.best
        if loss is not None and better:
            # Before the checkpoint that tells of it: a run killed in between writes it again.
            self._write_model()
            self.best = loss
        if due or better:
            self._save(loss, last=False)
            self.saved_at = progress.seconds

    def _write_model(self) -> None:
        write_model(self.out, self.state)
        self.written += RESULTS

    def _save(self, loss: float | None, last: bool) -> Path:
        """Write a checkpoint, and bring the mirror up to date."""
        keep_last = self.state.config.saving.keep_last
        folder = checkpoints.save_checkpoint(self.out, self.state, loss, keep_last)
        mirror, names = self.mirror, [*self.written, f"checkpoints/{folder.name}"]
        if mirror is not None:
            on_main(self.state.accelerator, lambda: mirror.keep(self.out, names, last))
        self.written = []
        return folder

    def _meet_mirror(self, resume: bool) -> None:
        """Bring what is newer in the mirror; without --resume there has to be nothing."""
        if self.mirror is None:
            return
        if resume:
            self.mirror.fetch(self.out)
        elif self.mirror.checkpoints():
            expected = "a place without checkpoints, or --resume"
            raise ArgumentError("saving.mirror", expected, repr(self.mirror.uri))

    def _validate(self) -> float:
        assert self.validation is not None
        loss = self.validation.loss(self.state)
        views = None
        if self.state.config.validation.views and (self.main or self.state.skeletons):
            views = self.validation.views(self.state)
        if self.log is not None:
            self.log.validated(self.state.step, loss, views)
        self.state.accelerator.wait_for_everyone()
        self._say(f"step {self.state.step}: validation loss {loss:.5f}")
        return loss

    def _finish(self) -> None:
        """Write the last checkpoint and result: the best weights, or just the last."""
        loss = self._validate() if self.validation is not None else None
        made = on_main(self.state.accelerator, (self.out / "model").exists)
        best = loss is None or loss <= self.best or not made
        if best:
            self._write_model()
        self._save(loss, last=True)
        if best:
            self._say(f"wrote {self.out / 'model'} after {self.state.step} steps")
        else:
            self._say(
                f"done after {self.state.step} steps; {self.out / 'model'} has the weights of the "
                f"lowest validation loss, {self.best:.5f}"
            )

    def _say(self, line: str) -> None:
        if self.main:
            tqdm.write(line, file=sys.stdout)


class _Log:
    """TensorBoard's files of a run."""

    def __init__(self, out: Path, step: int, held: ExitStack) -> None:
        require("tensorboard", "train")  # torch's own module is there without it, and fails
        from torch.utils.tensorboard import SummaryWriter

        # What a killed run logged after its last checkpoint is told again.
        self.writer = SummaryWriter(str(out / "logs"), purge_step=step or None)
        held.callback(self._close)
        self.losses: list[float] = []

    def add(self, progress: TrainProgress) -> None:
        """Write a step."""
        self.losses.append(progress.loss)
        if progress.step % _LOG_STEPS and progress.done < 1:
            return
        values = {
            "train/loss": sum(self.losses) / len(self.losses),
            "train/learning_rate": progress.learning_rate,
            "train/gradient_norm": progress.gradient_norm,
            "train/images_per_second": progress.pairs_per_second,
            "train/skipped": len(progress.skipped),
        }
        self.losses.clear()
        for name, value in values.items():
            self.writer.add_scalar(name, value, progress.step)

    def validated(self, step: int, loss: float, views: Any) -> None:
        """Write a validation loss, and a sheet of views if there is one."""
        self.writer.add_scalar("validation/loss", loss, step)
        if views is not None:
            self.writer.add_image("validation/condition_target_view", views, step)

    def _close(self) -> None:
        with suppress(OSError):  # a full disk has been told of already
            self.writer.close()
