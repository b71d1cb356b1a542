"""The endpoints as tools of the Model Context Protocol: a model is given the images themselves."""

from __future__ import annotations

from typing import Any

from gradio import mcp


def is_file(value: Any) -> bool:
    """Tell whether a value of an answer is a file's data."""
    meta = value.get("meta") if isinstance(value, dict) else None
    return isinstance(meta, dict) and meta.get("_type") == "gradio.FileData"


class ToolServer(mcp.GradioMCPServer):
    """Gradio's server of tools, whose answers of several values have images too.

    Gradio gives the image of an answer that is one; several values it writes as one text, of which
    an image is but an address.
    """

    def postprocess_output_data(self, data: Any, root_url: str) -> list[Any]:
        """Return an answer's content; of one that begins with an image, value by value."""
        whole = super().postprocess_output_data(data, root_url)
        values = data[0] if len(data) == 1 else None
        if not isinstance(values, tuple | list) or not values:
            return whole
        if is_file(values[0]):
            return super().postprocess_output_data(list(values), root_url)
        gallery = values[0] if isinstance(values[0], tuple | list) else []
        images = [one.get("image", one) if isinstance(one, dict) else one for one in gallery]
        content = super().postprocess_output_data(
            [image for image in images if is_file(image)], root_url
        )
        return [*whole, *[part for part in content if part.type == "image"]]


def give_images() -> None:
    """Have Gradio serve tools by `ToolServer`; it looks the class up when an app is launched."""
    mcp.GradioMCPServer = ToolServer
