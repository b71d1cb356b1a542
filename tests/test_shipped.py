"""What is shipped: wheel and sdist hold the package whole, and installed it does what it says.

One build and one environment serve all tests. The environment sees the dependencies of this
interpreter through a .pth file, whose own .pth files Python does not read: the clone stays unseen.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Mapping
from email import message_from_string
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from readme_renderer import markdown

from zero123lib.app.examples import example_files
from zero123lib.cli.verbs import VERBS

ROOT = Path(__file__).resolve().parents[1]

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not (ROOT / ".git").exists() or shutil.which("git") is None,
        reason="no clone with git: what belongs to the package is what git tracks",
    ),
]

# By verb, the smallest run of its main job, in a folder with photo.png and mesh.ply; runs that come
# later use what earlier ones wrote. And what it writes.
SMALL_RUN = [
    f"system.guidance.embedded.{key}"
    for key in (
        "field.resolutions=[12,20]",
        "field.milestones=[0.5]",
        "field.samples=16",
        "views.azimuths=4",
        "views.elevations_deg=[0.0,40.0]",
        "fit.steps=4",
        "fit.color_steps=2",
        "fit.rays=128",
        "outputs.frames=2",
        "outputs.size=16",
        "outputs.mesh_resolution=16",
        "outputs.mesh_level=null",
        "outputs.texture_size=64",
    )
]
JOBS: dict[str, tuple[str, list[str]]] = {
    "views": (
        "photo.png --azimuth 30 --steps 1 --out views",
        ["views/000.png", "views/transforms.json"],
    ),
    "orbit": ("photo.png --count 2 --steps 1 --upscale 2 --out orbit", ["orbit/orbit.gif"]),
    "cutout": ("photo.png object.png --method u2netp", ["object.png"]),
    "elevation": ("photo.png --landscape elevation.png", ["elevation.png"]),
    "pose": (
        "photo.png views/000.png --input-elevation 10 --steps 0 --out posed",
        ["posed/landscape.png", "posed/transforms.json"],
    ),
    "reconstruct": (f"photo.png --out run {' '.join(SMALL_RUN)}", ["run/mesh.glb"]),
    "convert": ("tiny converted --dtype float16", ["converted/model_index.json"]),
    "render": (
        "mesh.ply renders --views 2 --size 32 --workers 0",
        ["renders/mesh/000.png", "renders/mesh/001.npy"],
    ),
    "batch views": (
        "photo.png --azimuth 30 --steps 1 --device cpu --workers 1 --out batch-views",
        ["batch-views/photo.png/000.png", "batch-views/manifest.parquet"],
    ),
    "batch orbit": (
        "photo.png --count 2 --steps 1 --device cpu --workers 1 --out batch-orbits",
        ["batch-orbits/photo.png/orbit.gif"],
    ),
    "batch reconstruct": (
        f"photo.png --workers 1 --device cpu --out batch-meshes "
        f"{' '.join(f'--set {text}' for text in SMALL_RUN)}",
        ["batch-meshes/photo.png/mesh.glb"],
    ),
    "batch render": (
        "mesh.ply --views 2 --size 32 --workers 1 --out batch-renders",
        ["batch-renders/mesh.ply/000.png", "batch-renders/mesh.ply/001.npy"],
    ),
    "batch evaluate": (
        "renders --views 1 --steps 1 --device cpu --workers 1 --out batch-scores",
        ["batch-scores/mesh/report.json"],
    ),
    "dataset check": ("renders", []),
    "dataset pack": ("renders shards", ["shards"]),
    "train": (
        "finetune --data renders --initial tiny --max-steps 1 --out trained --set batch.size=1 "
        "--set batch.per_device=1 --set data.workers=0 --set validation.every_steps=0",
        ["trained/model/model_index.json"],
    ),
    "mesh inspect": ("mesh.ply", []),
    "mesh clean": ("mesh.ply clean.glb", ["clean.glb"]),
    "mesh convert": ("mesh.ply converted.obj", ["converted.obj"]),
    "mesh render": ("mesh.ply images --views 2 --size 32", ["images/transforms.json"]),
    "mesh bake": ("mesh.ply baked.glb --size 32", ["baked.glb"]),
    "mesh texture": ("mesh.ply images textured.glb --size 32 --steps 0", ["textured.glb"]),
    "evaluate scenes": ("--objects 1 --views 1 --steps 1 --out report", ["report/report.json"]),
    "evaluate objects": (
        "renders --objects 1 --views 1 --steps 1 --out objects",
        ["objects/report.json"],
    ),
    "evaluate folder": ("gso gso --out folder", ["folder/report.html"]),
    "evaluate syncdreamer": ("gso gso --meshes --out shapes-seen", ["shapes-seen/report.json"]),
    "evaluate eschernet": ("gso gso", []),
    "evaluate ifusion": ("gso gso", []),
    "evaluate free3d": ("gso gso", []),
    "evaluate sv3d": ("orbits orbits", []),
    "evaluate paper": ("gso gso", []),
    "evaluate mvgbench": ("orbits orbits --rig sv3d --size 16 --fit-steps 2", []),
    "evaluate consistency": (
        "photo.png --count 4 --steps 1 --size 32 --fit-steps 2 --out agreeing",
        ["agreeing/report.html"],
    ),
    "evaluate compare": ("folder folder --out compared", ["compared/comparison.json"]),
    "models list": ("", []),
    "models fetch": ("tiny", []),
    "env": ("", []),
    "evaluate reconstruction": (
        f"--objects 1 --out shapes {' '.join(f'--set {text}' for text in SMALL_RUN)}",
        ["shapes/report.json"],
    ),
    "threestudio install": ("clone", ["clone/custom/threestudio-zero123lib/__init__.py"]),
    "threestudio doctor": ("clone", []),
}
# Nothing here can pass threestudio's examination; that it is made is the job.
STATUS = {"threestudio doctor": 1}

CUBE = """ply
format ascii 1.0
element vertex 8
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
element face 12
property list uchar int vertex_indices
end_header
{vertices}
{faces}
"""

DRIVER = """
import contextlib, io, json, sys, traceback
import zero123lib
from zero123lib.cli import main
assert zero123lib.__file__.startswith(sys.prefix), zero123lib.__file__
outcomes = {}
for name, words in json.load(open("jobs.json")).items():
    said, status = io.StringIO(), None
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            if isinstance(words, str):
                status = exec(compile(words, name, "exec"), {}) or 0
            else:
                status = main(words)
        except BaseException:
            said.write(traceback.format_exc())
    outcomes[name] = [status, said.getvalue()]
