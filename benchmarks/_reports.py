"""The reports of a model that docs/reports.md shows, made anew: `make reports`.

    make reports ARGS="--model tiny --objects 24"

It needs ../shared/data: ten scanned objects (gso) and the objects' meshes, of which those are taken
that training with data.held_out = 0.05 leaves out. Work in build/reports goes on where it stopped;
it is begun anew with other weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from zero123lib.cli import main as zero123
from zero123lib.datasets.drawing import is_held_out
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.evaluation.protocol_report import METRICS
from zero123lib.evaluation.weights import weights_digest

ROOT = Path(__file__).parents[1]
PAGE, FOLDER = ROOT / "docs" / "reports.md", ROOT / "docs" / "reports"
HELD_OUT, VIEWS, SIZE_PX = 0.05, 4, 128
SHEET_WIDTH_PX = 1400
TITLES = {
    "gso": "Ten scanned objects, by SyncDreamer's protocol",
    "scenes": "Held-out procedural objects",
    "objects": "Held-out objects of a collection of meshes",
    "consistency": "Do its views agree? MVGBench's self-consistency",
}
ABOUT = {
    "gso": "256 px, 16 cameras 30 degrees high, the input's own among them.",
    "scenes": "Shapes of the kinds that the model was trained on, by seeds that it was not.",
    "objects": "Low-poly game art for the most part, of the twentieth of the collection that "
    "training on it leaves out, by name. `mean` is the mean of their own inputs.",
    "consistency": "The views of the first report, without their truth. Even and odd views are "
    "fitted apart by our fields; `agreeing` is what the fits themselves cost, `truth` the true "
    "views through the same fits.",
}
REAL = """Real weights are measured by the same commands with their name; on a photo, which has no
truth, so:

    zero123 evaluate consistency photo.png --model zero123-xl --out report/
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--model", default="tiny")
    arguments.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    arguments.add_argument("--objects", type=int, default=24, help="of scenes and of objects")
    arguments.add_argument("--scanned", type=int, default=10, help="scanned objects")
    arguments.add_argument("--agreeing", type=int, default=3, help="of them, views fitted")
    arguments.add_argument("--size", type=int, default=128, help="pixels of fits")
    arguments.add_argument("--fit-steps", type=int, default=150)
    arguments.add_argument("--lpips-vgg", type=Path, help="file of VGG16's weights")
    arguments.add_argument("--parts", nargs="*", choices=list(TITLES), default=list(TITLES))
    arguments.add_argument("--out", type=Path, default=ROOT / "build" / "reports")
    told = arguments.parse_args()
    pipe = Zero123Pipeline.from_pretrained(told.model)
    digest = weights_digest(pipe)
    work = told.out / digest[:12]
    parts: dict[str, Callable[[], list[str]]] = {
        "gso": lambda: gso(told, work),
        "scenes": lambda: ["scenes", *sizes(told)],
        "objects": lambda: ["objects", str(held_out(told, work)), *sizes(told)],
        "consistency": lambda: consistency(told, work),
    }
    FOLDER.mkdir(exist_ok=True)
    for part in told.parts:
        out = work / part
        words = ["evaluate", *parts[part](), "--model", told.model, "--out", str(out)]
        print(f"== zero123 {' '.join(words)}", flush=True)
        if zero123(words):
            raise SystemExit(f"{part} failed")
        publish(part, out, told, digest)
    PAGE.write_text(page())
    print(f"wrote {PAGE} and {FOLDER}/")


def sizes(told: argparse.Namespace) -> list[str]:
    return ["--objects", str(told.objects), "--views", str(VIEWS)]


def gso(told: argparse.Namespace, work: Path) -> list[str]:
    words = ["syncdreamer", str(work / "made"), str(told.shared / "data" / "gso")]
    words += [] if told.lpips_vgg is None else ["--lpips-vgg", str(told.lpips_vgg)]
    return [*words, "--objects", *scanned(told, told.scanned)]


def consistency(told: argparse.Namespace, work: Path) -> list[str]:
    """Measure views of some of the first report's objects."""
    words = ["mvgbench", str(work / "agreeing"), str(told.shared / "data" / "gso")]
    words += ["--rig", "syncdreamer", "--size", str(told.size)]
    words += ["--fit-steps", str(told.fit_steps)]
    return [*words, "--objects", *scanned(told, told.agreeing)]


def scanned(told: argparse.Namespace, count: int) -> list[str]:
    places = (told.shared / "data" / "gso").iterdir()
    return sorted(one.name for one in places if one.is_dir())[:count]


