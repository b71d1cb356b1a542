"""Clients that nobody, or somebody, wrote on purpose: odd calls, half a request, no ear."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import random
import re
import socket
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from tests.app.test_guard import REST, ask, call
from tests.app.test_soak import EXAMPLES, expected, patient, preview, resident_mb
from zero123lib.app import settings
from zero123lib.app.guard import Refused, whole
from zero123lib.app.view_service import ViewService
from zero123lib.diffusion.pipeline import Zero123Pipeline

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, 1e308, -1e308, 10**40, float("nan"), float("inf"), "", "0",
    "auto", "\x00", "\ud800", "<b>x</b>", "../../etc/passwd", "x" * 5000, "0, 45, nan", [], [0],
    [[[[]]]], {}, {"path": 1}, {"path": "/etc/passwd"}, {"layers": [{}]}, {"a": {"b": None}},
)  # fmt: skip
JSON = {"Content-Type": "application/json"}
# Those that would work for minutes where their arguments happen to be right get no right image.
LONG = ("reconstruct", "orbit", "path")
SLACK_MB = 100


def traced(answer: bytes) -> bool:
    """Whether an answer shows a stack trace, or where on the server something lies."""
    return re.search(rb'Traceback|File "/|site-packages|\.py", line', answer) is not None


def arguments(draw: random.Random, endpoint: dict[str, Any], image: dict[str, Any]) -> list[Any]:
    """Values for an endpoint's parameters: its own defaults, an image, or anything."""
    values = []
    for parameter in endpoint["parameters"]:
        default = parameter.get("parameter_default")
        right = image if parameter["parameter_name"] == "image" else default
        values.append(right if draw.random() < 0.6 else draw.choice(ODD))
    if draw.random() < 0.1:
        values = values[: draw.randrange(len(values) + 1)]
    return values + [draw.choice(ODD)] * (draw.random() < 0.1)


def no_call(draw: random.Random, url: str) -> tuple[int, bytes]:
    """A request that is no call of an endpoint."""
    bodies = (
        b"", b"{", b"null", b"[]", b"\xff\xfe", b'{"data": 3}', b'{"data": {"a": 1}}',
        b"[" * 50_000, b'{"data": [1], "fn_index": -1}', b'{"data": [], "fn_index": 10e9}',
        b'{"fn_index": "x", "data": [], "session_hash": {}}', b'{"event_id": 1, "data": []}',
    )  # fmt: skip
    routes = ("call/preview", "call/none", "queue/join", "run/preview", "api/preview", "cancel",
              "reset", "component_server", "upload", "queue/data?session_hash=x%00",
              "call/preview/none", "call/preview/%00")  # fmt: skip
    kinds = (JSON, {}, {"Content-Type": "multipart/form-data; boundary="}, {"Content-Type": "\xff"})
    return ask(f"{url}gradio_api/{draw.choice(routes)}", draw.choice(bodies), **draw.choice(kinds))


def uploaded(url: str) -> dict[str, Any]:
    head = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    body = head + Path(EXAMPLES[0]).read_bytes() + b"\r\n--edge--\r\n"
    form = {"Content-Type": "multipart/form-data; boundary=edge"}
    (path,) = json.loads(ask(f"{url}gradio_api/upload", body, **form)[1])
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize("count", [40, pytest.param(5000, marks=pytest.mark.soak)])
def test_calls_of_all_sorts_are_answered_without_a_trace(
    count: int, url: str, pipe: Zero123Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "zero123lib.app.guard")  # or pytest would keep each trace
    draw, image = random.Random(24), uploaded(url)
    info = json.loads(ask(f"{url}gradio_api/info")[1])["named_endpoints"]
    endpoints = {name.strip("/"): one for name, one in info.items()}
    assert {"preview", "views", "prepare", "reconstruct"} <= endpoints.keys()
    before, answers = 0.0, {"complete": 0, "error": 0, "refused": 0}
    for number in range(count):
        if number % 4 == 3:
            status, answer = no_call(draw, url)
            assert status != 500 or b"under request" in answer, answer[:300]
            answers["refused"] += status >= 400
        else:
            name = draw.choice(sorted(endpoints))
            given = draw.choice(ODD) if any(one in name for one in LONG) else image
            answer = call(url, name, arguments(draw, endpoints[name], given))
            for event in ("complete", "error"):
                answers[event] += f"event: {event}".encode() in answer
        assert not traced(answer), answer[:500]
        if number == count // 2:  # what is kept for the next call, to a limit, has been met by then
            before = resident_mb()
    gained = resident_mb() - before
    print(f"{count} calls: {answers}, {gained:+.0f} MB")
    assert all(answers.values()) and gained < SLACK_MB
    seen = preview(patient(url), EXAMPLES[0], 30.0)
    assert seen.shape == expected(pipe, EXAMPLES[0], 30.0).shape


