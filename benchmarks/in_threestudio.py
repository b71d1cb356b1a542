"""What our guidance and the embedded engine are beside threestudio's own, as far as a CPU tells.

    ZERO123_THREESTUDIO=CLONE PYTHONPATH=PACKAGES python benchmarks/in_threestudio.py [--out FILE]

threestudio is real, and runs on the CPU with the stand-ins of tests/threestudio;
docs/threestudio.md says which packages it needs. Without them, or without a clone, nothing is
measured. Both guidances read one checkpoint of made-up weights in the official layout, small, for
images of 256 px. Both engines run one recipe on a drawn object with the bundled model, in small
images for a few steps: threestudio with its frequency encoding in place of the hash grid, and a
few lines in place of nerfacc. So ratios hold for this and promise nothing of a GPU.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _measuring import metric, ratio, seconds
from PIL import Image
from torch import Tensor

sys.path.append(str(Path(__file__).parents[1]))
VARIABLE = "ZERO123_THREESTUDIO"
PACKAGES = ("omegaconf", "pytorch_lightning", "jaxtyping", "typeguard", "einops", "clip", "pytest")
FAMILIES = ("zero123", "stable-zero123")
WHOSE = ("theirs", "ours")
BATCHES = (1, 4)
EMBEDDED = ("engine", "ours")
RECIPE = "zero123-sds"
SIZE = 32
STEPS = 60
SAMPLES = 32


@contextmanager
def threestudio() -> Iterator[Any]:
    """The clone, loaded, on the CPU, with the official model's code."""
    from tests.threestudio.conftest import loaded, without_gpu
    from tests.threestudio.test_official_guidance import official_modules

    clone = Path(os.environ[VARIABLE]).resolve()
    with (
        tempfile.TemporaryDirectory() as root,
        loaded(clone, Path(root)) as module,
        without_gpu(),
        official_modules(),
    ):
        yield module


def made(module: Any, whose: str, family: str, files: dict[str, str]) -> Any:
    """A guidance that has read the checkpoint."""
    import pytest

    from tests.threestudio.test_official_guidance import guidance_module, settings
    from zero123lib.threestudio_plugin.clone import GUIDANCE_TYPE

    create: Any = importlib.import_module("omegaconf").OmegaConf.create
    told = settings(files)
    if whose == "ours":
        return module.find(GUIDANCE_TYPE)(create({**told, "encoding": family}))
    with pytest.MonkeyPatch.context() as patch:
        guidance_module(family, patch)
        return module.find(f"{family}-guidance")(create(told))


def step(guidance: Any, count: int) -> None:
    """Loss and gradient of some views."""
    rgb = torch.rand(count, 64, 64, 3, requires_grad=True)
    found = guidance(
        rgb,
        elevation=torch.linspace(-5, 40, count),
        azimuth=torch.linspace(-120, 150, count),
        camera_distances=torch.full((count,), 3.8),
    )
    found["loss_sds"].backward()
    assert rgb.grad is not None and bool(torch.isfinite(rgb.grad).all()), "a finite gradient"


def speed(family: str, files: dict[str, str]) -> dict[str, float]:
    """Seconds of a step of both guidances, in turns in one process."""
    with threestudio() as module:
        theirs, ours = (made(module, whose, family, files) for whose in WHOSE)
        found = {}
        for count in BATCHES:
            pair = ratio(partial(step, theirs, count), partial(step, ours, count))
            found |= {f"{whose} {count}": one for whose, one in zip(WHOSE, pair, strict=True)}
    return found


def memory(family: str, whose: str, files: dict[str, str]) -> dict[str, float]:
    """Seconds of loading; what it and a step of four views add to the process at most, in MiB."""
    with threestudio() as module:
        before = begun()
        guidance: list[Any] = []
        spent = seconds(lambda: guidance.append(made(module, whose, family, files)))
        loading = peak() - before
        begun()
        step(guidance[0], max(BATCHES))
        return {"load": spent, "load MiB": loading, "step MiB": peak() - before}


def begun() -> float:
    """Forget the peak of this process's memory (Linux), and say what it has now, MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> float:
    """MiB since :func:`begun`."""
    return _status("VmHWM")


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def refusal(files: dict[str, str]) -> str:
    """What threestudio's loader says of an official checkpoint with torch as it is; else ""."""
    with threestudio() as module:
        del os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"]
        try:
            made(module, "theirs", "zero123", files)
        except Exception as error:
            return f"{type(error).__name__}: {str(error).partition('. ')[0]}"
    return ""


