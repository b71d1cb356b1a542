"""Named models come from a Hub on loopback: resumed, checked, and refused with what to do."""

from __future__ import annotations

import dataclasses
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import constants, file_download
from loopback import LoopbackHub, is_large
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.checkpoints import downloads
from zero123lib.diffusion.checkpoints.available import Available, available_models, fetch_model
from zero123lib.diffusion.checkpoints.named import NAMED, Source
from zero123lib.diffusion.pipeline import Zero123Pipeline

ROOT = Path(__file__).resolve().parents[3]
HALF, FLOAT = "ashawkey/zero123-xl-diffusers", "kxic/zero123-xl"
OFFICIAL, STABLE = "cvlab/zero123-weights", "stabilityai/stable-zero123"
UNET = "unet/diffusion_pytorch_model.safetensors"

CHUNK = 1 << 16
GIVEN_UP = [CHUNK, 0, 0, 0, 0, 0, 0]  # after some bytes, and all attempts after that


def folder_files(pipe: Zero123Pipeline, folder: Path) -> dict[str, bytes]:
    pipe.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def published(
    original: Any, scheduler: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, bytes]]:
    """The small model as ports and official files hold it."""
    folder = tmp_path_factory.mktemp("published")
    pipe = Zero123Pipeline(**original.networks, scheduler=scheduler)
    file = io.BytesIO()
    torch.save({"state_dict": original.state}, file)
    files = folder_files(pipe, folder / "float32")
    Zero123Pipeline.from_pretrained(folder / "float32", torch_dtype=torch.float16).save_pretrained(
        folder / "float16"
    )
    half = Zero123Pipeline.from_pretrained(folder / "float16", torch_dtype=torch.float16)
    return {
        HALF: folder_files(half, folder / "half"),
        FLOAT: files,
        OFFICIAL: {"105000.ckpt": file.getvalue(), "README.md": b"# weights"},
        STABLE: {"stable_zero123.ckpt": file.getvalue()},
    }


