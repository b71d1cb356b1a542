"""Conversion: original -> diffusers -> original without a changed bit, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from zero123lib.cli import main
from zero123lib.diffusion.checkpoints import export, names
from zero123lib.diffusion.checkpoints.sources import card_licence
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
    *_, step = convert(tmp_path / "folder", tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert step.done == step.total == sum(tensor.nbytes for tensor in back.values())
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
    files = list(dict.fromkeys(step.file for step in steps))
    assert files[: len(shards)] == [f"unet/{shard.name}" for shard in shards]
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
def full_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the disk be full after so many weights."""

    def arrange(count: int) -> None:
        real, left = export.write_safetensors, iter(range(count))

        def write(*arguments: Any) -> Iterator[int]:
            for step in real(*arguments):
                if next(left, None) is None:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                yield step

        monkeypatch.setattr(export, "write_safetensors", write)

    return arrange


def test_after_a_full_disk_the_next_call_goes_on(
    original: Any,
    save: Save,
    tmp_path: Path,
    full_after: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, out = save(original.state), tmp_path / "out"
    options = {"original_config": original.config, "max_shard_bytes": 500_000}
    full_after(100)
    with pytest.raises(OSError, match="No space left"):
        list(convert(path, out, **options))
    monkeypatch.undo()
    assert not out.exists()
    partial = tmp_path / "out.partial"
    shards = {shard: shard.stat().st_mtime_ns for shard in partial.rglob("*.safetensors")}
    assert len(shards) >= 2
    [begun] = partial.rglob("*.safetensors.partial")
    held = begun.stat().st_size
    first, *_, last = convert(path, out, **options)
    assert first.done > 0 and last.done == last.total
    assert not partial.exists()
    for shard, stamp in shards.items():
        assert (out / shard.relative_to(partial)).stat().st_mtime_ns == stamp
    assert (out / begun.relative_to(partial)).with_suffix("").stat().st_size > held
    read = Zero123Pipeline.from_pretrained(out).unet.state_dict()
    assert same(dict(read), original.networks["unet"].state_dict())
    assert sorted(p.name for p in out.iterdir()) == sorted(
        ["README.md", "model_index.json", "pipeline.py", "scheduler", *original.networks]
    )


def test_the_original_layout_goes_on_inside_its_file(
    original: Any,
    save: Save,
    tmp_path: Path,
    full_after: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, out = save(original.state), tmp_path / "again.safetensors"
    options = {"original_config": original.config, "encoding": "zero123"}
    full_after(200)
    with pytest.raises(OSError, match="No space left"):
        list(convert(path, out, **options))
    monkeypatch.undo()
    assert not out.exists()
    first, *_, last = convert(path, out, **options)
    assert 0 < first.done < last.done == last.total
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.safetensors", path.name]
    assert same(weights_of(load_file(out)), weights_of(original.state))


@pytest.mark.parametrize("change", ["weights", "config", "use_ema"])
def test_something_else_starts_over(
    original: Any,
    save: Save,
    tmp_path: Path,
    full_after: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    path, out = save(original.averaged()), tmp_path / "out"
    config = tmp_path / "model.yaml"
    config.write_text(yaml.safe_dump(original.config))
    options: dict[str, Any] = {"original_config": config, "max_shard_bytes": 500_000}
    full_after(100)
    with pytest.raises(OSError, match="No space left"):
        list(convert(path, out, **options))
    monkeypatch.undo()
    if change == "weights":
        path = save(original.averaged(0.25))
    elif change == "config":
        config.write_text(config.read_text() + "\n# another file\n")
    else:
        options["use_ema"] = False
    first, *_ = convert(path, out, **options)
    assert first.done < options["max_shard_bytes"]
    factor = {"weights": 0.25, "config": 0.5, "use_ema": 1.0}[change]
    weights = original.networks["unet"].state_dict()
    read = Zero123Pipeline.from_pretrained(out).unet.state_dict()
    assert same(dict(read), {name: factor * tensor for name, tensor in weights.items()})


def test_only_what_a_conversion_made_is_cleared_away(
    original: Any, save: Save, tmp_path: Path
) -> None:
    options = {"original_config": original.config}
    path = save(original.state)
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial/diary.txt").write_text("mine")
    with pytest.raises(ValueError, match="^out: .* in the way"):
        list(convert(path, tmp_path / "out", **options))
    (tmp_path / "file.safetensors.partial").write_text("mine")
    with pytest.raises(ValueError, match="^out: .* in the way"):
        list(convert(path, tmp_path / "file.safetensors", **options))
    list(convert("tiny", tmp_path / "model.partial"))
    with pytest.raises(ValueError, match="^source: expected a checkpoint outside"):
        list(convert(tmp_path / "model.partial", tmp_path / "model"))
    assert (tmp_path / "out.partial/diary.txt").read_text() == "mine"
    assert Zero123Pipeline.from_pretrained(tmp_path / "model.partial").model_name == "tiny"


def test_one_at_a_time(original: Any, save: Save, tmp_path: Path) -> None:
    path, out = save(original.state), tmp_path / "out"
    options = {"original_config": original.config, "encoding": "zero123"}
    running = convert(path, out, **options)
    next(running)
    with pytest.raises(ValueError, match="^out: expected one conversion at a time"):
        next(convert(path, out, **options, torch_dtype=torch.float16))
    list(running)
    read = Zero123Pipeline.from_pretrained(out).unet.state_dict()
    assert same(dict(read), original.networks["unet"].state_dict())


def test_a_link_to_an_empty_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    list(convert("tiny", tmp_path / "link"))
    assert Zero123Pipeline.from_pretrained(tmp_path / "real").model_name == "tiny"
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "zero"}, "encoding: expected one of 'auto', 'zero123', 'stable-zero123'"),
        (
            {"torch_dtype": "float16"},
            "torch_dtype: expected one of torch.float32, .* got 'float16'",
        ),
        ({"max_shard_bytes": "1GB"}, "max_shard_bytes: expected a whole number of bytes"),
        ({"max_shard_bytes": 0}, "max_shard_bytes: expected a whole number of bytes"),
        ({"out": "model.ckpt"}, "out: expected a folder's name, .* pickles are read, not written"),
        ({"out": "/"}, "out: expected a new name or an empty folder"),
    ],
)
def test_wrong_arguments_write_nothing(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    call = {"out": tmp_path / "out", **options}
    if call["out"] == "model.ckpt":
        call["out"] = tmp_path / "model.ckpt"
    with pytest.raises(ValueError, match=f"^{message}"):
        next(convert("tiny", **call))
    assert not list(tmp_path.iterdir())


def test_cards_are_yaml(original: Any, save: Save, tmp_path: Path) -> None:
    for licence in ("A Licence: research only", "mit", None):
        settings = {"zero123lib": json.dumps({"licence": licence, "encoding": "zero123"})}
        save_file(original.state, tmp_path / "x.safetensors", settings)
        out = tmp_path / f"{licence}".replace(" ", "-")
        list(convert(tmp_path / "x.safetensors", out, original_config=original.config))
        header = yaml.safe_load((out / "README.md").read_text().split("---")[1])
        named = header.get("license_name", header.get("license"))
        assert named == licence == card_licence(out)
        assert Zero123Pipeline.from_pretrained(out).licence == licence


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
    with pytest.raises(OSError, match="No space left"):
        list(convert(path, out, original_config=original.config, max_shard_bytes=1_000_000))
    assert not out.exists()
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
    assert "zero123 convert: error: OUT: expected a new name" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "absent.ckpt"), str(tmp_path / "x")]) == 2
    assert "SOURCE: expected a model's name" in capsys.readouterr().err
