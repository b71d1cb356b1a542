"""Names, repositories and paths: where a model is found, and what is said of it before."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zero123lib.diffusion.card import about_model
from zero123lib.diffusion.checkpoints import sources
from zero123lib.diffusion.checkpoints.sources import (
    NAMED,
    bundled_models,
    card_licence,
    guessed_encoding,
)
from zero123lib.diffusion.pipeline import Zero123Pipeline

Save = Callable[..., Path]
Views = Callable[[Any], Tensor]


def put_in_hub_cache(cache: Path, repository: str, files: dict[str, Path]) -> None:
    """Lay files out as huggingface_hub's downloads lie, so that none is needed."""
    home = cache / f"models--{repository.replace('/', '--')}"
    commit = "0" * 40
    (home / "refs").mkdir(parents=True)
    (home / "refs/main").write_text(commit)
    for name, path in files.items():
        target = home / "snapshots" / commit / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


@pytest.mark.parametrize("name", NAMED)
def test_named_models_are_their_publishers_files(
    name: str, original: Any, save: Save, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = NAMED[name]
    path = save(original.state)
    if name == "zero123-xl":
        (tmp_path / "hub").mkdir()
        shutil.copy(path, tmp_path / "hub" / model.file)
    else:
        put_in_hub_cache(tmp_path / "hub", model.publisher, {model.file: path})
    pipe = Zero123Pipeline.from_pretrained(
        name, original_config=original.config, use_ema=False, cache_dir=tmp_path / "hub"
    )
    assert pipe.model_name == name
    assert pipe.config["encoding"] == ("stable-zero123" if "stable" in name else "zero123")
    assert pipe.licence == model.licence
    assert model.licence in about_model(pipe)
    pipe.save_pretrained(tmp_path / "saved")
    assert Zero123Pipeline.from_pretrained(tmp_path / "saved").licence == model.licence
    [record] = caplog.records  # the licence, and no guess of an encoding
    assert model.licence in record.getMessage()
    assert model.publisher in record.getMessage()


def test_the_licence_is_shown_before_the_download(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="^source: expected a model that .* got 'stable-zero123'"):
        Zero123Pipeline.from_pretrained("stable-zero123", cache_dir="/nonexistent")
    assert "Non-Commercial" in caplog.text


def test_a_download_from_the_web_is_whole_or_not_there(
    original: Any, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = save(original.state, "zero123-xl.ckpt"), tmp_path / "cache"
    options = {"original_config": original.config, "use_ema": False, "cache_dir": cache}
    monkeypatch.setattr(sources, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(sources, "NAMED", dict(NAMED))
    # urllib fetches files as it fetches pages, so that no server is needed.
    for folder, there in ((tmp_path / "nothing", False), (tmp_path, True)):
        model = dataclasses.replace(NAMED["zero123-xl"], publisher=f"https://{folder}")
        monkeypatch.setitem(sources.NAMED, "zero123-xl", model)
        real = torch.hub.download_url_to_file
        monkeypatch.setattr(
            torch.hub,
            "download_url_to_file",
            lambda url, *rest, real=real, **more: real(
                url.replace("https://", "file://"), *rest, **{**more, "progress": False}
            ),
        )
        if there:
            assert Zero123Pipeline.from_pretrained("zero123-xl", **options).model_name
            assert (cache / "zero123-xl.ckpt").read_bytes() == path.read_bytes()
        else:
            with pytest.raises(ValueError, match="^source: expected a model that .*zero123-xl"):
                Zero123Pipeline.from_pretrained("zero123-xl", **options)
            assert not list(cache.iterdir())
        monkeypatch.setattr(torch.hub, "download_url_to_file", real)


def test_the_two_stable_licences_differ() -> None:
    assert NAMED["stable-zero123"].licence != NAMED["stable-zero123-c"].licence


def test_a_repository_is_a_folder(
    original: Any, scheduler: Any, tmp_path: Path, views: Views
) -> None:
    pipe = Zero123Pipeline(**original.networks, scheduler=scheduler)
    pipe.save_pretrained(tmp_path / "model")
    (tmp_path / "model/README.md").write_text("---\nlicense: mit\n---\n")
    files = {
        str(path.relative_to(tmp_path / "model")): path
        for path in (tmp_path / "model").rglob("*")
        if path.is_file()
    }
    put_in_hub_cache(tmp_path / "hub", "kxic/zero123-xl", files)
    more: dict[str, Any]
    for more in ({}, {"local_files_only": True}):
        read = Zero123Pipeline.from_pretrained(
            "kxic/zero123-xl", cache_dir=tmp_path / "hub", **more
        )
        assert torch.equal(views(read), views(pipe))
        assert (read.model_name, read.licence) == ("zero123-xl", "mit")


def test_bundled_models_have_names_and_licences() -> None:
    assert bundled_models() == ["tiny"]
    assert Zero123Pipeline.from_pretrained("tiny").licence == "apache-2.0"


@pytest.mark.parametrize("name", ["owner/no-such-model", "a/--b", "a/b/c", "zero123-xxl", "", "."])
def test_what_is_nowhere_is_named(name: str) -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(ValueError, match="^source: expected") as caught:
        Zero123Pipeline.from_pretrained(name)
    assert "\n" not in str(caught.value)


def test_a_path_is_a_path_and_a_name_a_name(
    original: Any,
    scheduler: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pipe = Zero123Pipeline(**original.networks, scheduler=scheduler, model_name="mine")
    pipe.save_pretrained(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    assert Zero123Pipeline.from_pretrained(Path("tiny")).model_name == "mine"
    assert Zero123Pipeline.from_pretrained("./tiny").model_name == "mine"
    assert not caplog.text
    assert Zero123Pipeline.from_pretrained("tiny").model_name == "tiny"
    assert "pass './tiny'" in caplog.text


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"source": None}, ValueError, "source: expected a name or a path, got NoneType"),
        ({"source": "x" * 5000}, ValueError, "source: expected a model's name"),
        ({"encoding": "zero"}, ValueError, "encoding: expected one of 'auto', 'zero123', 'stable"),
        ({"torch_dtype": "float16"}, ValueError, "torch_dtype: expected one of torch.float32"),
        ({"torch_dtype": torch.int8}, ValueError, "torch_dtype: .* got torch.int8"),
        ({"torch_dtype": {"unett": torch.float16}}, ValueError, "torch_dtype: .* got 'unett'"),
        ({"device": "gpu"}, ValueError, "device: expected a torch device that is here"),
        ({"unet": None}, TypeError, "unet: expected a UNet2DConditionModel, got NoneType"),
        ({"text_encoder": None}, TypeError, "text_encoder: expected an argument of"),
    ],
)
def test_wrong_arguments_are_named(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{message}") as caught:
        Zero123Pipeline.from_pretrained(**{"source": "tiny", **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("stable_zero123_c", "stable-zero123"),
        ("My-Stable-Zero123", "stable-zero123"),
        ("zero123-xl", "zero123"),
        ("105000", "zero123"),
    ],
)
def test_guesses(name: str, encoding: str) -> None:
    assert guessed_encoding(name) == encoding


@pytest.mark.parametrize(
    ("header", "licence"),
    [
        ("license: mit", "mit"),
        ('license: "apache-2.0"', "apache-2.0"),
        ("license: other\nlicense_name: Some Research License", "Some Research License"),
        ("tags: [a]", None),
    ],
)
def test_licences_of_cards(header: str, licence: str | None, tmp_path: Path) -> None:
    assert card_licence(tmp_path) is None
    (tmp_path / "README.md").write_text(f"---\n{header}\n---\ntext\n")
    assert card_licence(tmp_path) == licence
    (tmp_path / "README.md").write_text(f"# Model\n{header}\n")
    assert card_licence(tmp_path) is None