@pytest.fixture
def hub(
    published: dict[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[LoopbackHub]:
    """A Hub that this process takes for the real one, as HF_ENDPOINT would make it at its start."""
    server = LoopbackHub(published)
    template = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.endpoint + template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # http_get writes ten megabytes at a time, and waits before it takes a connection up again.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
    monkeypatch.setattr(file_download, "time", SimpleNamespace(sleep=lambda _: None))
    yield server
    server.close()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def web(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> Source:
    """The official XL file at a plain address of the loopback server."""
    content = hub.repositories[OFFICIAL]["105000.ckpt"]
    *ports, there = NAMED["zero123-xl"].sources
    source = dataclasses.replace(there, place=hub.address(content))
    model = dataclasses.replace(NAMED["zero123-xl"], sources=(*ports, source))
    monkeypatch.setitem(NAMED, "zero123-xl", model)
    return source


def refusal(*source: Any, **more: Any) -> str:
    with pytest.raises(ArgumentError, match="^source: expected a model that is on this") as caught:
        fetch_model(*source, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "repository"),
    [
        ({}, HALF),
        ({"precision": "float16"}, HALF),
        ({"precision": "float32"}, FLOAT),
    ],
)
def test_a_name_stands_for_its_smallest_source_of_the_wanted_precision(
    wanted: dict[str, Any],
    repository: str,
    hub: LoopbackHub,
    cache: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = fetch_model("zero123-xl", cache_dir=cache, **wanted)
    assert (found.name, found.encoding) == ("zero123-xl", "zero123")
    files = hub.repositories[repository]
    names = [str(path.relative_to(found.path)) for path in found.path.rglob("*") if path.is_file()]
    # The folder's own code, for diffusers, is never run here, so it is not brought either.
    wanted_files = {name: data for name, data in files.items() if name != "pipeline.py"}
    assert {name: (found.path / name).read_bytes() for name in names} == wanted_files
    whose, room = (record.getMessage() for record in caplog.records)
    publisher = repository.partition("/")[0]
    assert repository in whose and f"{publisher}'s port in" in whose and str(found.licence) in whose
    size = downloads.readable(sum(len(data) for name, data in files.items() if is_large(name)))
    assert f"{size} to download into" in room and "are free" in room
    hub.requests.clear()
    assert fetch_model("zero123-xl", cache_dir=cache, **wanted) == found
    assert hub.requests == []


def test_what_is_on_this_disk_goes_before_what_is_smaller(hub: LoopbackHub, cache: Path) -> None:
    there = fetch_model(FLOAT, cache_dir=cache).path
    assert fetch_model("zero123-xl", "float16", cache_dir=cache).path == there
    fetch_model(HALF, cache_dir=cache)
    assert fetch_model("zero123-xl", "float32", cache_dir=cache).path == there


def test_a_source_is_a_name_too(hub: LoopbackHub, cache: Path) -> None:
    found = fetch_model(HALF, cache_dir=cache)
    assert (found.name, found.encoding, found.licence) == ("zero123-xl", "zero123", "mit")
    file = fetch_model(f"{STABLE}/stable_zero123.ckpt", cache_dir=cache)
    assert (file.name, file.encoding) == ("stable-zero123", "stable-zero123")
    assert "Non-Commercial" in str(file.licence)
    assert file.path == fetch_model("stable-zero123", original=True, cache_dir=cache).path
    assert file.path.read_bytes() == hub.repositories[STABLE]["stable_zero123.ckpt"]


def test_a_port_does_not_change_the_licence_of_the_weights(
    hub: LoopbackHub, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = "ashawkey/stable-zero123-diffusers"
    hub.repositories[port] = hub.repositories[HALF]  # whose page says MIT
    assert "Non-Commercial" in str(fetch_model(port, cache_dir=cache).licence)
    assert "(the port's page says mit)" in caplog.text


def test_any_file_of_any_repository_will_do(hub: LoopbackHub, cache: Path) -> None:
    hub.repositories["some/one"] = {"deep/mine.ckpt": hub.repositories[OFFICIAL]["105000.ckpt"]}
    found = fetch_model("some/one/deep/mine.ckpt", cache_dir=cache)
    assert (found.name, found.licence) == ("mine", None)
    assert "has no file yours.ckpt" in refusal("some/one/yours.ckpt", cache_dir=cache)


def test_the_pipeline_of_a_name_has_the_weights_of_its_source(
    hub: LoopbackHub, cache: Path, original: Any, views: Callable[[Any], Tensor]
) -> None:
    pipe = Zero123Pipeline.from_pretrained("zero123-xl", torch_dtype=torch.float32, cache_dir=cache)
    assert (pipe.model_name, pipe.config["encoding"]) == ("zero123-xl", "zero123")
    assert torch.equal(views(pipe), views(original.networks))
    half = Zero123Pipeline.from_pretrained("zero123-xl", torch_dtype=torch.float16, cache_dir=cache)
    weight = original.networks["unet"].conv_in.weight
    assert torch.equal(half.unet.conv_in.weight, weight.half())
    raw = Zero123Pipeline.from_pretrained(
        "zero123-105000", original.config, use_ema=False, cache_dir=cache
    )
    assert torch.equal(raw.unet.conv_in.weight, weight)


def test_a_cut_connection_is_taken_up_where_it_was(hub: LoopbackHub, cache: Path) -> None:
    hub.faults.cuts = [CHUNK, 2 * CHUNK, 0]
    folder = fetch_model("zero123-xl", cache_dir=cache).path
    again = [f"bytes={CHUNK}-", f"bytes={3 * CHUNK}-", f"bytes={3 * CHUNK}-"]
    assert hub.transfers()[:4] == [None, *again]
    assert (folder / UNET).read_bytes() == hub.repositories[HALF][UNET]


def test_a_download_that_was_given_up_is_gone_on_with(hub: LoopbackHub, cache: Path) -> None:
    hub.faults.cuts = list(GIVEN_UP)
    said = refusal("zero123-xl", cache_dir=cache)
    assert "the connection broke" in said and "other source: kxic/zero123-xl" in said
    hub.faults.cuts.clear()
    hub.requests.clear()
    folder = fetch_model("zero123-xl", cache_dir=cache).path
    assert hub.transfers()[0] == f"bytes={CHUNK}-"
    assert (folder / UNET).read_bytes() == hub.repositories[HALF][UNET]


def test_a_server_without_ranges_is_asked_from_the_start(hub: LoopbackHub, cache: Path) -> None:
    hub.faults.cuts, hub.faults.ignores_ranges = [CHUNK], True
    folder = fetch_model("zero123-xl", cache_dir=cache).path
    assert (folder / UNET).read_bytes() == hub.repositories[HALF][UNET]


def test_wrong_bytes_are_never_taken(hub: LoopbackHub, cache: Path) -> None:
    hub.faults.wrong = {UNET}
    said = refusal("zero123-xl", cache_dir=cache)
    assert f"{UNET} came with the sha256" in said and "deleted" in said
    assert not list(cache.rglob("*.incomplete"))
    hub.faults.wrong = set()
    assert (fetch_model("zero123-xl", cache_dir=cache).path / UNET).is_file()


def test_what_an_earlier_attempt_left_is_checked_too(hub: LoopbackHub, cache: Path) -> None:
    """A rotten beginning is found out; a partial file that is too long is not gone on with."""
    folder = fetch_model("zero123-xl", cache_dir=cache).path
    blob = (folder / UNET).resolve()
    partial = blob.with_name(f"{blob.name}.incomplete")
    size = blob.stat().st_size
    for rotten, works in ((size // 2, False), (size + 1, True)):
        shutil.rmtree(folder)
        blob.unlink()
        partial.write_bytes(b"?" * rotten)
        if not works:
            assert "sha256" in refusal("zero123-xl", cache_dir=cache)
        folder = fetch_model("zero123-xl", cache_dir=cache).path
        assert (folder / UNET).read_bytes() == hub.repositories[HALF][UNET]


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (403, "GatedRepo", "accept the licence at https://huggingface.co/stabilityai/stable-zero"),
        (401, "GatedRepo", "accept the licence at https://huggingface.co/stabilityai/stable-zero"),
        (401, "RepoNotFound", "or it is private: then log in with `hf auth login`"),
        (401, None, "log in with `hf auth login`, or set HF_TOKEN"),
        (403, None, "does not let this token read https://huggingface.co/stabilityai/stable-zero"),
        (404, "EntryNotFound", "a file is not at https://huggingface.co/stabilityai/stable-zero"),
        (404, "RepoNotFound", "there is no repository https://huggingface.co/stabilityai/stable"),
    ],
)
def test_a_refusal_says_what_to_do(
    status: int, code: str | None, advice: str, hub: LoopbackHub, cache: Path
) -> None:
    hub.faults.refused[STABLE] = (status, code)
    said = refusal("stable-zero123", original=True, cache_dir=cache)
    assert advice in said and "'stable-zero123'" in said and "on this disk: tiny;" in said


def test_a_repository_that_is_gone_is_named(hub: LoopbackHub, cache: Path) -> None:
    del hub.repositories[HALF]
    said = refusal("zero123-xl", cache_dir=cache)
    assert f"there is no repository https://huggingface.co/{HALF}" in said
    assert "other source: kxic/zero123-xl" in said
    assert "no such revision" not in said
    assert "there is no repository" in refusal("no/such-model", cache_dir=cache)


def test_a_disk_without_room_is_told_before(
    hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = hub.repositories[HALF]
    needed = sum(len(content) for name, content in files.items() if is_large(name))
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    said = refusal("zero123-xl", cache_dir=cache)
    size = downloads.readable(needed)
    assert f"needs {size} in" in said and f"{downloads.readable(needed - 1)} are free" in said
    assert hub.transfers() == []


def test_a_disk_that_fills_up_loses_nothing(hub: LoopbackHub, cache: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = len(hub.repositories[OFFICIAL]["105000.ckpt"])
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))
    try:
        said = refusal("zero123-105000", original=True, cache_dir=cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "105000.ckpt are missing in" in said and "the same command goes on" in said
    [row] = [row for row in available_models(cache) if row.source == f"{OFFICIAL}/105000.ckpt"]
    assert row.path is None and 0 < row.partial <= size // 2
    file = fetch_model("zero123-105000", original=True, cache_dir=cache).path
    assert hub.transfers() == [None, f"bytes={row.partial}-"]
    assert file.read_bytes() == hub.repositories[OFFICIAL]["105000.ckpt"]


FETCH = f"""
import sys
from huggingface_hub import constants
constants.DOWNLOAD_CHUNK_SIZE = {CHUNK}
from zero123lib.diffusion.checkpoints.available import fetch_model
print(fetch_model(sys.argv[1], original=True, cache_dir=sys.argv[2]).path)
assert "torch" not in sys.modules
"""


def test_a_killed_process_is_gone_on_with(hub: LoopbackHub, cache: Path) -> None:
    content = hub.repositories[OFFICIAL]["105000.ckpt"]
    half = len(content) // 2
    hub.faults.cuts, hub.faults.hangs = [half], True
    command = [sys.executable, "-c", FETCH, "zero123-105000", str(cache)]
    real = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0"}
    options: dict[str, Any] = {"cwd": ROOT, "env": real, "text": True}
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, **options) as process:
        while not (held := sum(p.stat().st_size for p in cache.rglob("*.incomplete"))):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert 0 < held <= half
    hub.release.set()
    held = sum(path.stat().st_size for path in cache.rglob("*.incomplete"))
    done = subprocess.run(command, capture_output=True, timeout=300, **options)
    assert done.returncode == 0, done.stderr
    assert hub.transfers() == [None, f"bytes={held}-"]
    assert Path(done.stdout.strip()).read_bytes() == content
    assert "going on after" in done.stderr and "MIT" in done.stderr


def test_two_at_once_download_once(hub: LoopbackHub, cache: Path) -> None:
    hub.faults.cuts, hub.faults.hangs = [CHUNK], True
    found: list[Path] = []

    def fetch() -> None:
        found.append(fetch_model("zero123-105000", original=True, cache_dir=cache).path)

    threads = [threading.Thread(target=fetch) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    hub.release.set()
    for thread in threads:
        thread.join(60)
    assert len(found) == 2 and found[0] == found[1]
    assert hub.transfers() == [None, f"bytes={CHUNK}-"]


def test_a_token_is_for_the_hub_alone(hub: LoopbackHub, cache: Path) -> None:
    fetch_model(HALF, cache_dir=cache, token="hf_secret")
    for _, path, _, token in hub.requests:
        assert (token == "Bearer hf_secret") == ("/resolve/" in path or "/api/" in path)


def test_a_plain_address_is_resumed_and_whole_or_not_there(
    hub: LoopbackHub, cache: Path, web: Source
) -> None:
    hub.faults.cuts = list(GIVEN_UP)
    assert "'zero123-xl'" in refusal("zero123-xl", original=True, cache_dir=cache)
    [row] = [row for row in available_models(cache) if row.source == web.name]
    assert (row.path, row.partial) == (None, CHUNK)
    assert not [path for path in cache.rglob("*") if path.name == "zero123-xl.ckpt"]
    hub.faults.cuts.clear()
    hub.requests.clear()
    found = fetch_model("zero123-xl", original=True, cache_dir=cache)
    assert hub.transfers() == [f"bytes={CHUNK}-"]
    assert found.path.read_bytes() == hub.repositories[OFFICIAL]["105000.ckpt"]
    assert fetch_model(web.name, cache_dir=cache) == found
    [row] = [row for row in available_models(cache) if row.source == web.name]
    assert (row.path, row.partial) == (found.path, 0)


def test_a_plain_address_that_is_gone_is_named(
    hub: LoopbackHub, cache: Path, web: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub._large.clear()
    said = refusal(web.name, cache_dir=cache)
    assert f"{web.name} answers with status 404" in said
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "switched off (HF_HUB_OFFLINE)" in refusal(web.name, cache_dir=cache)


def test_without_a_connection_it_says_so_and_what_there_is(
    hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fetch_model(HALF, cache_dir=cache)
    hub.repositories["some/one"] = hub.repositories[FLOAT]
    other = fetch_model("some/one", cache_dir=cache)
    nobody = "http://127.0.0.1:1"  # a port that nothing listens on
    monkeypatch.setattr(constants, "ENDPOINT", nobody)
    here = f"on this disk: tiny, zero123-xl ({HALF});"
    said = refusal("stable-zero123", cache_dir=cache)
    assert "no connection to" in said and here in said
    assert fetch_model("zero123-xl", cache_dir=cache).path.is_dir()
    caplog.clear()
    assert fetch_model("some/one", cache_dir=cache) == other
    assert "no connection to" in caplog.text and "on this disk of it is taken" in caplog.text
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    said = refusal("zero123-xl", "float32", cache_dir=cache)
    assert "switched off (HF_HUB_OFFLINE)" in said and here in said
    said = refusal("zero123-xl", "float32", cache_dir=cache, local_files_only=True)
    assert "local_files_only" in said


def test_half_a_folder_is_no_model(hub: LoopbackHub, cache: Path) -> None:
    """As an interrupted download of another program leaves it."""
    folder = fetch_model(HALF, cache_dir=cache).path
    blob = (folder / UNET).resolve()
    (folder / UNET).unlink()
    blob.unlink()
    hub.requests.clear()
    assert fetch_model("zero123-xl", cache_dir=cache).path == folder
    assert hub.transfers() == [None]
    assert (folder / UNET).read_bytes() == hub.repositories[HALF][UNET]


def test_force_download_brings_all_anew(hub: LoopbackHub, cache: Path) -> None:
    folder = fetch_model(HALF, cache_dir=cache).path
    large = [name for name in hub.repositories[HALF] if is_large(name)]
    blob = (folder / UNET).resolve()
    blob.write_bytes(b"rotten")
    (folder / "model_index.json").resolve().write_bytes(b"rotten")
    hub.requests.clear()
    assert fetch_model("zero123-xl", cache_dir=cache, force_download=True).path == folder
    assert hub.transfers() == [None] * len(large)
    assert blob.read_bytes() == hub.repositories[HALF][UNET]
    assert (folder / "model_index.json").read_bytes() == hub.repositories[HALF]["model_index.json"]


def test_the_list_says_what_there_is(hub: LoopbackHub, cache: Path) -> None:
    found = fetch_model(HALF, cache_dir=cache)
    hub.requests.clear()
    rows = available_models(cache)
    assert hub.requests == []
    bundled = rows[0]
    assert (bundled.model, bundled.size, bundled.licence) == ("tiny", "measured", "apache-2.0")
    assert [row for row in rows if row.path] == [
        bundled,
        Available("zero123-xl", HALF, "ashawkey", "float16", 2_500_000_000, "stated",
                  NAMED["zero123-xl"].licence, found.path),
    ]  # fmt: skip
    assert {row.source for row in rows[1:]} == {
        source.name for model in NAMED.values() for source in model.sources
    }
