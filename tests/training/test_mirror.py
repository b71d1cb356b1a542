"""A run whose checkpoints lie in object storage goes on on another machine."""

from __future__ import annotations

import logging
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.test_faults import command
from tests.training.toy import toy_config, weights_of
from zero123lib import cli
from zero123lib.training.checkpoints import resume, save_checkpoint, whole_checkpoints
from zero123lib.training.mirror import Mirror
from zero123lib.training.state import start

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An S3-compatible server on loopback, which s3fs finds by the environment."""
    pytest.importorskip("s3fs", reason="the extra [cluster] is not installed")
    from fsspec.config import conf
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    conf["s3"] = {"key": "a", "secret": "b", "endpoint_url": f"http://{host}:{port}"}
    try:
        import s3fs

        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3://bucket"
    finally:
        conf.pop("s3")
        server.stop()


def steps_there(mirror: Mirror) -> list[str]:
    return [name.removeprefix("checkpoints/step-") for name in mirror.checkpoints()]


def last_files(out: Path) -> dict[str, bytes]:
    folder = out / "checkpoints" / "step-00000024"
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def test_another_machine_goes_on_from_object_storage(tmp_path, renders, bucket, capsys):
    """The first machine is gone, with its disk; what the second ends with is the unbroken run."""
    # With a cosine a smaller budget would have another learning rate.
    common = ["validation.every_steps=4", "schedule.decay=constant"]
    mirrored = [*common, f"saving.mirror={bucket}/runs/one"]
    first = command(tmp_path, tmp_path / "one", renders, *mirrored)
    first[first.index("--max-steps") + 1] = "10"
    assert cli.main(first) == 0
    mirror = Mirror(f"{bucket}/runs/one")
    assert len(steps_there(mirror)) in (2, 3) and steps_there(mirror)[0] == "00000010"
    shutil.rmtree(tmp_path / "one")
    capsys.readouterr()
    second = command(tmp_path, tmp_path / "two", renders, *mirrored)
    assert cli.main(second) == 0
    told = capsys.readouterr().out
    assert f"going on from {tmp_path / 'two' / 'checkpoints' / 'step-00000010'}" in told
    assert cli.main(command(tmp_path, tmp_path / "whole", renders, *common)) == 0
    assert last_files(tmp_path / "two") == last_files(tmp_path / "whole") != {}
    assert (tmp_path / "two" / "model" / "model_index.json").exists()
    kept = [saved.step for saved in whole_checkpoints(tmp_path / "two")]
    assert [int(step) for step in steps_there(mirror)] == kept and kept[0] == 24
    # Without --resume nothing there is written over.
    second.remove("--resume")
    second[second.index("--out") + 1] = str(tmp_path / "three")
    capsys.readouterr()
    assert cli.main(second) == 2
    assert "expected a place without checkpoints, or --resume" in capsys.readouterr().err


def saved(tmp_path: Path, out: Path, *steps: int) -> Any:
    state = start(toy_config(tmp_path))
    for step in steps:
        state.step = step
        save_checkpoint(out, state, None, 2)
    return state


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path) -> str:
    if request.param == "folder":
        return str(tmp_path / "mirror")
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


def test_what_is_cut_short_is_not_there(tmp_path, place, monkeypatch, caplog):
    """An upload that breaks off leaves what was there, and is made up for with the next."""
    out, mirror = tmp_path / "run", Mirror(place)
    saved(tmp_path, out, 1)
    mirror.keep(out, ["checkpoints/step-00000001"], last=False)
    saved(tmp_path, out, 2)
    (out / "model").mkdir()
    (out / "model" / "model_index.json").write_text("{}")
    plain = tarfile.TarFile.add

    def broken(self, *args: Any, **kwargs: Any) -> None:
        plain(self, *args, **kwargs)
        raise ConnectionResetError("gone")

    names = ["model", "checkpoints/step-00000002"]
    with monkeypatch.context() as patched:
        patched.setattr(tarfile.TarFile, "add", broken)
        with caplog.at_level(logging.WARNING):
            mirror.keep(out, names, last=False)
        assert "goes with the next checkpoint" in caplog.text and place in caplog.text
        assert steps_there(mirror) == ["00000001"]
        assert not mirror._fs.exists(f"{mirror._root}/model.tar")
        with pytest.raises(OSError, match="saving.mirror: cannot use .*gone"):
            mirror.keep(out, [], last=True)
    saved(tmp_path, out, 3)
    mirror.keep(out, ["checkpoints/step-00000003"], last=False)
    assert steps_there(mirror) == ["00000003", "00000002"]
    other = tmp_path / "other"
    Mirror(place).fetch(other)
    assert [one.step for one in whole_checkpoints(other)] == [3, 2]
    assert (other / "model" / "model_index.json").read_text() == "{}"


def test_the_newer_side_wins(tmp_path, place):
    """What is newer here goes there with the next checkpoint; what is newer there comes here."""
    here, mirror = tmp_path / "here", Mirror(place)
    state = saved(tmp_path, here, 4, 5)
    mirror.fetch(here)
    mirror.keep(here, [], last=True)
    assert steps_there(mirror) == ["00000005", "00000004"]
    there = tmp_path / "there"
    saved(tmp_path, there, 2)
    Mirror(place).fetch(there)
    assert [one.step for one in whole_checkpoints(there)] == [5, 4, 2]
    again = start(toy_config(tmp_path))
    assert resume(there, again) == there / "checkpoints" / "step-00000005"
    assert again.step == 5
    for name, tensor in weights_of(state).items():
        assert torch.equal(weights_of(again)[name], tensor)


@pytest.mark.parametrize("uri", ["nosuch://bucket/run", "az-://x"])
def test_an_unknown_protocol_is_one_line(uri):
    with pytest.raises(ValueError, match="saving.mirror: expected a place of fsspec's, got"):
        Mirror(uri)


def test_a_mirror_has_a_name(tmp_path):
    assert toy_config(tmp_path).saving.mirror is None
    with pytest.raises(ValueError, match="saving.mirror"):
        toy_config(tmp_path, "saving.mirror=''")
