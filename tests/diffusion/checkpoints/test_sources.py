"""Names, repositories and paths: where a model is found, and what is said of it before."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zero123lib.diffusion.card import about_model
from zero123lib.diffusion.checkpoints import original as original_layout
from zero123lib.diffusion.checkpoints.canonical import NETWORKS, empty_network
from zero123lib.diffusion.checkpoints.downloads import readable
from zero123lib.diffusion.checkpoints.named import NAMED, fitting, named_source
from zero123lib.diffusion.checkpoints.parts import PARTS
from zero123lib.diffusion.checkpoints.sources import (
    bundled_models,
    card_licence,
    guessed_encoding,
)
from zero123lib.diffusion.pipeline import Zero123Pipeline

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = Path(original_layout.__file__).parent / "configs"

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
def test_official_files_are_their_publishers(
    name: str, original: Any, save: Save, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = NAMED[name]
    [source] = [source for source in model.sources if source.layout == "original"]
    assert source.file is not None
    path, cache = save(original.state), tmp_path / "hub"
    if source.on_the_web:
        shutil.copytree(path.parent, cache / "zero123lib/zero123.cs.columbia.edu")
        (cache / "zero123lib/zero123.cs.columbia.edu" / path.name).rename(
            cache / "zero123lib/zero123.cs.columbia.edu" / source.file
        )
    else:
        put_in_hub_cache(cache, source.place, {source.file: path})
    pipe = Zero123Pipeline.from_pretrained(
        name, original_config=original.config, use_ema=False, cache_dir=cache
    )
    assert pipe.model_name == name
    assert pipe.config["encoding"] == ("stable-zero123" if "stable" in name else "zero123")
    assert pipe.licence == model.licence
    assert model.licence in about_model(pipe)
    pipe.save_pretrained(tmp_path / "saved")
    assert Zero123Pipeline.from_pretrained(tmp_path / "saved").licence == model.licence
    [record] = caplog.records  # whose it is and the licence, and no guess of an encoding
    assert model.licence in record.getMessage()
    assert f"{source.publisher}'s official file, {source.name}" in record.getMessage()


def test_the_licence_is_shown_before_the_download(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="^source: expected a model that .* got 'stable-zero123'"):
        Zero123Pipeline.from_pretrained("stable-zero123", cache_dir="/nonexistent")
    assert "Non-Commercial" in caplog.text


@pytest.mark.parametrize("name", NAMED)
def test_the_table_has_the_official_file_last_and_names_that_are_its_own(name: str) -> None:
    sources = NAMED[name].sources
    assert [source.layout for source in sources] == ["diffusers"] * (len(sources) - 1) + [
        "original"
    ]
    assert fitting(name, None, True) == [sources[-1]]
    for precision in ("float16", "float32"):
        sizes = [source.nbytes for source in fitting(name, precision, False)]
        assert sizes == sorted(sizes) and sizes
    assert all(named_source(source.name) == (name, source) for source in sources)


def test_computed_sizes_are_those_of_the_published_networks() -> None:
    configs = {
        "image_encoder": {"hidden_size": 1024, "intermediate_size": 4096, "projection_dim": 768,
                          "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14},
        "camera_projection": {},
        **{part: json.loads((CONFIGS / f"{part}.json").read_text()) for part in ("unet", "vae")},
    }  # fmt: skip
    count = sum(
        weight.numel()
        for part, config in configs.items()
        for weight in empty_network(part, config, CONFIGS).parameters()
    )
    computed = {
        source.nbytes for model in NAMED.values() for source in model.sources if not source.stated
    }
    assert computed == {4 * count}
    stated = [source for source in NAMED["zero123-xl"].sources if source.precision == "float16"]
    assert stated[0].nbytes == pytest.approx(2 * count, rel=0.01)


@pytest.mark.parametrize("name", NAMED)
def test_the_documentation_has_the_table(name: str) -> None:
    rows = [line for line in (ROOT / "docs/checkpoints.md").read_text().splitlines() if "|" in line]
    for source in NAMED[name].sources:
        (row,) = [row for row in rows if f"| `{source.name}`" in row]
        assert f"| {source.precision} | {readable(source.nbytes)}" in row
        assert ("computed" in row) != source.stated
        assert f"| {source.licence or 'none'}" in row
        assert ("official" in row) == (source.layout == "original")


def test_parts_are_the_networks_of_a_pipeline() -> None:
    assert tuple(NETWORKS) == PARTS


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
