"""Run the suite `-m gpu` and the speed benchmark on one device, and write one JSON.

    python -m tests.gpu.report [--device cuda] [--out build/gpu.json]

Eight minutes at most: each part has a limit, and what did not end within it is said to have not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml
from pathlib import Path
from typing import Any

from tests.gpu.conftest import VARIABLE
from zero123lib._versions import versions
from zero123lib.diffusion.devices import devices_here

ROOT = Path(__file__).resolve().parents[2]
SUITE_LIMIT_S = 200.0
# Of the speed benchmark: what is measured, with which options, and for how long at most.
HALF = ("--dtype", "float16")
BENCHMARKS: dict[str, tuple[tuple[str, ...], float]] = {
    "published sizes, float16, 8 views": (("--size", "full", "--objects", "1", *HALF), 90.0),
    "published sizes, float32, 8 views": (("--size", "full", "--objects", "1"), 90.0),
    "published sizes, float16, 1 view": (
        ("--size", "full", "--objects", "0", "--views", "1", *HALF), 45.0,
    ),
    "the bundled model": (("--objects", "8", "--rounds", "1"), 45.0),
}  # fmt: skip


def ran(words: list[str], device: str, limit_s: float) -> tuple[str | None, str]:
    """Run a command; return what went wrong with it, and the end of what it told."""
    environment = {**os.environ, VARIABLE: device, "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    try:
        done = subprocess.run(
            [sys.executable, *words], cwd=ROOT, env=environment, timeout=limit_s,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        told = error.stdout or b""
        text = told.decode(errors="replace") if isinstance(told, bytes) else told
        return f"not done within {limit_s:g} s", text[-2000:]
    return (f"exit status {done.returncode}" if done.returncode else None), done.stdout[-2000:]


def suite(device: str, scratch: Path, limit_s: float) -> dict[str, Any]:
    """Return what became of each test."""
    log = scratch / "suite.xml"
    words = ["-m", "pytest", "-q", "-m", "gpu", "tests/gpu", f"--junitxml={log}"]
    failure, told = ran(words, device, limit_s)
    tests = []
    for case in xml.parse(log).getroot().iter("testcase") if log.is_file() else ():
        became = next((one for one in case if one.tag in ("failure", "error", "skipped")), None)
        tests.append(
            {
                "test": f"{case.get('classname')}::{case.get('name')}",
                "became": "passed" if became is None else became.tag,
                "why": None if became is None else (became.get("message") or "")[:500],
                "seconds": float(case.get("time", 0)),
            }
        )
    counts = {name: sum(one["became"] == name for one in tests) for name in ("passed", "skipped")}
    counts["failed"] = len(tests) - sum(counts.values())
    return {**counts, "problem": failure, "tests": tests, "told": told if failure else None}


def benchmark(
    options: tuple[str, ...], device: str, scratch: Path, limit_s: float
) -> dict[str, Any]:
    """Return the report of one run of benchmarks/speed.py, or what went wrong with it."""
    out = scratch / "speed.json"
    out.unlink(missing_ok=True)
    words = ["benchmarks/speed.py", *options, "--device", device, "--out", str(out)]
    failure, told = ran(words, device, limit_s)
    return {"problem": failure, "told": told} if failure else json.loads(out.read_text())


def main() -> int:
    """Write the report; return 1 where a part of it went wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default=devices_here()[0])
    parser.add_argument("--out", type=Path, default=Path("build/gpu.json"))
    parser.add_argument(
        "--patience", type=float, default=1.0, help="times the limits, on a CPU say"
    )
    parser.add_argument("--suite-only", action="store_true", help="no benchmarks")
    options = parser.parse_args()
    started, device = time.perf_counter(), options.device
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        report: dict[str, Any] = {"device": device, "versions": versions()}
        report["suite"] = suite(device, scratch, SUITE_LIMIT_S * options.patience)
        print(f"suite: {report['suite']['passed']} passed, {report['suite']['failed']} failed")
        report["speed"] = {}
        for name, (words, limit_s) in ({} if options.suite_only else BENCHMARKS).items():
            found = benchmark(words, device, scratch, limit_s * options.patience)
            report["speed"][name] = found
            print(f"{name}: {found.get('problem') or 'measured'}", flush=True)
    report["seconds"] = round(time.perf_counter() - started, 1)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    parts = [report["suite"], *report["speed"].values()]
    return int(any(part.get("problem") for part in parts))


if __name__ == "__main__":
    sys.exit(main())
