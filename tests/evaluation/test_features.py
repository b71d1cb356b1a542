"""FID and CLIP similarity: closed forms, the published network's digits, and both in reports."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.linalg import sqrtm
from test_protocols import write_views
from transformers import CLIPConfig, CLIPModel
from transformers.image_utils import PILImageResampling
from transformers.models.clip import image_processing_pil_clip

from zero123lib._errors import ArgumentError
from zero123lib.cli import main
from zero123lib.evaluation.embedders import Embedder, clip_embedder, clip_input
from zero123lib.evaluation.embeddings import LEAST_IMAGES, Distances, embed_views
from zero123lib.evaluation.inception import Inception, load_inception
from zero123lib.metrics import Moments, frechet_distance
from zero123lib.views.images import to_pils

RANDOM = np.random.default_rng(5)


def with_covariance(count: int, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Vectors whose mean and sample covariance are just these."""
    width = len(mean)
    draws = RANDOM.normal(size=(count, width))
    draws -= draws.mean(0)
    white = draws @ np.linalg.inv(np.linalg.cholesky(np.cov(draws, rowvar=False))).T
    return mean + white @ np.linalg.cholesky(covariance).T


def test_frechet_of_gaussians_with_known_moments() -> None:
    scales, means = RANDOM.uniform(0.5, 2, (2, 6)), RANDOM.normal(size=(2, 6))
    a, b = (with_covariance(50, m, np.diag(s**2)) for m, s in zip(means, scales, strict=True))
    # Of commuting covariances: |m - n|^2 + sum of (s - t)^2.
    expected = np.square(means[0] - means[1]).sum() + np.square(scales[0] - scales[1]).sum()
    assert frechet_distance(Moments.of(a), Moments.of(b)) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(Moments.of(a), Moments.of(a)) == pytest.approx(0, abs=1e-9)
    moved = frechet_distance(Moments.of(a), Moments.of(a + 0.5))
    assert moved == pytest.approx(6 * 0.25, rel=1e-9)


def test_frechet_is_that_of_scipys_root() -> None:
    a, b = (RANDOM.normal(size=(40, 5)) @ RANDOM.normal(size=(5, 5)) for _ in range(2))
    one, other = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root: Any = sqrtm(one @ other)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(one + other - 2 * root.real)
    assert frechet_distance(Moments.of(a), Moments.of(b)) == pytest.approx(expected, rel=1e-8)


def test_frechet_of_fewer_vectors_than_numbers_in_them() -> None:
    """Of two vectors each, covariances are of rank 1: d d^T / 2, whose roots multiply exactly."""
    a, b = RANDOM.normal(size=(2, 2, 30))
    c, d = (one[0] - one[1] for one in (a, b))
    expected = np.square(a.mean(0) - b.mean(0)).sum() + (c @ c + d @ d) / 2 - abs(c @ d)
    assert frechet_distance(Moments.of(a), Moments.of(b)) == pytest.approx(expected, rel=1e-9)
    flat = np.tile(RANDOM.normal(size=30), (4, 1))
    expected = np.square(a.mean(0) - flat[0]).sum() + c @ c / 2
    assert frechet_distance(Moments.of(a), Moments.of(flat)) == pytest.approx(expected, rel=1e-9)
    with pytest.raises(ValueError, match="b: expected at least 2 vectors, got 1"):
        frechet_distance(Moments.of(a), Moments.of(b[:1]))
    with pytest.raises(ValueError, match="b: expected vectors of 30 numbers, got 29"):
        frechet_distance(Moments.of(a), Moments.of(b[:, 1:]))
    with pytest.raises(ValueError, match="features: expected finite"):
        Moments.of(a * np.nan)


def test_moments_add_up() -> None:
    features = 100 + RANDOM.normal(size=(30, 4))
    parts = Moments.of(features[:1]) + Moments.of(features[1:12]) + Moments.of(features[12:])
    assert parts.count == 30 and np.allclose(parts.mean, features.mean(0))
    assert np.allclose(parts.root.T @ parts.root / 29, np.cov(features, rowvar=False))
    assert len(parts.root) <= 2 * 4


