"""The app, served once per model for all tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from zero123lib.app.layout import build, launch_options
from zero123lib.app.settings import Options
from zero123lib.diffusion.pipeline import Zero123Pipeline

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# SwiftShader stands in for a graphics card: the viewer of meshes wants WebGL.
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
]
PATIENCE_MS = 90_000

# Reconstructions that take a second and look like it.
_EMBEDDED = "system.guidance.embedded"
SMALL = Options(
    recipe_overrides=(
        f"{_EMBEDDED}.field.resolutions=[16]",
        f"{_EMBEDDED}.field.milestones=[]",
        f"{_EMBEDDED}.field.samples=24",
        f"{_EMBEDDED}.views.azimuths=4",
        f"{_EMBEDDED}.views.elevations_deg=[0.0]",
        f"{_EMBEDDED}.fit.steps=30",
        f"{_EMBEDDED}.fit.rays=256",
        f"{_EMBEDDED}.outputs.frames=4",
        f"{_EMBEDDED}.outputs.size=32",
        f"{_EMBEDDED}.outputs.mesh_resolution=24",
        f"{_EMBEDDED}.outputs.texture_size=64",
    )
)
# The same, but they only end when they are stopped; after so many steps they have a surface.
ENDLESS = Options(recipe_overrides=(*SMALL.recipe_overrides, f"{_EMBEDDED}.fit.steps=100000"))
ENOUGH = 300


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pipe() -> Zero123Pipeline:
    """The bundled model, with one step more than a preview has: captions tell them apart."""
    pipe = Zero123Pipeline.from_pretrained("tiny")
    pipe.set_progress_bar_config(disable=True)
    pipe.register_to_config(num_inference_steps=2)
    return pipe


@pytest.fixture(scope="session")
def told() -> Zero123Pipeline:
    """A model that has to be told the elevation of the image's camera."""
    pipe = Zero123Pipeline.from_pretrained("tiny")
    pipe.set_progress_bar_config(disable=True)
    pipe.register_to_config(encoding="stable-zero123", model_name="told")
    return pipe


@pytest.fixture(scope="session")
def url(pipe: Zero123Pipeline) -> Iterator[str]:
    """Where the app is served, in this process."""
    with served(pipe) as local_url:
        yield local_url


@pytest.fixture(scope="session")
def told_url(told: Zero123Pipeline) -> Iterator[str]:
    """Where the app of the other model is served."""
    with served(told) as local_url:
        yield local_url


@contextmanager
def served(pipe: Zero123Pipeline, options: Options = SMALL, *, mcp: bool = False) -> Iterator[str]:
    """The app, served in this process."""
    blocks = build(pipe, options)
    how = {**launch_options(mcp), "share": False, "ssr_mode": False, "quiet": True}
    _, local_url, share_url = blocks.launch(prevent_thread_lock=True, **how)
    assert not share_url
    yield local_url
    blocks.close()
