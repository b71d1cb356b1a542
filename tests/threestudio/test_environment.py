"""environment-threestudio.yml brings what the doctor asks for, at the versions that it accepts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from zero123lib.threestudio_plugin.clone import INSTALL_PAGE
from zero123lib.threestudio_plugin.doctor import REQUIREMENTS

ROOT = Path(__file__).resolve().parents[2]
# conda's names, and OpenCV without a window, which `import cv2` does not ask for.
RENAMED = {"pytorch-gpu": "torch", "opencv-python-headless": "opencv-python"}


def read(name: str) -> tuple[dict[str, Any], list[Requirement]]:
    content = yaml.safe_load((ROOT / name).read_text())
    plain = [line for line in content["dependencies"] if isinstance(line, str)]
    piped = [
        line for part in content["dependencies"] if isinstance(part, dict) for line in part["pip"]
    ]
    # conda's "name=1.*" is no requirement of pip's.
    plain = [re.sub(r"^([\w-]+)=(?![=])", r"\1==", line) for line in plain]
    return content, [Requirement(line) for line in [*plain, *piped]]


def named(requirement: Requirement) -> str:
    return RENAMED.get(requirement.name, canonicalize_name(requirement.name))


def test_what_the_doctor_asks_for_is_there() -> None:
    _, lines = read("environment-threestudio.yml")
    found = {named(line): line for line in lines}
    text = (ROOT / "environment-threestudio.yml").read_text()
    assert INSTALL_PAGE in text
    for need in REQUIREMENTS:
        if INSTALL_PAGE in need.mend:
            assert canonicalize_name(need.package) not in found, need.module
            continue
        line = found[canonicalize_name(need.package)]
        pin = need.mend.partition("'")[2].rstrip("'")
        if "==" in pin:
            assert str(line.specifier) == str(Requirement(pin).specifier), need.module
        for version in need.versions:
            assert not line.specifier or any(
                line.specifier.contains(f"{version.rstrip('.')}{tail}")
                for tail in ("", ".3", ".6.0")
            ), need.module


def test_ranges_are_those_of_the_plain_environment() -> None:
    content, lines = read("environment-threestudio.yml")
    plain = {named(line): line.specifier for line in read("environment.yml")[1]}
    assert content["channels"] == ["conda-forge"]
    shared = [line for line in lines if named(line) in plain and line.name != "python"]
    assert len(shared) > 15
    for line in shared:
        assert line.specifier == plain[named(line)], line.name