def made_inception() -> dict[str, torch.Tensor]:
    """Weights from the parameters' names, the same everywhere."""
    found = {}
    for name, like in Inception().state_dict().items():
        draws = np.random.default_rng(zlib.crc32(name.encode())).random(tuple(like.shape))
        if name.endswith("num_batches_tracked"):
            found[name] = torch.tensor(1)
            continue
        if name.endswith("conv.weight"):
            draws = (draws - 0.5) * (24 / np.prod(like.shape[1:])) ** 0.5
        elif name.endswith(("bn.weight", "running_var")):
            draws = draws + 0.5
        else:
            draws = draws * 0.2 - 0.1
        found[name] = torch.from_numpy(np.asarray(draws)).float()
    return found


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "inception.pth"
    torch.save(made_inception(), path)
    return path


def test_inception_has_the_features_of_pytorch_fid(inception_file: Path) -> None:
    """The digits are those of pytorch-fid 0.3.0 with the same weights and image."""
    image = torch.from_numpy(np.random.default_rng(0).random((6, 3, 64, 64))).float()[:1]
    image = torch.nn.functional.interpolate(image[..., :8, :8], (64, 64), mode="bilinear")
    with torch.no_grad():
        found = load_inception(inception_file)((image * 255).round() / 255)
    assert found.shape == (1, 2048)
    expected = [0.3252668, 3.5588026, 0.0054998, 6.8989859, 7.4375796, 0.2011440]
    assert found[0, :6].tolist() == pytest.approx(expected, abs=1e-4)


def test_inception_is_read_in_every_form_and_nothing_else(inception_file, tmp_path) -> None:
    state = torch.load(inception_file, weights_only=True)
    name = "Mixed_7c.branch_pool.bn.running_var"
    old, safe = tmp_path / "old.pth", tmp_path / "new.safetensors"
    torch.save(state, old, _use_new_zipfile_serialization=False)
    save_file({**state, "fc.bias": torch.zeros(1008)}, safe)
    for path in (old, safe):
        assert torch.equal(load_inception(path).state_dict()[name], state[name])
    torch.save({"x": print}, tmp_path / "code.pth", _use_new_zipfile_serialization=False)
    save_file({k: v for k, v in state.items() if k != name}, tmp_path / "part.safetensors")
    save_file({**state, name: state[name] / 0}, tmp_path / "inf.safetensors")
    with zipfile.ZipFile(tmp_path / "program.pt", "w") as archive:
        for record in ("data.pkl", "constants.pkl"):
            archive.writestr(f"inception/{record}", b"")
    for file, why in {
        "none.pth": "which is no file",
        "code.pth": "nothing was run",
        "part.safetensors": f"without {name}",
        "inf.safetensors": "not finite",
        "program.pt": "TorchScript program",
    }.items():
        with pytest.raises(ArgumentError, match=r"inception: expected Inception's weights") as got:
            load_inception(tmp_path / file)
        assert why in str(got.value) and "\n" not in str(got.value)


def tiny_clip(folder: Path, safe: bool = True) -> CLIPModel:
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
             "num_attention_heads": 2}  # fmt: skip
    vision = {**small, "image_size": 24, "patch_size": 8}
    config = CLIPConfig(
        text_config={**small, "vocab_size": 9, "max_position_embeddings": 5},
        vision_config=vision, projection_dim=12,
    )  # fmt: skip
    model = CLIPModel(config).eval()
    if safe:
        model.save_pretrained(folder)
    else:
        folder.mkdir()
        config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return model