def held_out(told: argparse.Namespace, work: Path) -> Path:
    """Render objects that training leaves out, as a data set."""
    source, renders = told.shared / "data" / "objects" / "meshes", work.parent / "renders"
    names = [one for one in sorted(source.glob("*.glb")) if is_held_out(one.stem, HELD_OUT)]
    names.sort(key=lambda one: hashlib.sha256(one.stem.encode()).digest())
    chosen, meshes = names[: told.objects], work.parent / "meshes"
    shutil.rmtree(meshes, ignore_errors=True)
    meshes.mkdir(parents=True)
    for one in chosen:
        (meshes / one.name).symlink_to(one.resolve())
    words = ["render", str(meshes), str(renders), "--views", str(VIEWS + 1), "--workers", "0"]
    words += ["--size", str(SIZE_PX), "--elevation", "-10", "60", "--light", "fixed"]
    if zero123(words):
        raise SystemExit("some meshes cannot be rendered")
    return renders


def publish(part: str, out: Path, told: argparse.Namespace, digest: str) -> None:
    """Copy what the page shows: the numbers without this machine's paths, and a sheet."""
    report = json.loads((out / "report.json").read_text())
    numbers = report.get("by_object", report)
    text = json.dumps(
        {
            **{key: numbers[key] for key in ("protocol", "about", "means", "not_at_hand")},
            "notes": numbers["notes"],
            "objects": numbers["objects"],
            "model": told.model,
            "weights": digest,
            "versions": report["versions"],
            "command": report["command"],
        }
    )
    for place, name in ((str(told.shared), "../shared"), (str(out.parents[1]), "build/reports")):
        text = text.replace(place, name)
    content = json.loads(text)
    rounded = json.loads(json.dumps(content), parse_float=lambda digits: round(float(digits), 6))
    (FOLDER / f"{part}.json").write_text(json.dumps(rounded, indent=1) + "\n")
    sheet = out / "contact_sheet.png"
    image = Image.open(sheet) if sheet.exists() else first_sheet(out)
    image = image.convert("RGB")
    image.thumbnail((SHEET_WIDTH_PX, 10_000))
    image.save(FOLDER / f"{part}.jpg", quality=80, optimize=True)


def first_sheet(out: Path) -> Image.Image:
    """Take the worst and the best object's picture out of the report's page."""
    import base64
    import io
    import re

    pictures = re.findall(r"data:image/jpeg;base64,([^\"]+)", (out / "report.html").read_text())
    chosen = [pictures[0], pictures[-1]] if len(pictures) > 1 else pictures
    images = [Image.open(io.BytesIO(base64.b64decode(one))) for one in chosen]
    whole = Image.new("RGB", (images[0].width, sum(one.height for one in images)), "white")
    top = 0
    for one in images:
        whole.paste(one, (0, top))
        top += one.height
    return whole


def page() -> str:
    """Write the page of all parts that there are."""
    there = {part: FOLDER / f"{part}.json" for part in TITLES}
    reports = {part: json.loads(f.read_text()) for part, f in there.items() if f.exists()}
    lines = [
        "# Reports of the bundled model",
        "",
        "`make reports` wrote this page. Poor numbers are meant to be seen: the bundled model is a",
        "toy, and each report stands beside answers that need no model. Intervals hold the mean",
        "over objects at 95 %. Every object's numbers are in the JSON files.",
        "",
        REAL,
    ]
    for part, report in reports.items():
        lines += [f"## {TITLES[part]}", "", ABOUT[part], "", *table(report), ""]
        count = len(report["objects"])
        lines += [
            f"{count} objects; weights `{report['weights'][:12]}`; [numbers](reports/{part}.json).",
            "",
            *(f"- not at hand: {text}" for text in report["not_at_hand"]),
            *([""] if report["not_at_hand"] else []),
            f"    {report['command']}",
            "",
            f"![{TITLES[part]}](reports/{part}.jpg)",
            "",
        ]
    return "\n".join(lines)


def table(report: Mapping[str, Any]) -> list[str]:
    """Write a report's means as a table."""
    means = report["means"]
    metrics = [name for name in METRICS if name in means["prediction"]]
    rows = [["", *(METRICS[name].title for name in metrics)], ["---"] * (1 + len(metrics))]
    for answer, found in means.items():
        title = "the model" if answer == "prediction" else f"`{answer}`"
        rows.append([title, *(shown(name, found.get(name)) for name in metrics)])
    return [f"| {' | '.join(row)} |" for row in rows]


def shown(name: str, interval: Mapping[str, Any] | None) -> str:
    if interval is None:
        return "-"
    digits = METRICS[name].digits
    if interval["low"] is None:
        return f"{interval['mean']:.{digits}f}"
    low, high = (f"{interval[end]:.{digits}f}" for end in ("low", "high"))
    return f"{interval['mean']:.{digits}f} [{low}, {high}]"


if __name__ == "__main__":
    main()