class Clock:
    """When the guidance is called, and how long it takes."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call
        self.starts: list[float] = []
        self.inside = 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.starts.append(time.perf_counter())
        result = self._call(*args, **kwargs)
        self.inside += time.perf_counter() - self.starts[-1]
        return result

    def told(self, shown: Tensor, truth: Tensor) -> dict[str, float]:
        """Of a run whose last image of the reference view is this."""
        from zero123lib.metrics import psnr

        each = (self.starts[-1] - self.starts[0]) / (len(self.starts) - 1)
        share = self.inside / len(self.starts) / each
        quality = float(psnr(shown.permute(2, 0, 1)[None], truth.permute(2, 0, 1)[None]))
        return {"seconds": each, "guidance": 100 * share, "psnr": quality}


def overrides(image: Path, folder: Path) -> list[str]:
    """Of the recipe, for both: the camera of the models, small images, few steps."""
    from zero123lib.views.cameras import FOV_DEG

    camera = "data.random_camera"
    return [
        f"exp_root_dir={folder}", f"data.image_path={image}",
        f"data.default_fovy_deg={FOV_DEG}", "data.default_camera_distance=1.85",
        f"{camera}.camera_distance_range=[1.85,1.85]", f"{camera}.fovy_range=[{FOV_DEG},{FOV_DEG}]",
        f"data.height={SIZE}", f"data.width={SIZE}", "data.resolution_milestones=[]",
        f"{camera}.height={SIZE}", f"{camera}.width={SIZE}", f"{camera}.batch_size=2",
        f"{camera}.resolution_milestones=[]", f"{camera}.n_val_views=1", f"{camera}.n_test_views=1",
        f"{camera}.eval_height={SIZE}", f"{camera}.eval_width={SIZE}",
        "system.geometry.radius=1.0", f"system.renderer.num_samples_per_ray={SAMPLES}",
        f"system.guidance.embedded.field.samples={SAMPLES}",
        "system.guidance.pretrained_model_name_or_path=tiny",
        f"trainer.max_steps={STEPS}", "trainer.precision=32", "trainer.enable_progress_bar=false",
        f"trainer.val_check_interval={STEPS + 1}",
    ]  # fmt: skip


def drawn(path: Path) -> Tensor:
    """Write the input view, and return it on white at the size of the runs, ``[H, W, 3]``."""
    from zero123lib.scenes import HELD_OUT_SEED, random_scene, render
    from zero123lib.views.poses import Pose

    rgba = render(random_scene(HELD_OUT_SEED), [Pose(5.0, 0.0, 1.85)], 256).rgba[0]
    Image.fromarray((rgba.numpy() * 255).round().astype(np.uint8)).save(path)
    white = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    block = 256 // SIZE
    return white.reshape(SIZE, block, SIZE, block, 3).mean((1, 3))


def engine(whose: str) -> dict[str, float]:
    """A short run; its seconds per step, and the reference view at its end."""
    from zero123lib.diffusion.sds import Guidance

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = folder / "input.png"
        truth = drawn(image)
        clock = Clock(Guidance.__call__)
        # A function: the instance is handed on as a method's.
        Guidance.__call__ = lambda self, *args, **kwargs: clock(self, *args, **kwargs)
        run = embedded if whose == "ours" else lightning
        shown = run(image, overrides(image, folder))
        blank = Clock.told(clock, torch.ones_like(truth), truth)["psnr"]
        return {**clock.told(shown, truth), "blank": blank}


def embedded(image: Path, words: list[str]) -> Tensor:
    """By the embedded engine."""
    from zero123lib import Zero123Pipeline
    from zero123lib.fields.volume import render_camera
    from zero123lib.reconstruction.cameras import input_camera
    from zero123lib.reconstruction.engine import Progress, reconstruct
    from zero123lib.reconstruction.recipes import read_recipe
    from zero123lib.views.cameras import camera_to_world

    recipe = read_recipe(RECIPE, words)
    pipe = Zero123Pipeline.from_pretrained("tiny")
    prepared = pipe.prepare(image, "none")
    last = None
    for one in reconstruct(prepared, recipe, pipe=pipe, seed=0):
        if isinstance(one, Progress) and one.stage == "sds":
            last = one
            if one.step == STEPS:
                break
    assert last is not None and last.step == STEPS and last.field is not None, "all steps"
    camera = input_camera(recipe, recipe.data.default_elevation_deg)
    with torch.no_grad():
        eye = camera_to_world(camera.pose)
        return render_camera(last.field, eye, SIZE, camera.fov_deg, samples=4 * SAMPLES).rgb


def lightning(image: Path, words: list[str]) -> Tensor:
    """By threestudio's system, in Lightning's trainer."""
    import pytest

    from tests.threestudio.test_training import cut_loose
    from zero123lib.reconstruction.recipes import RECIPES

    grid = "system.geometry.pos_encoding_config={otype: ProgressiveBandFrequency, n_frequencies: 6}"
    with threestudio() as module, pytest.MonkeyPatch.context() as patch:
        cut_loose(patch)
        load: Any = importlib.import_module("threestudio.utils.config").load_config
        config = load(str(RECIPES / f"{RECIPE}.yaml"), cli_args=[*words, grid], n_gpus=1)
        lightning: Any = importlib.import_module("pytorch_lightning")
        lightning.seed_everything(0)
        data = module.find(config.data_type)(config.data)
        system = module.find(config.system_type)(config.system, resumed=False)
        system.set_save_dir(str(image.parent / "save"))
        trainer = lightning.Trainer(
            accelerator="cpu", logger=False, enable_checkpointing=False, inference_mode=False,
            enable_model_summary=False, limit_val_batches=0, **config.trainer,
        )  # fmt: skip
        trainer.fit(system, datamodule=data)
        assert system.true_global_step == STEPS, "all steps"
        batch = trainer.train_dataloader.dataset.collate(None)
        system.eval()
        seen = system({**batch, "bg_color": None, "ambient_ratio": 1.0, "shading": "diffuse"})
        return seen["comp_rgb"][0].detach()


def report(apart: Callable[..., Any]) -> tuple[list[dict], str]:
    """All metrics, and what threestudio's loader says of the checkpoint."""
    found = []
    for family in FAMILIES:
        spent = apart("speed", family)
        for count in BATCHES:
            value = spent[f"theirs {count}"] / spent[f"ours {count}"]
            title = f"{family}-guidance / ours, a step of {count}"
            found.append(metric(title, value, "x time", "higher"))
        theirs, ours = (apart("memory", family, whose) for whose in WHOSE)
        for key, unit in (("load", "x time"), ("load MiB", "x peak"), ("step MiB", "x peak")):
            part = "a step of 4" if key == "step MiB" else "loading a checkpoint"
            title = f"{family}-guidance / ours, {part}"
            found.append(metric(title, theirs[key] / ours[key], unit, "higher"))
    theirs, ours = (apart("engine", whose) for whose in WHOSE)
    title = "threestudio / embedded engine, a step of the recipe"
    found.append(metric(title, theirs["seconds"] / ours["seconds"], "x time", "higher"))
    for name, run in (("threestudio", theirs), ("embedded engine", ours)):
        found.append(metric(f"{name}: of a step in the guidance", run["guidance"], "%", "lower"))
        title = f"{name}: reference view after {STEPS} steps"
        found.append(metric(title, run["psnr"], "dB", "higher"))
    found.append(metric("white paper: reference view", ours["blank"], "dB", "higher"))
    return found, apart("refusal")


