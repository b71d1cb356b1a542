"""Coverage-guided fuzzing of what reads files of strangers; `make fuzz` runs it.

    python -m tests.fuzz.readers --seconds 600 image mesh checkpoint transforms

Each reader runs in a process of its own, from seeds that are made here, under libFuzzer, which
keeps what reached new code in `build/fuzz/<reader>` and goes on there the next time. A finding is
whatever is no refusal in one line: another exception, a result that breaks its promise, more memory
or time than a file of that size may take. libFuzzer writes it beside the corpus, as
`<reader>-crash-...`, `-timeout-...` or `-oom-...`; `--try FILE` runs it again.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.fuzz.mutating import WAYS, keeping_form
from zero123lib._optional import require

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "build" / "fuzz"
# Of one input; what the limits of the readers allow for so few bytes is far below.
MAX_BYTES, MAX_SECONDS, MAX_MB = 4096, 20, 3072
# libFuzzer counts the memory of the whole process: what large images free is to go back at once, or
# thousands of them are taken for one.
RETURNED = {"MALLOC_MMAP_THRESHOLD_": "1000000", "MALLOC_TRIM_THRESHOLD_": "1000000"}
MESHES = (".glb", ".gltf", ".obj", ".ply", ".stl")
# In a mesh's bytes, what follows is its material library.
SECOND = b"\n#mtl\n"
# Of a reader's own mistakes, which its errors of damaged files would hide.
MISTAKES = ("NameError", "UnboundLocalError", "AssertionError", "MemoryError", "RecursionError")


def one_line(error: Exception) -> None:
    told = str(error)
    assert told and "\n" not in told and "\r" not in told, f"no line: {told!r}"
    assert len(told) < 2000, f"{len(told)} characters: {told[:200]!r}"
    assert not any(f"damaged: {one}" in told for one in MISTAKES), told


def read_image(content: bytes, folder: Path) -> None:
    """An image is RGB or RGBA, and can be prepared or is refused."""
    from zero123lib.views.errors import ImageError
    from zero123lib.views.images import prepare
    from zero123lib.views.loading import load_image

    try:
        image = load_image(content)
        assert image.mode in ("RGB", "RGBA") and min(image.size) >= 1
        method = "alpha" if image.mode == "RGBA" else "none"
        prepared = prepare(image, 16, method=method).tensor
    except ImageError as error:
        one_line(error)
        return
    assert prepared.shape == (3, 16, 16) and prepared.isfinite().all()
    assert prepared.min() >= -1 and prepared.max() <= 1


def read_mesh(content: bytes, folder: Path) -> None:
    """The first byte tells the kind; a mesh is finite, and its faces name vertices that it has."""
    from zero123lib.meshes.load import MeshError, load_mesh

    if not content:
        return
    body, _, library = content[1:].partition(SECOND)
    path = folder / f"a{MESHES[content[0] % len(MESHES)]}"
    path.write_bytes(body)
    (folder / "a.mtl").write_bytes(library)
    try:
        mesh = load_mesh(path)
    except MeshError as error:
        one_line(error)
        return
    assert len(mesh.faces) and mesh.vertices.isfinite().all()
    assert int(mesh.faces.min()) >= 0 and int(mesh.faces.max()) < len(mesh.vertices)
    assert mesh.normals is not None and mesh.normals.isfinite().all()


def read_checkpoint(content: bytes, folder: Path) -> None:
    """Each tensor of a file that opens lies within the file: its numbers can be read."""
    from zero123lib.diffusion.checkpoints.errors import CheckpointError
    from zero123lib.diffusion.checkpoints.weights import open_tensors

    path = folder / "a.ckpt"
    path.write_bytes(content)
    try:
        tensors = open_tensors(path)
    except CheckpointError as error:
        one_line(error)
        return
    for name, tensor in tensors.items():
        assert isinstance(name, str)
        tensor.reshape(-1).sum()


def read_transforms(content: bytes, folder: Path) -> None:
    """Each frame has a camera of finite numbers, and an image within the folder or an error."""
    from math import isfinite

    from zero123lib._errors import ArgumentError
    from zero123lib.views.listings import find_image
    from zero123lib.views.transforms import read_frames

    listing = folder / "transforms.json"
    listing.write_bytes(content)
    try:
        for frame in read_frames(listing):
            camera = frame.pinhole(64, 48)
            numbers = (camera.fl_x, camera.fl_y, camera.cx, camera.cy)
            assert all(map(isfinite, numbers)) and camera.fl_x > 0 and camera.fl_y > 0, numbers
            assert frame.camera_to_world.isfinite().all()
            find_image(folder, frame.file_path)
    except ArgumentError as error:
        one_line(error)


READERS: dict[str, Callable[[bytes, Path], None]] = {
    "image": read_image,
    "mesh": read_mesh,
    "checkpoint": read_checkpoint,
    "transforms": read_transforms,
}


def image_seeds() -> Iterator[bytes]:
    from PIL import Image

    from zero123lib.views.loading import FORMATS

    base = Image.linear_gradient("L").resize((9, 8))
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"):
        image = base.convert("I").convert(mode) if mode == "I;16" else base.convert(mode)
        for form in FORMATS:
            stream = io.BytesIO()
            try:
                image.save(stream, form)
            except (OSError, ValueError, KeyError):
                continue  # the format does not take the mode
            yield stream.getvalue()


def mesh_seeds() -> Iterator[bytes]:
    import numpy as np

    trimesh: Any = require("trimesh", "meshes")
    box = trimesh.creation.box((1, 2, 3))
    painted = box.copy()
    painted.visual = trimesh.visual.ColorVisuals(painted, vertex_colors=[200, 10, 10, 255])
    place = np.eye(4)
    place[0, 3] = 2.0
    scene = trimesh.Scene([box, painted])
    scene.add_geometry(painted, transform=place)
    for one in (box, painted, scene):
        for number, suffix in enumerate(MESHES):
            if suffix == ".gltf":
                files = trimesh.exchange.gltf.export_gltf(
                    one, merge_buffers=True, embed_buffers=True
                )
                yield bytes([number]) + files["model.gltf"]
            elif suffix in (".glb", ".obj") or one is not scene:
                made = one.export(file_type=suffix[1:])
                yield bytes([number]) + (made if isinstance(made, bytes) else made.encode())
    yield (
        b"\x02mtllib a.mtl\nv 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 0 1 0 0 0 1\nv 0 0 1 1 1 1\n"
        + (
            b"vt 0 0\nvt 1 0\nvt 0 1\nvn 0 0 1\ng a\nusemtl red\nf 1/1/1 2/2/1 3/3/1\ns 1\n"
            b"o b\nusemtl blue\nf -1// -2// -3//\nf 1 2 3 4\n"
        )
        + SECOND
        + b"newmtl red\nKd 1 0 0\nd 0.5\nmap_Kd -s 2 2 a.png\nnewmtl blue\nKd 0 0 1\nTr 0\n"
    )
    yield b"\x03" + box.export(file_type="ply", encoding="ascii")
    yield b"\x04" + box.export(file_type="stl_ascii").encode()


def checkpoint_seeds() -> Iterator[bytes]:
    import torch
    from safetensors.torch import save

    weights = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2).half()}
    yield save(weights)
    yield save({"b": torch.arange(4), "c": torch.zeros(0)}, {"format": "pt"})
    held = torch.arange(6.0)
    shared = {"state_dict": {"x": held[:4], "y": held.reshape(2, 3).T}, "epoch": 3}
    for content in (weights, shared, {"state_dict": weights, "callbacks": {"best": None}}):
        stream = io.BytesIO()
        torch.save(content, stream)
        yield stream.getvalue()


def transforms_seeds() -> Iterator[bytes]:
    from zero123lib.views.poses import Pose
    from zero123lib.views.transforms import transforms_json

    ours = transforms_json(["a.png", "b.png"], [Pose(10.0, 20.0, 1.5), Pose(-10.0, 200.0, 1.5)])
    yield json.dumps(ours).encode()
    frame = ours["frames"][0]
    told = {"fl_x": 50.0, "fl_y": 51.0, "cx": 32, "cy": 24, "w": 64, "h": 48}
    yield json.dumps({"camera_model": "OPENCV", "k1": 0.0, **told, "frames": [frame]}).encode()
    one = {**frame, "file_path": "./images/a", "mask_path": "m/a.png", "camera_angle_y": 0.7}
    yield json.dumps({"frames": [{**one, **told}], "is_fisheye": False}).encode()


SEEDS: dict[str, Callable[[], Iterator[bytes]]] = {
    "image": image_seeds,
    "mesh": mesh_seeds,
    "checkpoint": checkpoint_seeds,
    "transforms": transforms_seeds,
}


def fuzz(name: str, seconds: int, formed: bool) -> None:
    """Fuzz one reader in this process, which libFuzzer ends; `formed` changes values, not bytes."""
    atheris = require("atheris", "audit")
    with atheris.instrument_imports(include=["zero123lib", "PIL", "zipfile"]):
        import zero123lib.diffusion.checkpoints.weights
        import zero123lib.meshes.load
        import zero123lib.views.images
        import zero123lib.views.transforms  # noqa: F401
    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]()):
        (corpus / f"seed{number:03d}").write_bytes(seed)
    warnings.simplefilter("ignore")
    ways = {"custom_mutator": partial(keeping_form, name)} if formed else {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        options = [
            sys.argv[0], str(corpus), f"-artifact_prefix={corpus}-", f"-max_len={MAX_BYTES}",
            f"-timeout={MAX_SECONDS}", f"-rss_limit_mb={MAX_MB}", f"-max_total_time={seconds}",
            "-print_final_stats=1", "-len_control=0",
        ]  # fmt: skip
        atheris.Setup(options, lambda content: READERS[name](content, place), **ways)
        atheris.Fuzz()


def passes(names: Iterable[str], seconds: int) -> Iterator[int]:
    """Fuzz each reader, half the time by bytes and half by values where its inputs have those."""
    for name in names:
        ways = ("bytes", "values") if name in WAYS else ("bytes",)
        for way in ways:
            told = f"--seconds={max(seconds // len(ways), 1)}"
            command = [sys.executable, "-m", "tests.fuzz.readers", name, told, f"--by={way}"]
            yield subprocess.run(command, cwd=ROOT, env={**os.environ, **RETURNED}).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("readers", nargs="*", default=list(READERS), metavar="READER")
    parser.add_argument("--seconds", type=int, default=600, help="for each reader")
    parser.add_argument("--try", type=Path, dest="case", help="run one input of one reader")
    parser.add_argument("--by", choices=("bytes", "values"), help=argparse.SUPPRESS)
    told = parser.parse_args()
    if unknown := set(told.readers) - READERS.keys():
        parser.error(f"READER: expected of {', '.join(READERS)}, got {', '.join(unknown)}")
    if told.seconds < 1:  # libFuzzer takes 0 as no end
        parser.error(f"--seconds: expected at least 1, got {told.seconds}")
    if told.case and len(told.readers) != 1:
        parser.error(f"READER: expected one with --try, got {len(told.readers)}")
    if told.case and not told.case.is_file():
        parser.error(f"--try: expected a file, got {str(told.case)!r}")
    if told.case:
        with tempfile.TemporaryDirectory() as folder:
            READERS[told.readers[0]](told.case.read_bytes(), Path(folder))
    elif told.by:
        fuzz(told.readers[0], told.seconds, told.by == "values")
    else:
        sys.exit(any(list(passes(told.readers, told.seconds))))


if __name__ == "__main__":
    main()
