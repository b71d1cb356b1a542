"""The licence of every package that an installation with all extras brings, as its metadata says.

python -m tests.licences
"""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Of the GPL and its kin, for whoever distributes what is linked with them.
_STRONG = re.compile(r"\bA?GPL|(?<!lesser )(?<!library )general public license", re.IGNORECASE)
# Between licences of which one may be taken; not before the later versions of one.
_OR = re.compile(
    r"\s+or\s+(?!(?:\(at your option\),? )?(?:any )?(?:later|newer|greater)\b)|[;/]", re.IGNORECASE
)


def closure(name: str, extras: frozenset[str]) -> dict[str, Distribution]:
    """Return all installed distributions that one requires, by name, itself left out.

    Those that are required here but not installed are passed over.
    """
    found: dict[str, Distribution] = {}
    root = str(canonicalize_name(name))
    waiting = [(root, extras)]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        try:
            here = distribution(name)
        except PackageNotFoundError:
            continue
        found[name] = here
        for line in here.requires or ():
            needed = Requirement(line)
            wanted = [{"extra": extra} for extra in ("", *extras)]
            if needed.marker is not None and not any(map(needed.marker.evaluate, wanted)):
                continue
            one = (str(canonicalize_name(needed.name)), frozenset(needed.extras))
            if one not in seen:
                seen.add(one)
                waiting.append(one)
    found.pop(root, None)
    return dict(sorted(found.items()))


def licence(package: Distribution) -> str:
    """Return a distribution's licence: its expression, classifiers, field or file say it."""
    told: Any = package.metadata
    if told.get("License-Expression"):
        return told["License-Expression"]
    kinds = [one.split(" :: ")[-1] for one in told.get_all("Classifier") or [] if "License" in one]
    kinds = [one for one in kinds if one not in ("OSI Approved", "License")]
    if kinds:
        return "; ".join(kinds)
    field = (told.get("License") or "").strip()
    if field and field.lower() != "unknown":
        return " ".join(field.split())[:100]
    for name in told.get_all("License-File") or []:
        texts = [one for one in package.files or [] if one.name == name.split("/")[-1]]
        for text in texts[:1]:
            return " ".join(text.read_text().split())[:100]
    return "not stated"


def is_strong_copyleft(told: str) -> bool:
    """Tell whether a licence leaves no choice but the GPL or AGPL, without an exception."""
    choices = _OR.split(told)
    return all(_STRONG.search(one) and "exception" not in one.lower() for one in choices)


def main() -> None:
    for name, package in closure("zero123lib", frozenset({"all"})).items():
        print(f"{name} {package.version}: {licence(package)}")


if __name__ == "__main__":
    main()
