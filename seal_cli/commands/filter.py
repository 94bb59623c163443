"""`seal filter`"""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge

from seal_cli.flags import options as opt
from seal_cli.flags.expand import Without
from seal_cli.flags.run import InputFlags, RunFlags
from seal_cli.terminal.console import note
from stages.errors import BadConfig
from stages.settings import Doc, Ties, UnscoredPolicy

if TYPE_CHECKING:
    from seal_cli.runs.run import Run
    from stages.filter import FilterResult, LineForm


@dataclass(frozen=True)
class FilterFlags:
    """The rule by which self-edits are kept."""

    panel: ClassVar[str] = opt.OWN_PANEL
    keep: Annotated[
        str,
        Doc(
            "best, best:N, above:X (every value above X), gain (the best, if it beats the unadapted "
            "model), or random (one of each context: the control).",
            "RULE",
            values=("best", "best:2", "above:0.5", "gain", "random"),
        ),
    ] = "best"
    ties: Annotated[Ties, Doc("What decides between equal values.")] = "first"
    unscored: Annotated[
        UnscoredPolicy, Doc("Self-edits with unscored answers: left out, or worth what they are worth at least.")
    ] = "leave-out"
    reward: Annotated[
        str,
        Doc(
            "value, or gain-forgetting:L: less L points for each point of accuracy that the anchors lose.",
            "REWARD",
            values=("value", "gain-forgetting:1"),
        ),
    ] = "value"
    retain_above: Annotated[
        float | None,
        Ge(0),
        Doc("Reject self-edits that leave less than this share of the anchors' accuracy (0.9: nine tenths).", "X"),
    ] = None
    edits: Annotated[
        bool, Doc("Write the kept self-edits as edit lines, for `seal adapt --pool`: one adapter of all of them.")
    ] = False
    pairs: Annotated[bool, Doc("Write the best against the worst of each context, for `seal sft --loss dpo`.")] = False
    weights: Annotated[
        bool,
        Doc(
            "Write every scored self-edit with its advantage, (value - mean) / deviation of its context, for `seal sft "
            "--loss weighted`."
        ),
    ] = False

    @property
    def form(self) -> "LineForm":
        """The form of the lines. Raises BadConfig where two are asked for."""
        forms: dict[LineForm, bool] = {"edits": self.edits, "pairs": self.pairs, "weights": self.weights}
        given = [form for form, is_given in forms.items() if is_given]
        if len(given) > 1:
            told = " ".join(f"--{form}" for form in given)
            raise BadConfig(f"{told}: each wants all lines in a form of its own; give one of them")
        return given[0] if given else "sft"


def filter_scores(
    run: Annotated[RunFlags, Without("journal", "dry_run")], lines: InputFlags, flags: FilterFlags, seed: opt.Seed = 0
) -> int:
    """Keep the best self-edits of each context as training pairs. score → sft lines.

    The value of a self-edit is the exact mean over its seeds. One with an unscored answer is left out, neither
    rewarded nor punished; --unscored pessimistic takes such answers as wrong, and those of the unadapted model as
    right. Counts, ties and the reliability of the reward go to stderr. A pair's completion is the self-edit without its
    thoughts (<think> …), which is what was rewarded; the score lines keep them.

    --reward and --retain-above look at what was known before and may be forgotten: at the anchors that `seal eval
    --retain FILE` has asked every adapter about.

    \b
    Examples:
      seal filter scores.jsonl > sft.jsonl
      seal filter scores.jsonl --keep gain --ties shortest -o sft.jsonl
      seal filter scores.jsonl --retain-above 0.9 --reward gain-forgetting:1 > sft.jsonl
      seal filter scores.jsonl --pairs -o pairs.jsonl
      seal filter scores.jsonl --edits | seal adapt --pool --model DIR -o adapters.jsonl
      seal tasks rank_iter0.json | seal filter | jq -r .completion
    """
    from seal_cli.runs.rejects import open_rejects  # late, as all that a run needs: help does without
    from seal_cli.runs.run import Run
    from seal_cli.runs.stdio import input_records
    from stages import filter as stage
    from stages.scoring.rewards import RewardRule

    form, rule = flags.form, stage.KeepRule.parse(flags.keep)
    stage.check_form(form, rule, flags.ties, flags.unscored)
    reward = RewardRule.parse(flags.reward, flags.retain_above)
    bad = open_rejects(lines, run.output)
    with Run("filter", output=run.output, overwrite=run.overwrite, rejects=bad) as current:
        check = stage.LineCheck(reward, form)
        read = input_records(lines.file, ("edit", "score"), bad)
        records = current.input.stream(read, check, **lines.selection, allow_empty=lines.allow_empty)
        chosen: dict[str, Any] = {"ties": flags.ties, "unscored": flags.unscored, "seed": seed}
        filtered = stage.run(records, keep=rule, form=form, **chosen, check=lambda line: None, reward=reward)
        given = {} if form == "sft" else {"form": form}
        anchors = {"reward": flags.reward, "retain_above": flags.retain_above} if reward.asks_anchors else {}
        current.configure({"keep": flags.keep, **given, **chosen, **anchors, **lines.selection})
        current.write(filtered.lines())
        if len(check.judges) > 1:
            note(f"seal filter: note: the lines were graded by different judges: {', '.join(sorted(check.judges))}")
        _note_omissions(filtered, form)
        _summarize(current, filtered, flags)
    return current.code


def _summarize(current: "Run", filtered: "FilterResult", flags: FilterFlags) -> None:
    """Say what was kept and dropped, and write it into the manifest."""
    found, form = filtered.summary, flags.form
    is_kept = form in ("sft", "edits")
    current.counts.unscored = found.unscored if flags.unscored == "leave-out" else 0
    current.about["summary"] = {key: value for key, value in asdict(found).items() if key != "forgetful"}
    current.about["summary"] |= {} if found.forgetful is None else {"forgetful": found.forgetful}
    current.about["summary"] |= {} if is_kept else {"level": filtered.level}
    note(f"seal filter: {found.describe(flags.keep if is_kept else form, flags.unscored)}")


def _note_omissions(filtered: "FilterResult", form: "LineForm") -> None:
    """Say of which contexts nothing is learned, and where nothing is kept at all."""
    if filtered.level:
        note(f"seal filter: {filtered.level} contexts give no line: none of their self-edits is better than another")
    if filtered.summary.edits and not filtered.summary.kept:
        way = (
            "loosen --keep" if form in ("sft", "edits") else "take more self-edits of a context (-k), or seeds of each"
        )
        if filtered.summary.unscored == filtered.summary.edits:
            way = "no self-edit has a score; run the stage before again, or `seal judge` with another judge"
        learner = "adapt" if form == "edits" else "sft"
        note(f"seal filter: note: nothing is kept, and `seal {learner}` has nothing to train on; {way}")
