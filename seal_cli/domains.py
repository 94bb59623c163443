"""What commands do otherwise for tasks of one domain than of another: their defaults, and flags that only one has."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from seal_cli.services import refuse_given
from stages.domains.defaults import DEFAULTS, Defaults
from stages.engines.base import FitConfig, Sampling

if TYPE_CHECKING:
    from stages.domains.arc import Arc
    from stages.domains.qa import QA
    from stages.records import Record

CHOSEN = {"--learning-rate": "learning_rate", "--epochs": "epochs"}


def default(section: str, name: str = "") -> str:
    """`[default: 32; ARC: 128]`: what a flag is where it is not given, for its help."""
    values = {domain: getattr(settings, section) for domain, settings in DEFAULTS.items()}
    if name:
        values = {domain: getattr(value, name) for domain, value in values.items()}
    told = {domain: f"{value:g}" if isinstance(value, float) else str(value) for domain, value in values.items()}
    return f"[default: {told['qa']}]" if told["qa"] == told["arc"] else f"[default: {told['qa']}; ARC: {told['arc']}]"


def domain_of(records: "Iterable[Record]") -> tuple[str, Defaults]:
    """The name of the one domain of all lines, and its defaults. Raises BadInput where they differ."""
    from stages.domains.base import domain_of as only

    name = only(records)
    return name, DEFAULTS[name]


def sampling(base: Sampling, **given: Any) -> Sampling:
    """The defaults with what was given instead."""
    return replace(base, **{name: value for name, value in given.items() if value is not None})


def fit_config(domain: str, given: Mapping[str, Any]) -> FitConfig:
    """The domain's recipe with what was given instead. Raises BadConfig for what a self-edit chooses itself."""
    if domain == "arc":
        theirs = {flag: given[field] for flag, field in CHOSEN.items()}
        refuse_given(theirs, "an ARC self-edit chooses it; write one yourself with `seal generate -t oracle:FILE`")
    return replace(DEFAULTS[domain].fit, **{name: value for name, value in given.items() if value is not None})


def refuse_writing(domain: str, engine: str, batched: bool, retries: int, *, unique: bool, structured: bool) -> None:
    """Raises BadConfig for ways of writing self-edits that this domain or this engine has not."""
    given = {"--retry-invalid": retries or None, "--unique": unique or None}
    given["--structured"] = structured or None
    if domain == "qa":
        refuse_given(given, "a self-edit about a passage is text, and every text can be trained on; it is for ARC")
    if batched:
        refuse_given({"--retry-invalid": retries or None}, "a batch answers once")
    if engine not in ("vllm", "openai"):
        refuse_given({"--structured": given["--structured"]}, f"--engine {engine} cannot; give vllm or openai")


def trained_domain(
    domain: str, *, model: str, config: FitConfig, seed: int, split_newlines: bool | None, chat: bool | None
) -> "QA | Arc":
    """The domain as `seal adapt` needs it. Raises BadConfig for a flag that it has no use for."""
    if domain == "qa":
        from stages.domains.qa import QA

        given = {"--chat": chat or None, "--no-chat": True if chat is False else None}
        refuse_given(given, "passages are trained on as text; only ARC tasks go through a chat template")
        return QA(split_newlines=split_newlines is not False)
    from stages.domains.arc import Arc, anything_fits
    from stages.engines.lengths import Lengths

    lines = {
        "--split-newlines": split_newlines or None,
        "--no-split-newlines": True if split_newlines is False else None,
    }
    refuse_given(lines, "an ARC self-edit has no sequences to split")
    fits = Lengths(model).fits if model else anything_fits
    rows = config.batch_size * config.accumulation
    return Arc(seed=seed, rows_a_step=rows, chat=chat is not False, fits=fits)
