"""Folders under protocols: the right pairs, each protocol's reading, and reports of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zero123lib._errors import ArgumentError
from zero123lib.cli import main
from zero123lib.evaluation.comparing import compare_reports
from zero123lib.evaluation.evaluated import ViewsRun
from zero123lib.evaluation.folders import find_pairs, find_truth, find_views, read_views
from zero123lib.evaluation.page import error_maps, page
from zero123lib.evaluation.protocol_report import ProtocolReport
from zero123lib.evaluation.protocols import (
    ESCHERNET,
    FOLDER,
    FREE3D,
    IFUSION,
    PAPER,
    PROTOCOLS,
    SV3D,
    SYNC_FOCAL_PX,
    SYNC_RIG,
    SYNCDREAMER,
    nearest_view,
)
from zero123lib.evaluation.view_pairs import (
    ObjectScores,
    known_scores,
    order_note,
    score_images,
    score_views,
)
from zero123lib.views.cameras import focal_px


def write_views(
    folder: Path, views: Iterable[int], size: int = 32, noise: int = 0, mode="RGBA"
) -> Path:
    """Write a disc on nothing, of another colour in each view."""
    folder.mkdir(parents=True)
    y, x = np.mgrid[:size, :size] / size - 0.5
    for view in views:
        pixels = np.zeros((size, size, 4), np.uint8)
        inside = (x - 0.02 * (view % 5)) ** 2 + y**2 < 0.1
        pixels[inside] = (200 - 10 * (view % 16), 10 * (view % 16), 40 + noise, 255)
        image = Image.fromarray(pixels)
        if mode != "RGBA":
            white = Image.new("RGB", image.size, "white")
            white.paste(image, mask=image.getchannel("A"))
            image = white.convert(mode)
        image.save(folder / f"{view:03d}.png")
    return folder


def read_one(protocol, tmp_path: Path, pixel: tuple[int, ...]) -> tuple[list[float], list[float]]:
    """How a protocol reads one colour, as a prediction and as a truth."""
    image = Image.new("RGBA" if len(pixel) == 4 else "RGB", (256, 256), pixel)
    for place in ("made", "true"):
        (tmp_path / place).mkdir(exist_ok=True)
        for view in protocol.views:
            image.save(tmp_path / place / f"{view:03d}.png")
    pairs = find_pairs(protocol, tmp_path / "made", tmp_path / "true")
    made, true = read_views(protocol, pairs[0])
    return (255 * made[0, :, 0, 0]).tolist(), (255 * true[0, :, 0, 0]).tolist()


@pytest.mark.parametrize(
    ("protocol", "pixel", "made", "true"),
    [
        (SYNCDREAMER, (100, 0, 200, 51), (224, 204, 244), (224, 204, 244)),
        (IFUSION, (100, 0, 200, 127), (255, 255, 255), (255, 255, 255)),
        (IFUSION, (100, 0, 200, 128), (100, 0, 200), (100, 0, 200)),
        (FREE3D, (100, 0, 200, 0), (100, 0, 200), (100, 0, 200)),
        (ESCHERNET, (100, 0, 200, 1), (100, 0, 200), (100, 0, 200)),
        (ESCHERNET, (100, 0, 200, 0), (100, 0, 200), (255, 255, 255)),
    ],
)
def test_alpha_is_each_protocols_own(tmp_path, protocol, pixel, made, true) -> None:
    found = read_one(protocol, tmp_path, pixel)
    assert np.allclose(found[0], made, atol=1e-4) and np.allclose(found[1], true, atol=1e-4)


def test_the_rule_of_alpha_is_told_as_it_is_read(tmp_path) -> None:
    """White under nothing, as pictures are drawn, is otherwise black where alpha is dropped."""
    white, kept = (255.0, 255.0, 255.0), (100.0, 0.0, 200.0)
    for protocol in (SYNCDREAMER, IFUSION, FREE3D, ESCHERNET):
        found = read_one(protocol, tmp_path, (100, 0, 200, 0))
        told = protocol.alpha_rule().removeprefix("alpha: ").removeprefix("the truth's ")
        true, _, made = told.partition("; predictions' ")
        for pixel, rule in zip(found, (made or true, true), strict=True):
            assert tuple(pixel) == (kept if rule.startswith("dropped") else white)
            assert rule.startswith("dropped") or "white" in rule


def test_the_rig_of_syncdreamer_is_its_intrinsics() -> None:
    fov = 2 * np.degrees(np.arctan(128 / SYNC_FOCAL_PX))
    assert focal_px(256, fov) == pytest.approx(280)
    assert [nearest_view(SYNC_RIG.poses, view) for view in (0, 1, 15)] == [1, 0, 0]


def test_identical_views_score_best_under_every_protocol(tmp_path) -> None:
    for name, protocol in PROTOCOLS.items():
        views = protocol.views or range(2)
        true = write_views(tmp_path / name / "true" / "ball", views, protocol.size_px or 32)
        made, wanted = read_views(protocol, find_pairs(protocol, true, true)[0])
        scores = score_images(protocol, made[:1], wanted[:1])
        expected = 100 if protocol.truth == protocol.prediction else None
        assert expected is None or scores["psnr_db"] == [100]
        assert expected is None or scores["ssim"] == pytest.approx([1], abs=1e-5)


def test_what_cannot_be_compared_is_one_line(tmp_path) -> None:
    true, made = tmp_path / "true", tmp_path / "made"
    for name in ("cup", "hat"):
        write_views(true / name, range(3))
    write_views(made / "cup", range(2))

    def complaint(protocol=FOLDER, predictions: Path = made) -> str:
        with pytest.raises(ArgumentError) as caught:
            for pair in find_pairs(protocol, predictions, true):
                read_views(protocol, pair)
        return str(caught.value)

    assert re.match(r"predictions: expected a view 002 in '.*cup', got 2 others", complaint())
    write_views(made / "tmp", range(2, 3))
    (made / "tmp" / "002.png").rename(made / "cup" / "002.png")
    assert re.match(r"predictions: expected a view 000 in '.*hat', got no view", complaint())
    write_views(made / "hat", range(3), size=48)
    assert "expected 32 x 32 px, folder does not resize, got 48 x 48" in complaint()
    assert "truth: expected a view 003" in complaint(SYNCDREAMER)
    (made / "hat" / "000.png").write_bytes(b"no image")
    assert re.match(r"predictions: expected images, got '.*hat/000.png'", complaint())
    Image.new("I;16", (32, 32)).save(made / "hat" / "000.png")
    assert "expected images of 8 bits, RGB or RGBA, got mode I;16" in complaint()
    assert "a folder of objects" in complaint(predictions=tmp_path / "none")


def test_a_stray_image_beside_objects_is_no_object(tmp_path) -> None:
    for name in ("cup", "hat"):
        write_views(tmp_path / "true" / name, range(2))
        write_views(tmp_path / "made" / name, range(2))
    one = Image.new("RGB", (32, 32))
    for side in ("true", "made"):
        one.save(tmp_path / side / "overview.png")

    def found(truth: Path, predictions: Path, objects=None) -> dict[str, Path]:
        pairs = find_pairs(FOLDER, predictions, truth, objects)
        return {pair.name: pair.views[0].prediction.parent for pair in pairs}

    true, made = tmp_path / "true", tmp_path / "made"
    assert found(true, made) == {"cup": made / "cup", "hat": made / "hat"}
    assert found(true, made, ["cup"]) == {"cup": made / "cup"}
    # One object's views without a folder around them, on either side.
    assert found(true, made / "cup", ["cup"]) == {"cup": made / "cup"}
    assert found(true / "cup", made / "cup") == {"cup": made / "cup"}
    assert found(true / "cup", made) == {"cup": made / "cup"}


def test_views_are_counted_not_spelled(tmp_path) -> None:
    """Of 0, 1, 10, 2 the cameras of a rig, and which views are even, would be others'."""
    for names in ([*"0123456789", "10", "11"], ["r_2", "r_10"], ["left 1", "right 0"]):
        folder = tmp_path / names[0]
        folder.mkdir()
        for name in reversed(names):
            Image.new("RGB", (32, 32)).save(folder / f"{name}.png")
        assert list(find_views(folder, "truth")) == names
    truth = {"0": find_truth(tmp_path / "0", rendered={"0": tmp_path / "r_2"})["0"]}
    assert list(truth["0"].files) == [*map(str, range(12)), "r_2", "r_10"]


