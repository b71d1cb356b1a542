"""Which verbs there are, and how one is found, checked and run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from cyclopts import App, CycloptsError, Parameter

from zero123lib import __version__
from zero123lib._errors import ArgumentError, RunError, device_failure, one_line
from zero123lib.cli.diagnosis import diagnosis, missing_verb, spelled

# What `-` stands for, which the parser would take for an option.
STANDARD_INPUT = "/dev/stdin"

# Where each verb's function is, and what it does in a few words.
VERBS = {
    "views": ("views:views", "the object from cameras that you name"),
    "orbit": ("views:orbit", "the object from cameras evenly around it, and a GIF of the turn"),
    "cutout": ("cutout:cutout", "the object of an image, without its background"),
    "elevation": ("cameras:elevation", "how high the camera of a photo stood"),
    "pose": ("cameras:pose", "where photos of one object were taken from"),
    "reconstruct": ("reconstruct:reconstruct", "from one image to a radiance field and a mesh"),
    "batch": {
        "views": ("batch:views", "the views of thousands of images"),
        "orbit": ("batch:orbit", "the orbits of thousands of images"),
        "reconstruct": ("batch:reconstruct", "the fields and meshes of thousands of images"),
        "render": ("batch:render", "training data from thousands of mesh files"),
        "evaluate": ("batch:evaluate", "measure a model on thousands of objects"),
    },
    "mesh": {
        "inspect": ("mesh:inspect", "what a mesh is made of, and what is wrong with it"),
        "clean": ("mesh:clean", "repair, smooth and thin a mesh"),
        "bake": ("mesh:bake", "give a mesh one new texture"),
        "texture": ("mesh:texture", "paint a mesh from images, and refine its shape"),
        "convert": ("mesh:convert", "write a mesh in another format"),
        "render": ("mesh:render", "images of a mesh from cameras around it"),
    },
    "models": {
        "list": ("models:listed", "what models there are by name, and what is on this disk"),
        "fetch": ("models:fetch", "bring a model to this disk"),
    },
    "convert": ("convert:convert", "a checkpoint in another layout"),
    "render": ("render:render", "training data from mesh files"),
    "dataset": {
        "check": ("dataset:check", "look for what is wrong with training data"),
        "pack": ("dataset:pack", "write training data as tar shards"),
    },
    "train": ("train:train", "train or fine-tune a model on pairs of views"),
    "evaluate": {
        "scenes": ("evaluate:scenes", "measure a model on views of held-out scenes"),
        "objects": ("evaluate:stored", "measure a model on objects of a data set"),
        "reconstruction": (
            "evaluate:reconstruction",
            "measure a recipe on shapes of held-out scenes",
        ),
        "folder": ("folders:folder", "measure anyone's views against anyone's truth"),
        "syncdreamer": ("protocols:syncdreamer", "measure by SyncDreamer's protocol"),
        "eschernet": ("protocols:eschernet", "measure by EscherNet's protocol"),
        "ifusion": ("protocols:ifusion", "measure by iFusion's protocol"),
        "free3d": ("protocols:free3d", "measure views by Free3D's protocol"),
        "sv3d": ("protocols:sv3d", "measure views by SV3D's protocol"),
        "paper": ("protocols:paper", "measure views as the paper's tables do"),
        "mvgbench": ("consistency:mvgbench", "measure by MVGBench's self-consistency"),
        "consistency": ("consistency:consistency", "measure whether views agree, without truth"),
        "compare": ("folders:compare", "compare two reports, object by object"),
    },
    "threestudio": {
        "install": ("threestudio:install", "put our guidance into a clone of threestudio"),
        "doctor": ("threestudio:doctor", "say what keeps it from running there"),
    },
    "app": ("app:app", "serve the Gradio app"),
    "serve": ("serve:serve", "serve an HTTP API of views by several replicas"),
    "env": ("env:env", "versions, devices, extras and weights, for bug reports"),
}
GROUPS = {
    "batch": "thousands of files, on this machine or on a Ray cluster, to a disk or S3 or GCS",
    "models": "models by name: list them (as `zero123 models` alone does), fetch one",
    "mesh": "mesh files: inspect, clean, bake, texture, convert, render",
    "dataset": "training data: check it, or pack it into shards",
    "evaluate": "measure a model, or anyone's results, by a fixed protocol",
    "threestudio": "our guidance in a clone of threestudio",
}

EPILOGUE = """zero123 VERB --help lists a verb's options, with examples:

    zero123 views photo.png --azimuth 0 45 90 --elevation 20 --out views/
    zero123 orbit photo.png --count 16 --elevation 10 --out orbit/
    zero123 reconstruct photo.png --out run/
    zero123 mesh clean scan.ply chair.glb --faces 20000
    zero123 app

