"""Names to classes: a table of "module:Class" strings, imported when first used.

Others add theirs without touching ours: `--judge mypackage.judges:Strict`. What goes wrong in a class of others is
theirs: `Plugin` tells it with their file and line.
"""

import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from stages.errors import BadConfig, BadEdit, SealError, Untrainable

DOMAINS = {"qa": "stages.domains.qa:QA", "arc": "stages.domains.arc.domain:Arc"}  # a line for each
ALLOWED: set[str] = set()  # domains of others whose code may run
_T = TypeVar("_T")
_ANY_CLASS = "package.module:Class"
_OURS = tuple(str(Path(__file__).parents[1] / name) for name in ("stages", "seal_cli"))
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
_LONGEST = 200  # characters of an error's text


def load_class(flag: str, name: str, table: Mapping[str, str], *, more: Sequence[str] = ()) -> Any:
    """Load the class of a name in the table or of a "module:Class" path. Raises BadConfig with the names that exist.

    `more`: what else the flag takes, for the message. Modules in the working folder are found, too.
    """
    check_name(flag, name, table, more=more)
    module_name, _, class_name = table.get(name, name).partition(":")
    module = _import(f"{flag} {name}", module_name)
    found = getattr(module, class_name, None)
    if found is None:
        own = [each for each, value in vars(module).items() if _is_class_of(module, value)]
        raise BadConfig(f"{flag} {name}: {module_name} has no {class_name}; it has {', '.join(own) or 'no class'}")
    if not callable(found):
        raise BadConfig(f"{flag} {name}: is a {type(found).__name__}, not a class")
    return found


def allow_domain(name: str) -> None:
    """Let lines name a domain of others, package.module:Class. Data alone never makes a process run code.

    Raises BadConfig for a name that stands for nothing.
    """
    check_name("--domain", name, DOMAINS)
    ALLOWED.add(name)


def check_allowed(name: str) -> None:
    """Raises BadConfig for a domain that neither comes with seal nor was allowed."""
    if name not in DOMAINS and name not in ALLOWED:
        raise BadConfig(f"the domain {name} does not come with seal; give --domain {name} to run its code")


def check_name(flag: str, name: str, table: Mapping[str, str], *, more: Sequence[str] = ()) -> None:
    """Raise BadConfig for an unknown name, with all known ones. Nothing is imported."""
    module_name, colon, class_name = table.get(name, name).partition(":")
    if not colon or not class_name or not module_name or module_name.startswith("."):
        like = get_close_matches(name.lower(), [*table, *(each.partition(":")[0] for each in more)], 1)
        meant = f" (did you mean {like[0]}?)" if like else ""
        raise BadConfig(f"{flag} {name}: unknown{meant}; take one of {', '.join([*table, *more])}, or {_ANY_CLASS}")
    if name in table:
        return
    _see_working_folder()
    top = module_name.partition(".")[0]
    try:
        there = top in sys.modules or find_spec(top) is not None
    except (ImportError, ValueError):
        there = False
    if not there:
        raise BadConfig(f"{flag} {name}: No module named {top!r}")


def _see_working_folder() -> None:
    """Put the working folder on the path: `python -m` does, a console script does not."""
    folder = str(Path.cwd())
    if folder not in sys.path and "" not in sys.path:
        sys.path.append(folder)


def _import(told: str, module_name: str) -> ModuleType:
    with blame_plugin(told, None):
        try:
            return import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name and f"{module_name}.".startswith(f"{error.name}."):
                raise BadConfig(f"{told}: {error}") from None
            raise


def _is_class_of(module: ModuleType, value: object) -> bool:
    return inspect.isclass(value) and value.__module__ == module.__name__ and not value.__name__.startswith("_")


def _blame(told: str, error: BaseException, code: object = None) -> BadConfig:
    """Describe an error of user code in one line, with its file and line; `code` is the place if no frame is theirs."""
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    text = " ".join(said.split())[:_LONGEST]
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    place = _place_of(error) or _definition_of(code)
    return BadConfig(f"{told}: {what}{f' ({place})' if place else ''}; mend it, then the same command goes on")


def _place_of(error: BaseException) -> str | None:
    """Locate an error: `judges.py:12, in grade: return table[case.gold]`, the last frame in a file of theirs."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_shown(error.filename)}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    foreign = [frame for frame in frames if not _within(frame.filename, _OURS)]
    own = [frame for frame in foreign if not _within(frame.filename, _INSTALLED)] or foreign
    if not own:
        return None
    inside = f", in {own[-1].name}" if own[-1].name != "<module>" else ""
    return f"{_shown(own[-1].filename)}:{own[-1].lineno}{inside}: {own[-1].line}"


def _interrupts(error: BaseException) -> bool:
    """True if it is Ctrl-C, or a signal that ends the process, raised by our handler within their code."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = bool(frames) and _within(frames[-1].filename, _OURS)
    return isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and ours)


def _within(file: str, folders: Iterable[str]) -> bool:
    return any(Path(file).is_relative_to(folder) for folder in folders)


def _definition_of(code: Any) -> str | None:
    with suppress(TypeError, OSError):
        return f"{_shown(str(inspect.getsourcefile(code)))}:{inspect.getsourcelines(code)[1]}"
    return None


