"""`zero123 threestudio`: our guidance in a clone of threestudio, and what keeps it from running."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def install(clone: Annotated[Path, Parameter(name="CLONE")], /) -> None:
    """Write our hook into a clone of threestudio.

    It is one file, custom/threestudio-zero123lib/__init__.py; with it, recipes
    whose system.guidance_type is zero123lib-guidance run.

        git clone https://github.com/threestudio-project/threestudio
        zero123 threestudio install threestudio/

    Args:
        clone: folder with threestudio.
    """
    from zero123lib.threestudio_plugin.clone import GUIDANCE_TYPE
    from zero123lib.threestudio_plugin.clone import install as write_hook

    print(f"wrote {write_hook(clone)}: threestudio now knows {GUIDANCE_TYPE}")


def doctor(
    clone: Annotated[Path | None, Parameter(name="CLONE")] = None,
    /,
    *,
    python: Annotated[str, Parameter(metavar="FILE", show_default=False)] = sys.executable,
) -> int:
    """Say, item by item, what is missing or does not fit, and what to do about it.

    It looks at the clone, at the GPU and at each package that threestudio
    imports, and changes nothing. The exit status is 1 where something is to be
    done.

        zero123 threestudio doctor threestudio/

    Args:
        clone: folder with threestudio.
        python: the Python that threestudio is installed for (this one).
    """
    from zero123lib.threestudio_plugin.doctor import examine

    ill = 0
    for finding in examine(clone, python):
        ill += not finding.good
        print(f"{'ok ' if finding.good else 'BAD'} {finding.item:18s} {finding.found}")
        if finding.mend:
            print(f"    {'':18s} -> {finding.mend}")
    print("everything is there" if not ill else f"{ill} to mend")
    return int(ill > 0)
