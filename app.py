"""Serve the app: `make demo`, `python app.py`, or a Gradio Space; as `zero123 app` does."""

from __future__ import annotations

import sys

from zero123lib.cli import main as command_line


def main() -> None:
    """Load the model, build the page, serve it until interrupted."""
    status = command_line(["app", *sys.argv[1:]], program="app.py")
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main()
