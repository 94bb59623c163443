"""The stages that are tortured: a table of command lines, each with the files it starts from."""

from collections.abc import Collection
from dataclasses import dataclass

SMALL_LORA = ("--rank", "2", "--alpha", "4", "--epochs", "2", "--learning-rate", "1e-2")
GENERATE = ("generate", "--model", "{model}", "-k", "2", "--max-tokens", "12", "--batch", "2")
ADAPT = ("adapt", "--model", "{model}", "--out", "adapters", *SMALL_LORA)
POOL = ("adapt", "edits.jsonl", "--model", "{model}", "--pool", "--batch-size", "8", "--checkpoint-every", "1")
FULL = (*POOL, "--out", "models", "--method", "full", "--epochs", "2")
SEQUENCE: tuple[str, ...] = ("adapt", "edits.jsonl", "--model", "{model}", "--out", "grown", *SMALL_LORA)
SEQUENCE += ("--sequential", "--gate", "0.5", "--retain", "tasks.jsonl", "--judge", "exact")
EVAL = ("eval", "--judge", "exact", "--max-tokens", "6", "--batch", "2")
TRAIN: tuple[str, ...] = ("sft", "sft.jsonl", "--model", "{model}", "--out", "model", *SMALL_LORA, "--batch-size", "2")
TRAIN += ("--micro-batch", "1")
JUDGE = ("judge", "--judge", "exact")
RESUMING = ("generate", "adapt", "eval", "judge")


@dataclass(frozen=True)
class Case:
    """`arguments` of `seal`, `inputs` by name from the store, and where the lines go: a file, or stdout."""

    name: str
    arguments: tuple[str, ...]
    inputs: tuple[str, ...]
    output: str | None = None
    stdin: str | None = None
    old: bool = False  # the output is there before, with other content
    folder: str | None = None  # what is made, where it is no lines: whole or absent

    @property
    def lines(self) -> str | None:
        """The file to which finished lines are appended; None for a stage that is so cheap that it begins anew."""
        if self.arguments[0] not in RESUMING:
            return None
        return f"{self.output}.part" if self.output else f"{self.journal}/{self.arguments[0]}.jsonl"

    @property
    def makes(self) -> set[str]:
        """The names in the store that later cases read."""
        if self.output is None or self.old:
            return {self.folder} if self.folder and not self.old else set()
        folder = self.arguments[self.arguments.index("--out") + 1 :][:1] if "--out" in self.arguments else ()
        return {self.output, f"{self.output}.manifest.json", *folder}

    @property
    def journal(self) -> str | None:
        """The folder of the journal, relative to the trial's."""
        return "journal" if "--journal" in self.arguments else None


def to_file(name: str, arguments: tuple[str, ...], output: str, *inputs: str) -> Case:
    return Case(name, (*arguments, "-o", output), inputs, output)


def in_pipe(name: str, arguments: tuple[str, ...], stdin: str, *inputs: str) -> Case:
    return Case(f"{name} in a pipe", (*arguments, "--journal", "journal"), inputs, stdin=stdin)


def over(case: Case, *more: str, there: tuple[str, ...] = ()) -> Case:
    """The same, with `more` arguments, where the output exists already, and other things too."""
    arguments, inputs = (*case.arguments, *more, "--overwrite"), (*case.inputs, *there)
    return Case(f"{case.name} over old", arguments, inputs, case.output, old=True)


def piece(part: int) -> Case:
    """A shard, which `seal merge` reads with its manifest."""
    arguments = ("tasks", "source.jsonl", "--shard", f"{part}/2")
    return to_file(f"piece {part}", arguments, f"piece-{part}.jsonl", "source.jsonl")


TASKS = to_file("tasks", ("tasks", "source.jsonl", "--sample", "2"), "tasks.jsonl", "source.jsonl")
FILTER = to_file("filter", ("filter", "scores.jsonl", "--keep", "best:2"), "sft.jsonl", "scores.jsonl")
SFT = to_file("sft", TRAIN, "checkpoint.jsonl", "sft.jsonl")

POOL_CASE = to_file("pool", (*POOL, "--out", "pooled", *SMALL_LORA), "pool.jsonl", "edits.jsonl")
TO_GGUF = ("--to", "gguf", "--overwrite", "--out")
MERGED = ("export", "pool.jsonl", "--to", "merged", "--overwrite", "--out", "merged")
IMPORT = ("import", "model.gguf", "--overwrite", "--out", "imported")

PIECES = tuple(f"piece-{part}.jsonl{end}" for part in (1, 2) for end in ("", ".manifest.json"))
MERGE = to_file("merge", ("merge", "piece-2.jsonl", "piece-1.jsonl"), "merged.jsonl", *PIECES)

TABLE = (  # in the order in which they feed each other
    TASKS,
    to_file("generate", (*GENERATE, "tasks.jsonl"), "edits.jsonl", "tasks.jsonl"),
    to_file("adapt", (*ADAPT, "edits.jsonl"), "adapters.jsonl", "edits.jsonl"),
    POOL_CASE,
    to_file("full", FULL, "full.jsonl", "edits.jsonl"),
    to_file("sequence", SEQUENCE, "steps.jsonl", "edits.jsonl", "tasks.jsonl"),
    to_file("eval", (*EVAL, "adapters.jsonl"), "scores.jsonl", "adapters.jsonl", "adapters"),
    to_file("judge", (*JUDGE, "scores.jsonl"), "regraded.jsonl", "scores.jsonl"),
    FILTER,
    SFT,
    MERGE,
    Case("export", MERGED, ("pool.jsonl", "pooled"), folder="merged"),
    Case("export over old", MERGED, ("pool.jsonl", "pooled", "merged"), old=True, folder="merged"),
    Case("export gguf", ("export", "{model}", *TO_GGUF, "model.gguf"), (), "model.gguf"),
    Case("export lora", ("export", "pool.jsonl", *TO_GGUF, "lora.gguf"), ("pool.jsonl", "pooled"), "lora.gguf"),
    Case("import", IMPORT, ("model.gguf",), folder="imported"),
    over(TASKS),
    over(FILTER),
    over(SFT, "--seed", "1", there=("model",)),
    in_pipe("generate", GENERATE, "tasks.jsonl"),
    in_pipe("adapt", ADAPT, "edits.jsonl"),
    in_pipe("eval", EVAL, "adapters.jsonl", "adapters"),
    in_pipe("judge", JUDGE, "scores.jsonl", "scores.jsonl"),
)
FEEDING = (piece(1), piece(2))  # run once, for those that read what they make
CASES = {case.name: case for case in TABLE}


def with_makers(names: Collection[str]) -> list[Case]:
    """The cases of these names, each behind those that make what it reads."""
    found: list[Case] = []
    read: set[str | None] = set()
    for case in reversed((*FEEDING, *TABLE)):
        if case.name in names or case.makes & read:
            found.insert(0, case)
            read |= {*case.inputs, case.stdin}
    return found
