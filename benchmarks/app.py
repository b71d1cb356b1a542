"""How long a visitor waits: for the page after the start, for the first view, for the next ones.

    python benchmarks/app.py [--threads N] [--out FILE]

The app runs in a process of its own, as `make demo` starts it once set-up is done.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import torch
from _measuring import metric
from gradio_client import Client, handle_file

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "demo" / "examples").glob("*.png"))
PATIENCE_S = 300.0


def wait_for_page(url: str, server: subprocess.Popen) -> None:
    """Until the page answers."""
    end = time.perf_counter() + PATIENCE_S
    while time.perf_counter() < end and server.poll() is None:
        try:
            with urlopen(url, timeout=PATIENCE_S) as answer:
                answer.read()
            return
        except URLError:
            time.sleep(0.05)
    raise SystemExit("the app did not start")


def measure(threads: int) -> list[dict]:
    """All metrics, of a fresh process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)}
    started = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "app.py", "--port", str(port)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for_page(url, server)
        metrics = [
            metric("page after the start of app.py", time.perf_counter() - started, "s", "lower")
        ]
        client = Client(url, verbose=False)
        first = [ask(client, example, "/view") for example in EXAMPLES]
        again = [ask(client, EXAMPLES[-1], "/view") for _ in range(5)]
        quick = [ask(client, EXAMPLES[-1], "/preview") for _ in range(5)]
        orbit = [ask(client, example, "/orbit") for example in EXAMPLES[:3]]
    finally:
        server.terminate()
        server.wait()
    metrics += [
        metric("first view of an example, the very first", first[0], "s", "lower"),
        metric(f"first view of an example, slowest of {len(first)}", max(first), "s", "lower"),
        metric("the same image again, full view, fastest of 5", min(again), "s", "lower"),
        metric("the same image again, quick preview, fastest of 5", min(quick), "s", "lower"),
        metric("orbit of 8 with all its files, fastest of 3", min(orbit), "s", "lower"),
    ]
    return metrics


def ask(client: Client, image: Path, endpoint: str) -> float:
    """Seconds of one request, upload and download included."""
    started = time.perf_counter()
    client.predict(handle_file(str(image)), elevation=20, api_name=endpoint)
    return time.perf_counter() - started


def main() -> None:
    """Print the metrics and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    report = {
        "machine": f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}",
        "metrics": measure(options.threads),
    }
    options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
