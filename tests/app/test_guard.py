"""What a stranger may try: none of it gets a file, a request to another host or a stack trace."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from zero123lib.app.examples import example_files
from zero123lib.app.guard import is_closed, names_address
from zero123lib.app.settings import MAX_BODY_BYTES, MAX_UPLOAD_BYTES

SECRET = b"canary-3f9d2c: nothing of this machine leaves it"
REST = [0, 0, 0, None, 0, 0, 0.6, True, "auto", None]


@pytest.fixture(scope="module")
def canary() -> Iterator[tuple[str, list[str]]]:
    """A server on this machine that nobody is to reach, and who did."""
    seen: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(SECRET)

        do_HEAD = do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Stay silent."""

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file outside every session."""
    file = tmp_path_factory.mktemp("private") / "secret.png"
    file.write_bytes(SECRET)
    return file


def ask(address: str, data: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """Status and body, whatever the status."""
    try:
        with urlopen(Request(address, data, headers), timeout=30) as response:
            return response.status, response.read()
    except HTTPError as error:
        return error.code, error.read()


def call(url: str, endpoint: str, data: list[Any]) -> bytes:
    """All that an endpoint answers, its refusal to begin included."""
    address = f"{url}gradio_api/call/{endpoint}"
    body = json.dumps({"data": data}).encode()
    status, answer = ask(address, body, **{"Content-Type": "application/json"})
    if status != 200:
        return answer
    return ask(f"{address}/{json.loads(answer)['event_id']}")[1]


def addresses(secret: Path) -> list[str]:
    """Ways to ask for a file by its address."""
    climb = "..%2f" * 12
    return [
        f"gradio_api/file={secret}",
        f"file={secret}",
        f"gradio_api/file/{secret}",
        f"gradio_api/file=%2e%2e/%2e%2e/{str(secret)[1:]}",
        f"gradio_api/file={climb}{str(secret)[1:]}",
        f"gradio_api/file=/proc/self/root{secret}",
        f"gradio_api/file=file://{secret}",
        "gradio_api/file=/proc/self/environ",
        "gradio_api/file=/etc/passwd",
        f"gradio_api/file={os.path.abspath('app.py')}",
        "gradio_api/file=zero123lib/app/settings.py",
        f"assets/{climb}{str(secret)[1:]}",
        f"static/{climb}{str(secret)[1:]}",
        f"svelte/{climb}{str(secret)[1:]}",
        f"gradio_api/upload_progress?upload_id={climb}{str(secret)[1:]}",
    ]


def test_no_address_leads_to_a_file_of_the_server(url: str, secret: Path) -> None:
    for address in addresses(secret):
        status, body = ask(url + address)
        assert SECRET not in body and b"root:" not in body and b"MAX_VIEWS" not in body, address
        assert status in (403, 404, 422) or not address.startswith(("gradio_api", "file")), address
        assert b"Traceback" not in body and b'File "/' not in body, address


def test_no_path_in_a_request_leads_to_a_file_of_the_server(url: str, secret: Path) -> None:
    real = Path(example_files()[0])
    for path in (str(secret), str(real), f"../../../../../..{real}", f"{real}\0.png", "/dev/zero"):
        for extra in ({}, {"meta": {"_type": "gradio.FileData"}}):
            answer = call(url, "preview", [{"path": path, **extra}, *REST])
            assert b"event: complete" not in answer and SECRET not in answer, path
            assert b"Traceback" not in answer and str(real.parent).encode() not in answer
    model = [{"path": "x"}, *REST[:-1], str(secret)]
    assert b"model: expected tiny" in call(url, "preview", model)


def test_what_is_no_image_is_one_line_whatever_it_is(url: str) -> None:
    for wrong in ("photo.png", [1], 7, True, {"path": 3}, {"path": None}, {"url": "x"}, {}):
        for endpoint in ("preview", "prepare", "reconstruct"):
            rest = {"preview": REST, "prepare": [None, True, "auto", None]}.get(
                endpoint, ["quick", 0, None, None, True, "auto", None, None, None]
            )
            answer = call(url, endpoint, [wrong, *rest])
            assert b"image: expected an uploaded image" in answer, (endpoint, wrong, answer)


def test_no_request_goes_to_another_server(
    url: str, canary: tuple[str, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    host, seen = canary
    port = host.split(":")[1]
    places = [f"http://{host}/a.png", f"http://localhost:{port}/a.png", f"http://[::1]:{port}/a"]
    places += [f"http://0x7f000001:{port}/a.png", f"http://127.1:{port}/a.png", f"https://{host}/a"]
    with caplog.at_level(logging.WARNING, "zero123lib.app.guard"):
        for place in places:
            for path in (f"gradio_api/file={place}", f"file={place}", f"gradio_api/proxy={place}"):
                status, body = ask(url + path)
                assert status in (403, 404) and SECRET not in body, place
            for extra in ({}, {"meta": {"_type": "gradio.FileData"}, "url": place}):
                answer = call(url, "preview", [{"path": place, **extra}, *REST])
                assert b"expected an uploaded file, got an address" in answer
            nested = [{"path": "x", "meta": {"_type": "gradio.FileData"}, "url": place}, *REST]
            assert b"event: complete" not in call(url, "preview", nested)
    assert seen == []
    lines = [record for record in caplog.records if record.name == "zero123lib.app.guard"]
    assert len(lines) >= 4 * len(places)
    assert all(not record.exc_info and "\n" not in record.getMessage() for record in lines)


def test_what_is_too_large_is_refused_before_it_is_taken(url: str) -> None:
    boundary = "edge"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    form = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    file = head.encode() + b"\0" * MAX_UPLOAD_BYTES + f"\r\n--{boundary}--\r\n".encode()
    assert ask(f"{url}gradio_api/upload", file, **form)[0] == 413
    for path in ("gradio_api/call/preview", "gradio_api/queue/join", "gradio_api/run/preview"):
        body = json.dumps({"data": ["x" * MAX_BODY_BYTES]}).encode()
        assert ask(url + path, body, **{"Content-Type": "application/json"})[0] == 413


def test_an_upload_of_allowed_size_that_is_no_image_is_one_line(url: str) -> None:
    head = (
        '--edge\r\nContent-Disposition: form-data; name="files"; filename="../../evil.png"\r\n\r\n'
    )
    body = head.encode() + SECRET + b"\r\n--edge--\r\n"
    form = {"Content-Type": "multipart/form-data; boundary=edge"}
    status, answer = ask(f"{url}gradio_api/upload", body, **form)
    assert status == 200
    (path,) = json.loads(answer)
    assert ".." not in path and Path(path).name == "evil.png"
    said = call(url, "preview", [{"path": path, "orig_name": "evil.png"}, *REST])
    assert b"expected an image file (PNG, " in said and b"got 'evil.png', which is none" in said


def test_the_door_knows_what_it_closes() -> None:
    assert all(
        map(is_closed, ("/gradio_api/file=http://x", "/file=HTTPS%3A//x", "/gradio_api/proxy=x"))
    )
    assert not any(map(is_closed, ("/", "/gradio_api/file=/tmp/a.png", "/gradio_api/queue/join")))
    routes = ("/dev/reload", "/runs", "/runs/", "/monitoring/key", "/profiling", "/vibe-edit")
    assert all(is_closed(prefix + route) for route in routes for prefix in ("", "/gradio_api"))
    for folder in ("dev", "runs", "monitoring", "profiling", "vibe-x"):
        assert not is_closed(f"/gradio_api/file=/home/me/{folder}/a.png"), folder
        assert not is_closed(f"/file%3D/home/me/{folder}/a.png"), folder
    assert names_address(b'{"data": [[{"\\u0070ath": "http:\\/\\/x"}]]}')
    assert not names_address(
        b'{"data": [{"path": "/tmp/a.png", "url": "http://here/file=/tmp/a"}]}'
    )
    assert not names_address(b"[" * 10_000) and not names_address(b"no json")
