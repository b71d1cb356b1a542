"""Limits of the app and its command line."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass

from zero123lib.cli.arguments import ENCODINGS, Parser, one_of, whole

MAX_VIEWS = 36
MAX_SEEDS = 4
# Views times seeds of one request.
MAX_PICTURES = 72
MAX_STEPS = 200
MAX_GUIDANCE = 30.0
MAX_ZOOM = 0.5
MAX_SEED = 2**31 - 1
MIN_RATIO = 0.2
MAX_FILE_SIZE = "20mb"
# Of one request: a picture with what goes around it; anything else is numbers and short texts.
MAX_UPLOAD_BYTES = 21 * 2**20
MAX_BODY_BYTES = 2**20
MAX_PIXELS = 40_000_000
# Requests that wait; the next one is told that the app is busy.
MAX_WAITING = 32
# Files that no session cleared away are looked for every ten minutes and deleted after two hours.
DELETE_CACHE_S = (600, 7200)
# A session that nobody has used for so long is forgotten, with its files.
SESSION_S = 3600
MAX_SESSIONS = 512

# What the following hand is shown: few steps, and of a solver made for few.
PREVIEW_STEPS = 8
# A picture of the work in progress at most this often.
LIVE_EVERY_S = 0.4

# ZeroGPU's clock per request: getting ready, and each view's step; never beyond its own limit.
GPU_READY_S, GPU_VIEW_STEP_S, GPU_MOST_S = 15.0, 0.06, 120

DEFAULT_AZIMUTHS = "0, 45, 90, 135, 180, 225, 270, 315"


@dataclass(frozen=True)
class Options:
    """What the operator decides.

    Attributes:
        max_queue: requests that may wait.
        models: names that visitors may choose besides the app's own; "any" is any name or path.
        recipe_overrides: of every recipe's keys, for machines that should do less.
    """

    max_queue: int = MAX_WAITING
    models: str | tuple[str, ...] = ()
    recipe_overrides: tuple[str, ...] = ()


def parser() -> argparse.ArgumentParser:
    """Arguments of `app.py`; what is not given comes from the environment."""
    result = Parser(prog="app.py", description="Serve the app.", allow_abbrev=False)
    result.add_argument(
        "--model",
        default=os.environ.get("ZERO123_MODEL", "tiny"),
        metavar="NAME",
        help="a model's name, a folder, or a .ckpt or .safetensors file (tiny; ZERO123_MODEL)",
    )
    result.add_argument(
        "--encoding",
        type=one_of(ENCODINGS),
        default=os.environ.get("ZERO123_ENCODING", "auto"),
        metavar="NAME",
        help=f"pose encoding of the model: {', '.join(ENCODINGS)} (auto; ZERO123_ENCODING)",
    )
    result.add_argument(
        "--original-config",
        default=os.environ.get("ZERO123_ORIGINAL_CONFIG"),
        metavar="YAML",
        help="of a checkpoint file of other sizes than the published (ZERO123_ORIGINAL_CONFIG)",
    )
    result.add_argument(
        "--device",
        default=os.environ.get("ZERO123_DEVICE", "auto"),
        metavar="NAME",
        help="auto, cpu, cuda or mps (auto; ZERO123_DEVICE)",
    )
    result.add_argument(
        "--models",
        default=os.environ.get("ZERO123_MODELS"),
        metavar="NAMES",
        help="that visitors may load besides, separated by commas; any: whatever they name, paths "
        "of this machine too (any where only this machine can connect, else none; ZERO123_MODELS)",
    )
    result.add_argument(
        "--host",
        default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
        metavar="NAME",
        help="address to listen on (127.0.0.1; GRADIO_SERVER_NAME)",
    )
    result.add_argument(
        "--port",
        type=whole(1, 65535),
        metavar="N",
        help="(the first free one from 7860; GRADIO_SERVER_PORT)",
    )
    result.add_argument(
        "--max-queue",
        type=whole(1, 10_000),
        default=os.environ.get("ZERO123_MAX_QUEUE", str(MAX_WAITING)),
        metavar="N",
        help=f"requests that may wait before others are told: busy ({MAX_WAITING}; "
        "ZERO123_MAX_QUEUE)",
    )
    result.add_argument(
        "--mcp",
        action="store_true",
        default=os.environ.get("ZERO123_MCP", "") not in ("", "0", "false"),
        help="serve the endpoints as MCP tools too; needs zero123lib[mcp] (ZERO123_MCP=1)",
    )
    result.add_argument(
        "--share", action="store_true", help="make a public link, through Gradio's servers"
    )
    return result


def options(args: argparse.Namespace) -> Options:
    """What the arguments decide about visitors."""
    if args.models is None:
        alone = args.host in ("127.0.0.1", "localhost", "::1") and not args.share
        return Options(args.max_queue, "any" if alone and not _on_a_space() else ())
    names = tuple(name.strip() for name in args.models.split(",") if name.strip())
    return Options(args.max_queue, "any" if names == ("any",) else names)


def _on_a_space() -> bool:
    return "SPACE_ID" in os.environ
