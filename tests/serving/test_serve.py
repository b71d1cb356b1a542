"""`zero123 serve`: what its options come to, and what they may not be."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zero123lib._signals import StopRequest, stop_on_signals
from zero123lib.cli import main

pytest.importorskip("ray", reason="ray is not installed: the extra `cluster` brings it")
from fastapi.testclient import TestClient
from ray.exceptions import ObjectLostError, RayActorError
from ray.serve._private.http_util import RequestIdMiddleware
from ray.serve.exceptions import DeploymentUnavailableError

from zero123lib.serving import cluster
from zero123lib.serving.answers import Answer
from zero123lib.serving.asking import Asking

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[cluster.Serving]:
    """What would be served; it ends by SIGTERM as soon as it says so."""
    found: list[cluster.Serving] = []

    @contextmanager
    def served(what: cluster.Serving) -> Iterator[StopRequest]:
        found.append(what)
        with stop_on_signals() as stop:
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
            yield stop

    monkeypatch.setattr(cluster, "served", served)
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
    (tmp_path / "tiny").mkdir()  # no model: the name is that of the bundled one
    assert main(["serve"]) == 0
    assert asked[-1].load().model_name == "tiny"


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


@pytest.mark.parametrize(
    ("gpus", "replicas", "share", "page", "fits"),
    [
        (0, 1, 0.5, False, False),
        (1, 2, 0.5, False, True),
        (1, 2, 0.5, True, False),  # the page has a model too
        (1, 2, 1 / 3, True, True),
        (2, 3, 0.6, False, False),  # two of them find no room on one
        (4, 2, 2.0, False, True),
    ],
)
def test_models_that_find_no_room_on_gpus_are_told(
    monkeypatch: pytest.MonkeyPatch, gpus: int, replicas: int, share: float, page: bool, fits: bool
) -> None:
    monkeypatch.setattr(cluster.ray, "init", lambda **options: None)
    monkeypatch.setattr(cluster.ray, "cluster_resources", lambda: {"GPU": float(gpus)})
    monkeypatch.setattr(cluster.ray, "shutdown", lambda: None)
    nothing: Any = None
    what = cluster.Serving(nothing, replicas, gpus_per_replica=share, page=page)
    if fits:
        cluster.connect(what)
    else:
        with pytest.raises(ValueError, match=r"gpus_per_replica: expected a share that \d model"):
            cluster.connect(what)
        cluster.connect(replace(what, address="auto"))  # which may yet grow


@pytest.mark.parametrize(
    ("models", "gpus", "address", "share"),
    [
        (1, 1, None, 1.0),
        (2, 1, None, 0.5),
        (3, 2, None, 0.5),
        (2, 8, None, 1.0),
        (9, 1, "auto", 1.0),
    ],
)
def test_models_share_the_gpus_that_there_are(
    monkeypatch: pytest.MonkeyPatch, models: int, gpus: int, address: str | None, share: float
) -> None:
    assert cluster.gpu_share(models, "cpu", address) == 0.0
    monkeypatch.setattr(cluster, "pick_device", lambda device: "cuda")
    monkeypatch.setattr(cluster.torch.cuda, "device_count", lambda: gpus)
    assert cluster.gpu_share(models, "auto", address) == share


def test_what_a_lost_replica_had_is_made_by_another() -> None:
    made = Answer(b"", "image/png", 1)
    nothing: Any = None
    actor, machine = RayActorError(), ObjectLostError("00", nothing, "")
    for outcomes, status, again in (
        ([actor, machine, made], 200, 2),
        ([actor] * cluster.TRIES, 502, cluster.TRIES),
        ([actor, DeploymentUnavailableError(nothing)], 503, 1),
    ):
        coming = iter(outcomes)

        async def remote(*_: Any, coming: Iterator[Any] = coming) -> Answer:
            if isinstance(outcome := next(coming), Exception):
                raise outcome
            return outcome

        replicas: Any = SimpleNamespace(make=SimpleNamespace(remote=remote))
        front = cluster.Front(replicas, 1, 1)
        with ThreadPoolExecutor(1) as thread:  # an open browser keeps the loop of this one
            work = front.make(b"", "a.png", Asking(), "1")
            answer = thread.submit(asyncio.run, work).result()
        assert getattr(answer, "status", 200) == status
        assert f"zero123_requests_made_again_total {again}.0" in front._metrics.text().decode()
        assert list(coming) == []


def test_an_answer_has_one_number_behind_rays_proxy() -> None:
    nothing: Any = None
    app = cluster.Front(nothing, 1, 1).__serve_build_asgi_app__()
    client = TestClient(RequestIdMiddleware(app))  # which the proxy puts around it
    (number,) = client.get("/healthz").headers.get_list("x-request-id")
    assert number
    given = client.get("/healthz", headers={"X-Request-ID": "mine"}).headers
    assert given.get_list("x-request-id") == ["mine"]


def test_importing_the_package_loads_no_ray() -> None:
    code = "import sys, zero123lib.serving, zero123lib.cli.serve; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
