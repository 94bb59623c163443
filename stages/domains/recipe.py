"""Flags and settings of stages that depend on the domain."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stages.domains.base import Domain, TrainingSetup
from stages.errors import BadConfig, refuse_given
from stages.interfaces import Example, PadMode

if TYPE_CHECKING:
    from stages.tokens.token_counts import TokenCounter


def refuse_flags(domain: Domain, stage: str, given: Mapping[str, object]) -> None:
    """Raise BadConfig for the first given flag that would do nothing for this domain. None, False, 0: not given."""
    for flag, why in domain.refused_flags.get(stage, {}).items():
        refuse_given({flag: given.get(flag) or None}, why)


def answered_chat(given: bool | None, usual: bool, trained: Collection[bool]) -> bool:
    """Return whether questions go through a chat template: as the flag says, or as the adapters' training tasks did.

    `trained`: how they did, of adapters that say. Raises BadConfig where these differ from the flag or each other.
    """
    if len(trained) > 1:
        raise BadConfig("some adapters were trained on chats, others on text; take them apart by .adapter.fit.chat")
    if given is not None and trained and given not in trained:
        flag, way = ("--chat", "text") if given else ("--no-chat", "chats")
        raise BadConfig(f"{flag}: the adapters were trained on {way}; leave it out")
    return next(iter(trained), usual) if given is None else given


def refuse_asking(template: str, **given: object) -> None:
    """Raise BadConfig for flags of a model that nobody asks."""
    flags = {("-k" if name == "k" else f"--{name.replace('_', '-')}"): value for name, value in given.items()}
    refuse_given(flags, f"--template {template} asks no model; leave it out")


def refuse_writing(domain: Domain, engine: str, batched: bool, retries: int, *, unique: bool, structured: bool) -> None:
    """Raise BadConfig for ways of writing self-edits that this domain or this engine has not."""
    again, bound = {"--retry-invalid": retries or None}, {"--structured": structured or None}
    refuse_flags(domain, "generate", {**again, "--unique": unique, **bound})
    if batched:
        refuse_given(again, "a batch answers once")
    if engine not in ("vllm", "openai"):
        refuse_given(bound, f"--engine {engine} cannot; give vllm or openai")


class Fitting:
    """Tells which rows fit the model, and counts those that do not."""

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


def set_up_training(domain: Domain, setup: TrainingSetup, model: str) -> Domain:
    """Return the domain as `seal adapt` needs it, with the rows that fit the model; "" for no model."""
    if not model or not domain.measures_rows:
        return domain.set_up_training(setup)
    from stages.tokens.token_counts import TokenCounter

    padded = setup.config.pad_to if PadMode.parse(setup.config.pad_mode).padded else None
    return domain.set_up_training(replace(setup, fits=Fitting(TokenCounter(model, padded))))


def refuse_training_flags(
    domain: Domain, fit: Mapping[str, Any], split_newlines: bool | None, chat: bool | None
) -> None:
    """Raise BadConfig for flags of `seal adapt` that would do nothing for this domain."""
    flags: dict[str, object] = {f"--{field.replace('_', '-')}": str(value) for field, value in fit.items()}
    switches = {"split-newlines": split_newlines, "chat": chat}
    flags |= {f"--{'' if value else 'no-'}{flag}": True for flag, value in switches.items() if value is not None}
    refuse_flags(domain, "adapt", flags)
