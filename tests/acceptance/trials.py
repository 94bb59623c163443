"""One good adapter and what an engine may have instead of it, and what `seal accept` says of each in every engine."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.accept import Accept, Acceptance, AcceptanceTest
from stages.checks.acceptance.engines import ServerAccess
from stages.checks.acceptance.subjects import Subject, list_subjects
from stages.engines.local import LocalEngine
from stages.errors import SealError
from stages.judges.exact import ExactJudge
from stages.records.parser import read_records
from stages.services.client import Server
from stages.services.vllm_server import probe_server
from tests.acceptance.damage import DAMAGES, perturb
from tests.acceptance.world import FLOAT32, MODEL, World
from tests.vllm.server import call

GOOD = "the good one"


@dataclass(frozen=True)
class Trial:
    """What an engine has under the good adapter's name, and its base model."""

    name: str
    served: Path
    base: Path = MODEL


Outcome = Acceptance | str  # or the error that ended it
Test = Callable[[Trial], Outcome]


def make_trials(world: World, folder: Path) -> list[Trial]:
    good, other = world.adapters[:2]
    damaged = [Trial(name, damage(good, folder / name.replace(" ", "-"))) for name, damage in DAMAGES.items()]
    base = perturb(MODEL, folder / "base")
    return [Trial(GOOD, good), *damaged, Trial("another task's", other), Trial("another base", good, base)]


def find_subject(world: World) -> Subject:
    """The good adapter with its score lines."""
    with world.lines.open("rb") as lines:
        return list_subjects(read_records(lines, str(world.lines)))[0]


def accept(world: World, **settings: Any) -> Outcome:
    """What is said of the good adapter. `settings`: of Accept, and of AcceptanceTest beside those of the world."""
    own = {name: settings.pop(name) for name in ("model", "served") if name in settings}
    wanted = AcceptanceTest(base=str(MODEL), among=world.adapters[1:2], probe_tokens=192, **own)
    try:
        (found,) = Accept(wanted, ExactJudge, device=FLOAT32, **settings).run([find_subject(world)])
    except SealError as error:
        return str(error)
    return found


def reach(url: str, plain_url: str | None = None) -> ServerAccess:
    def connect(address: str) -> Server:
        return Server(address, key=None, retry_for_s=0.0)

    return ServerAccess(url, plain_url, lambda address: probe_server(address, None), connect)


def tell(found: Outcome) -> str:
    """`accepted`, the checks that failed, or that it was refused."""
    if isinstance(found, str):
        return "refused"
    failed = [each.check for each in found.findings if each.ok is False]
    return ", ".join(failed) or ("accepted" if found.is_accepted else "not tried")


# ---- the engines


class Kept:
    """An engine that stays when it is let go."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def close(self) -> None: ...


@dataclass(frozen=True)
class KeepingEngine(LocalEngine):
    """Loads a model once for many comparisons: vLLM's start takes longer than all of them."""

    adapters: tuple[Path, ...] = ()
    held: list[Any] = field(default_factory=list)

    def load(self, model: str, adapters: Sequence[Path] = ()) -> Any:
        if not self.held or self.held[0].model != model:
            self.close()
            self.held.append(super().load(model, self.adapters))
        return Kept(self.held[0])

    def close(self) -> None:
        """vLLM's state is the process's: one ends before the next begins."""
        if self.held and self.name == "vllm":
            self.held[0].close()
        self.held.clear()


@contextmanager
def open_here(engine: str, world: World, trials: Sequence[Trial], folder: Path) -> Iterator[Test]:
    """hf or vllm in this process."""
    source = KeepingEngine(None, engine, FLOAT32, adapters=world.adapters)
    try:
        yield lambda trial: accept(world, engine=source, model=str(trial.base), served=str(trial.served))
    finally:
        source.close()


@contextmanager
def open_vllm_server(world: World, trials: Sequence[Trial], folder: Path) -> Iterator[Test]:
    """A vLLM server for each base, into which the adapters are loaded by the name of their trial."""
    from tests.vllm.server import serving

    with ExitStack() as stack:
        urls = {
            base: stack.enter_context(serving(base, folder / f"{base.name}.log", slots=16))
            for base in {trial.base for trial in trials}
        }

        def test(trial: Trial) -> Outcome:
            name = trial.name.replace(" ", "-")
            body = {"lora_name": name, "lora_path": str(trial.served)}
            status, told = call(urls[trial.base], "/v1/load_lora_adapter", body)
            if status != 200:
                return str(told)
            return accept(world, server=reach(f"{urls[trial.base]}/v1"), model="base", served=name)

        yield test


@contextmanager
def open_llama(numbers: str, world: World, trials: Sequence[Trial], folder: Path) -> Iterator[Test]:
    """A llama.cpp server for each base in these numbers, with all adapters that can be converted."""
    from stages.export import Export
    from tests.llamacpp.server import serving_llama

    files, refused = dict[Path, list[Path]](), dict[str, str]()
    for trial in trials:
        file = folder / f"{trial.name.replace(' ', '-')}.gguf"
        try:
            Export(to="gguf", out=file, model=str(MODEL)).run(trial.served)
            files.setdefault(trial.base, []).append(file)
        except SealError as error:
            refused[trial.name] = str(error)
    with ExitStack() as stack:
        urls = {}
        for base, adapters in files.items():
            model = folder / f"{base.name}-{numbers}.gguf"
            Export(to="gguf", out=model, numbers=numbers).run(base)  # type: ignore[arg-type]
            urls[base] = stack.enter_context(serving_llama(folder / f"{model.stem}.log", model, *adapters))

        def test(trial: Trial) -> Outcome:
            if trial.name in refused:
                return refused[trial.name]
            return accept(world, server=reach(urls[trial.base]), served=trial.name.replace(" ", "-"))

        yield test
