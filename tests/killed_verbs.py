"""Verbs that are killed in the middle: their words, what they read, and what may be there then."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
from PIL import Image

from zero123lib.datasets.samples import world_to_camera
from zero123lib.evaluation.protocols import PROTOCOLS
from zero123lib.views.poses import Pose

TINY = ["--model", "tiny", "--device", "cpu", "--steps", "1", "--guidance", "1"]
TETRAHEDRON = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
NAMES = ("cup", "hat")


def contents(out: Path) -> dict[str, bytes]:
    """The files of a folder, those of locks and unfinished ones left out."""
    files = {str(path.relative_to(out)): path for path in sorted(out.rglob("*")) if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in files.items()
        if not any(part.startswith(".") for part in Path(name).parts)
    }


def same(out: Path, whole: Path, there: dict[str, bytes], expected: dict[str, bytes]) -> bool:
    """Tell whether files are those of a whole run, but for the seconds that it took."""
    return all(
        _timeless(name, content, out) == _timeless(name, expected[name], whole)
        for name, content in there.items()
    )


def _timeless(name: str, content: bytes, folder: Path) -> bytes:
    """A file without its folder's name, and without seconds; a page and a curve say them too."""
    content = content.replace(bytes(folder), b"OUT")
    if name.endswith("report.json"):
        return json.dumps(_without_seconds(json.loads(content))).encode()
    return b"" if name in ("report/report.html", "curves.png") else content


def _without_seconds(content: object) -> object:
    if isinstance(content, dict):
        kept = {key: one for key, one in content.items() if "seconds" not in key}
        return {key: _without_seconds(one) for key, one in kept.items()}
    return [_without_seconds(one) for one in content] if isinstance(content, list) else content


def check_model(out: Path, whole: Path, expected: dict[str, bytes]) -> None:
    """A folder that says it is a model is the model."""
    found = contents(out)
    if "model_index.json" in found:
        assert found == expected


def check_files(out: Path, whole: Path, expected: dict[str, bytes]) -> None:
    """What has its name is whole, and is what it would have been; a report is among its files."""
    found = contents(out)
    assert found.keys() <= expected.keys()
    assert same(out, whole, found, expected)
    if "report/report.json" in found:
        assert found.keys() == expected.keys()


@dataclass(frozen=True)
class Case:
    """A verb that is killed.

    Attributes:
        words: after the program's name; IN and OUT stand for folders.
        prepare: fills the folder IN.
        check: what may be in the folder OUT at any moment.
    """

    words: str
    prepare: Callable[[Path], None] = lambda place: None
    check: Callable[[Path, Path, dict[str, bytes]], None] = check_files


def draw_views(folder: Path, numbers: range, size: int, turn: int = 0) -> None:
    """Draw a square that moves, with its cameras and their listing beside."""
    folder.mkdir(parents=True)
    for number in numbers:
        pixels = np.zeros((size, size, 4), np.uint8)
        start = size // 8 + (number + turn) % 5
        pixels[size // 4 : size // 2, start : start + size // 2] = (200, 8 * number, 60, 255)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
        pose = Pose(10.0, 360 / len(numbers) * number, 1.6)
        np.save(folder / f"{number:03d}.npy", world_to_camera(pose))


def views_of(name: str) -> Callable[[Path], None]:
    """Prepare truth and predictions for a protocol on views."""
    protocol = PROTOCOLS[name]

    def prepare(place: Path) -> None:
        numbers = protocol.views or range(4)
        for turn, name in enumerate(NAMES):
            draw_views(place / "true" / name, numbers, protocol.size_px or 32)
            draw_views(place / "made" / name, numbers, protocol.size_px or 32, turn + 1)

    return prepare


def meshes(place: Path) -> None:
    for side in ("true", "made"):
        for name in NAMES:
            (place / side / name).mkdir(parents=True)
            (place / side / name / "mesh.obj").write_text(TETRAHEDRON)


def photo(place: Path) -> None:
    draw_views(place / "views", range(1), 64)


def cameras(place: Path) -> None:
    """Prepare the pairs of iFusion's scenes."""

    def write(file: Path, turns_deg: list[float]) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        frames = [
            {"transform_matrix": np.linalg.inv(
                np.vstack([world_to_camera(Pose(10.0, turn, 1.6)), [0, 0, 0, 1]])).tolist()}
            for turn in turns_deg
        ]  # fmt: skip
        file.write_text(json.dumps({"frames": frames}))

    for scene in NAMES:
        write(place / "true" / scene / "train" / "transform.json", [10.0 * k for k in range(5)])
        for i, j in permutations(range(5), 2):
            file = place / "made" / scene / f"{i},{j}" / "transform.json"
            write(file, [10.0 * i, 10.0 * j + 2])


FOLDERS = "IN/made IN/true --out OUT/report"
FITS = "--size 32 --fit-steps 5"
CASES = {
    "convert": Case("convert tiny OUT", check=check_model),
    "scenes": Case("evaluate scenes --objects 2 --views 1 --device cpu --guidance 1 "
                   "--sweep-steps 1 2 --out OUT"),
    "syncdreamer": Case(f"evaluate syncdreamer OUT/made IN/true --out OUT/report {' '.join(TINY)}",
                        meshes),
    "syncdreamer meshes": Case(f"evaluate syncdreamer {FOLDERS} --meshes", meshes),
    "eschernet meshes": Case(f"evaluate eschernet {FOLDERS} --meshes", meshes),
    "eschernet rtmv": Case(f"evaluate eschernet {FOLDERS} --scenes rtmv",
                           views_of("eschernet rtmv")),
    "ifusion poses": Case(f"evaluate ifusion {FOLDERS} --poses", cameras),
    "mvgbench": Case(f"evaluate mvgbench {FOLDERS} {FITS}", views_of("folder")),
    "consistency": Case("evaluate consistency IN/views/000.png --count 4 --out OUT/report "
                        f"{FITS} {' '.join(TINY)}", photo),
    **{name: Case(f"evaluate {name} {FOLDERS}", views_of(name))
       for name in ("eschernet", "ifusion", "free3d", "sv3d", "paper", "folder")},
    "objects": Case("evaluate objects IN/true --objects 2 --views 2 --out OUT/report "
                    f"{' '.join(TINY)}", views_of("folder")),
}  # fmt: skip