def _shown(file: str) -> str:
    """Return the path as the user would type it."""
    with suppress(ValueError):
        return str(Path(file).relative_to(Path.cwd()))
    return file


class PluginInput(Generic[_T]):
    """Items handed to user code one by one. `error`: our own failure in making one."""

    def __init__(self, items: Iterable[_T]) -> None:
        self.items = iter(items)
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[_T]:
        return self

    def __next__(self) -> _T:
        try:
            return next(self.items)
        except StopIteration:
            raise
        except BaseException as error:
            self.error = error
            raise


@contextmanager
def blame_plugin(
    told: str, code: object, *, data: tuple[type[Exception], ...] = (), passed: PluginInput[Any] | None = None
) -> Iterator[None]:
    """Turn an error of user code into BadConfig with its file and line.

    `told` names the plugin, `code` the place to name where no frame is theirs. Errors of ours, those of the kinds
    `data`, and that of what was `passed` stay as they are.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, (SealError, MemoryError, *data)) or type(error).__name__ == "OutOfMemoryError":
            raise
        if (passed and error is passed.error) or _interrupts(error):
            raise
        raise _blame(told, error, code) from error


class Plugin:
    """An object of a user's class, made and called so that its errors are reported as its own."""

    def __init__(self, flag: str, name: str, kind: Any, *arguments: Any, **settings: Any) -> None:
        self.told = f"{flag} {name}"
        self.code: Any = kind
        with blame_plugin(self.told, kind):
            self.made = kind(*arguments, **settings)
        self.code = type(self.made)

    def text(self, field: str, needs: str) -> str:
        """Return a required text attribute. Raises BadConfig if it is missing; `needs` says what it is."""
        with blame_plugin(self.told, self.code):
            found = getattr(self.made, field, None)
        if not isinstance(found, str) or not found:
            raise self.wrong(f"has no text as its {field}; {needs}")
        return found

    def method(self, name: str, needs: str) -> Callable[..., Any]:
        """Return a required method."""
        found = getattr(self.made, name, None)
        if not callable(found):
            raise self.wrong(f"has no {name}; {needs}")
        return found  # type: ignore[no-any-return]

    def each(self, call: Callable[..., Any], *arguments: Any, passed: PluginInput[Any] | None = None) -> Iterator[Any]:
        """Yield what the call gives, one by one. `passed`: what it takes from us meanwhile."""
        self.code = inspect.unwrap(call)
        yield from _iterate(lambda: call(*arguments), self.told, self.code, passed=passed)

    def each_once(
        self,
        call: Callable[..., Any],
        asked: Sequence[Any],
        progress: object,
        words: tuple[str, str],
        explain_fault: Callable[[object], str | None],
    ) -> Iterator[Any]:
        """Yield what the call gives for what is asked: for each the one with its id, in any order.

        `words`: what is given, and what is asked. `explain_fault` says what is wrong with one of them.
        """
        (given, wanted), left = words, {each.id for each in asked}
        for found in self.each(call, asked, progress):
            if fault := explain_fault(found):
                raise self.wrong(f"gave {format_value(found)}, which {fault}")
            if not isinstance(found.id, str) or found.id not in left:
                raise self.wrong(f"gave a {given} for {format_value(found.id)}, which no {wanted} waits for")
            left.remove(found.id)
            yield found
        if left:
            raise self.wrong(f"gave no {given} for {len(left)} of {len(asked)} {wanted}s")

    def wrong(self, what: str) -> BadConfig:
        """Make the error that says what is wrong with the class or its results, and where it is written."""
        place = _definition_of(self.code)
        return BadConfig(f"{self.told}: {what}{f' ({place})' if place else ''}")


def _iterate(call: Callable[[], Any], told: str, code: object, **passing: Any) -> Iterator[Any]:
    """Yield what user code gives, one by one."""
    with blame_plugin(told, code, **passing):
        items = iter(call())
    while True:
        with blame_plugin(told, code, **passing):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


@cache
def make_domain(name: str) -> Any:
    """Make the domain of a name. One of others reports its errors as its own. Raises BadConfig if it is not allowed."""
    check_allowed(name)
    told = f"the domain {name}"
    kind = load_class("the domain", name, DOMAINS)
    with blame_plugin(told, kind):
        made = kind()
    return made if name in DOMAINS else _GuardedDomain(told, made)


class _GuardedDomain:
    """A domain of others: each of its attributes, and what its methods give, with errors reported as its own."""

    def __init__(self, told: str, made: Any) -> None:
        self._told, self._made = told, made

    def __getattr__(self, name: str) -> Any:
        inspect.getattr_static(self._made, name)  # raises AttributeError for one that is not there
        with blame_plugin(self._told, type(self._made)):
            found = getattr(self._made, name)
        return partial(self._call, name, found) if inspect.isroutine(found) else found

    def _call(self, name: str, method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        data = (BadEdit, Untrainable)
        with blame_plugin(self._told, method, data=data):
            found = method(*arguments, **named)
        if name == "set_up_training":
            return _GuardedDomain(self._told, found)
        return _iterate(lambda: found, self._told, method, data=data) if isinstance(found, Iterator) else found


def format_value(value: object) -> str:
    """Format a user's value for an error: not too long, whatever its repr does."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 — the class is the user's, and so is what its repr raises
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:79]}…"