def test_two_images_of_one_view_are_refused(tmp_path) -> None:
    for side in ("true", "made"):
        write_views(tmp_path / side / "cup", range(2))
    arguments = FOLDER, tmp_path / "made", tmp_path / "true"
    assert len(find_pairs(*arguments)) == 1
    for argument, side in (("predictions", "made"), ("truth", "true")):
        Image.new("RGB", (32, 32)).save(tmp_path / side / "cup" / "001.jpg")
        with pytest.raises(ArgumentError) as caught:
            find_pairs(*arguments)
        assert str(caught.value).startswith(
            f"{argument}: expected one image of each view, got 001.jpg and 001.png in "
        )
        (tmp_path / side / "cup" / "001.jpg").unlink()


@pytest.mark.parametrize(("net", "least"), [("alex", 31), ("vgg", 16)])
def test_images_too_small_for_lpips_are_refused_by_their_file(tmp_path, net, least) -> None:
    protocol = replace(FOLDER, lpips=net)
    for size in (least - 1, least):
        write_views(tmp_path / str(size) / "cup", range(1), size)
    small, enough = (find_pairs(protocol, tmp_path / str(n), tmp_path / str(n))[0]
                     for n in (least - 1, least))  # fmt: skip
    with pytest.raises(ArgumentError) as caught:
        read_views(protocol, small)
    assert re.match(
        rf"truth: expected images of at least {least} px a side, .*, "
        rf"got {least - 1} x {least - 1} in '.*cup/000.png'",
        str(caught.value),
    )
    assert read_views(protocol, enough)[0].shape == (1, 3, least, least)


