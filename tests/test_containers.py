"""The Dockerfile, what goes into its image, and the compose file."""

from __future__ import annotations

import fnmatch
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from cyclopts import Parameter

from zero123lib.cli.app import app
from zero123lib.cli.options import ServedModel
from zero123lib.cli.serve import serve

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE)).splitlines()


def instructions(name: str) -> list[str]:
    return [line.split(maxsplit=1)[1] for line in INSTRUCTIONS if line.split()[:1] == [name]]


def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def variables(verb: Any) -> set[str]:
    """The variables that a verb reads, besides its words."""
    return {
        name
        for asked in (ServedModel, verb)
        for parameter in inspect.get_annotations(asked, eval_str=True).values()
        for part in get_args(parameter)
        if isinstance(part, Parameter)
        for name in part.env_var or ()
    }


def test_hadolint_finds_nothing() -> None:
    place = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if place is None:
        pytest.skip("hadolint is not installed: its wheels are for Linux on x86-64")
    done = subprocess.run([place, "Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_everything_that_is_installed_is_pinned() -> None:
    installs = [
        command
        for line in instructions("RUN")
        for command in line.split("&&")
        if "pip install" in command
    ]
    assert len(installs) == 4
    for command in installs:
        assert "-c constraints.txt" in command or "--no-deps ." in command, command


def test_nobody_is_root_and_no_secret_is_named() -> None:
    assert instructions("USER") == ["1000"]
    assert INSTRUCTIONS.index("USER 1000") < INSTRUCTIONS.index('ENTRYPOINT ["zero123"]')
    assert not re.search(r"(?i)token|password|secret|api_?key", DOCKERFILE + str(compose()))
    assert instructions("VOLUME") == ["/models"]


def test_what_is_copied_is_sent_and_nothing_else_is() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source.removeprefix("./") for line in instructions("COPY") for source in line.split()[:-1]
    }
    assert copied == sent
    assert all((ROOT / name).exists() for name in sent)
    kept_out = [line for line in lines if line.startswith("**/")]
    for name in ("zero123lib/app/__pycache__", "zero123lib/.DS_Store"):
        assert any(fnmatch.fnmatch(name, pattern) for pattern in kept_out)


def test_the_programs_in_the_dockerfile_are_python() -> None:
    """The one that lists requirements is run on this pyproject.toml, the other one is parsed."""
    (lists,) = [line for line in instructions("RUN") if "tomllib" in line]
    code = lists.split('"')[1].replace("\\\n", " ")
    command = [sys.executable, "-c", code, "app,cluster"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    listed = done.stdout.splitlines()
    assert any(line.startswith("torch") for line in listed)
    assert any(line.startswith("gradio") for line in listed)
    assert any(line.startswith("ray") for line in listed)
    for _, _, code in [
        yaml.safe_load(line.split("CMD ")[1]) for line in instructions("HEALTHCHECK")
    ]:
        compile(code, "healthcheck", "exec")


def test_compose_names_what_there_is() -> None:
    read = {"serve": variables(serve), "app": variables(app)}
    known = {"GRADIO_ANALYTICS_ENABLED"}
    for name, service in compose()["services"].items():
        verb = name.partition("-")[0]
        assert service["environment"].keys() <= read[verb] | known, name
        (port,) = service["ports"]
        assert port.startswith("127.0.0.1:")
        assert service["build"]["args"]["TORCH"] in ("cpu", "cuda")
        assert f"torch-{service['build']['args']['TORCH']} " in DOCKERFILE.replace("\n", " ")
        assert service["volumes"] == ["models:/models"]
        if verb == "app":
            assert port.split(":")[1] in str(service["healthcheck"]["test"])
            compile(service["healthcheck"]["test"][-1], "healthcheck", "exec")
