"""What is wrong with the words of a command line, as one line that names the argument."""

from __future__ import annotations

from typing import Literal, get_args, get_origin

from cyclopts import App, CycloptsError
from cyclopts.argument import Argument
from cyclopts.exceptions import (
    CoercionError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from zero123lib._errors import ArgumentError
from zero123lib._words import count, nearest


def diagnosis(error: CycloptsError, verb: str) -> Exception:
    """Say in this project's words what is wrong with the words after a verb."""
    name = "" if error.argument is None else _spelled(error.argument)
    cause = error.__cause__ or error.__context__  # of one value, of one of several
    if isinstance(cause, ArgumentError):
        return cause.renamed(name)
    match error:
        case CoercionError(token=token, target_type=kind) if token is not None:
            if get_origin(kind) is not Literal:
                words = {bool: "true or false", int: "a whole number", float: "a number"}
                return ArgumentError(name, words.get(kind, str(kind)), repr(token.value))
            names = [str(one) for one in get_args(kind)]
            got = f"{token.value!r}{nearest(token.value, names)}"
            return ArgumentError(name, f"one of {', '.join(names)}", got)
        case UnknownOptionError(token=token, argument_collection=known):
            word = token.keyword or token.value
            names = [one for argument in known for one in argument.names]
            return ArgumentError(word, f"an option of {verb}", f"none such{nearest(word, names)}")
        case UnknownCommandError(app=app, unused_tokens=[word, *_]) if app is not None:
            names = [name for name in app if name.startswith("-") == word.startswith("-")]
            return _no_such_verb(app, f"{word!r}{nearest(word, names)}")
        case MissingArgumentError(argument=argument) if argument is not None:
            number, several = argument.token_count()
            expected = "at least 1 value" if several else count(number, "value")
            return ArgumentError(name, expected, str(len(error.tokens_so_far) or "none"))
        case UnusedCliTokensError(unused_tokens=[word, *_]):
            return ArgumentError(repr(word), f"no more arguments of {verb}", "one more")
    return error


def missing_verb(app: App) -> ArgumentError:
    """Make the error of a group of verbs that is named without one of them."""
    return _no_such_verb(app, "none")


def _no_such_verb(app: App, got: str) -> ArgumentError:
    return ArgumentError("VERB", f"one of {', '.join(_verbs(app))}", got)


def _verbs(app: App) -> list[str]:
    return [name for name in app if not name.startswith("-")]


def spelled(app: App, name: str) -> str:
    """Spell what the library calls ``name`` as the verb's user does: `--steps`, `OUT`."""
    if app.default_command is None:
        return name
    for argument in app.assemble_argument_collection():
        if argument.field_info.name == name and argument.name != "*":
            return _spelled(argument)
    return name


def _spelled(argument: Argument) -> str:
    """Name it as it was written (`--zoom` for `--radius`), else by its first name."""
    return next((token.keyword for token in argument.tokens if token.keyword), argument.name)
