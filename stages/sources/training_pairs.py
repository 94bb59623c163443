"""Training pairs, which `seal sft` reads: any {"prompt", "completion"} line, and any chat that is {"messages"}.

    {"prompt": text or messages, "completion": text or messages}      ours, the official SEAL files, trl's
    {"messages": [{"role", "content"}]}                               a whole chat

Every turn of an assistant in the completion, or in `messages`, is learned behind the turns before it (in trl's words:
the completion alone, assistant turns only), without the thoughts that it begins with. Keys that are not named here may
hold anything and are left alone, `reasoning_content` among them.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from stages.errors import BadLine
from stages.interfaces import Example, Prompt
from stages.records.frozen import FrozenModel, Tuple, content_id
from stages.records.jsonl import excerpt
from stages.records.record import Message
from stages.records.thoughts import get_learnable_text

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
Turns = Sequence[Mapping[str, Any]]


class TrainingPair(FrozenModel):
    """A line to train on. A completion of messages has an example for each assistant turn."""

    prompt: str | Tuple[Message]
    completion: str | Tuple[Message]
    task_id: str  # lines of one task stay in one shard; of the prompt where the line names none
    edit_id: str | None = None  # of a line that `seal filter` wrote: such a line counts once

    @property
    def is_chat(self) -> bool:
        """True if it takes a chat template to learn from it."""
        return not isinstance(self.prompt, str)

    @property
    def examples(self) -> Iterator[Example]:
        """The examples, one per assistant turn, each after all turns before it."""
        if isinstance(self.completion, str):
            yield Example(_plain(self.prompt), self.completion)
            return
        turns = [*(() if isinstance(self.prompt, str) else self.prompt), *self.completion]
        for place in range(len(self.prompt), len(turns)):
            if turns[place].role == LEARNED and place > 0:
                yield Example(_plain(turns[:place]), turns[place].content)


def _plain(prompt: str | Sequence[Message]) -> Prompt:
    if isinstance(prompt, str):
        return prompt
    return [{"role": turn.role, "content": turn.content} for turn in prompt]


def read_pair(line: Mapping[str, Any]) -> TrainingPair:
    """Read a line to train on. Raises BadLine with all that is wrong with it, and what is needed."""
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
        raise BadLine(_without_pair(line, here))
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


def _without_pair(line: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    if "task" in line:
        return "a record, but `seal sft` reads training pairs (run `seal filter` first)"
    missing = " and no ".join(key for key in ("prompt", "completion") if key not in here)
    names = next((names for names in _ALIASES if all(name in line for name in names)), None)
    way = f" (jq -c '{_ALIASES[names]}')" if names else ""
    keys = ", ".join(key[:40] for key in islice(line, 5)) or "nothing"
    return f"an object with {keys}: no {missing}; {_NEEDS}{way}"
