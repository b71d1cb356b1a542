"""Conversion: original -> diffusers -> original without a changed bit, whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from zero123lib.cli import main
from zero123lib.diffusion.checkpoints import export, names
from zero123lib.diffusion.convert import convert
from zero123lib.diffusion.pipeline import Zero123Pipeline

Save = Callable[..., Path]
Views = Callable[[Any], Tensor]

NETWORKS = (names.UNET, names.VAE, names.CLIP, names.PROJECTION)


def weights_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name.startswith(NETWORKS)}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_there_and_back(original: Any, save: Save, views: Views, tmp_path: Path) -> None:
    options: dict[str, Any] = {"original_config": original.config, "encoding": "zero123"}
    steps = list(convert(save(original.state), tmp_path / "folder", **options, use_ema=False))
    assert steps[-1].done == steps[-1].total
    assert torch.equal(
        views(Zero123Pipeline.from_pretrained(tmp_path / "folder")), views(original.networks)
    )
    [step] = convert(tmp_path / "folder", tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert step.done == sum(tensor.nbytes for tensor in back.values())
    assert same(weights_of(back), weights_of(original.state))
    # The official code samples with the average: a file without one would sample noise there.
    for name in original.state:
        if name.startswith(names.UNET):
            assert torch.equal(back[names.ema_name(name)], original.state[name])
    again = Zero123Pipeline.from_pretrained(
        tmp_path / "back.safetensors", original_config=original.config
    )
    assert again.config["encoding"] == "zero123"
    assert torch.equal(views(again), views(original.networks))


def test_the_average_or_the_weights(original: Any, save: Save, tmp_path: Path) -> None:
    path = save(original.averaged())
    options: dict[str, Any] = {"original_config": original.config, "encoding": "zero123"}
    for use_ema, factor in ((True, 0.5), (False, 1.0)):
        out = tmp_path / f"{use_ema}"
        list(convert(path, out, use_ema=use_ema, **options))
        unet = load_file(out / "unet/diffusion_pytorch_model.safetensors")
        weights = original.networks["unet"].state_dict()
        assert same(unet, {name: tensor * factor for name, tensor in weights.items()})


def test_half_precision_in_shards(original: Any, save: Save, tmp_path: Path) -> None:
    out = tmp_path / "half"
    steps = list(
        convert(
            save(original.state),
            out,
            original_config=original.config,
            torch_dtype=torch.float16,
            max_shard_bytes=500_000,
        )
    )
    shards = sorted((out / "unet").glob("*.safetensors"))
    assert len(shards) > 2
    assert [step.file for step in steps][: len(shards)] == [f"unet/{s.name}" for s in shards]
    assert all(one.done < two.done for one, two in pairwise(steps))
    pipe = Zero123Pipeline.from_pretrained(out, torch_dtype=torch.float16)
    weights = original.networks["unet"].state_dict()
    assert same(dict(pipe.unet.state_dict()), {n: t.half() for n, t in weights.items()})
    # diffusers and transformers read the parts as well.
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPVisionModelWithProjection

    assert same(
        dict(UNet2DConditionModel.from_pretrained(out / "unet").state_dict()),
        {n: t.half().float() for n, t in weights.items()},
    )
    for part, kind in (("vae", AutoencoderKL), ("image_encoder", CLIPVisionModelWithProjection)):
        read: Any = kind.from_pretrained(out / part)
        expected = original.networks[part].state_dict()
        assert all(torch.equal(t.half(), expected[n].half()) for n, t in read.state_dict().items())


def test_one_part_stays_as_it_is_beside_the_card(tmp_path: Path) -> None:
    list(convert("tiny", tmp_path / "copy"))
    pipe = Zero123Pipeline.from_pretrained(tmp_path / "copy")
    assert (pipe.model_name, pipe.licence) == ("tiny", "apache-2.0")
    with pytest.raises(ValueError, match="^source: expected a model with an AutoencoderKL"):
        list(convert("tiny", tmp_path / "tiny.safetensors"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]
    # Readable by whoever may read the user's other files.
    modes = {path.stat().st_mode for path in (tmp_path / "copy").rglob("*") if path.is_file()}
    assert len(modes) == 1


@pytest.fixture
def full_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """Let the disk be full after so many files; returns the list of files saved so far."""

    def arrange(count: int) -> list[str]:
        saved: list[str] = []
        real = export.save_file

        def save_file(tensors: Any, path: Path, metadata: Any) -> None:
            if len(saved) == count:
                Path(path).write_bytes(b"half a file")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(tensors, path, metadata)
            saved.append(Path(path).name)

        monkeypatch.setattr(export, "save_file", save_file)
        return saved

    return arrange


def test_a_full_disk_leaves_nothing_by_its_final_name_and_the_next_call_goes_on(
    original: Any,
    save: Save,
    tmp_path: Path,
    full_after: Callable[[int], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, out = save(original.state), tmp_path / "out"
    options: dict[str, Any] = {"original_config": original.config, "max_shard_bytes": 500_000}
    first = full_after(3)
    with pytest.raises(OSError, match="No space left"):
        list(convert(path, out, **options))
    monkeypatch.undo()
    assert not out.exists()
    partial = tmp_path / "out.partial"
    assert len(list(partial.rglob("*.safetensors"))) == 3 == len(first)
    stamps = {shard: shard.stat().st_mtime_ns for shard in partial.rglob("*.safetensors")}
    list(convert(path, out, **options))
    assert not partial.exists()
    for shard, stamp in stamps.items():
        assert (out / shard.relative_to(partial)).stat().st_mtime_ns == stamp
    read = Zero123Pipeline.from_pretrained(out).unet.state_dict()
    assert same(dict(read), original.networks["unet"].state_dict())


def test_another_source_starts_over(
    original: Any, save: Save, tmp_path: Path, full_after: Callable[[int], list[str]]
) -> None:
    path, out = save(original.state), tmp_path / "out"
    options: dict[str, Any] = {"original_config": original.config, "max_shard_bytes": 500_000}
    saved = full_after(2)
    with pytest.raises(OSError, match="No space left"):
        list(convert(path, out, **options))
    doubled = {n: 2 * t if n.startswith(names.UNET) else t for n, t in original.state.items()}
    saved.clear()
    with pytest.raises(OSError, match="No space left"):
        list(convert(save(doubled), out, **options))
    # From the first file again, since the source has changed.
    shard = next((tmp_path / "out.partial/unet").glob("*-00001-*"))
    weights = original.networks["unet"].state_dict()
    with safe_open(shard, framework="pt") as file:
        assert torch.equal(file.get_tensor("conv_in.weight"), 2 * weights["conv_in.weight"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a small file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_really_full(
    original: Any, save: Save, small_disk: Path, tmp_path: Path, capsys: Any
) -> None:
    path, out = save(original.state), small_disk / "out"
    with pytest.raises(OSError, match="could not be written") as caught:
        list(convert(path, out, original_config=original.config, max_shard_bytes=1_000_000))
    assert "space" in str(caught.value)
    assert not out.exists()
    assert not list(small_disk.rglob("*.safetensors.partial"))
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    list(convert(path, out, original_config=original.config, max_shard_bytes=1_000_000))
    read = Zero123Pipeline.from_pretrained(out).unet.state_dict()
    assert same(dict(read), original.networks["unet"].state_dict())


def test_what_is_there_is_not_overwritten(original: Any, save: Save, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").write_text("mine")
    (tmp_path / "file.safetensors").write_text("mine")
    for name in ("taken", "taken/file", "file.safetensors"):
        with pytest.raises(ValueError, match="^out: expected a new name or an empty folder"):
            next(convert(save(original.state), tmp_path / name))
    (tmp_path / "empty").mkdir()
    list(convert("tiny", tmp_path / "empty"))
    assert (tmp_path / "empty/model_index.json").exists()


def test_the_command_line(
    original: Any, save: Save, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    path, config = save(original.averaged()), tmp_path / "model.yaml"
    config.write_text(yaml.safe_dump(original.config))
    out = tmp_path / "out"
    words = ["convert", str(path), str(out), "--original-config", str(config)]
    assert main([*words, "--dtype", "float16", "--no-ema", "--encoding", "stable-zero123"]) == 0
    assert f"wrote 0.01 GB of weights to {out}" in capsys.readouterr().out
    pipe = Zero123Pipeline.from_pretrained(out)
    assert pipe.config["encoding"] == "stable-zero123"
    weights = original.networks["unet"].state_dict()
    assert same(dict(pipe.unet.state_dict()), {n: t.half().float() for n, t in weights.items()})
    assert main(words) == 2
    assert "zero123 convert: error: out: expected a new name" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "absent.ckpt"), str(tmp_path / "x")]) == 2
    assert "source: expected a model's name" in capsys.readouterr().err
