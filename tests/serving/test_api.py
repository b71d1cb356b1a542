"""The HTTP API: what it answers, what it refuses and how, and what it tells of itself."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import zipfile
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from zero123lib.app import settings
from zero123lib.app.guard import Message
from zero123lib.serving.answers import Answer, Refusal
from zero123lib.serving.api import VIEWS, build
from zero123lib.serving.asking import Asking
from zero123lib.serving.desk import Desk
from zero123lib.serving.maker import ViewMaker
from zero123lib.serving.watching import Metrics
from zero123lib.views.images import to_pils
from zero123lib.views.poses import RelativePose


def ask(client: TestClient, photo: bytes, **fields: Any) -> Any:
    files = {"image": ("photo.png", photo, "image/png")}
    return client.post(VIEWS, data={"steps": "1", **fields}, files=files)


def detail(answer: Any) -> str:
    line = answer.json()["detail"]
    assert "\n" not in line
    return line


def run_alone(work: Coroutine[Any, Any, None]) -> None:
    """Run in a thread of its own: an open browser keeps the loop of this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


def told(client: TestClient) -> dict[tuple, float]:
    """What Prometheus reads: by name and labels."""
    found = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in found
        for sample in family.samples
    }


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_a_view_is_the_pipelines_own(client: TestClient, maker: ViewMaker, photo: bytes) -> None:
    answer = ask(client, photo, azimuths="45", elevations="10", seed="3")
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    pipe = maker.pipe
    prepared = pipe.prepare(Image.open(io.BytesIO(photo)))
    views = pipe.views(
        pipe.encode(prepared),
        [RelativePose(10.0, 45.0)],
        num_inference_steps=1,
        generator=torch.Generator().manual_seed(3),
    )
    assert np.array_equal(pixels(answer.content), np.asarray(to_pils(views)[0]))


def test_png_zip_and_json_hold_the_same_views(client: TestClient, photo: bytes) -> None:
    cameras = {"azimuths": "0, 90,", "elevations": "0, 20", "zooms": "0.1", "seeds": "2"}
    package = ask(client, photo, format="zip", **cameras)
    assert package.headers["content-disposition"] == 'attachment; filename="views.zip"'
    files = zipfile.ZipFile(io.BytesIO(package.content))
    listed = json.loads(files.read("transforms.json"))
    assert [frame["file_path"] for frame in listed["frames"]] == [f"{i:03d}.png" for i in range(4)]
    views = ask(client, photo, format="json", **cameras).json()["views"]
    assert [one["seed"] for one in views] == [0, 0, 1, 1]
    assert [one["azimuth_deg"] for one in views] == [0, 90, 0, 90]
    assert [one["elevation_deg"] for one in views] == [0, 20, 0, 20]
    for index, one in enumerate(views):
        assert files.read(f"{index:03d}.png") == base64.b64decode(one["png"])


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"azimuths": "left"}, "azimuths: expected finite numbers of degrees separated by commas"),
        ({"azimuths": "1" + ",1" * settings.MAX_VIEWS}, "azimuths: expected 1 to 36 numbers"),
        ({"elevations": "91"}, "elevations: expected a number from -90 to 90, got 91"),
        ({"elevations": "80", "input_elevation": "20"}, "elevations: expected a camera between"),
        ({"zooms": "inf"}, "zooms: expected finite numbers separated by commas, got 'inf'"),
        ({"azimuths": "0,1,2", "zooms": "0,0", "format": "zip"}, "zooms: expected one, or one for"),
        ({"azimuths": "0,1"}, "format: expected zip or json, of 2 views, got 'png'"),
        ({"seed": "1.5"}, "seed: expected a whole number from 0 to 2147483647, got 1.5"),
        ({"steps": "0"}, "steps: expected a whole number from 1 to 200, got 0"),
        ({"upscale": "3"}, "upscale: expected one of 1, 2, 4, got '3'"),
        ({"recentre": "perhaps"}, "recentre: expected true or false, got 'perhaps'"),
        ({"format": "gif"}, "format: expected one of png, zip, json, got 'gif'"),
        ({"guidance_scale": "nan"}, "guidance_scale: expected a number from 0 to 30, got nan"),
        ({"azimuth": "45"}, "azimuth: expected one of the fields azimuths, "),
        (
            {"azimuths": "1" + ",1" * 35, "seeds": "3", "format": "zip"},
            "seeds: expected at most 72 pictures",
        ),
    ],
)
def test_wrong_input_is_one_line_that_names_the_field(
    client: TestClient, photo: bytes, fields: dict[str, str], line: str
) -> None:
    answer = ask(client, photo, **fields)
    assert answer.status_code == 422 and detail(answer).startswith(line)
    assert told(client)["zero123_errors_total", "wrong_input"] == 1


def test_wrong_images_are_one_line(client: TestClient, photo: bytes) -> None:
    for content in (b"", b"no image", photo[:40]):
        assert detail(ask(client, content)).startswith("image: expected an image")
    wrongs: tuple[dict[str, Any], ...] = ({}, {"data": {"image": "text"}}, {"json": {"image": "x"}})
    for wrong in wrongs:
        answer = client.post(VIEWS, **wrong)
        assert answer.status_code == 422
        assert detail(answer).startswith("image: expected an uploaded image")


