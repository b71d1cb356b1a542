"""three.js from a folder of npm's, in a headless browser that draws without a GPU."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, Route, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--headless", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader",
             "--enable-unsafe-swiftshader"]  # fmt: skip
PATIENCE_MS = 60_000
# `npm install three` anywhere, and the path of its node_modules here.
FOLDER = os.environ.get("ZERO123LIB_NODE_MODULES", "")
THREE = Path(FOLDER, "three") if FOLDER else None
ADDRESS = "http://viewer.test/"

# The scene of three.js's own glTF example, with light from all around alone, so that colours are
# those of the file; the camera's axes are glTF's, y up.
PAGE = """<!doctype html><style>body { margin: 0 }</style><script type="importmap">
{"imports": {"three": "/three/build/three.module.js", "three/addons/": "/three/examples/jsm/"}}
</script><script type="module">
import * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
const { size, fov, eye, lamp } = SETTINGS;
const renderer = new THREE.WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
renderer.setSize(size, size);
document.body.appendChild(renderer.domElement);
const scene = new THREE.Scene();
scene.background = new THREE.Color(0xffffff);
scene.add(new THREE.AmbientLight(0xffffff, lamp ? 0.6 * Math.PI : Math.PI));
if (lamp) {
  const sun = new THREE.DirectionalLight(0xffffff, 0.4 * Math.PI);
  sun.position.set(0.5, 1.5, 1);
  scene.add(sun);
}
const camera = new THREE.PerspectiveCamera(fov, 1, 0.01, 10);
camera.position.set(...eye);
camera.lookAt(0, 0, 0);
new GLTFLoader().load("/model.glb", (loaded) => {
  scene.add(loaded.scene);
  renderer.render(scene, camera);
  window.state = "drawn";
}, undefined, (error) => { window.state = "failed: " + error; });
</script>"""


@contextmanager
def opened() -> Iterator[Page]:
    """A page of a browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_context().new_page()
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


def screenshot(
    page: Page, model: Path, eye: tuple[float, float, float], size: int, fov_deg: float, lamp: bool
) -> np.ndarray:
    """What three.js shows of a GLB file: ``[size, size, 3]`` uint8.

    Args:
        eye: where the camera is, glTF's axes; it looks at the origin.
        lamp: from one side as well as from all around.
    """
    assert THREE is not None
    three = THREE
    settings = f"{{size: {size}, fov: {fov_deg}, eye: {list(eye)}, lamp: {str(lamp).lower()}}}"

    def answer(route: Route) -> None:
        path = route.request.url.removeprefix(ADDRESS)
        if path == "":
            route.fulfill(body=PAGE.replace("SETTINGS", settings), content_type="text/html")
        elif path == "model.glb":
            route.fulfill(body=model.read_bytes(), content_type="model/gltf-binary")
        elif path.startswith("three/"):
            script = three / path.removeprefix("three/")
            route.fulfill(body=script.read_bytes(), content_type="text/javascript")
        else:
            route.abort()

    page.unroute_all()
    page.route("**/*", answer)
    page.set_viewport_size({"width": size, "height": size})
    page.goto(ADDRESS)
    page.wait_for_function("window.state !== undefined")
    assert page.evaluate("window.state") == "drawn"
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