json.dump(outcomes, open("outcomes.json", "w"))
"""

# The app as it would be served, without the wait for visitors.
SERVED = """
import gradio, zero123lib
from zero123lib.cli import main
seen = []
gradio.Blocks.launch = lambda self, **options: seen.append((self, options))
assert main(["app", "--port", "7999", "--device", "cpu"]) == 0
(blocks, options), = seen
assert options["server_port"] == 7999
examples = [b["props"] for b in blocks.config["components"] if b["type"] == "dataset"]
print(zero123lib.__file__, len(examples[0]["samples"]), "tiny" in str(blocks.config))
"""


def tracked() -> list[str]:
    """All that git does not ignore, tracked or new."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return sorted(name for name in done.stdout.split("\0") if (ROOT / name).is_file())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built from a tree with what working there leaves."""
    source = tmp_path_factory.mktemp("source")
    for name in tracked():
        if name.startswith("zero123lib/") or "/" not in name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name, follow_symlinks=False)
    (source / "zero123lib/__pycache__").mkdir()
    for name in ("zero123lib/__pycache__/x.cpython-311.pyc", "zero123lib/.DS_Store"):
        (source / name).write_bytes(b"")
    out = tmp_path_factory.mktemp("built")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(out)],
        cwd=source,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return message_from_string(wheel.read(name).decode())