def test_weights_of_vgg_for_another_network_are_refused(tmp_path, capsys) -> None:
    true = str(write_views(tmp_path / "true", range(1)))
    assert main(["evaluate", "folder", true, true, "--lpips-vgg", true]) == 2
    error = capsys.readouterr().err
    assert "error: --lpips-vgg: expected --lpips vgg beside it, got --lpips alex" in error


@pytest.mark.parametrize(
    "content",
    ["no JSON", "3", "null", "[]", "{}", '"text"',
     '{"name": "cup", "items": ["000"], "answers": {"prediction": {"ssim": [1, 2]}}}',
     '{"name": "cup", "items": ["000"], "answers": {"prediction": {"ssim": ["1"]}}}',
     '{"name": "cup", "items": ["000"], "answers": {"blank": {"ssim": [1]}}}',
     '{"name": "cup", "items": [], "answers": {"prediction": {"ssim": []}}}'],
)  # fmt: skip
def test_a_cell_of_anything_else_is_scored_again(tmp_path, content) -> None:
    true = write_views(tmp_path / "true" / "cup", range(1))
    pair = find_pairs(FOLDER, true, true)[0]
    cells = tmp_path / "cells"
    found = score_views(FOLDER, pair, None, cells)
    (file,) = cells.iterdir()
    assert known_scores(file) == found
    file.write_text(content)
    assert known_scores(file) is None
    assert score_views(FOLDER, pair, None, cells) == found == known_scores(file)


def test_a_truth_without_alpha_is_refused_where_the_protocol_needs_it(tmp_path) -> None:
    true = write_views(tmp_path / "true" / "ball", range(25), 256, mode="RGB")
    with pytest.raises(ArgumentError, match="truth: expected images with alpha"):
        read_views(ESCHERNET, find_pairs(ESCHERNET, true, true)[0])


