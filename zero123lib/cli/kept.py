"""What the workers of a batch do: a verb of this command line, its model loaded once."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from zero123lib._choices import Speed
from zero123lib.cli.options import Model
from zero123lib.cli.telling import Telling
from zero123lib.diffusion.checkpoints.named import NAMED
from zero123lib.diffusion.checkpoints.sources import bundled_models

if TYPE_CHECKING:
    from zero123lib.diffusion.pipeline import Zero123Pipeline

_QUIET = Telling(quiet=True)


@dataclass(frozen=True)
class KeptModel(Model):
    """A model that a process loads once, however often it is asked for."""

    @classmethod
    def of(cls, model: Model) -> KeptModel:
        """Keep a model; a path is made one that other folders know."""
        known = {one.name: getattr(model, one.name) for one in fields(model)}
        path = Path(model.model or "")
        if model.model not in (None, *bundled_models(), *NAMED) and path.exists():
            known["model"] = str(path.absolute())
        if (config := model.reading.original_config) is not None:
            known["reading"] = replace(model.reading, original_config=config.absolute())
        return cls(**known)

    def load(self, usual: str = "tiny", speed: Speed = "exact") -> Zero123Pipeline:
        """Return the pipeline, loaded at the first call."""
        return _kept(self, usual, speed)


@cache
def _kept(model: KeptModel, usual: str, speed: Speed) -> Zero123Pipeline:
    return Model.load(model, usual, speed)


def model_settings(model: Model) -> dict[str, Any]:
    """Say which model it is, for the settings of a batch: its name, and its files' digest."""
    from zero123lib.diffusion.checkpoints.digest import files_digest

    name = model.model or "tiny"
    original = model.reading.original_config
    return {
        "model": name,
        "model_digest": files_digest(name),
        "encoding": model.reading.encoding,
        "original_config": None if original is None else str(original),
    }


@dataclass(frozen=True)
class Verb:
    """A verb as workers call it, on one item: :class:`zero123lib.batch.worker.Work`.

    Attributes:
        name: views, orbit, reconstruct, render or evaluate.
        options: of the verb's function, but for input, output, model and seed.
        model: for those that ask one.
    """

    name: str
    options: Mapping[str, Any]
    model: KeptModel = field(default_factory=KeptModel)

    @property
    def device(self) -> str:
        """Return where it is to run; rendering runs on the CPU."""
        return "cpu" if self.name == "render" else self.model.device

    def __call__(self, source: Path, out: Path, seed: int) -> dict[str, float]:
        """Make the files of one item; returns its scores, which an evaluation alone has."""
        with redirect_stdout(io.StringIO()):
            return getattr(self, f"_{self.name}")(source, out, seed) or {}

    def _views(self, source: Path, out: Path, seed: int) -> None:
        from zero123lib.cli import views

        verb = views.views if self.name == "views" else views.orbit
        options = dict(self.options)
        sampling = replace(options.pop("sampling"), seed=seed)
        verb([str(source)], out=out, **options, sampling=sampling, model=self.model, telling=_QUIET)

    _orbit = _views

    def _reconstruct(self, source: Path, out: Path, seed: int) -> None:
        from zero123lib.cli.reconstruct import Run, reconstruct

        asked = self.options
        run = Run(
            out,
            max_steps=asked["max_steps"],
            input_elevation_deg=asked["input_elevation_deg"],
            seed=seed,
        )
        status = reconstruct(
            str(source),
            *asked["overrides"],
            config=asked["config"],
            run=run,
            model=self.model,
            telling=_QUIET,
        )
        if status:  # a signal has ended it early, whose result is none of a batch's
            raise InterruptedError("the worker was asked to stop")
        (out / ".lock").unlink(missing_ok=True)

    def _render(self, source: Path, out: Path, seed: int) -> None:
        from zero123lib.rendering.objects import Source, render_object
        from zero123lib.rendering.settings import RenderSettings

        settings = RenderSettings(**self.options, seed=seed)
        with TemporaryDirectory(dir=out.parent) as scratch:
            render_object(Source("object", source), Path(scratch), settings, threads=1)
            shutil.copytree(Path(scratch) / "object", out, dirs_exist_ok=True)

    def _evaluate(self, source: Path, out: Path, seed: int) -> dict[str, float]:
        from zero123lib.cli.evaluate import stored
        from zero123lib.datasets.folder import VALID_PATHS

        asking = replace(self.options["asking"], seed=seed)
        with TemporaryDirectory(dir=out.parent) as scratch:
            data = Path(scratch) / "data"
            data.mkdir()
            (data / source.name).symlink_to(source)
            # A list, since links are not followed where objects are looked for.
            (data / VALID_PATHS).write_text(json.dumps([source.name]))
            stored(
                data, out=out, objects=1, views=self.options["views"], model=self.model,
                asking=asking,
            )  # fmt: skip
        return _scores(out / "report.json")


def _scores(report: Path) -> dict[str, float]:
    """Return the means of a report over the whole images; what it could not measure is left out."""
    from zero123lib.evaluation.scores import Scores

    content = json.loads(report.read_text())
    found = {one.name: content[one.name] for one in fields(Scores)}
    return {name: value for name, value in found.items() if value is not None}
