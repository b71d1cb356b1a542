"""Limits of the app and its command line."""

from __future__ import annotations

import argparse
import os

from zero123lib.cli.arguments import ENCODINGS, Parser, one_of, whole

MAX_VIEWS = 16
MAX_STEPS = 200
MAX_GUIDANCE = 30.0
MAX_ZOOM = 0.5
MAX_SEED = 2**31 - 1
MAX_FILE_SIZE = "20mb"
MAX_PIXELS = 40_000_000
# Requests that wait; the next one is told that the app is busy.
MAX_WAITING = 32
# A picture that someone made is looked for every hour and deleted after a day.
DELETE_CACHE_S = (3600, 86400)
# What ZeroGPU grants one request.
GPU_SECONDS = 120

DEFAULT_AZIMUTHS = "0, 45, 90, 135, 180, 225, 270, 315"


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
        "--host", metavar="NAME", help="address to listen on (127.0.0.1; GRADIO_SERVER_NAME)"
    )
    result.add_argument(
        "--port",
        type=whole(1, 65535),
        metavar="N",
        help="(the first free one from 7860; GRADIO_SERVER_PORT)",
    )
    result.add_argument(
        "--share", action="store_true", help="make a public link, through Gradio's servers"
    )
    return result
