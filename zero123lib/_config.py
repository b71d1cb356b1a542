"""Settings: frozen dataclasses that pydantic holds to their annotations, and errors of one line.

Types are strict: a bool is no number, a fraction no whole one, and no number is NaN or infinite.
A list stands for a tuple and a mapping, or nothing at all, for a section, as YAML and JSON have it.
Whatever does not fit is named by its whole path, ``optimizer.learning_rate: expected a number above
0, got -1``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, cast, dataclass_transform, get_args, get_origin

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from zero123lib._errors import ArgumentError
from zero123lib._words import nearest

T = TypeVar("T")

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

# YAML 1.1 takes "1e-5", without a point, for a text.
Number = Annotated[float, BeforeValidator(lambda v: float(v) if isinstance(v, str) else v)]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
Whole = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


def _ascending(pair: tuple[Any, Any]) -> tuple[Any, Any]:
    if pair[0] > pair[1]:
        raise ArgumentError("", "two numbers in order", str(list(pair)))
    return pair


_LIST = BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)
Listed = Annotated[tuple[T, ...], _LIST]
Several = Annotated[Listed[T], Field(min_length=1)]
Pair = Annotated[tuple[T, T], _LIST]
Range = Annotated[Pair[T], AfterValidator(_ascending)]


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, Field))
def settings(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass that raises ArgumentError for values that do not fit.

    What no annotation says is said in ``__post_init__``, by an ArgumentError that names a field.
    """
    section, wraps = cast(Any, cls), cast(Any, model_validator(mode="wrap"))
    section._from_mapping = wraps(classmethod(_from_mapping))
    section = dataclass(frozen=True, config=STRICT)(section)
    checked = section.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            checked(self, *args, **kwargs)
        except ValidationError as error:
            given = {**dict(zip(section.__pydantic_fields__, args, strict=False)), **kwargs}
            raise _in_one_line(error, section, given) from error

    section.__init__ = __init__
    return cast(type[T], section)


def check_value(name: str, kind: Any, value: Any, shown: Callable[[Any], str] = repr) -> None:
    """Raise ArgumentError unless a value is of an annotated type, as strictly as in a section."""
    try:
        TypeAdapter(kind, config=STRICT).validate_python(value)
    except ValidationError as error:
        raise ArgumentError(name, described(kind), shown(value)) from error


def _from_mapping(cls: type, given: Any, as_it_is: Callable[[Any], Any]) -> Any:
    """Make a section of what files have in its place; errors in it then know its fields."""
    if isinstance(given, Mapping | None):
        return cls(**{str(key): value for key, value in (given or {}).items()})
    return as_it_is(given)


def _in_one_line(error: ValidationError, section: Any, given: Mapping[str, Any]) -> ArgumentError:
    known, errors = section.__pydantic_fields__, error.errors(include_url=False)
    # A misspelt key is told before what is missing for it.
    first = next((one for one in errors if one["type"] == "unexpected_keyword_argument"), errors[0])
    name, *inner = first["loc"] or ("",)
    name = list(known)[name] if isinstance(name, int) else name  # an argument without its name
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ArgumentError):
        index = "".join(f"[{one}]" for one in inner if isinstance(one, int))
        return cause.within(f"{name}{index}")
    if name not in known:
        got = f"an unknown key{nearest(name, known)}"
        return ArgumentError(name, f"one of {', '.join(known)}", got)
    got = repr(given[name]) if name in given else "none"
    return ArgumentError(name, described(known[name].annotation, [known[name]]), got)


def described(kind: Any, marks: Sequence[Any] = ()) -> str:
    """Describe an annotation, by its description where it has one: "a number above 0 or null"."""
    if said := next((mark.description for mark in marks if getattr(mark, "description", 0)), None):
        return said
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return described(inside[0], [*marks, *inside[1:]])
    if origin is Literal:
        return f"one of {', '.join(map(str, inside))}"
    if origin in (tuple, list):
        several = origin is list or inside[-1] is Ellipsis
        return (
            f"a list of {'' if several else f'{len(inside)} '}entries, each {described(inside[0])}"
        )
    if inside:
        return " or ".join(described(one, marks) for one in inside)
    names = {type(None): "null", bool: "true or false", str: "a text"}
    if kind not in (int, float):
        return names.get(kind, "a mapping")
    return ("a whole number" if kind is int else "a number") + _range(marks)


def _range(marks: Sequence[Any]) -> str:
    # pydantic spreads Field(ge=..., le=...) over one mark each.
    single = [one for mark in marks for one in getattr(mark, "metadata", [mark])]
    gt, ge, lt, le = (
        next((_plain(getattr(one, sign)) for one in single if hasattr(one, sign)), None)
        for sign in ("gt", "ge", "lt", "le")
    )
    if ge and le:
        return f" from {ge} to {le}"
    ends = {"above": gt, "of at least": ge, "at most": le, "below": lt}
    said = " and ".join(f"{words} {end}" for words, end in ends.items() if end)
    return f" {said}" if said else ""


def _plain(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)
