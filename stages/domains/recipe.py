"""What commands do otherwise for tasks of one domain than of another: their defaults, and flags that only one has."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from stages.domains.defaults import DEFAULTS, Defaults
from stages.errors import BadConfig, BadInput, refuse_given
from stages.interfaces import Example, FitConfig, PadMode

if TYPE_CHECKING:
    from stages.domains.arc.domain import Arc
    from stages.domains.qa import QA
    from stages.tokens.token_counts import TokenCounter

_CHOSEN = {"--learning-rate": "learning_rate", "--epochs": "epochs"}


def domain_of(found: Collection[str]) -> tuple[str, Defaults]:
    """The one domain of all lines, and its defaults; "qa" where there are no lines. Raises BadInput for several."""
    if len(found) > 1:
        names = sorted(found)
        ways = f"""take them apart: jq -c 'select(.task.domain == "{names[0]}")'"""
        raise BadInput(f"the lines are of more than one domain, {' and '.join(names)}; {ways}")
    name = next(iter(found), "qa")
    return name, DEFAULTS[name]


def refuse_chosen(domain: str, given: Mapping[str, Any]) -> None:
    """Raises BadConfig for flags of the training that a self-edit chooses itself."""
    if domain == "arc":
        theirs = {flag: given.get(field) for flag, field in _CHOSEN.items()}
        refuse_given(theirs, "an ARC self-edit chooses it; write one yourself with `seal generate -t oracle:FILE`")


def answered_chat(given: bool | None, usual: bool, trained: Collection[bool]) -> bool:
    """Whether questions go through a chat template: as the flag says, or as the adapters' training tasks did.

    `trained`: how they did, of adapters that say. Raises BadConfig where these differ from the flag or each other.
    """
    if len(trained) > 1:
        raise BadConfig("some adapters were trained on chats, others on text; take them apart by .adapter.fit.chat")
    if given is not None and trained and given not in trained:
        flag, way = ("--chat", "text") if given else ("--no-chat", "chats")
        raise BadConfig(f"{flag}: the adapters were trained on {way}; leave it out")
    return next(iter(trained), usual) if given is None else given


def refuse_asking(template: str, **given: object) -> None:
    """Raises BadConfig for flags of a model that nobody asks."""
    flags = {("-k" if name == "k" else f"--{name.replace('_', '-')}"): value for name, value in given.items()}
    refuse_given(flags, f"--template {template} asks no model; leave it out")


def refuse_writing(domain: str, engine: str, batched: bool, retries: int, *, unique: bool, structured: bool) -> None:
    """Raises BadConfig for ways of writing self-edits that this domain or this engine has not."""
    again, bound = {"--retry-invalid": retries or None}, {"--structured": structured or None}
    if domain == "qa":
        refuse_given(
            {**again, "--unique": unique or None, **bound},
            "a self-edit about a passage is text, and every text can be trained on; it is for ARC",
        )
    if batched:
        refuse_given(again, "a batch answers once")
    if engine not in ("vllm", "openai"):
        refuse_given(bound, f"--engine {engine} cannot; give vllm or openai")


class Fitting:
    """Says which rows a model takes, and remembers how many it does not."""

    def __init__(self, lengths: "TokenCounter") -> None:
        self.lengths, self.left_out = lengths, 0

    def __call__(self, example: Example) -> bool:
        fits = self.lengths.fits(example)
        self.left_out += not fits
        return fits


def describe_left_out(domain: object) -> list[str]:
    """Say how many training tasks were too long, if any."""
    fits = getattr(domain, "fits", None)
    if not isinstance(fits, Fitting) or not fits.left_out:
        return []
    model, most = fits.lengths.model, fits.lengths.limit
    return [f"note: {fits.left_out} training tasks are longer than {model}'s {most} tokens, and left out"]


def trained_domain(
    domain: str, *, model: str, config: FitConfig, seed: int, split_newlines: bool | None, chat: bool | None
) -> "QA | Arc":
    """The domain as `seal adapt` needs it. Raises BadConfig for a flag that it has no use for."""
    if domain == "qa":
        from stages.domains.qa import QA

        given = {"--chat": chat or None, "--no-chat": True if chat is False else None}
        refuse_given(given, "passages are trained on as text; only ARC tasks go through a chat template")
        return QA(split_newlines=split_newlines is not False)
    from stages.domains.arc.domain import Arc, anything_fits
    from stages.tokens.token_counts import TokenCounter

    lines = {
        "--split-newlines": split_newlines or None,
        "--no-split-newlines": True if split_newlines is False else None,
    }
    refuse_given(lines, "an ARC self-edit has no sequences to split")
    padded = config.pad_to if PadMode.parse(config.pad_mode).padded else None
    fits = Fitting(TokenCounter(model, padded)) if model else anything_fits
    rows = config.batch_size * config.accumulation
    return Arc(seed=seed, rows_a_step=rows, chat=chat is not False, fits=fits)
