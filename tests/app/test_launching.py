"""How the app is started: where it can be reached, with which model, and what is refused."""

from __future__ import annotations

import socket
from typing import Any

import gradio as gr
import pytest

import app
from zero123lib.app import layout, settings
from zero123lib.app.examples import example_files

BEAR, CAR, *_ = example_files()


def launched(monkeypatch: pytest.MonkeyPatch, *words: str) -> dict[str, Any]:
    """What `app.py` with these arguments hands to `launch`."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr("sys.argv", ["app.py", *words])
    monkeypatch.setattr(gr.Blocks, "launch", lambda self, **options: seen.update(options))
    app.main()
    return seen


def test_no_public_link_and_this_machine_alone_unless_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = launched(monkeypatch)
    assert options["share"] is False
    assert options["server_name"] == "127.0.0.1" and options["mcp_server"] is False
    asked = launched(monkeypatch, "--share", "--host", "0.0.0.0", "--port", "7999")
    assert (asked["share"], asked["server_name"], asked["server_port"]) == (True, "0.0.0.0", 7999)


def test_a_model_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        launched(monkeypatch, "--model", "huge")
    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and line.startswith("app.py: error: --model: expected ")


def test_visitors_may_load_anything_on_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.options(None) == settings.Options(settings.MAX_WAITING, "any")
    assert settings.options(None, host="0.0.0.0").models == ()
    assert settings.options(None, share=True).models == ()
    assert settings.options("zero123-xl, a/b", 3) == settings.Options(3, ("zero123-xl", "a/b"))
    monkeypatch.setenv("SPACE_ID", "somebody/space")
    assert settings.options(None).models == ()


def test_flags_and_environment_set_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[settings.Options, str]] = []
    real = layout.build
    monkeypatch.setattr(layout, "build", lambda pipe, o, d: seen.append((o, d)) or real(pipe, o, d))
    flags = ["--max-queue", "3", "--models", "zero123-xl, a/b", "--host", "::1", "--device", "cpu"]
    by_flags = launched(monkeypatch, *flags)
    for name, value in {
        "ZERO123_MAX_QUEUE": "3",
        "ZERO123_MODELS": "zero123-xl, a/b",
        "GRADIO_SERVER_NAME": "::1",
        "ZERO123_DEVICE": "cpu",
        "ZERO123_MCP": "0",
    }.items():
        monkeypatch.setenv(name, value)
    assert launched(monkeypatch)["server_name"] == by_flags["server_name"] == "::1"
    assert seen == [(settings.Options(3, ("zero123-xl", "a/b")), "cpu")] * 2
    wrong = {
        "ZERO123_MAX_QUEUE": "many",
        "ZERO123_MODEL": "huge",
        "ZERO123_ENCODING": "x",
        "ZERO123_ORIGINAL_CONFIG": "no.yaml",
        "ZERO123_DEVICE": "abacus",
    }
    for name, value in wrong.items():
        with monkeypatch.context() as there, pytest.raises(SystemExit, match="2"):
            there.setenv(name, value)
            launched(there)


def test_a_place_or_variable_that_will_not_do_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        wrong = {
            "GRADIO_SERVER_PORT": {
                "abc": "expected a whole number from 1 to 65535, got 'abc'",
                "70000": "got '70000'",
                port: f"--port: expected a free one, got {port}, which is in use",
            },
            "GRADIO_SERVER_NAME": {
                "203.0.113.7": "--host: expected an address",
                "a..b": "--host: ",
            },
            "GRADIO_NUM_PORTS": {"many": "GRADIO_NUM_PORTS: expected a whole number, got 'many'"},
            "ZERO123_MCP": {"perhaps": "ZERO123_MCP: expected 1 or 0, got 'perhaps'"},
        }
        for name, values in wrong.items():
            for value, words in values.items():
                with monkeypatch.context() as there, pytest.raises(SystemExit, match="2"):
                    there.setenv(name, value)
                    launched(there)
                (line,) = capsys.readouterr().err.splitlines()
                assert words in line, line
