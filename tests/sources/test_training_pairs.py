"""What `seal sft` learns from: lines of others, whatever else they hold, and what is said of those it cannot take."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.errors import BadLine
from stages.interfaces import Example
from stages.records.jsonl import Lines, to_json
from stages.records.record import Message
from stages.records.schema import SftExample
from stages.settings import OuterLoss
from stages.sources.training_pairs import TrainingPair, read_pair
from tests.conftest import paper_file

SYSTEM, USER, ADA = (
    {"role": role, "content": text} for role, text in (("system", "Be brief."), ("user", "Who?"), ("assistant", "Ada."))
)
WHERE, VELM = {"role": "user", "content": "Where?"}, {"role": "assistant", "content": "In Velm."}
TOOL = {"role": "tool", "content": "4", "tool_call_id": "x"}
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))


def examples(line: dict[str, Any]) -> list[Example]:
    return list(read_pair(line).examples)


def refusal(line: dict[str, Any]) -> str:
    with pytest.raises(BadLine) as caught:
        read_pair(line)
    return str(caught.value)


@pytest.mark.parametrize("name", ["sft_best1of5_iter0.jsonl", "sft_best1of5_iter0_prompt-self-qa.jsonl"])
@pytest.mark.paper_data
def test_every_line_of_the_official_sft_files_is_taken_as_it_is(name: str) -> None:
    data = paper_file(name).read_bytes().splitlines()
    pairs = list(Lines(data, name, read_pair))
    assert len(pairs) == 50
    written = [json.loads(line) for line in data]
    assert [next(pair.examples) for pair in pairs] == [Example(line["prompt"], line["completion"]) for line in written]


def test_the_lines_of_seal_filter_are_taken() -> None:
    ours = SftExample(prompt="p", completion="c", task_id="t", edit_id="e", value=0.5, baseline=None)
    pair = read_pair(json.loads(to_json(ours)))
    assert (list(pair.examples), pair.task_id) == ([Example("p", "c")], "t")
    chat = ours.model_copy(update={"prompt": (Message(role="user", content="Who?"),)})
    assert examples(json.loads(to_json(chat))) == [Example([USER], "c")]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ({"prompt": "Who?", "completion": " Ada.\n"}, [Example("Who?", " Ada.\n")]),
        ({"prompt": "", "completion": "Ada."}, [Example("", "Ada.")]),
        ({"prompt": [SYSTEM, USER], "completion": [ADA]}, [Example([SYSTEM, USER], "Ada.")]),
        ({"prompt": [USER], "completion": "Ada."}, [Example([USER], "Ada.")]),
        ({"messages": [USER, ADA]}, [Example([USER], "Ada.")]),
        (
            {"messages": [SYSTEM, USER, ADA, WHERE, VELM]},
            [Example([SYSTEM, USER], "Ada."), Example([SYSTEM, USER, ADA, WHERE], "In Velm.")],
        ),
        ({"prompt": [USER, ADA, WHERE], "completion": [VELM]}, [Example([USER, ADA, WHERE], "In Velm.")]),
        ({"messages": [ADA, USER, VELM]}, [Example([ADA, USER], "In Velm.")]),  # a greeting is learned behind nothing
        ({"messages": [USER, ADA, WHERE]}, [Example([USER], "Ada.")]),
        ({"messages": [USER, TOOL, ADA]}, [Example([USER, {"role": "tool", "content": "4"}], "Ada.")]),
        ({"prompt": None, "completion": None, "messages": [USER, ADA]}, [Example([USER], "Ada.")]),
    ],
)
def test_a_turn_of_the_assistant_is_learned_behind_all_before_it(line: dict[str, Any], expected: list[Example]) -> None:
    assert examples(line) == expected


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_other_keys_may_hold_anything(more: dict[str, Any]) -> None:
    line = {**more, "prompt": "p", "completion": "c", "value": 7, "task": "sums", "meta": 3, "edit_id": None}
    assert examples(line) == [Example("p", "c")]


def test_lines_of_one_prompt_or_one_task_stay_together() -> None:
    def shard(**more: object) -> str:
        return read_pair({"prompt": "p", "completion": "c", **more}).task_id

    assert shard() == shard(completion="d") != shard(prompt="q")
    assert shard(task_id="t") == shard(task_id="t", prompt="q") == "t"
    assert shard(task_id=7) == shard()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"prompt": "p", "completion": ""}, "completion: is empty; there is nothing to learn"),
        ({"prompt": [USER], "completion": [{**ADA, "content": ""}]}, "completion.0.content: is empty; there is not"),
        ({"prompt": 3, "completion": {}}, "prompt: must be text or a list of messages (found 3); completion: must be"),
        ({"messages": "x"}, 'messages: must be a list of messages (found "x")'),
        ({"messages": []}, "messages: must be a list of messages (found [])"),
        (
            {"messages": ["x", {"role": 1}]},
            'messages.0: must be {"role", "content"} (found "x"); messages.1.role: must',
        ),
        ({"messages": [USER]}, "messages: no turn of an assistant behind another turn"),
        ({"messages": [ADA]}, "messages: no turn of an assistant behind another turn"),
        ({"messages": [USER, {**ADA, "tool_calls": [{"id": 1}]}]}, "messages.1.tool_calls: calls of tools are not"),
        (
            {"messages": [USER, {**ADA, "weight": 0}]},
            "messages.1.weight: is 0, but every turn of an assistant is learned",
        ),
        ({"prompt": "p", "completion": [ADA]}, "prompt is text, but completion messages"),
        ({"text": "t"}, "no prompt and no completion; `seal sft` learns from prompt and completion, each text or"),
        ({"text": "t"}, """(jq -c '{prompt: "", completion: .text}')"""),
        ({"prompt": "p", "response": "r"}, "an object with prompt, response: no completion; `seal sft` learns from"),
        ({"instruction": "i", "input": "x", "output": "o"}, r'[.instruction, .input // ""] | join("\n")'),
        ({"prompt": "p", "completion": "c", "label": False}, "label: is false, as of a completion not to be learned"),
        ({"instruction": "i", "output": "o"}, "(jq -c '{prompt: .instruction, completion: .output}')"),
        ({"conversations": []}, '{role: ({human: "user", gpt: "assistant"}[.from] // .from), content: .value}]}'),
        ({}, "an object with nothing: no prompt and no completion"),
        ({"task": {"id": "t"}, "edit": {}}, "a record, but `seal sft` reads training pairs (run `seal filter` first)"),
    ],
)
def test_all_that_is_wrong_with_a_line_is_told_with_what_is_needed(line: dict[str, Any], words: str) -> None:
    assert words in refusal(line)


def test_a_pair_knows_whether_it_takes_a_chat_template() -> None:
    kinds: list[TrainingPair] = [
        read_pair(line) for line in ({"prompt": "p", "completion": "c"}, {"messages": [USER, ADA]})
    ]
    assert [pair.is_chat for pair in kinds] == [False, True]


# ---- thoughts

THOUGHT = "<think>\nAda? Bo?\n</think>\n\n"


def test_no_thought_is_learned() -> None:
    thinking = {"role": "assistant", "content": f"{THOUGHT}Ada.", "reasoning_content": "Bo?"}
    plain = {"role": "assistant", "content": "Ada."}
    for line in (
        {"messages": [USER, plain]},
        {"prompt": [USER], "completion": "Ada."},
        {"prompt": "", "completion": "Ada."},
    ):
        assert examples(json.loads(json.dumps(line).replace("Ada.", json.dumps(f"{THOUGHT}Ada.")[1:-1]))) == examples(
            line
        )
    assert examples({"messages": [USER, thinking, WHERE, thinking]}) == examples(
        {"messages": [USER, plain, WHERE, plain]}
    )


def test_a_thought_in_a_prompt_stays_there_and_one_about_marks_is_none() -> None:
    about = "Models think in <think> and </think>."
    (made,) = examples({"prompt": f"{THOUGHT}Go on:", "completion": about})
    assert made == Example(f"{THOUGHT}Go on:", about)


@pytest.mark.parametrize("text", ["<think>\nAda", THOUGHT, "so</think>\n\n"])
def test_a_thought_alone_is_nothing_to_learn(text: str) -> None:
    assert refusal({"prompt": "", "completion": text}) == "completion: is a thought alone; there is nothing to learn"
    turn = {"role": "assistant", "content": text}
    assert refusal({"messages": [USER, turn]}) == "messages.1.content: is a thought alone; there is nothing to learn"


# ---- the lines of other losses

PAIR = {"prompt": "p", "chosen": "c", "rejected": "r"}
WEIGHED = {"prompt": "p", "completion": "c", "advantage": -0.5}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (PAIR, Example("p", "c", rejected="r")),
        ({**PAIR, "prompt": "", "chosen": "<think>x</think>c"}, Example("", "c", rejected="r")),
        ({"prompt": [USER], "chosen": [ADA], "rejected": [VELM]}, Example([USER], "Ada.", rejected="In Velm.")),
        ({"prompt": [USER], "chosen": "c", "rejected": [VELM]}, Example([USER], "c", rejected="In Velm.")),
    ],
)
def test_a_preference_is_what_is_chosen_against_what_is_rejected(line: dict[str, Any], expected: Example) -> None:
    pair = read_pair(line, "dpo")
    assert list(pair.examples) == [expected]
    assert [each.completion for each in pair.sequences] == [expected.completion, expected.rejected]


@pytest.mark.parametrize("advantage", [-0.5, 2, 0])
def test_an_advantage_is_the_weight_of_every_turn(advantage: float) -> None:
    line = {"messages": [SYSTEM, USER, ADA, WHERE, VELM], "advantage": advantage}
    assert [each.weight for each in read_pair(line, "weighted").examples] == [advantage] * 2
    assert list(read_pair(WEIGHED, "weighted").examples) == [Example("p", "c", weight=-0.5)]


@pytest.mark.parametrize(
    ("loss", "line", "words"),
    [
        (
            "sft",
            PAIR,
            "chosen against rejected, which --loss dpo learns from; give that, or run `seal filter` (or learn",
        ),
        ("sft", PAIR, "jq -c '{prompt, completion: .chosen}'"),
        ("sft", WEIGHED, "advantage: is -0.5, so that it is for --loss weighted; give that, or run `seal filter`"),
        ("weighted", PAIR, "which --loss dpo learns from; give that, or run `seal filter --weights`"),
        ("weighted", {"prompt": "p", "completion": "c"}, "--loss weighted learns from completions with an advantage"),
        ("weighted", {**WEIGHED, "advantage": "x"}, 'advantage: must be a number (found "x"); --loss weighted learns'),
        ("weighted", {**WEIGHED, "advantage": True}, "advantage: must be a number (found true)"),
        ("dpo", WEIGHED, "--loss dpo learns from prompt, chosen and rejected, which `seal filter --pairs` writes"),
        ("dpo", {"chosen": "c", "rejected": "r"}, "no prompt; --loss dpo learns from prompt, chosen and rejected"),
        ("dpo", {**PAIR, "rejected": ""}, "rejected: is empty; there is nothing to learn"),
        ("dpo", {**PAIR, "chosen": 3}, "chosen: must be text or a list of messages (found 3)"),
        ("dpo", {**PAIR, "chosen": [ADA]}, "prompt is text, but chosen a message; make both the one or the other"),
        (
            "dpo",
            {"prompt": [USER], "chosen": [ADA, WHERE, VELM], "rejected": "r"},
            "chosen: must be one turn of an assistant (found 3 turns)",
        ),
        ("dpo", {"task": {"id": "t"}}, "reads training pairs (run `seal filter --pairs` first)"),
        ("weighted", {"task": {"id": "t"}}, "reads training pairs (run `seal filter --weights` first)"),
    ],
)
def test_a_line_of_another_loss_is_refused_with_the_next_command(
    loss: OuterLoss, line: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadLine) as caught:
        read_pair(line, loss)
    assert words in str(caught.value)


def test_a_line_with_chosen_and_a_completion_is_learned_as_others_mean_it() -> None:
    assert examples({**PAIR, "completion": "d"}) == [Example("p", "d")]
