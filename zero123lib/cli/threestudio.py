"""`zero123 threestudio`: our guidance in a clone of threestudio, and what keeps it from running."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

EPILOG = """examples:
  git clone https://github.com/threestudio-project/threestudio
  zero123 threestudio install threestudio/
  zero123 threestudio doctor threestudio/

install writes one file, custom/threestudio-zero123lib/__init__.py; with it, recipes whose
system.guidance_type is zero123lib-guidance run. doctor looks at the clone, at the GPU and at each
package that threestudio imports, and says what to do; it changes nothing."""


def add_threestudio(verbs: Any) -> None:
    """Add the verb `threestudio` to a parser's verbs."""
    parser = verbs.add_parser(
        "threestudio",
        description="Make a clone of threestudio run our guidance, or say why it does not.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="ACTION", help="see below"
    )
    install = actions.add_parser(
        "install", description="Write our hook into a clone.", allow_abbrev=False
    )
    install.add_argument("clone", type=Path, metavar="CLONE", help="folder with threestudio")
    install.set_defaults(run=run_install)
    doctor = actions.add_parser(
        "doctor",
        description="Say, item by item, what is missing or does not fit, and what to do about it.",
        allow_abbrev=False,
    )
    doctor.add_argument(
        "clone", type=Path, nargs="?", metavar="CLONE", help="folder with threestudio"
    )
    doctor.add_argument(
        "--python", default=sys.executable, metavar="FILE",
        help="the Python that threestudio is installed for (this one)",
    )  # fmt: skip
    doctor.set_defaults(run=run_doctor)


def run_install(args: argparse.Namespace) -> None:
    """Write the hook.

    Raises:
        ValueError: no clone.
        OSError: the file could not be written.
    """
    from zero123lib.threestudio_plugin.clone import GUIDANCE_TYPE, install

    print(f"wrote {install(args.clone)}: threestudio now knows {GUIDANCE_TYPE}")


def run_doctor(args: argparse.Namespace) -> int:
    """Print one line per item, and under it what to do.

    Returns:
        1 where something is to be done.
    """
    from zero123lib.threestudio_plugin.doctor import examine

    ill = 0
    for finding in examine(args.clone, args.python):
        ill += not finding.good
        print(f"{'ok ' if finding.good else 'BAD'} {finding.item:18s} {finding.found}")
        if finding.mend:
            print(f"    {'':18s} -> {finding.mend}")
    print("everything is there" if not ill else f"{ill} to mend")
    return int(ill > 0)
