"""`zero123 models`: what there is by name, and a name that is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zero123lib.cli import main


def test_models_alone_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    told = capsys.readouterr().out
    assert "tiny: apache-2.0" in told and "kxic/zero123-xl: about 4.99 GB, float32" in told
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    (tiny,) = [row for row in rows if row["model"] == "tiny"]
    assert tiny["precision"] == "float16" and Path(tiny["path"]).is_dir()
    assert main(["models", "fetch", "zero124"]) == 2
    assert capsys.readouterr().err.startswith("zero123 models fetch: error: NAME: expected a model")
