"""`zero123 cutout`: the object of an image, without its background."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from zero123lib._errors import ArgumentError
from zero123lib._files import check_file, write_bytes
from zero123lib.cli.options import read_image
from zero123lib.cli.telling import Telling


def cutout(
    photo: Annotated[str, Parameter(name="IMAGE")],
    out: Annotated[Path, Parameter(name="OUT")],
    /,
    *,
    method: Literal["auto", "u2netp", "rembg"] = "auto",
    telling: Telling = Telling(),
) -> int:
    """Cut the object out of an image.

    OUT is a PNG of the image's size, its background transparent. Look at it, fix
    it in any editor, and give it to the other verbs; they take transparency as it is.

        zero123 cutout photo.jpg object.png

    Args:
        photo: an image file (PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or HEIC), or -.
        out: file to write, .png.
        method: auto keeps the transparency that the image has, and asks the bundled network,
            u2netp, where it has none; rembg asks a larger one, where it is installed.
    """
    from zero123lib.views.folder import png
    from zero123lib.views.sources import named_images

    if out.suffix.lower() != ".png":
        raise ArgumentError("out", "a .png", repr(str(out)))
    check_file(out)
    if out.exists() and Path(photo).exists() and out.samefile(photo):
        raise ArgumentError("out", "another file than the image", repr(str(out)))
    named = named_images([photo])
    if len(named) != 1:
        raise ArgumentError("image", "one image", f"{len(named)} in {photo!r}")
    image = read_image(named[0])
    from zero123lib.views.cutout import HOW, cut_out_loaded, networks_of

    with telling.hushed():
        cut = cut_out_loaded(image, method)
        write_bytes(out, png(cut.image))
        telling.line(
            f"{named[0].label}: {HOW[cut.method]}; the object has "
            f"{100 * cut.foreground_fraction:.0f} % of the image; wrote {out}"
        )
        networks = networks_of(cut.method)
        told = {"file": str(out), "cut_out": cut.method, "networks": networks}
        telling.result({**told, "share": cut.foreground_fraction})
    return 0