def test_what_is_too_large_or_too_slow_is_refused(
    client: TestClient, photo: bytes, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(client, photo + b"\0" * settings.MAX_UPLOAD_BYTES).status_code == 413
    assert client.post("/readyz", content=b"\0" * (settings.MAX_BODY_BYTES + 1)).status_code == 413
    monkeypatch.setattr(settings, "MAX_BODY_S", 0.05)
    sent: list[Message] = []

    async def never() -> Message:
        await asyncio.sleep(60)
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    scope = {
        "type": "http", "method": "POST", "path": VIEWS, "headers": headers, "query_string": b"",
    }  # fmt: skip
    app: Any = client.app
    run_alone(app(scope, never, send))
    assert sent[0]["status"] == 408 and b"Expected all of it in" in sent[1]["body"]
    assert told(client)["zero123_errors_total", "slow_body"] == 1
    assert desk.inside == 0


def test_each_request_has_a_number_and_a_fault_is_told_by_it(
    client: TestClient, photo: bytes, maker: ViewMaker, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    numbers = [client.get("/healthz").headers["x-request-id"] for _ in range(2)]
    assert len(set(numbers)) == 2
    for given, kept in (("mine-1.2", True), ("two words", False), ("x" * 65, False)):
        answer = client.get("/healthz", headers={"X-Request-ID": given})
        assert (answer.headers["x-request-id"] == given) == kept
    monkeypatch.setattr(maker, "views", lambda *_: 1 / 0)
    answer = ask(client, photo)
    assert answer.status_code == 500 and "division" not in answer.text
    assert answer.headers["x-request-id"] in detail(answer)
    (record,) = [one for one in caplog.records if one.exc_info]
    assert answer.headers["x-request-id"] in record.getMessage()


def test_the_queue_is_bounded_and_drains() -> None:
    """One is made and one waits; the third is told so. Then the server stops: those two are
    answered, and nothing else is taken."""

    async def run() -> None:
        desk, may_end, begun = Desk(1, 1), asyncio.Event(), asyncio.Event()

        async def make(content: bytes, name: str, asking: Asking, number: str) -> Answer | Refusal:
            begun.set()
            await may_end.wait()
            return Answer(b"x", "image/png", 1)

        async def ready() -> str | None:
            return None

        metrics = Metrics(desk)
        app = build(make, ready, desk, metrics)

        async def post(path: str = VIEWS, method: str = "POST") -> int:
            head = b'Content-Disposition: form-data; name="image"; filename="a"'
            body = b"--x\r\n" + head + b"\r\n\r\na\r\n--x--\r\n"
            headers = [(b"content-type", b"multipart/form-data; boundary=x")]
            scope = {
                "type": "http", "method": method, "path": path, "headers": headers,
                "query_string": b"",
            }  # fmt: skip
            sent: list[Message] = []

            async def receive() -> Message:
                return {"type": "http.request", "body": body, "more_body": False}

            async def send(message: Message) -> None:
                sent.append(message)

            await app(scope, receive, send)
            assert sent[0]["status"] != 503 or (b"retry-after", b"2") in sent[0]["headers"]
            return sent[0]["status"]

        first = asyncio.create_task(post())
        await begun.wait()
        second = asyncio.create_task(post())
        while not desk.waiting:
            await asyncio.sleep(0)
        assert await post() == 503
        assert b"zero123_queue_length 1.0" in metrics.text()
        assert b"zero123_requests_inside 2.0" in metrics.text()
        assert await post("/readyz", "GET") == 200
        stopping = asyncio.create_task(desk.drain(60))
        await asyncio.sleep(0)
        assert await post() == 503 and await post("/readyz", "GET") == 503
        assert await post("/healthz", "GET") == 200 and not stopping.done()
        may_end.set()
        assert [await first, await second, await stopping] == [200, 200, 0]
        assert b"zero123_views_total 2.0" in metrics.text()

    run_alone(run())


def test_what_prometheus_is_told(client: TestClient, photo: bytes) -> None:
    ask(client, photo, azimuths="0,90", format="zip")
    ask(client, photo)
    client.get("/nothing/here")
    found = told(client)
    assert found["zero123_requests_total", VIEWS, "200"] == 2
    assert found["zero123_request_seconds_count", VIEWS] == 2
    assert found["zero123_request_seconds_bucket", "+Inf", VIEWS] == 2
    assert found["zero123_views_total",] == 3
    assert found["zero123_errors_total", "not_found"] == 1
    assert found["zero123_requests_total", "other", "404"] == 1
    assert found["zero123_queue_length",] == found["zero123_requests_inside",] == 0


def test_openapi_says_what_is_taken_and_given(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    post = schema["paths"][VIEWS]["post"]
    (kind,) = post["requestBody"]["content"]
    assert kind == "multipart/form-data"
    name = post["requestBody"]["content"][kind]["schema"]["$ref"].rpartition("/")[2]
    form = schema["components"]["schemas"][name]
    assert form["required"] == ["image"] and not form["additionalProperties"]
    assert form["properties"]["steps"]["maximum"] == settings.MAX_STEPS
    assert form["properties"]["azimuths"]["default"] == "0"
    assert form["properties"]["format"]["enum"] == ["png", "zip", "json"]
    assert all(field.get("description") for field in form["properties"].values())
    answers = post["responses"]
    assert set(answers["200"]["content"]) == {"image/png", "application/zip", "application/json"}
    assert answers.keys() == {"200", "408", "413", "422", "500", "501", "502", "503"}
    refusal = answers["422"]["content"]["application/json"]["schema"]["$ref"]
    assert refusal.endswith("/Detail")
