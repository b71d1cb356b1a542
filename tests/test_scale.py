"""docs/scale.md says what benchmarks/scale.py derives, from counts that are the known ones."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import scale
from scale import ROWS, Assumed, count, derive, tables, written

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return json.loads((ROOT / "benchmarks" / "scale.json").read_text())


@pytest.fixture(scope="module")
def known(report) -> dict[str, Any]:
    return report["counts"] | report["measured"]


def test_the_page_has_the_report_and_the_report_follows(report, known) -> None:
    assert report["assumed"] == vars(Assumed())
    derived = json.loads(json.dumps(derive(known, Assumed())))
    for name, rows in derived.items():
        for mine, told in zip(rows, report["derived"][name], strict=True):
            assert mine == [pytest.approx(one) for one in told], name
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert written(page, tables(report)) == page


def test_prices_of_ones_own_are_shown_and_leave_the_page(
    report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"REPORT": scale.REPORT.read_bytes(), "PAGE": scale.PAGE.read_bytes()}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        monkeypatch.setattr(scale, name, tmp_path / name)
    words = ["scale.py", "--counts", str(ROOT / "benchmarks" / "scale.json")]
    shown = []
    for own in ([], ["--gpu-hour", "6"]):
        monkeypatch.setattr("sys.argv", [*words, *own])
        scale.main()
        shown.append(capsys.readouterr().out)
        assert {name: (tmp_path / name).read_bytes() for name in files} == files
    assert shown[0] == "\n".join(tables(report).values()) + "\n" != shown[1]
    scale.REPORT.write_text("{}")
    monkeypatch.setattr("sys.argv", words)
    scale.main()
    assert scale.REPORT.read_bytes() == files["REPORT"]


def test_counts_are_the_known_ones(report) -> None:
    """The UNet's 88.2 billion multiply-adds of a row at 32 x 32, and the VAE's at 256 pixels."""
    counts = report["counts"]
    for name, gflop in (("unet_stock", 176.3), ("vae_encode", 273), ("vae_decode", 622)):
        assert counts[name] / 1e9 == pytest.approx(gflop, rel=5e-3), name
    # A backward pass is two of the forward's products, but for those of what has no gradient.
    assert 2.9 < counts["unet_train"] / counts["unet_full"] <= 3


@pytest.mark.soak
def test_counts_are_what_torch_counts_now(report) -> None:
    assert count() == report["counts"]


def test_what_is_derived_goes_with_what_is_assumed(known) -> None:
    plain, dear = Assumed(), replace(Assumed(), gpu_hour=6.0)
    for mine, twice in zip(
        derive(known, plain)["views"], derive(known, dear)["views"], strict=True
    ):
        assert twice == [*mine[:-1], pytest.approx(2 * mine[-1])]
    # Four steps without guidance are a twenty-fifth of fifty with it, but for the decoder.
    exact, student = (derive(known, plain)["views"][i][1] for i in (0, len(ROWS) - 1))
    decoder = known["vae_decode"] / 1e12
    assert (exact - decoder) / (student - decoder) == pytest.approx(25)
    training = derive(known, plain)["training"]
    efficiencies = [row[1] for row in training]
    assert efficiencies[0] == pytest.approx(100)
    assert efficiencies == sorted(efficiencies, reverse=True)
    endless = derive(known, replace(plain, network_gbit=1e12))["training"]
    for row in endless:
        assert row[1] == pytest.approx(100) and row[3] == pytest.approx(endless[0][3])
    orders = derive(known, plain)["orders"]
    assert [row[0] for row in orders] == [10**n for n in range(3, 10)]
    for small, large in pairwise(orders):
        assert large[1] == pytest.approx(10 * small[1])
