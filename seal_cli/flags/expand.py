"""Turn dataclasses into options, so that a command takes a whole group of flags as one parameter.

A field or parameter with a Doc, and bounds beside it, becomes an option; a typer.Argument is taken as it is; a field
with neither is no flag. A parameter of the command itself with the name of a group's option takes its place.
"""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from operator import itemgetter, methodcaller
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import typer
from annotated_types import Ge, Le
from typer.models import ParameterInfo

from seal_cli.flags.options import OWN_PANEL, describe_field, offer
from stages.settings import Doc

Config = TypeVar("Config")
_Options = dict[str, Parameter]
_Make = Callable[[Mapping[str, Any]], Any]  # from the values of all options to that of one parameter or field


@dataclass(frozen=True)
class Given(Generic[Config]):
    """The fields of a dataclass that were given as flags. The others have the defaults of the lines' domain."""

    values: Mapping[str, Any]


class Without:
    """The options of a group that a command does not have: `Annotated[RunFlags, Without("journal")]`."""

    def __init__(self, *names: str) -> None:
        self.names = names


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
            option = _make_option(name, own.annotation, own.default, OWN_PANEL) or own
            options[option.name], makers[name] = option, itemgetter(option.name)

    @wraps(command)
    def run(**values: Any) -> int:
        return command(**{name: make(values) for name, make in makers.items()})

    run.__signature__ = Signature([*options.values()])  # type: ignore[attr-defined]
    run.__annotations__ = {name: option.annotation for name, option in options.items()}
    return run


def _read_group(kind: Any) -> tuple[_Options, _Make]:
    """Return the options of a dataclass, and what makes one of their values. What was not given has its default."""
    given, kind = (True, get_args(kind)[0]) if get_origin(kind) is Given else (False, kind)
    options, makers, hints = _Options(), dict[str, _Make](), get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        inner, hint = _split(hints[field.name])[0], hints[field.name]
        default = Parameter.empty if field.default is MISSING else None if given else field.default
        if is_dataclass(inner):
            found, makers[field.name] = _read_group(inner)
            options |= found
            continue
        told = describe_field(kind, field) if given else ""
        if option := _make_option(field.name, hint, default, kind.panel, told):
            options[option.name], makers[field.name] = option, _make_reader(option.name, hint)

    def make(values: Mapping[str, Any]) -> Any:
        found = {name: value for name, make in makers.items() if (value := make(values)) is not None}
        found = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
        return Given(found) if given else kind(**found)

    return options, make


def _make_reader(name: str, hint: Any) -> _Make:
    """Return what takes an option's value from all values; of a field that repeats, as its Doc reads each text."""
    read = next((note.read for note in _split(hint)[1:] if isinstance(note, Doc)), str)
    if read is str:
        return methodcaller("get", name)
    return lambda values: None if values.get(name) is None else tuple(map(read, values[name]))


def _make_option(name: str, hint: Any, default: Any, panel: str, told: str = "") -> Parameter | None:
    """Make the option of a field or parameter, called like its long flag; None where nothing stands beside its type."""
    kind, *notes = _split(hint)
    doc, low, high = ({type(note): note for note in notes}.get(each) for each in (Doc, Ge, Le))
    info: Any = next((copy(note) for note in notes if isinstance(note, ParameterInfo)), None)
    if doc:
        flags = doc.flag.split() or ([f"--{name.replace('_', '-')}"] if kind is bool else [])
        long = [flag[2:].partition("/")[0].replace("-", "_") for flag in flags if flag.startswith("--")]
        name, told = (*long, name)[0], doc.default or told
        info = typer.Option(
            *flags,
            metavar=doc.metavar,
            help=f"{doc.text} [default: {told}]".strip() if told else doc.text or None,
            min=low and low.ge,
            max=high and high.le,
            autocompletion=offer(*doc.values) if doc.values else None,
            rich_help_panel=doc.panel or panel,
        )
    if get_origin(kind) is tuple:
        kind, default = list[get_args(kind)[0]], None if default is not Parameter.empty else default  # type: ignore[misc]
    annotation = Annotated[kind | None if default is None else kind, info]  # type: ignore[valid-type]
    return info and Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _split(hint: Any) -> tuple[Any, ...]:
    """Return the type of an annotation, and what is noted beside it."""
    return get_args(hint) if get_origin(hint) is Annotated else (hint,)