def test_what_no_report_can_have_is_said(tmp_path) -> None:
    said = [
        (FOLDER, ("CLIP similarity", "FID")),
        (FREE3D, ("LPIPS on SqueezeNet", "FID on CLIP")),
        (SV3D, ("CLIP similarity", "the baseline of the truth through our engine: no focal")),
        (PAPER, ("FID", "the baseline of the nearest true view")),
        (SYNCDREAMER, ("LPIPS on VGG16: no file", "the baseline of the truth through our engine")),
    ]
    scored = [ObjectScores("cup", ["000"], {"prediction": {"ssim": [1.0]}})]
    for protocol, parts in said:
        report = ViewsRun(protocol, tmp_path, tmp_path, []).report(scored)
        assert protocol.alpha_rule() in report.remarks()
        text = "\n".join(report.remarks())
        assert all(f"not at hand: {part}" in text for part in parts), text
        assert text.count("not at hand") == len(report.not_at_hand) >= 2


def test_what_is_not_finite_is_refused() -> None:
    image = torch.zeros(1, 3, 32, 32)
    with pytest.raises(ArgumentError, match="made: expected finite images, got NaN"):
        score_images(FOLDER, image * float("nan"), image)
    with pytest.raises(ArgumentError, match=r"made: expected images \[1, 3, 32, 32\]"):
        score_images(FOLDER, image[..., :16], image)


def test_views_in_another_order_are_noticed() -> None:
    true = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    noisy = (
        true + 0.05 * torch.randn(true.shape, generator=torch.Generator().manual_seed(1))
    ).clamp(0, 1)
    names = ["000", "001", "002", "003"]
    assert order_note(names, noisy, true) == ""
    assert order_note(names, torch.zeros_like(true), true) == ""
    assert "001 as predicted is most like 002 of the truth" in order_note(
        names, noisy[[0, 2, 1, 3]], true
    )


def test_error_maps_are_white_where_there_is_none() -> None:
    true = torch.zeros(1, 3, 2, 2)
    assert (error_maps(true, true) == 1).all()
    assert torch.allclose(error_maps(true + 1, true)[0, :, 0, 0], torch.tensor([0.55, 0.0, 0.1]))