@pytest.fixture(scope="module")
def environment(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and a view of what else is installed for this Python."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin/python"
    (path,) = built.glob("*.whl")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*install, "--no-deps", "--no-index", str(path)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside of any clone with what the jobs start from."""
    folder = tmp_path_factory.mktemp("work")
    photo = Image.new("RGBA", (64, 64))
    ImageDraw.Draw(photo).rounded_rectangle((12, 20, 52, 50), 6, fill=(200, 60, 40, 255))
    photo.save(folder / "photo.png")
    corners = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    quads = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    faces = [(3, *t) for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]
    vertices = [(*corner, *(255 * value for value in corner)) for corner in corners]
    lines = ["\n".join(" ".join(map(str, row)) for row in rows) for rows in (vertices, faces)]
    (folder / "mesh.ply").write_text(CUBE.format(vertices=lines[0], faces=lines[1]))
    (folder / "gso/cup").mkdir(parents=True)
    for view in range(25):
        photo.resize((256, 256)).save(folder / f"gso/cup/{view:03d}.png")
    (folder / "orbits/cup").mkdir(parents=True)
    for view in range(21):
        photo.resize((576, 576)).save(folder / f"orbits/cup/{view:03d}.png")
    centred = [[value - 0.5 for value in corner] for corner in corners]
    vertices = [(*place, *row[3:]) for place, row in zip(centred, vertices, strict=True)]
    lines[0] = "\n".join(" ".join(map(str, row)) for row in vertices)
    for name in ("mesh_aligned.ply", "mesh.ply"):
        (folder / "gso/cup" / name).write_text(CUBE.format(vertices=lines[0], faces=lines[1]))
    (folder / "clone/threestudio").mkdir(parents=True)
    (folder / "clone/launch.py").write_text("def load_custom_modules():\n    pass\n")
    (folder / "clone/threestudio/__init__.py").write_text('__version__ = "0.2.3"\n')
    return folder


def said_outside(environment: Path, folder: Path, *words: str) -> str:
    """Run a program in a shell in which that environment is all there is; what it prints."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    path = f"{environment / 'bin'}:{kept['PATH']}"
    done = subprocess.run(
        words,
        cwd=folder,
        env={**kept, "PATH": path, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def readme_program() -> str:
    """The Python block of README.md."""
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return block


@pytest.fixture(scope="module")
def outcomes(environment: Path, workplace: Path) -> dict[str, tuple[int | None, str]]:
    """Of each job, of README's program and of the app the status and what was said; all in one
    process: each of its own would load everything anew."""
    words = {verb: [*verb.split(), *options.split()] for verb, (options, _) in JOBS.items()}
    programs = {"README": readme_program(), "app": SERVED}
    (workplace / "jobs.json").write_text(json.dumps({**words, **programs}))
    said_outside(environment, workplace, "python", "-c", DRIVER)
    return json.loads((workplace / "outcomes.json").read_text())


def verbs(table: Mapping[str, Any]) -> set[str]:
    """The words of every verb that the command line has."""
    groups = {name: verbs(verb) for name, verb in table.items() if isinstance(verb, dict)}
    alone = {name for name, verb in table.items() if not isinstance(verb, dict)}
    return alone | {f"{name} {verb}" for name, below in groups.items() for verb in below}


def test_wheel_and_sdist_hold_the_package_and_nothing_else(
    built: Path, wheel: zipfile.ZipFile
) -> None:
    expected = {name for name in tracked() if name.startswith("zero123lib/")}
    assert {Path(name).suffix for name in expected} >= {".py", ".yaml", ".json", ".safetensors"}
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside == expected
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        files = [member.name.partition("/")[2] for member in archive if member.isfile()]
    assert {name for name in files if "/" in name} == expected
    assert {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml"} < set(files)


def test_every_verb_has_a_job_here() -> None:
    assert verbs(VERBS) == JOBS.keys() | {"app", "serve"}  # tests/serving starts the latter


@pytest.mark.parametrize("verb", JOBS)
def test_installed_a_verb_does_its_job(
    verb: str, outcomes: dict[str, Any], workplace: Path
) -> None:
    status, text = outcomes[verb]
    assert status == STATUS.get(verb, 0), text
    assert "Traceback" not in text
    for name in JOBS[verb][1]:
        assert (workplace / name).exists(), text


def test_installed_the_readmes_program_runs(outcomes: dict[str, Any], workplace: Path) -> None:
    status, text = outcomes["README"]
    assert status == 0, text
    assert len(list(workplace.glob("view-*.png"))) == 4


def test_installed_the_app_is_served(environment: Path, outcomes: dict[str, Any]) -> None:
    status, said = outcomes["app"]
    assert status == 0, said
    file, examples, model = said.split()[-3:]
    assert Path(file).is_relative_to(environment)
    assert (int(examples), model) == (len(example_files()), "True")


def test_installed_the_command_is_on_the_path(environment: Path, workplace: Path) -> None:
    assert "zero123lib" in said_outside(environment, workplace, "zero123", "--version")


@pytest.mark.soak
@pytest.mark.parametrize("verb", [verb for verb in JOBS if verb not in STATUS])
def test_installed_a_verb_is_a_process_of_its_own(
    verb: str, environment: Path, outcomes: dict[str, Any], tmp_path: Path, workplace: Path
) -> None:
    """After the outcomes, whose files the later verbs read."""
    shutil.copytree(workplace, tmp_path / "work")
    for name in {name.partition("/")[0] for name in JOBS[verb][1]} - {"clone"}:
        path = tmp_path / "work" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    said_outside(environment, tmp_path / "work", "zero123", *verb.split(), *JOBS[verb][0].split())
    assert all((tmp_path / "work" / name).exists() for name in JOBS[verb][1])


def test_the_long_description_is_the_readme_for_the_web(metadata: Message) -> None:
    """No front matter of a Space, and no link that leads nowhere outside of the clone."""
    text = metadata.get_payload()
    assert isinstance(text, str) and text.startswith("# zero123lib\n")
    readme = (ROOT / "README.md").read_text()
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)]*)\)", text)
    assert len(links) == len(re.findall(r"\]\(", readme))
    repository = "https://github.com/zero123lib/zero123lib/blob/main/"
    images = "https://raw.githubusercontent.com/zero123lib/zero123lib/main/"
    for mark, address in links:
        assert address.startswith(("https://", "#")), address
        for home in (repository, images):
            if address.startswith(home):
                assert (mark == "!") == (home == images), address
                path = address.removeprefix(home).partition("#")[0]
                assert (ROOT / path).exists(), address
    assert repository.removesuffix("blob/main/").rstrip("/") in str(metadata.get_all("Project-URL"))


def test_the_long_description_renders_as_pypi_does_it(metadata: Message) -> None:
    assert metadata["Description-Content-Type"] == "text/markdown"
    page = markdown.render(str(metadata.get_payload()))
    assert page is not None
    for element in ("<h1", "<table", "<img", "<pre"):
        assert element in page, element
