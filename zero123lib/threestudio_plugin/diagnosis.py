"""Why threestudio stopped, from what it said, in one line with the mend."""

from __future__ import annotations

import difflib
import re
import shlex

from zero123lib.threestudio_plugin.clone import GUIDANCE_TYPE, TESTED_COMMIT, Clone
from zero123lib.threestudio_plugin.doctor import REQUIREMENTS, last_line

_ABSENT = r"ModuleNotFoundError: No module named '([\w.]+)'"
_UNKNOWN = r"TypeError: ([\w.]+)\.__init__\(\) got an unexpected keyword argument '([^']+)'"
_CAUSES = (
    (rf"KeyError: '{GUIDANCE_TYPE}'", "our guidance did not load; ask `{doctor}`"),
    (
        r"out of memory",
        "the GPU's memory is full; try system.guidance.half_precision_weights=true or a smaller "
        "data.random_camera.batch_size",
    ),
    (
        r"No supported gpu backend|Found no NVIDIA driver|No CUDA GPUs are available",
        "needs an NVIDIA GPU, and sees none; the embedded engine needs none: --engine embedded",
    ),
    (
        r"not compiled with CUDA enabled|compiled without CUDA support",
        "needs an NVIDIA GPU and torch's CUDA build (environment-threestudio.yml); "
        "the embedded engine needs neither: --engine embedded",
    ),
)


def diagnosis(words: str, clone: Clone, status: str) -> str:
    """Return one line.

    Args:
        words: all that threestudio said.
        clone: where it runs.
        status: how it ended, for one that said nothing.
    """
    return f"{_cause(words, clone) or last_line(words) or status}{_of_another_version(clone)}"


def version_notice(clone: Clone) -> str | None:
    """Return what is to be known of a clone that the tests do not run on; None for the one they
    do."""
    if clone.commit in (None, TESTED_COMMIT):
        return None
    checkout = f"git -C {shlex.quote(str(clone.root))} checkout {TESTED_COMMIT[:7]}"
    return f"the clone is at {clone.commit[:7]}; tested is {TESTED_COMMIT[:7]}: {checkout}"


def _of_another_version(clone: Clone) -> str:
    notice = version_notice(clone)
    return f"; {notice}" if notice else ""


def _cause(words: str, clone: Clone) -> str | None:
    doctor = f"zero123 threestudio doctor {shlex.quote(str(clone.root))}"
    for pattern, cause in _CAUSES:
        if re.search(pattern, words):
            return cause.format(doctor=doctor)
    absent = re.findall(_ABSENT, words)
    if absent:
        # The last: earlier ones may have been caught, as `launch.py` does for all of `custom`.
        top = absent[-1].partition(".")[0]
        mends = [need.mend for need in REQUIREMENTS if need.module.partition(".")[0] == top]
        mend = f"{mends[0]}; " if mends else ""
        return f"No module named {absent[-1]!r}: {mend}`{doctor}` finds all that is missing"
    unknown = re.search(_UNKNOWN, words)
    if unknown:
        owner, key = unknown.groups()
        near = difflib.get_close_matches(key, _known_keys(clone), 1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        return f"the recipe has a key {key!r}, which its {owner} does not have{hint}"
    return None


def _known_keys(clone: Clone) -> list[str]:
    """Return the fields of all its classes, and the arguments of its functions, as its source has
    them."""
    names: set[str] = set()
    for path in sorted((clone.root / "threestudio").rglob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        names.update(re.findall(r"^ +(\w+): \S", text, re.MULTILINE))
    return sorted(names)
