"""`zero123 env`: what a bug report should say of the machine."""

from __future__ import annotations

import json as json_format
import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires, version

from zero123lib import __version__
from zero123lib.cli.options import Flag


def env(*, json: Flag = False) -> None:
    """Print versions, devices, extras and shipped weights, for bug reports.

    For example:

        zero123 env
        zero123 env --json

    Args:
        json: as one JSON document.
    """
    import torch

    from zero123lib.diffusion.checkpoints.sources import MODELS, bundled_models, card_licence

    cuda = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    packages = _packages()
    found = {
        "zero123lib": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": {
            "cpu": f"{torch.get_num_threads()} threads",
            "cuda": ", ".join(cuda) or None,
            "mps": "there" if torch.backends.mps.is_available() else None,
        },
        "weights": {name: card_licence(MODELS / name) for name in bundled_models()},
        "packages": packages.pop(""),
        "extras": packages,
    }
    if json:
        print(json_format.dumps(found, indent=2))
        return
    extras = {f"extra {name}": versions for name, versions in packages.items()}
    for title, told in {**found, **extras}.items():
        if title != "extras":
            print(f"{title}: {told if isinstance(told, str) else _listed(told)}")


def _listed(told: Mapping[str, str | None]) -> str:
    return ", ".join(f"{name} {one or 'missing'}" for name, one in told.items())


def _packages() -> dict[str, dict[str, str | None]]:
    """Return versions of what an extra brings, by its name, "" for what is always there.

    None stands for what is missing.
    """
    found: dict[str, dict[str, str | None]] = {"": {"torch": _version("torch")}}
    try:
        lines = requires("zero123lib") or []
    except PackageNotFoundError:  # a clone on the path, and not an installation
        lines = []
    for line in lines:
        name, _, markers = line.partition(";")
        name = re.split(r"[^\w.-]", name)[0]
        extra = re.search(r"extra == ['\"](\w+)['\"]", markers)
        group = extra[1] if extra else ""
        known = _version(name)
        # Of what differs by platform, what is not here is not meant for here.
        if group not in ("all", "dev", "docs") and (known or "sys_platform" not in markers):
            found.setdefault(group, {})[name] = known
    return found


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