def opened(url: str, body: bytes = b"") -> socket.socket:
    """Ask for views over a connection, and read nothing of the answer."""
    place = urlsplit(url)
    answer = ask(f"{url}gradio_api/call/views", body, **JSON)[1]
    event = json.loads(answer)["event_id"]
    line = socket.create_connection((place.hostname or "", place.port or 0), timeout=60)
    line.sendall(
        f"GET /gradio_api/call/views/{event} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode()
    )
    return line


def asking(url: str, image: dict[str, Any], **told: Any) -> list[Any]:
    """Values for the views of an image: what is told, else an endpoint's own."""
    info = json.loads(ask(f"{url}gradio_api/info")[1])["named_endpoints"]["/views"]
    own = {one["parameter_name"]: one.get("parameter_default") for one in info["parameters"]}
    assert told.keys() <= own.keys()
    return list({**own, "image": image, **told}.values())


@pytest.mark.parametrize("clients", [8, pytest.param(64, marks=pytest.mark.soak)])
def test_clients_that_leave_take_nothing_from_those_who_stay(
    clients: int, url: str, pipe: Zero123Pipeline
) -> None:
    """Half leave in the middle of their answers or never read them; all others get their own."""
    image, draw = uploaded(url), random.Random(24)
    asked = asking(url, image, azimuths=", ".join(map(str, range(4))), steps=2)
    assert b"event: complete" in call(url, "views", asked)
    body = json.dumps({"data": asked}).encode()

    def leaves(number: int) -> None:
        with suppress(KeyError, OSError):  # KeyError: told that the app is busy
            line = opened(url, body)
            if number % 4 == 0:
                held.append(line)
                return
            line.settimeout(0.05 * draw.randrange(6) + 0.01)
            with suppress(TimeoutError):
                line.recv(draw.randrange(1, 2000))
            line.close()

    def stays(number: int) -> bool:
        return np.array_equal(seen_by_one(url, number), wanted[number])

    places = [number for number in range(clients) if number % 2]
    wanted = {number: seen_by_one(url, number) for number in places}
    held: list[socket.socket] = []
    with ThreadPoolExecutor(clients) as pool:
        gone = [pool.submit(leaves, number) for number in range(clients) if number % 2 == 0]
        right = list(pool.map(stays, places))
        for one in gone:
            one.result()
    assert all(right)
    for line in held:
        line.close()
    preview(patient(url), EXAMPLES[0], 0.0)


def seen_by_one(url: str, number: int) -> np.ndarray:
    azimuth = float(7 * number % 180)
    return preview(patient(url), EXAMPLES[number % len(EXAMPLES)], azimuth)


@pytest.mark.parametrize("route", ["upload", "call/preview"])
def test_a_body_that_does_not_arrive_is_given_up(
    route: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "MAX_BODY_S", 0.3)
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
    connection.putrequest("POST", f"/gradio_api/{route}")
    connection.putheader("Content-Type", "multipart/form-data; boundary=edge")
    connection.putheader("Content-Length", "1000")
    # At once: on a slow machine what is sent later would meet a connection that is closed.
    connection.endheaders(b"--edge\r\nContent-Disposition: ")
    answer = connection.getresponse()
    assert answer.status == 408 and b"Expected all of it in 0.3 s" in answer.read()
    connection.close()


def at_once(asked: Coroutine[Any, Any, Any]) -> Any:
    """Run it in a thread of its own: in this one an open browser keeps its loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, asked).result()


def test_a_body_that_trickles_is_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is that of all of it, not of each part."""
    monkeypatch.setattr(settings, "MAX_BODY_S", 0.2)

    async def some() -> dict[str, Any]:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    with pytest.raises(Refused) as refused:
        at_once(whole(some, 10_000))
    assert refused.value.status == 408


def test_a_fault_of_the_server_is_a_number_whose_trace_is_in_the_log(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError("CUDA error at /root/secret.py")

    image = uploaded(url)
    monkeypatch.setattr(ViewService, "asked", broken)
    with caplog.at_level(logging.ERROR, "zero123lib.app.guard"):
        answer = call(url, "preview", [image, *REST])
    (number,) = re.findall(rb"under request ([0-9a-f]{8})", answer)
    assert b"secret" not in answer and not traced(answer)
    (record,) = [one for one in caplog.records if number.decode() in one.getMessage()]
    assert record.exc_info and "secret" in str(record.exc_info[1])