@pytest.mark.parametrize("safe", [True, False])
def test_clip_is_that_of_transformers(tmp_path: Path, safe: bool) -> None:
    model = tiny_clip(tmp_path / "clip", safe)
    embedder = clip_embedder(tmp_path / "clip")
    images = torch.rand(3, 3, 30, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        seen = model.vision_model(clip_input(images, 24)).pooler_output
        expected = model.visual_projection(seen)
    found = embedder.embed(images)
    assert embedder.width == 12 and found.shape == (3, 12)
    assert torch.allclose(found, expected, atol=1e-6)
    assert embedder.about == "CLIP, a tower 16 wide with 2 layers" and len(embedder.digest) == 64


def test_images_are_prepared_as_clips_own_processor_does() -> None:
    images = torch.rand(2, 3, 45, 60, generator=torch.Generator().manual_seed(1))
    images = torch.nn.functional.avg_pool2d(images, 3, 1, 1)
    processor = image_processing_pil_clip.CLIPImageProcessorPil(
        size={"shortest_edge": 24}, crop_size=24, resample=PILImageResampling.BICUBIC
    )
    expected = processor(to_pils(images * 2 - 1), return_tensors="pt")["pixel_values"]
    assert torch.allclose(clip_input(images, 24), expected, atol=1e-5)


def test_what_is_no_folder_of_clip_is_one_line(tmp_path: Path) -> None:
    tiny_clip(tmp_path / "clip")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare").mkdir()
    (tmp_path / "clip" / "config.json").rename(tmp_path / "bare" / "config.json")
    for name in ("none", "empty", "bare", "clip"):
        with pytest.raises(ArgumentError, match=r"clip: expected a folder of transformers'") as got:
            clip_embedder(tmp_path / name)
        assert "\n" not in str(got.value)


def means(images: torch.Tensor) -> torch.Tensor:
    return images.mean((2, 3))


def test_views_that_are_shown_twice_are_embedded_once_and_kept(tmp_path: Path) -> None:
    seen: list[int] = []

    def counted(images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return means(images)

    true = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    answers = {"prediction": 1 - true, "input": true[:1].expand_as(true)}
    embedder = Embedder("inception", "means", "0", 3, counted)
    found = embed_views(embedder, lambda: (answers, true), tmp_path, ["cup"])
    assert seen == [6] and torch.equal(found["true"], means(true))
    assert torch.equal(found["input"], means(true[:1]).expand(3, 3))
    again = embed_views(embedder, lambda: 1 / 0, tmp_path, ["cup"])  # type: ignore[arg-type]
    assert all(torch.equal(again[name], found[name]) for name in found)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    embed_views(embedder, lambda: (answers, true), tmp_path, ["cup"])
    embed_views(embedder, lambda: (answers, true), tmp_path, ["hat"])
    assert seen == [6, 6, 6]


def test_a_report_has_both_and_says_what_few_images_tell(
    tmp_path: Path, inception_file: Path, capsys
) -> None:
    for name, noise in (("cup", 10), ("hat", 60)):
        write_views(tmp_path / "true" / name, range(2), 48)
        write_views(tmp_path / "made" / name, range(2), 48, noise=noise)
    tiny_clip(tmp_path / "clip")
    words = ["evaluate", "folder", str(tmp_path / "made"), str(tmp_path / "true")]
    out, weights = tmp_path / "report", ["--clip", str(tmp_path / "clip")]
    weights += ["--inception", str(inception_file)]
    assert main([*words, *weights, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "warning: FID of 4 images only" in printed and f"{LEAST_IMAGES:,}" in printed
    assert "not at hand: CLIP" not in printed and "not at hand: FID" not in printed
    report = json.loads((out / "report.json").read_text())
    assert report["command"].endswith(" ".join(weights))
    assert "not the published file" in report["networks"]["inception"]
    for metric in ("fid", "fid_clip"):
        numbers = report["overall"][metric]
        assert list(numbers) == ["prediction", "input", "blank"]
        assert 0 < numbers["prediction"] < numbers["blank"]
    clip = {name: one["clip"]["mean"] for name, one in report["means"].items()}
    assert 1 > clip["prediction"] > clip["blank"] and clip["input"] <= 1
    page = (out / "report.html").read_text()
    assert "<th>FID</th>" in page and "<th>FID on CLIP</th>" in page and "<th>CLIP</th>" in page
    # Identical views are at no distance; what is known is read from cells, to the same numbers.
    same = [*words[:2], words[3], words[3], *weights[:2], "--out", str(tmp_path / "same")]
    assert main(same) == 0
    numbers = json.loads((tmp_path / "same" / "report.json").read_text())
    assert numbers["overall"]["fid_clip"]["prediction"] == pytest.approx(0, abs=1e-6)
    assert numbers["means"]["prediction"]["clip"]["mean"] == pytest.approx(1, abs=1e-6)
    assert main([*words, *weights, "--out", str(out)]) == 0
    assert json.loads((out / "report.json").read_text())["overall"] == report["overall"]
    capsys.readouterr()
    assert main(["evaluate", "compare", str(out), str(out)]) == 0
    fid = report["overall"]["fid"]["prediction"]
    assert re.search(rf"^FID +{fid:.2f} +{fid:.2f} +\+0\.00$", capsys.readouterr().out, re.M)
    # Of fewer objects FID is another number.
    part = [*words, *weights[:2], "--objects", "cup", "--out", str(tmp_path / "part")]
    assert main(part) == 0 and main(["evaluate", "compare", str(out), part[-1]]) == 0
    printed = capsys.readouterr().out
    assert "not compared, since they are of other objects: FID on CLIP" in printed
    assert not re.search(r"^FID on CLIP", printed, re.M)
    # One CLIP's numbers are not subtracted from another's.
    file = tmp_path / "same" / "report.json"
    file.write_text(file.read_text().replace("SHA-256 ", "SHA-256 0"))
    assert main(["evaluate", "compare", str(out), str(tmp_path / "same")]) == 2
    assert re.search(r"B: expected .*CLIP, a tower.*, as a has", capsys.readouterr().err)


def test_a_report_of_scenes_has_them_too(tmp_path: Path, capsys) -> None:
    tiny_clip(tmp_path / "clip")
    words = ["--objects", "2", "--views", "2", "--steps", "1", "--clip", str(tmp_path / "clip")]
    assert main(["evaluate", "scenes", *words, "--out", str(tmp_path / "out")]) == 0
    assert "FID on CLIP: prediction " in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["command"].endswith(" ".join(words[-2:]))
    report = report["by_object"]
    assert list(report["overall"]) == ["fid_clip"]
    answers = ["prediction", "input", "blank", "mean"]
    assert list(report["overall"]["fid_clip"]) == answers == list(report["means"])
    assert all(0 < one["clip"]["mean"] < 1 for one in report["means"].values())


def test_a_single_image_has_no_distance() -> None:
    distances = Distances([Embedder("inception", "means", "0", 3, means)])
    true = torch.zeros(1, 3, 4, 4)
    features = distances.embed(lambda: ({"prediction": true + 0.5}, true))
    assert distances.count(None, features) is None  # type: ignore[arg-type]
    assert distances.numbers == {}
    assert any("FID: of a single image" in line for line in distances.missing(("fid",)))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["folder", "{}", "{}", "--clip", "{}/none"], "--clip: expected a folder of CLIP"),
        (["folder", "{}", "{}", "--inception", "{}/none"], "--inception: expected the file"),
        (["folder", "{}", "{}", "--clip", "{}"], "--clip: expected a folder of transformers'"),
        (["folder", "{}", "{}", "--inception", "{}"], "--inception: expected Inception's weights"),
        (["syncdreamer", "{}", "{}", "--meshes", "--clip", "{}"], "--clip: expected no --meshes"),
        (["ifusion", "{}", "{}", "--poses", "--clip", "{}"], "--clip: expected no --poses"),
        (["scenes", "--sweep-steps", "1", "--inception", "{}"], "--inception: expected no --sweep"),
    ],
)
def test_wrong_weights_are_one_line(words, complaint, tmp_path: Path, capsys) -> None:
    write_views(tmp_path / "cup", range(2))
    assert main(["evaluate", *(word.format(tmp_path) for word in words)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert complaint in line
