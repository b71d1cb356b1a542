"""What words name, and the names and seeds of it, which are an item's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from made import write_images

from zero123lib._errors import ArgumentError
from zero123lib.batch.items import Item, Kind, find_items
from zero123lib.batch.storage import Store, filesystem, reaching

pytest.importorskip("fsspec", reason="fsspec is not installed: pip install 'zero123lib[cluster]'")
pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

IMAGES = Kind("image", (".png", ".jpg"))


def names(*words: str | Path, kind: Kind = IMAGES) -> list[str]:
    return [item.name for item in find_items([str(word) for word in words], kind)]


def put(folder: Path, place: str) -> str:
    fs, path = filesystem(place, "out")
    fs.put(f"{folder}/", f"{path}/", recursive=True)
    return place


def test_a_folder_stands_for_all_images_below_it(
    tmp_path: Path, place: Callable[[str], str]
) -> None:
    write_images(tmp_path / "in", "b.png", "a.jpg", "x/a.png", ".hidden/c.png", "x/.d.png")
    (tmp_path / "in" / "notes.md").touch()
    where = put(tmp_path / "in", place("photos"))
    found = find_items([where], IMAGES)
    assert [item.name for item in found] == ["a.jpg", "b.png", "x/a.png"]
    assert [item.uri for item in found] == [f"{where}/{item.name}" for item in found]
    assert names(f"{where}/*.png") == ["b.png"]
    assert names(f"{where}/*/*.png") == ["x/a.png"]
    assert names(f"{where}/x/a.png") == ["a.png"]
    write_images(tmp_path / "outputs", "a.png/000.png")  # as a batch names its folders
    assert names(f"{put(tmp_path / 'outputs', place('views'))}/**/*.png") == ["a.png/000.png"]


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".parquet"])
def test_a_list_names_images_beside_it_and_anywhere(tmp_path: Path, suffix: str) -> None:
    write_images(tmp_path, "in/a.png", "in/x/b.png", "c.png")
    inputs, listed = ["a.png", "x/b.png", str(tmp_path / "c.png")], tmp_path / f"in/list{suffix}"
    own = {"input": inputs, "name": [None, "chair/left", None]}
    if suffix == ".txt":
        listed.write_text("\n".join(["", *inputs, ""]))
    elif suffix == ".csv":
        listed.write_text("name,input\n" + "".join(f",{one}\n" for one in inputs))
    else:
        pq.write_table(pa.table(own), listed)
    found = {item.name: item.uri for item in find_items([str(listed)], IMAGES)}
    second = "chair/left" if suffix == ".parquet" else "x/b.png"
    assert found == {
        "a.png": str(tmp_path / "in/a.png"),
        second: str(tmp_path / "in/x/b.png"),
        str(tmp_path / "c.png")[1:]: str(tmp_path / "c.png"),
    }


def test_a_folder_with_a_marker_is_an_item(tmp_path: Path) -> None:
    for name in ("b", "x/a"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "000.npy").touch()
        (tmp_path / name / "001.npy").touch()
    kind = Kind("object", marker="000.npy")
    assert names(tmp_path, kind=kind) == ["b", "x/a"]
    assert names(tmp_path / "b", kind=kind) == ["b"]
    assert names(f"{tmp_path}/*", kind=kind) == ["b"]


def test_an_image_named_twice_is_one(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "b.png")
    assert names(tmp_path, f"{tmp_path}/*.png", tmp_path / "b.png") == ["a.png", "b.png"]


def test_names_and_seeds_depend_on_nothing_else_in_the_batch(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    (alone,) = find_items([str(tmp_path)], IMAGES)
    write_images(tmp_path, "a.jpg", "A/a.png", "z.png")
    among = {item.uri: item for item in find_items([str(tmp_path)], IMAGES)}
    assert among[alone.uri] == alone
    seeds = {Item("", f"{n}.png").seed(0) for n in range(1000)}
    assert len(seeds) == 1000 and all(0 <= seed < 2**31 for seed in seeds)
    # SHA-256 of "0 a.png": the same on every machine and with every version.
    assert alone.seed(0) == Item("elsewhere", "a.png").seed(0) == 0x66F4B248
    assert alone.seed(0) != alone.seed(1)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("missing", "inputs: expected a file, a folder, a glob or a list of images, got "),
        ("*.gif", "inputs: expected images (.png, .jpg) in "),
        ("empty", "inputs: expected images (.png, .jpg) in "),
        ("bad.csv", "inputs: expected a column 'input' in "),
        ("gap.csv", "inputs: expected a path or URI in every row of "),
        ("up.txt", "inputs: expected names of outputs, below their folder, got '../a.png'"),
        ("nowhere://a", "inputs: expected a path or a URI of fsspec, got "),
    ],
)
def test_what_names_nothing_is_one_line(tmp_path: Path, word: str, told: str) -> None:
    write_images(tmp_path, "x/a.png", "a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.csv").write_text("image\na.png\n")
    (tmp_path / "gap.csv").write_text("id,input\n1,a.png\n2,\n3\n")
    (tmp_path / "x/up.txt").write_text("../a.png\n")
    where = {"up.txt": str(tmp_path / "x/up.txt")}.get(word, str(tmp_path / word))
    with pytest.raises(ArgumentError) as caught:
        find_items([word if "://" in word else where], IMAGES)
    assert str(caught.value).startswith(told) and "\n" not in str(caught.value)


def test_what_is_not_there_is_called_by_its_name(tmp_path: Path) -> None:
    for called, many in (("image", "images"), ("mesh", "meshes")):
        with pytest.raises(ArgumentError, match=rf"inputs: expected {many} \(.ply\) in .*none"):
            find_items([str(tmp_path)], Kind(called, (".ply",)))


def test_a_store_that_cannot_be_used_is_named(s3: str) -> None:
    out = f"{s3}-none/out"
    with pytest.raises(OSError, match=f"^{out}: .*does not exist$"), reaching(out):
        Store(out).write("batch.json", b"{}")
    with pytest.raises(FileNotFoundError, match=r"'/no/where'$"), reaching(out):
        Path("/no/where").read_bytes()


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path, "x/a.png", "y/A.png")
    with pytest.raises(ArgumentError, match=r"different names.*x/a.png.*y/A.png"):
        names(tmp_path / "x", tmp_path / "y")


def test_one_name_that_is_a_folder_of_another_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    (tmp_path / "list.csv").write_text("input,name\na.png,chair\na.png,chair/left\n")
    with pytest.raises(ArgumentError, match=r"no folders of others, got 'chair' and 'chair/left'"):
        names(tmp_path / "list.csv")


def test_outputs_never_take_the_place_of_inputs(
    tmp_path: Path, place: Callable[[str], str]
) -> None:
    write_images(tmp_path / "in", "a.png", "x/b.png")
    where = put(tmp_path / "in", place("photos"))
    refused = r"out: expected a folder without inputs, got .*, where .*photos/.*\.png' lies"
    for word, out in ((where, where), (where, f"{where}/x"), (f"{where}/x/*.png", where)):
        with pytest.raises(ArgumentError, match=refused):
            find_items([word], IMAGES, out)
    # An output folder among the inputs is none of them.
    out = f"{where}/out"
    before = find_items([where], IMAGES, out)
    Store(out).write("batch.json", b"{}")
    Store(out).write("a.png/000.png", b"")
    for word in (where, f"{where}/**/*.png"):
        assert find_items([word], IMAGES, out) == before
    assert len(find_items([where], IMAGES)) == 3
    with pytest.raises(ArgumentError, match=refused):
        find_items([f"{out}/a.png"], IMAGES, out)
