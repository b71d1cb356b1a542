"""A Hugging Face Hub on loopback: what huggingface_hub asks of one to download models, and faults.

A repository is a mapping of paths to bytes. Weights are "large" files, as on the Hub: they have a
sha256, and `resolve` redirects to another host, here another port, that knows ranges.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_LARGE = (".safetensors", ".ckpt", ".bin")


@dataclass
class Faults:
    """What goes wrong.

    Attributes:
        cuts: bytes after which the next transfers of large files are cut, one after the other.
        hangs: a transfer that is cut waits for `release` first.
        wrong: names of large files that come with other bytes than announced.
        ignores_ranges: every transfer begins at the file's first byte.
        refused: status and X-Error-Code of all downloads of a repository.
    """

    cuts: list[int] = field(default_factory=list)
    hangs: bool = False
    wrong: set[str] = field(default_factory=set)
    ignores_ranges: bool = False
    refused: dict[str, tuple[int, str | None]] = field(default_factory=dict)


class LoopbackHub:
    """Serves repositories, and files at plain addresses, on two ports of this machine."""

    def __init__(self, repositories: Mapping[str, Mapping[str, bytes]]) -> None:
        self.repositories = {name: dict(files) for name, files in repositories.items()}
        self.faults = Faults()
        # Of each request: method, path, the range that it asks for, its token.
        self.requests: list[tuple[str, str, str | None, str | None]] = []
        self.release = threading.Event()
        self._large = {
            _sha256(content): (name, content)
            for files in self.repositories.values()
            for name, content in files.items()
        }
        self._servers = [self._serve(_front(self)), self._serve(_storage(self))]

    @property
    def endpoint(self) -> str:
        """What HF_ENDPOINT is to be."""
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    def address(self, content: bytes) -> str:
        """Where the file with this content is; a name may follow it."""
        return f"http://127.0.0.1:{self._servers[1].server_port}/{_sha256(content)}"

    def transfers(self) -> list[str | None]:
        """The ranges that transfers of large files asked for; None for a whole file."""
        return [
            wanted
            for method, path, wanted, _ in self.requests
            if method == "GET" and not re.search(r"/(resolve|api)/", path)
        ]

    def close(self) -> None:
        self.release.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @staticmethod
    def _serve(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
        server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server


def is_large(name: str) -> bool:
    return name.endswith(_LARGE)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _entry(name: str, content: bytes) -> dict[str, Any]:
    """A file as the Hub lists it, in both of its listings."""
    large = {"oid": _sha256(content), "sha256": _sha256(content), "size": len(content)}
    return {
        "type": "file",
        "path": name,
        "rfilename": name,
        "size": len(content),
        "oid": hashlib.sha1(content).hexdigest(),
        "blobId": hashlib.sha1(content).hexdigest(),
        **({"lfs": {**large, "pointerSize": 130}} if is_large(name) else {}),
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Clients that are killed leave their connections."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LoopbackHub

    def do_HEAD(self) -> None:
        self._note()

    def do_GET(self) -> None:
        self._note()

    def _note(self) -> None:
        wanted, token = self.headers.get("Range"), self.headers.get("Authorization")
        self.hub.requests.append((str(self.command), self.path, wanted, token))
        self.answer(unquote(urlsplit(self.path).path))

    def answer(self, path: str) -> None:
        raise NotImplementedError

    def send(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content_Length": str(len(content))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def _front(hub_: LoopbackHub) -> type[_Handler]:
    class Front(_Handler):
        hub = hub_

        def answer(self, path: str) -> None:
            if asked := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/.+|/tree/.+)?", path):
                self._listing(asked[1], asked[2] or "")
            elif asked := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
                self._resolve(asked[1], asked[2])
            else:
                self.send(404)

        def _listing(self, repository: str, what: str) -> None:
            files = self.hub.repositories.get(repository)
            if files is None:
                return self.send(401, X_Error_Code="RepoNotFound")
            entries = [_entry(name, content) for name, content in files.items()]
            tree = what.startswith("/tree/")
            info = {"id": repository, "sha": COMMIT, "siblings": entries}
            self.send(200, json.dumps(entries if tree else info).encode())
            return None

        def _resolve(self, repository: str, name: str) -> None:
            status, code = self.hub.faults.refused.get(repository, (200, None))
            content = self.hub.repositories.get(repository, {}).get(name)
            if status != 200:
                self.send(status, b"", **({"X_Error_Code": code} if code else {}))
            elif content is None:
                self.send(404, X_Error_Code="EntryNotFound")
            elif is_large(name):
                self.send(
                    302,
                    Location=self.hub.address(content),
                    X_Repo_Commit=COMMIT,
                    X_Linked_Etag=f'"{_sha256(content)}"',
                    X_Linked_Size=str(len(content)),
                )
            else:
                etag = f'"{hashlib.sha1(content).hexdigest()}"'
                self.send(200, content, X_Repo_Commit=COMMIT, ETag=etag)

    return Front


def _storage(hub_: LoopbackHub) -> type[_Handler]:
    class Storage(_Handler):
        hub = hub_

        def answer(self, path: str) -> None:
            known = self.hub._large.get(path.strip("/").partition("/")[0])
            if known is None:
                return self.send(404)
            name, content = known
            faults = self.hub.faults
            if name in faults.wrong:
                content = bytes(len(content))
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            start = int(asked[1]) if asked and not faults.ignores_ranges else 0
            whole, rest = len(content), content[start:]
            if self.command == "GET" and faults.cuts:
                return self._cut(start, rest[: faults.cuts.pop(0)], whole)
            span = {"Content_Range": f"bytes {start}-{whole - 1}/{whole}"} if start else {}
            self.send(206 if start else 200, rest, **span)
            return None

        def _cut(self, start: int, some: bytes, whole: int) -> None:
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(whole - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
            self.end_headers()
            self.wfile.write(some)
            self.wfile.flush()
            if self.hub.faults.hangs:
                self.hub.release.wait(60)
            self.close_connection = True

    return Storage