Angles are in degrees and relative to the camera that took the image: a
positive elevation raises the camera, a positive azimuth moves it
counter-clockwise seen from above, that is to its right."""


def run(words: Sequence[str], program: str | None = None) -> int:
    """Run a verb; see :func:`zero123lib.cli.main`."""
    app = build()
    words = [STANDARD_INPUT if word == "-" else word for word in words]
    if words[:1] == ["models"] and words[1:] in ([], ["--json"]):
        words.insert(1, "list")  # what the group alone means
    chain, apps, rest = app.parse_commands(words)
    verb = program or " ".join(["zero123", *(one for one in chain if not one.startswith("-"))])
    for one in apps:
        if one.default_command is not None:
            one.help = None  # the docstring, in place of the few words
    try:
        if not rest and apps[-1].default_command is None:
            raise missing_verb(apps[-1])
        command, bound, _ = app.parse_args(words, print_error=False, exit_on_error=False)
        return command(*bound.args, **bound.kwargs) or 0
    except CycloptsError as error:
        return _complain(verb, diagnosis(error, verb), 2)
    except ArgumentError as error:
        return _complain(verb, error.renamed(spelled(apps[-1], error.name)), 2)
    except (ValueError, ImportError) as error:
        return _complain(verb, error, 2)
    except (OSError, RunError) as error:
        if isinstance(error, BrokenPipeError):
            sys.stdout.flush()  # fails again where it was this pipe
        return _complain(verb, error, 1)
    except (RuntimeError, MemoryError) as error:
        failure = device_failure(error)
        if failure is None:
            raise
        return _complain(verb, RunError(failure), 1)
    except KeyboardInterrupt:
        print(f"{verb}: interrupted", file=sys.stderr)
        return 130


def build() -> App:
    """Make the parser of all verbs; none of them is loaded yet."""
    app = App(
        name="zero123",
        help="Novel views of one image: the same object from any camera.",
        help_epilogue=EPILOGUE,
        help_format="plaintext",
        version=f"zero123lib {__version__}",
        # Lists take several words, --no-OPTION is nothing, and of an option given twice the last
        # one counts.
        default_parameter=Parameter(consume_multiple=1, negative=(), allow_repeating=True),
    )
    app.register_install_completion_command(help="Complete verbs and options in your shell.")
    _add(app, VERBS)
    return app


def _add(app: App, verbs: Mapping[str, Any]) -> None:
    for place, (name, verb) in enumerate(verbs.items()):
        if isinstance(verb, tuple):
            path, about = verb
            more = {"help": about, "help_epilogue": "", "sort_key": place}
            app.command(f"zero123lib.cli.{path}", name=name, **more)
        else:
            group = App(name=name, help=GROUPS[name], help_epilogue="", sort_key=place)
            _add(group, verb)
            app.command(group)


def _complain(verb: str, error: Exception, status: int) -> int:
    text = one_line(" ".join(str(error).split()))
    if text:
        print(f"{verb}: error: {text}", file=sys.stderr)
    return status
