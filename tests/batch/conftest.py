"""Where batches write in tests: a disk, and an S3 server on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server on loopback, of an object store in memory.

    This process, and those that it starts from then on, find it in their environment.
    """
    server = pytest.importorskip("moto.server", reason="moto is not installed: no S3 server")
    pytest.importorskip("s3fs", reason="s3fs is not installed: no S3")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    address = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        yield address
    running.stop()


@pytest.fixture
def s3(s3_server: str) -> str:
    """The URI of a new bucket."""
    import s3fs

    bucket = f"s3://bucket-{uuid4().hex[:8]}"
    s3fs.S3FileSystem().mkdir(bucket)
    return bucket


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Make the path or URI of a name on a disk, or on S3."""
    root = str(tmp_path / "disk") if request.param == "disk" else request.getfixturevalue("s3")
    return lambda name: f"{root}/{name}"
