"""Serve the app: `make demo`, `python app.py`, or a Gradio Space."""

from __future__ import annotations

from demo.layout import build, launch_options
from demo.settings import options, parser
from zero123lib.diffusion.apps import load_pipeline


def main() -> None:
    """Load the model, build the page, serve it until interrupted."""
    arguments = parser()
    args = arguments.parse_args()
    try:
        pipe = load_pipeline(args.model, args.device, args.encoding, args.original_config)
    except ValueError as error:
        arguments.error(f"--{error}")
    build(pipe, options(args), args.device).launch(
        server_name=args.host,
        server_port=args.port,
        share=args.share,  # False unless asked: no public link
        **launch_options(args.mcp),
    )


if __name__ == "__main__":
    main()