def main() -> None:
    """Print the metrics and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--files", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.part:
        name, *rest = options.part
        parts: dict[str, Callable[..., Any]] = {
            "speed": speed, "memory": memory, "refusal": refusal, "engine": engine,
        }  # fmt: skip
        files = () if name == "engine" else (options.files,)
        options.out.write_text(json.dumps(parts[name](*rest, *files)))
        return
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if not os.environ.get(VARIABLE) or absent:
        why = f"{', '.join(absent)} not installed" if absent else f"{VARIABLE} names no clone"
        print(f"not measured: {why}; see docs/threestudio.md")
        return

    from tests.threestudio.test_official_guidance import write_files

    with tempfile.TemporaryDirectory() as folder:
        files, answer = write_files(Path(folder)), Path(folder) / "answer.json"

        def apart(*part: str) -> Any:
            """Of a part in a process of its own, whose memory is nobody else's."""
            command = [sys.executable, __file__, "--threads", str(options.threads)]
            command += ["--out", str(answer), "--files", json.dumps(files), "--part", *part]
            # threestudio's packages are no part of the embedded engine.
            passed = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" or part != EMBEDDED}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=passed)
            if done.returncode:
                raise SystemExit(f"{' '.join(part)}: {done.stderr}")
            return json.loads(answer.read_text())

        metrics, said = report(apart)
    print(f"threestudio's loader with torch {torch.__version__}: {said or 'reads it'}")
    content = {
        "machine": f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}",
        "their_loader": said,
        "metrics": metrics,
    }
    options.out.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
