"""Turns dataclasses into options, so that a command takes a whole group of flags as one parameter.

A field of a dataclass in seal_cli carries a typer.Option or typer.Argument, one in stages a Doc and its bounds; a field
without them is no flag. A parameter of the command itself with the name of a group's option takes its place.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from operator import itemgetter, methodcaller
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from annotated_types import Ge, Le
from typer.models import ParameterInfo

from seal_cli.flags.given import Given, Without
from seal_cli.flags.options import default_of, offer
from stages.interfaces import Doc

_Options = dict[str, Parameter]
_Make = Callable[[Mapping[str, Any]], Any]  # from the values of all options to that of one parameter or field


def expand(command: Callable[..., int]) -> Callable[..., int]:
    """Give the command an option for each field of the dataclasses that it takes."""
    options, makers = _Options(), dict[str, _Make]()
    for name, own in signature(command, eval_str=True).parameters.items():
        kind, *notes = _split(own.annotation)
        if is_dataclass(get_origin(kind) or kind):
            found, makers[name] = _read_group(kind)
            without = [each for note in notes if isinstance(note, Without) for each in note.names]
            options |= {key: option for key, option in found.items() if key not in (*without, *options)}
        else:
            options[name], makers[name] = own.replace(kind=Parameter.KEYWORD_ONLY), itemgetter(name)

    @wraps(command)
    def run(**values: Any) -> int:
        return command(**{name: make(values) for name, make in makers.items()})

    run.__signature__ = Signature([*options.values()])  # type: ignore[attr-defined]
    run.__annotations__ = {name: option.annotation for name, option in options.items()}
    return run


def _read_group(kind: Any) -> tuple[_Options, _Make]:
    """The options of a dataclass, and what makes one of their values. A field that was not given has its default."""
    given, kind = (True, get_args(kind)[0]) if get_origin(kind) is Given else (False, kind)
    options, makers, hints = _Options(), dict[str, _Make](), get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        inner, *notes = _split(hints[field.name])
        if is_dataclass(inner):
            found, makers[field.name] = _read_group(inner)
            options |= found
        elif info := _option_of(notes, default_of(kind, field.name) if given else ""):
            info.rich_help_panel = info.rich_help_panel or kind.panel
            option = _parameter(field, inner, info, given=given)
            options[option.name], makers[field.name] = option, methodcaller("get", option.name)

    def make(values: Mapping[str, Any]) -> Any:
        found = {name: value for name, make in makers.items() if (value := make(values)) is not None}
        found = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
        return Given(found) if given else kind(**found)

    return options, make


def _parameter(field: Any, kind: Any, info: Any, *, given: bool) -> Parameter:
    """The option of a field of this kind, called like its long flag."""
    flags = [name for name in (info.default, *(info.param_decls or ())) if str(name).startswith("--")]
    name = flags[0][2:].partition("/")[0].replace("-", "_") if flags else field.name
    several = get_origin(kind) is tuple
    kind = list[get_args(kind)[0]] if several else kind  # type: ignore[misc]
    default = Parameter.empty if field.default is MISSING else None if given or several else field.default
    annotation = Annotated[kind | None if default is None else kind, info]  # type: ignore[valid-type]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _option_of(notes: Sequence[Any], default: str) -> Any:
    """The option that a field's annotations describe; None without any."""
    doc, low, high = ({type(note): note for note in notes}.get(kind) for kind in (Doc, Ge, Le))
    if doc is None:
        return next((copy(note) for note in notes if isinstance(note, ParameterInfo)), None)
    default = doc.default or default
    return typer.Option(
        *doc.flag.split(),
        metavar=doc.metavar,
        help=f"{doc.text} [default: {default}]".strip() if default else doc.text or None,
        min=low and low.ge,
        max=high and high.le,
        autocompletion=offer(*doc.values) if doc.values else None,
    )


def _split(hint: Any) -> tuple[Any, ...]:
    """The type of an annotation, and what is noted beside it."""
    return get_args(hint) if get_origin(hint) is Annotated else (hint,)
