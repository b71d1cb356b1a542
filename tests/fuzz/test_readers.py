"""The readers of strangers' files under drawn mutations; `make fuzz` lets coverage guide them."""

from __future__ import annotations

import random
import sys
import warnings
from pathlib import Path

import pytest

from tests.fuzz.mutating import WAYS, keeping_form
from tests.fuzz.readers import MAX_BYTES, READERS, SEEDS, main


def of_bytes(content: bytes, draw: random.Random) -> bytes:
    """Cut, flip, repeat or insert some bytes."""
    changed = bytearray(content)
    for _ in range(draw.randrange(1, 4)):
        at = draw.randrange(len(changed) + 1)
        match draw.randrange(4):
            case 0:
                del changed[at : at + draw.randrange(1, 16)]
            case 1 if at < len(changed):
                changed[at] ^= 1 << draw.randrange(8)
            case 2:
                changed[at:at] = changed[at : at + draw.randrange(1, 32)]
            case _:
                changed[at:at] = draw.choice(
                    (b"\xff\xff\xff\xff", b"\0" * 4, b"-1", b"1e99", b"nan")
                )
    return bytes(changed)


@pytest.mark.parametrize("count", [60, pytest.param(20_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("name", READERS)
def test_what_is_drawn_is_read_or_refused_in_one_line(
    name: str, count: int, tmp_path: Path
) -> None:
    draw, seeds = random.Random(24), list(SEEDS[name]())
    corpus = list(seeds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's on damaged files
        for seed in seeds:
            READERS[name](seed, tmp_path)
        for number in range(count):
            content = draw.choice(corpus)
            if name in WAYS and number % 3:
                content = keeping_form(name, content, MAX_BYTES, draw.randrange(2**32))
            else:
                content = of_bytes(content, draw)
            (tmp_path / "case").write_bytes(content)  # left where it fails
            READERS[name](content, tmp_path)
            # Some changes on top of others.
            if number % 5 == 0 and len(content) <= MAX_BYTES:
                corpus.append(content)
                del corpus[len(seeds) : len(corpus) - 200]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["sound"], "READER: expected of image, mesh, checkpoint, transforms, got sound"),
        (["image", "--seconds", "0"], "--seconds: expected at least 1, got 0"),
        (["--try", __file__], "READER: expected one with --try, got 4"),
        (["image", "--try", "none"], "--try: expected a file, got 'none'"),
    ],
)
def test_what_cannot_be_fuzzed_is_one_line(
    words: list[str], line: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["readers", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and capsys.readouterr().err.splitlines()[-1].endswith(line)
