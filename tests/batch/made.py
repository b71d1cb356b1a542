"""Work for batches that is no model's: fast, and bad in the ways that tests ask for by name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image


@dataclass(frozen=True)
class Inverted:
    """Invert images. By its name an image may fail always, fail first, or kill its worker.

    Attributes:
        log: a folder where every attempt leaves a file.
        seconds: that an image takes at least.
    """

    log: Path
    seconds: float = 0.0

    def __call__(self, source: Path, out: Path, seed: int) -> Mapping[str, float]:
        name = source.stem
        attempt = len(list(self.log.glob(f"{name}-*")))
        (self.log / f"{name}-{attempt}-{time.time_ns()}-{os.getpid()}").touch()
        time.sleep(self.seconds)
        if name.startswith("deadly") or (name.startswith("killed") and attempt == 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith("shaky") and attempt == 0:
            raise ConnectionError("the line\nwas cut")
        if name.startswith("bug"):
            raise TypeError("of no use")
        with Image.open(source) as image:
            pixels = image.convert("L").point(lambda value: 255 - value)
        pixels.save(out / "inverted.png")
        (out / "seed.txt").write_text(str(seed))
        return {"mean": pixels.resize((1, 1)).getpixel((0, 0))}  # type: ignore[dict-item]

    def attempts(self, name: str) -> int:
        """Count the attempts on an image."""
        return len(list(self.log.glob(f"{name}-*")))


def write_images(folder: Path, *names: str) -> Path:
    """Write small images; of names that begin so, files that are none."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.name.startswith("broken"):
            file.write_text("not an image")
        else:
            Image.new("L", (8, 8), place % 250).save(file)
    return folder
