"""Which stage makes a stage's lines, and what is said where none came."""

_BEFORE = {
    "generate": "the stage before (`seal tasks`)",
    "adapt": "the stage before (`seal generate`)",
    "eval": "the stage before (`seal adapt`, or `seal tasks`)",
    "judge": "the stage before (`seal eval`)",
    "filter": "the stage before (`seal eval`)",
    "sft": "the stage before (`seal filter`; if it kept nothing, loosen --keep)",
    "merge": "the stage that made the shards",
}


def explain_no_input(stage: str, name: str) -> str:
    """What is wrong with an input without lines, and where to look: at the stage before, which has said more."""
    if stage == "tasks":
        return f"{name}: no task in it; give another source, or --allow-empty where none is right"
    before = _BEFORE[stage]
    told = f"no lines came; see what {before} says" if name == "stdin" else f"no lines in it; run {before} again"
    return f"{name}: {told}, or give --allow-empty where none is right"
