"""Serve the app: `make demo`, `python app.py`, or a Gradio Space."""

from __future__ import annotations

from demo.layout import build, launch_options
from demo.settings import parser
from zero123lib.cli.making import load


def main() -> None:
    """Load the model, build the page, serve it until interrupted."""
    arguments = parser()
    args = arguments.parse_args()
    try:
        pipe = load(args.model, args.device)
    except ValueError as error:
        arguments.error(str(error))
    build(pipe).launch(
        server_name=args.host,  # None: GRADIO_SERVER_NAME, else this machine alone
        server_port=args.port,
        share=args.share,  # False unless asked: no public link
        **launch_options(),
    )


if __name__ == "__main__":
    main()
