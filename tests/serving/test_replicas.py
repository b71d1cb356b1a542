"""Two replicas, one of which is lost or restarted: every request has its own answer."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ports import free_port
from zero123lib._errors import RunError
from zero123lib.diffusion.apps import load_pipeline
from zero123lib.serving.answers import Answer
from zero123lib.serving.api import VIEWS
from zero123lib.serving.asking import Asking
from zero123lib.serving.maker import ViewMaker

pytest.importorskip("ray", reason="ray is not installed: the extra `cluster` brings it")
from ray import serve

from zero123lib.serving.cluster import (
    APPLICATION,
    Serving,
    application,
    drain,
    running_replicas,
    served,
)

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc, where replicas are found"),
]

MODELS = Path(__file__).resolve().parents[2] / "zero123lib" / "models"
# Answers differ by these two alone.
CAMERAS, SEEDS = range(-150, 180, 30), range(3)
WHAT = Serving(partial(load_pipeline, "tiny", "cpu"), replicas=2)


def fields(number: int) -> dict[str, str]:
    camera = CAMERAS[number % len(CAMERAS)]
    return {"azimuths": str(camera), "seed": str(number % len(SEEDS)), "steps": "1"}


@pytest.fixture(scope="module")
def expected(photo: bytes, maker: ViewMaker) -> Callable[[int], bytes]:
    """What one process answers, with as many threads as a replica has."""
    known: dict[tuple, bytes] = {}

    def answer(number: int) -> bytes:
        asked: dict[str, Any] = dict(fields(number))
        key = tuple(asked.values())
        if key not in known:
            before = torch.get_num_threads()
            torch.set_num_threads(1)
            made = maker.make(photo, "photo.png", Asking(**asked), "one process")
            torch.set_num_threads(before)
            assert isinstance(made, Answer)
            known[key] = made.body
        return known[key]

    return answer


@pytest.fixture
def server() -> Iterator[str]:
    """Where two replicas serve."""
    what = replace(WHAT, port=free_port())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # of the replicas, which inherit it
        with served(what):
            yield f"http://{what.host}:{what.port}"


def ask(server: str, photo: bytes, settings: dict[str, str]) -> tuple[int, bytes]:
    """Ask for a view; the status and the body of the answer."""
    parts = [f'name="{name}"\r\n\r\n{value}'.encode() for name, value in settings.items()]
    parts.append(b'name="image"; filename="photo.png"\r\n\r\n' + photo)
    head = b"--edge\r\nContent-Disposition: form-data; "
    body = b"".join(head + part + b"\r\n" for part in parts) + b"--edge--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    return answered(urllib.request.Request(server + VIEWS, body, headers))


def answered(request: str | urllib.request.Request) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def processes_of_replicas() -> list[int]:
    """Numbers of the processes, children of this one's Ray."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            name = (place / "cmdline").read_bytes()
            parents = [int(place.name)]
            while parents[-1] > 1:
                stat = (Path("/proc") / str(parents[-1]) / "stat").read_text()
                parents.append(int(stat.rpartition(")")[2].split()[1]))
        except (OSError, ProcessLookupError):
            continue  # gone meanwhile
        if name.startswith(b"ray::") and f"ServeReplica:{APPLICATION}:replicas".encode() in name:
            found += [parents[0]] if os.getpid() in parents else []
    return found


def kill_one() -> None:
    """As when a machine is lost."""
    os.kill(processes_of_replicas()[0], signal.SIGKILL)


def restart_all() -> None:
    """As when a new version is deployed: each is asked to stop, and another one takes its place."""
    before = set(processes_of_replicas())
    serve.run(application(WHAT), name=APPLICATION, route_prefix="/")
    while before & set(processes_of_replicas()):
        time.sleep(0.5)


def many(
    server: str, photo: bytes, count: int, events: dict[int, Callable[[], None]]
) -> list[tuple[int, bytes]]:
    """Ask so many times, eight at once; events happen when so many are answered."""
    over = threading.Semaphore(0)

    def one(number: int) -> tuple[int, bytes]:
        answer = ask(server, photo, fields(number))
        over.release()
        return answer

    def happen() -> None:
        for passed in range(1, max(events) + 1):
            over.acquire()
            if passed in events:
                events[passed]()

    with ThreadPoolExecutor(9) as pool:
        happening = pool.submit(happen)
        answers = list(pool.map(one, range(count)))
        happening.result()
    return answers


def test_none_is_lost_and_none_wrong_when_a_replica_dies_and_the_server_stops(
    server: str, photo: bytes, expected: Callable[[int], bytes]
) -> None:
    assert answered(f"{server}/readyz") == (200, b"ok") and running_replicas() == 2
    answers = many(server, photo, 24, {8: kill_one})
    assert answers == [(200, expected(number)) for number in range(24)]
    # It is asked to stop while some are at work: these are answered, and others sent elsewhere.
    with ThreadPoolExecutor(5) as pool:
        slow = {**fields(0), "steps": "40"}
        begun = [pool.submit(ask, server, photo, slow) for _ in range(4)]
        while b"zero123_requests_inside 4.0" not in answered(f"{server}/metrics")[1]:
            assert not begun[0].done()
            time.sleep(0.01)
        stopping = pool.submit(drain)
        while answered(f"{server}/readyz")[0] == 200:
            time.sleep(0.01)
        assert ask(server, photo, fields(0))[0] == 503
        assert answered(f"{server}/healthz") == (200, b"ok")
        assert {one.result()[0] for one in begun} == {200}
        stopping.result()


@pytest.mark.soak
def test_a_server_that_is_asked_to_stop_while_it_starts_does_so(tmp_path: Path) -> None:
    """Its front answers already and its replicas do not; Ray's own handler would abort it."""
    port, log = free_port(), tmp_path / "log"
    words = ["-m", "zero123lib", "serve", "--port", str(port), "--page"]
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, *words], stdout=file, stderr=file)
        while process.poll() is None:
            try:
                if answered(f"http://127.0.0.1:{port}/healthz")[0] == 200:
                    break
            except OSError:
                time.sleep(0.1)
        process.terminate()
        assert process.wait(300) == 0
    assert "Finishing what came" in log.read_text() and "Serving on" not in log.read_text()


@pytest.mark.soak
def test_replicas_that_cannot_load_their_model_say_why(tmp_path: Path) -> None:
    shutil.copytree(MODELS / "tiny", tmp_path / "tiny")
    next((tmp_path / "tiny" / "unet").glob("*00002*")).unlink()
    what = Serving(partial(load_pipeline, str(tmp_path / "tiny"), "cpu"), port=free_port())
    with pytest.raises(RunError, match="do not start: .*all 3 shards of unet"), served(what):
        pass


@pytest.mark.soak
def test_none_of_a_thousand_is_lost_and_none_wrong(
    server: str, photo: bytes, expected: Callable[[int], bytes]
) -> None:
    started = time.monotonic()
    answers = many(server, photo, 1000, {300: kill_one, 600: restart_all})
    print(f"1,000 requests in {time.monotonic() - started:.0f} s")
    assert answers == [(200, expected(number)) for number in range(1000)]
