"""What `seal accept` says of a good adapter and of what an engine may have instead, in each engine that is here.

    python -m tests.acceptance.table [ENGINE …]      one row for each; every engine has an environment of its own:

.venv: hf; .venv-vllm (make setup-vllm): vllm, vllm-server; .venv-llamacpp (make test-llamacpp): llama-f32, llama-q8_0
"""

import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from stages.accept import Acceptance
from tests.acceptance.trials import GOOD, Outcome, Test, make_trials, open_here, open_llama, open_vllm_server, tell
from tests.acceptance.world import make_world

Open = Callable[..., AbstractContextManager[Test]]
ENGINES: dict[str, tuple[str, Open]] = {  # the package that each needs
    "hf": ("transformers", partial(open_here, "hf")),
    "vllm": ("vllm", partial(open_here, "vllm")),
    "vllm-server": ("vllm", open_vllm_server),
    "llama-f32": ("xllamacpp", partial(open_llama, "f32")),
    "llama-q8_0": ("xllamacpp", partial(open_llama, "q8_0")),
}


def describe(found: Outcome) -> str:
    """The checks that failed, with the distances that they rest on."""
    if not isinstance(found, Acceptance) or found.figures is None:
        return tell(found)
    noise, error = found.figures.noise, found.figures.error
    return f"{tell(found)} ({'–' if noise is None else f'{noise:.2g}'} / {error:.2g})"


def main(names: list[str]) -> None:
    chosen = {name: each for name, each in ENGINES.items() if (name in names) or not names}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        world = make_world(folder / "world")
        trials = make_trials(world, folder)
        columns = [trial.name for trial in trials]
        print(f"| engine | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
        for name, (package, enter) in chosen.items():
            if find_spec(package) is None:
                print(f"{name}: {package} is not installed here", file=sys.stderr)
                continue
            own = folder / name
            own.mkdir()
            with enter(world, trials, own) as test:
                found = {trial.name: test(trial) for trial in trials}
            print(f"| {name} | {' | '.join(describe(found[column]) for column in columns)} |", flush=True)
            for column, each in found.items():
                checks = each if isinstance(each, str) else "; ".join(f"{f.check}: {f.found}" for f in each.findings)
                print(f"{name}, {column}: {checks}", file=sys.stderr)
            assert tell(found[GOOD]) == "accepted" and "accepted" not in {
                tell(each) for column, each in found.items() if column != GOOD
            }, f"{name}: the good one, and no other, is to be accepted"


if __name__ == "__main__":
    main(sys.argv[1:])