def test_a_run_resumes_reports_and_is_compared(tmp_path, capsys) -> None:
    for name, noise in (("cup", 10), ("hat", 60), ("jug", 20), ("pan", 90), ("urn", 40)):
        write_views(tmp_path / "true" / name, range(2))
        write_views(tmp_path / "a" / name, range(2), noise=noise)
        write_views(tmp_path / "b" / name, range(2), noise=noise // 2, mode="RGB")
    words = ["evaluate", "folder"]
    for side in ("a", "b"):
        folders = [str(tmp_path / side), str(tmp_path / "true")]
        assert main([*words, *folders, "--out", str(tmp_path / f"report-{side}")]) == 0
    report = json.loads((tmp_path / "report-a" / "report.json").read_text())
    assert [one["name"] for one in report["objects"]] == ["cup", "hat", "jug", "pan", "urn"]
    means = report["means"]
    assert 100 > means["prediction"]["psnr_db"]["mean"] > means["blank"]["psnr_db"]["mean"] > 0
    assert means["blank"]["silhouette_iou"]["mean"] == 0
    assert report["weights"]["lpips"] == "alex" and len(report["weights"]["sha256"]) == 64
    assert report["not_at_hand"] and report["command"].startswith("zero123 evaluate folder ")
    page = (tmp_path / "report-a" / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', page) and page.count("<img") == 5
    worst = ("pan", "hat", "urn", "jug", "cup")
    assert [page.index(f"<h3>{name}</h3>") for name in worst] == sorted(
        page.index(f"<h3>{name}</h3>") for name in worst
    )
    cells = sorted((tmp_path / "report-a" / "cells").iterdir())
    assert len(cells) == 5
    # What is known is not scored again, and what has changed is.
    for one in cells:
        one.write_text(one.read_text().replace('"note": ""', '"note": "known"'))
    write_views(tmp_path / "new", range(2), noise=120)
    (tmp_path / "new" / "000.png").replace(tmp_path / "a" / "cup" / "000.png")
    again = [*words, str(tmp_path / "a"), str(tmp_path / "true")]
    assert main([*again, "--out", str(tmp_path / "report-a")]) == 0
    report = json.loads((tmp_path / "report-a" / "report.json").read_text())
    assert [one["note"] for one in report["objects"]] == ["", "known", "known", "known", "known"]
    assert "LPIPS on alex" in capsys.readouterr().out.splitlines()
    reports = [str(tmp_path / "report-a"), str(tmp_path / "report-b")]
    assert main(["evaluate", "compare", *reports, "--out", str(tmp_path / "c")]) == 0
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "c" / "comparison.json").read_text())["differences"]["psnr_db"]
    assert found["gain"]["mean"] == pytest.approx(found["b"] - found["a"])
    assert found["gain"]["low"] > 0 and found["better"] == 5 and "on 5 of 5" in printed
    assert main(["evaluate", "compare", reports[0], str(tmp_path / "true")]) == 2
    assert "error: B: expected a report of a protocol" in capsys.readouterr().err
    # The same views beside another truth are told.
    assert "not of the same truth" not in printed
    file = tmp_path / "report-b" / "report.json"
    kept, other = file.read_text(), json.loads(file.read_text())
    other["objects"][1]["answers"]["blank"]["psnr_db"][0] += 0.1
    file.write_text(json.dumps(other))
    assert main(["evaluate", "compare", *reports]) == 0
    assert re.search("^not of the same truth, .* otherwise: hat$", capsys.readouterr().out, re.M)
    file.write_text(kept)
    # LPIPS of one network is not subtracted from that of another.
    other = json.loads(kept)
    other["weights"] = {"lpips": "vgg", "sha256": "0123456789"}
    file.write_text(json.dumps(other))
    assert main(["evaluate", "compare", *reports]) == 2
    error = capsys.readouterr().err
    assert re.search(r"B: expected LPIPS on alex .*, as a has, got vgg \(SHA-256 0123", error)


def test_what_not_every_object_has_is_told_and_left_out(tmp_path) -> None:
    """As of shapes, where an object without a mesh has a volume alone."""
    objects = [
        ObjectScores("cup", ["mesh"], {"prediction": {"volume_iou": [0.5], "chamfer": [0.1]}}),
        ObjectScores("hat", ["mesh"], {"prediction": {"volume_iou": [0.3]}}, "no mesh"),
    ]
    objects = [replace(one, answers={**one.answers, "ball": {"volume_iou": [0.2]}})
               for one in objects]  # fmt: skip
    report = ProtocolReport("shapes", "of shapes", {}, objects, {}, ())
    means = report.to_dict()["means"]
    assert means["prediction"]["volume_iou"]["mean"] == pytest.approx(0.4)
    assert means["prediction"]["chamfer"] == {"mean": 0.1, "low": None, "high": None, "objects": 1}
    assert means["ball"].keys() == {"volume_iou"}
    assert [one.name for one in report.worst_first()] == ["hat", "cup"]
    assert "Chamfer: over the 1 objects that have it" in report.remarks()
    assert report.rows() == [("prediction", ["0.10000", "0.4000"]), ("ball", ["-", "0.2000"])]
    text = page(report, lambda one: None).decode()
    assert "volume IoU 0.3000</p>" in text and "hat" in text
    (tmp_path / "report.json").write_text(json.dumps(report.to_dict()))
    found = compare_reports(tmp_path, tmp_path)
    counts = {name: one.gain.objects for name, one in found.differences.items()}
    assert counts == {"chamfer": 1, "volume_iou": 2} and found.differences["chamfer"].a == 0.1
    assert "on 0 of 1" in found.table() and "on 0 of 2" in found.table()
