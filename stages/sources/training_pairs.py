"""Training pairs, which `seal sft` reads: any {"prompt", "completion"} line, and any chat that is {"messages"}.

    {"prompt": text or messages, "completion": text or messages}      ours, the official SEAL files, trl's
    {"messages": [{"role", "content"}]}                               a whole chat
    {"prompt", "chosen", "rejected"}, each text or messages           a preference, for the loss dpo
    any of the first two with "advantage", a number                   for the loss weighted

Every turn of an assistant in the completion, or in `messages`, is learned behind the turns before it (in trl's words:
the completion alone, assistant turns only), without the thoughts that it begins with. Keys that are not named here may
hold anything and are left alone, `reasoning_content` among them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from math import isfinite
from typing import Any

from pydantic import Field

from stages.errors import BadLine
from stages.interfaces import Example, Prompt
from stages.records.frozen import FrozenModel, Tuple, content_id
from stages.records.jsonl import excerpt
from stages.records.record import Message
from stages.records.thoughts import get_learnable_text
from stages.settings import OuterLoss

LEARNED = "assistant"  # the role of the turns that carry the loss
_NEEDS = "`seal sft` learns from prompt and completion, each text or messages, or from messages"
_ALIASES = {  # what others call them, and as what they can be read
    ("text",): '{prompt: "", completion: .text}',
    ("prompt", "response"): "{prompt, completion: .response}",
    ("instruction", "input", "output"): (
        r'{prompt: ([.instruction, .input // ""] | join("\n") | rtrimstr("\n")), completion: .output}'
    ),
    ("instruction", "output"): "{prompt: .instruction, completion: .output}",
    ("question", "answer"): "{prompt: .question, completion: .answer}",
    ("prompt", "chosen"): "{prompt, completion: .chosen}",
    ("conversations",): (
        '{messages: [.conversations[] | {role: ({human: "user", gpt: "assistant"}[.from] // .from), content: .value}]}'
    ),
}
_WAYS: Mapping[OuterLoss, str] = {
    "sft": "seal filter",
    "dpo": "seal filter --pairs",
    "weighted": "seal filter --weights",
}
Turns = Sequence[Mapping[str, Any]]


def _is_absent(value: object) -> bool:
    return value is None


class TrainingPair(FrozenModel):
    """A line to train on. A completion of messages has an example for each assistant turn."""

    prompt: str | Tuple[Message]
    completion: str | Tuple[Message]
    task_id: str  # lines of one task stay in one shard; of the prompt where the line names none
    edit_id: str | None = None  # of a line that `seal filter` wrote: such a line counts once
    rejected: str | None = Field(
        None, exclude_if=_is_absent
    )  # what the completion, a text or one turn, is preferred to
    advantage: float | None = Field(None, exclude_if=_is_absent)  # the weight of its loss

    @property
    def is_chat(self) -> bool:
        """True if it takes a chat template to learn from it."""
        return not isinstance(self.prompt, str)

    @property
    def examples(self) -> Iterator[Example]:
        """The examples, one per assistant turn, each after all turns before it."""
        weight = 1.0 if self.advantage is None else self.advantage
        if isinstance(self.completion, str):
            yield Example(_plain(self.prompt), self.completion, weight=weight, rejected=self.rejected)
            return
        turns = [*(() if isinstance(self.prompt, str) else self.prompt), *self.completion]
        for place in range(len(self.prompt), len(turns)):
            if turns[place].role == LEARNED and place > 0:
                yield Example(_plain(turns[:place]), turns[place].content, weight=weight, rejected=self.rejected)

    @property
    def sequences(self) -> Iterator[Example]:
        """The examples, and what is rejected for each as one of its own: all that goes through the model."""
        for example in self.examples:
            yield example
            if example.rejected is not None:
                yield replace(example, completion=example.rejected)


def _plain(prompt: str | Sequence[Message]) -> Prompt:
    if isinstance(prompt, str):
        return prompt
    return [{"role": turn.role, "content": turn.content} for turn in prompt]


def read_pair(line: Mapping[str, Any], loss: OuterLoss = "sft") -> TrainingPair:
    """Read a line to train on. Raises BadLine with all that is wrong with it, or where it is for another loss."""
    if "task" not in line and (other := _find_other_loss(line, loss)):
        raise BadLine(other)
    if loss == "dpo" and "task" not in line:
        return _read_preference(line)
    pair = _read_completion(line, loss)
    return pair if loss == "sft" else pair.model_copy(update={"advantage": float(line["advantage"])})


def _find_other_loss(line: Mapping[str, Any], loss: OuterLoss) -> str | None:
    """Return what is wrong with a line that is for another loss, and what to do."""
    prefers, weighs, learns = "chosen" in line and "rejected" in line, "advantage" in line, "completion" in line
    if loss != "dpo" and prefers and not learns and "messages" not in line:
        alone = f" (or learn the chosen alone: jq -c '{_ALIASES['prompt', 'chosen']}')" if "prompt" in line else ""
        return f"chosen against rejected, which --loss dpo learns from; give that, or run `{_WAYS[loss]}`{alone}"
    if loss == "sft" and weighs and _is_number(line["advantage"]):
        given = excerpt(line["advantage"])
        return f"advantage: is {given}, so that it is for --loss weighted; give that, or run `{_WAYS[loss]}`"
    if loss == "dpo" and not prefers:
        return f"--loss dpo learns from prompt, chosen and rejected, which `{_WAYS[loss]}` writes"
    if loss == "weighted" and not _is_number(line.get("advantage")):
        found = f"advantage: must be a number (found {excerpt(line['advantage'])}); " if weighs else ""
        return f"{found}--loss weighted learns from completions with an advantage, which `{_WAYS[loss]}` writes"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _read_preference(line: Mapping[str, Any]) -> TrainingPair:
    """Read a prompt with what is chosen and what is rejected: texts, or one turn of an assistant each."""
    if line.get("prompt") is None:
        raise BadLine("no prompt; --loss dpo learns from prompt, chosen and rejected")
    prompt, names = line["prompt"], ("chosen", "rejected")
    wrong = [*_faults("prompt", prompt, empty=prompt == ""), *(f for name in names for f in _faults(name, line[name]))]
    said = {name: line[name] for name in names if not wrong}
    for name, value in said.items():
        if not isinstance(value, str) and (len(value) != 1 or value[0]["role"] != LEARNED):
            wrong.append(f"{name}: must be one turn of an {LEARNED} (found {len(value)} turns)")
        elif isinstance(prompt, str) and not isinstance(value, str):
            wrong.append(f"prompt is text, but {name} a message; make both the one or the other")
    if wrong:
        raise BadLine("; ".join(wrong))
    texts = [get_learnable_text(each if isinstance(each, str) else each[0]["content"]) for each in said.values()]
    best, worst = line.get("chosen_id"), line.get("rejected_id")  # one may be preferred to several
    edit = f"{best}/{worst}" if isinstance(best, str) and isinstance(worst, str) else best
    ids = {"task_id": line.get("task_id"), "edit_id": edit}
    return _pair(ids, prompt, texts[0]).model_copy(update={"rejected": texts[1]})


def _read_completion(line: Mapping[str, Any], loss: OuterLoss) -> TrainingPair:
    """Read a line with a completion, or a chat."""
    here = {key: line[key] for key in ("prompt", "completion", "messages") if line.get(key) is not None}
    if "prompt" in here and "completion" in here:
        prompt, completion = here["prompt"], here["completion"]
        wrong = [*_faults("prompt", prompt, empty=prompt == ""), *_faults("completion", completion)]
        if not wrong and isinstance(prompt, str) and not isinstance(completion, str):
            wrong = ["prompt is text, but completion messages; make both the one or the other"]
    elif "messages" in here:
        prompt, completion = [], here["messages"]
        wrong = _faults("messages", completion, text=False)
    else:
        raise BadLine(_without_pair(line, here, _WAYS[loss]))
    if line.get("label") is False:  # KTO's sign for a completion that is not wanted
        wrong.append("label: is false, as of a completion not to be learned; leave the line out, or the label")
    if wrong:
        raise BadLine("; ".join(wrong))
    pair = _pair(line, prompt, completion)
    if next(pair.examples, None) is None:
        raise BadLine(f"{'completion' if prompt else 'messages'}: no turn of an {LEARNED} behind another turn")
    return pair


def _pair(line: Mapping[str, Any], prompt: str | Turns, completion: str | Turns) -> TrainingPair:
    given, edit = line.get("task_id"), line.get("edit_id")
    known = given if isinstance(given, str) else content_id("sft", prompt or completion)
    return TrainingPair(
        prompt=_messages(prompt),
        completion=_messages(completion, learned=True),
        task_id=known,
        edit_id=edit if isinstance(edit, str) else None,
    )


def _messages(value: str | Turns, *, learned: bool = False) -> str | tuple[Message, ...]:
    """The text or the turns. `learned`: what the model says is without its thoughts."""
    if isinstance(value, str):
        return get_learnable_text(value) if learned else value
    mine = [learned and turn["role"] == LEARNED for turn in value]
    said = [
        get_learnable_text(turn["content"]) if own else turn["content"] for turn, own in zip(value, mine, strict=True)
    ]
    return tuple(Message(role=turn["role"], content=text) for turn, text in zip(value, said, strict=True))


def _faults(name: str, value: Any, *, text: bool = True, empty: bool = False) -> list[str]:
    """The faults of a prompt, a completion or messages. `text`: it may be a text; `empty`: one of no letters."""
    if isinstance(value, str) and text:
        return [] if empty or (name == "prompt" and value) else [*_unlearnable(name, value)]
    if not isinstance(value, list) or not value:
        return [f"{name}: must be {'text or ' if text else ''}a list of messages (found {excerpt(value)})"]
    return [fault for place, turn in enumerate(value) for fault in _turn_faults(f"{name}.{place}", turn)]


def _unlearnable(place: str, text: str) -> Iterator[str]:
    """The reason why nothing can be learned of what a model says, if so."""
    if not get_learnable_text(text).strip():
        yield f"{place}: is {'a thought alone' if text.strip() else 'empty'}; there is nothing to learn"


def _turn_faults(place: str, turn: Any) -> Iterator[str]:
    if not isinstance(turn, dict):
        yield f'{place}: must be {{"role", "content"}} (found {excerpt(turn)})'
        return
    for key in ("role", "content"):
        if not isinstance(turn.get(key), str):
            yield f"{place}.{key}: must be text (found {excerpt(turn.get(key))})"
    learned = turn.get("role") == LEARNED and not place.startswith("prompt.")
    if learned and isinstance(turn.get("content"), str):
        yield from _unlearnable(f"{place}.content", turn["content"])
    if learned and turn.get("weight") not in (None, 1):  # OpenAI's sign for a turn that is not learned
        given = excerpt(turn["weight"])
        yield f"{place}.weight: is {given}, but every turn of an {LEARNED} is learned; put it into prompt"
    if turn.get("tool_calls"):
        yield f"{place}.tool_calls: calls of tools are not learned; write them into content"


def _without_pair(line: Mapping[str, Any], here: Mapping[str, Any], before: str) -> str:
    if "task" in line:
        return f"a record, but `seal sft` reads training pairs (run `{before}` first)"
    missing = " and no ".join(key for key in ("prompt", "completion") if key not in here)
    names = next((names for names in _ALIASES if all(name in line for name in names)), None)
    way = f" (jq -c '{_ALIASES[names]}')" if names else ""
    keys = ", ".join(key[:40] for key in islice(line, 5)) or "nothing"
    return f"an object with {keys}: no {missing}; {_NEEDS}{way}"
