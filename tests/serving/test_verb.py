"""`zero123 serve`: what its options come to, and what they may not be."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from zero123lib.cli import main

pytest.importorskip("ray", reason="ray is not installed: the extra `cluster` brings it")
from zero123lib.serving import cluster

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[cluster.Serving]:
    """What would be served; it ends by SIGTERM at once."""
    found: list[cluster.Serving] = []

    @contextmanager
    def served(what: cluster.Serving) -> Iterator[None]:
        found.append(what)
        yield

    real = signal.signal

    def stopped(number: int, handler: Any) -> Any:
        before = real(number, handler)
        if number == signal.SIGINT and getattr(handler, "__name__", "") == "_note":
            os.kill(os.getpid(), signal.SIGTERM)
        return before

    monkeypatch.setattr(cluster, "served", served)
    monkeypatch.setattr(signal, "signal", stopped)
    return found


def test_options_say_what_is_served(
    asked: list[cluster.Serving], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("ZERO123_REPLICAS", "2")
    words = ["serve", "--gpus-per-replica", "0.5", "--ray", "auto", "--port", "8123", "--page"]
    assert main(words) == 0
    (what,) = asked
    assert (what.replicas, what.gpus_per_replica, what.address) == (2, 0.5, "auto")
    assert (what.port, what.page, what.cpus_per_replica) == (8123, True, 1)
    assert what.load().model_name == "tiny"
    assert "http://127.0.0.1:8123/v1/views" in capsys.readouterr().out


def test_cores_are_shared_among_replicas_and_models_are_found_anywhere(
    asked: list[cluster.Serving], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.chdir(ROOT / "zero123lib/models")
    assert main(["serve", "--model", "tiny/", "--replicas", "3"]) == 0
    (what,) = asked
    assert (what.cpus_per_replica, what.gpus_per_replica) == (2, 0.0)
    monkeypatch.chdir(tmp_path)
    assert what.load().model_name == "tiny"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--replicas", "0"], "--replicas: expected a whole number from 1 to 1000, got '0'"),
        (["--gpus-per-replica", "0"], "--gpus-per-replica: expected a finite number above 0"),
        (["--model", "nowhere.safetensors"], "--model: expected"),
        (["--host", "256.0.0.1"], "--host: expected an address of this machine"),
    ],
)
def test_wrong_options_are_one_line(words: list[str], line: str, capsys: Any) -> None:
    assert main(["serve", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and line in said


def test_a_port_in_use_is_told(capsys: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
    assert f"--port: expected a free one, got {port}, which is in use" in capsys.readouterr().err


def test_reports_of_usage_stay_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    started: dict[str, Any] = {}
    monkeypatch.setattr(cluster.ray, "init", lambda **options: started.update(options))
    monkeypatch.setattr(cluster.ray, "cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr(cluster.ray, "shutdown", lambda: None)
    nothing: Any = None
    cluster.connect(cluster.Serving(nothing))
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0" and not started["include_dashboard"]
    wanting = cluster.Serving(nothing, replicas=2, gpus_per_replica=0.5)
    with pytest.raises(ValueError, match=r"gpus_per_replica: expected 0 GPUs in all at most"):
        cluster.connect(wanting)


def test_importing_the_package_loads_no_ray() -> None:
    code = "import sys, zero123lib.serving, zero123lib.cli.serve; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
