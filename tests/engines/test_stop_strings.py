"""Stop strings in the engines: the same cut in the transformers engine and behind a server, and an early end."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from stages.engines.hf import HFEngine
from stages.engines.openai import OpenAIEngine
from stages.interfaces import Completion, Request
from stages.models.device import Device
from stages.services.base import Call, Failure
from stages.services.dialect import get_refused_parameter
from stages.settings import Sampling
from tests.conftest import make_tokenizer
from tests.services import behaviours as does
from tests.services.asking import serving
from tests.services.scripts import always
from tests.tiny_models import answers, make_adapter

GREEDY = Sampling(0.0, 1.0, 24)
PROMPTS = ("Who?", "The inn is red and the door is blue. What colour is the inn?", "a", "Question: Topic: ships\n")
NEXT = "\nQuestion: Who?\n"


@pytest.fixture(scope="module")
def engine(model_dir: Path) -> HFEngine:
    return HFEngine(str(model_dir), device=Device("cpu", "float32"))


def ask(engine: HFEngine, stops: Sequence[tuple[str, ...]], *, most: int = 24) -> list[Completion]:
    """One answer for each set of stop strings, all in one batch, each with a prompt of its own."""
    drawn = [replace(GREEDY, max_tokens=most, stop=stop) for stop in stops]
    return answers(engine, [Request(str(n), PROMPTS[n % 4], each) for n, each in enumerate(drawn)])


@contextmanager
def saying(engine: HFEngine, texts: Sequence[str]) -> Iterator[list[int]]:
    """Let the rows of a batch say these texts, token by token, and then the end token; yields the rows of each pass."""
    rows, passes = [[*make_tokenizer()(text)["input_ids"], 0] for text in texts], list[int]()

    def speak(layer: Any, given: Any, logits: torch.Tensor) -> torch.Tensor:
        forced = torch.zeros_like(logits)
        for place, row in enumerate(rows[: len(logits)]):
            forced[place, -1, row[min(len(passes), len(row) - 1)]] = 1.0
        passes.append(len(logits))
        return forced

    hook = engine.network.lm_head.register_forward_hook(speak)
    yield passes
    hook.remove()


def test_an_answer_is_what_generate_says_cut_before_the_stop_string(engine: HFEngine, model_dir: Path) -> None:
    tokenizer, network = make_tokenizer(), AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    whole = list[str]()
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        grown = network.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
        whole.append(tokenizer.decode(grown[0, ids.shape[1] :], skip_special_tokens=True))
    stops = [text[place : place + size] for text, place, size in zip(whole, (9, 5, 0, 12), (2, 3, 1, 1), strict=True)]
    found = ask(engine, [(stop,) for stop in stops])
    assert [each.text for each in found] == [text.partition(stop)[0] for text, stop in zip(whole, stops, strict=True)]
    assert {each.finish for each in found} == {"stop"}
    assert found[2].text == ""  # a stop string at the very start: the model's failure, no error
    assert found[2].error is None
    free = ask(engine, [()] * 4)
    assert [each.text for each in free] == whole
    assert all(0 < (one.tokens or 0) < (all_of.tokens or 0) for one, all_of in zip(found, free, strict=True))


@pytest.mark.parametrize(
    ("text", "stops", "said"),
    [
        ("Velm" + NEXT, ("\n",), "Velm"),
        ("Velm" + NEXT, ("\nQuestion:",), "Velm"),  # many tokens
        ("Velm" + NEXT, ("Question", "lm\nQ"), "Ve"),  # the one that begins first, though it is complete later
        ("the answer", ("e a",), "th"),  # in the middle of tokens
        ("caf\u00e9 noir", ("\u00e9",), "caf"),  # two tokens make the character
        ("\u0428\u0448", ("\u0448",), "\u0428"),  # whose first bytes are those of the one before
        ("\nVelm", ("\n",), ""),
        ("Velm", ("Velmo",), "Velm"),
    ],
)
def test_what_a_model_says_ends_before_the_stop_string(
    engine: HFEngine, text: str, stops: tuple[str, ...], said: str
) -> None:
    with saying(engine, [text]):
        (found,) = ask(engine, [stops], most=40)
    assert (found.text, found.finish) == (said, "stop")


def test_nothing_is_computed_behind_the_last_stop_string_of_a_batch(engine: HFEngine) -> None:
    told = list[tuple[int, int]]()

    class Told:
        """What the engine says of its tokens."""

        def __getattr__(self, name: str) -> Any:
            return (lambda *each: told.append(each)) if name == "add_written" else lambda *each, **more: None

    engine.sample([Request(str(n), "a", replace(GREEDY, max_tokens=1)) for n in range(2)])  # tries batches first
    texts, stops = ("ab\ncdef", "abcd\nef"), [("\n",), ("\n", "zz")]
    with saying(engine, texts) as passes:
        requests = [Request(str(n), "a", replace(GREEDY, stop=stop)) for n, stop in enumerate(stops)]
        found = {each.id: each for each in engine.sample(requests, Told())}
    assert [(found[key].text, found[key].tokens) for key in ("0", "1")] == [("ab", 3), ("abcd", 5)]
    assert len(passes) == 5
    assert told == [(2, 0), (2, 0), (2, 1), (1, 0), (1, 1)]  # the first row is over with its third token


def test_a_stop_string_that_the_last_allowed_token_completes_is_an_end_of_its_own(engine: HFEngine) -> None:
    for most, finish, text in ((3, "stop", "ab"), (2, "length", "ab")):
        with saying(engine, ["ab\ncd"]):
            (found,) = ask(engine, [("\n",)], most=most)
        assert (found.text, found.finish, found.tokens) == (text, finish, most)


def test_adapters_of_one_batch_have_stop_strings_of_their_own(
    engine: HFEngine, model_dir: Path, tmp_path: Path
) -> None:
    paths = [make_adapter(model_dir, tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    whole = answers(engine, [Request(str(path), "Who?", GREEDY, path) for path in paths])
    stops = [each.text[4:6] for each in whole]
    drawn = [replace(GREEDY, stop=(stop,)) for stop in stops]
    found = answers(engine, [Request(str(n), "Who?", each, paths[n]) for n, each in enumerate(drawn)])
    assert [each.text for each in found] == [
        each.text.partition(stop)[0] for each, stop in zip(whole, stops, strict=True)
    ]


def test_what_is_heard_is_never_a_part_of_the_stop_string_or_what_is_behind(model_dir: Path) -> None:
    engine, heard = HFEngine(str(model_dir), device=Device("cpu", "float32")), list[str]()
    engine.hear = lambda name, text: heard.append(text)
    with saying(engine, ["Velm\n and\n\nQ"]):
        (found,) = ask(engine, [("\n\nQ",)])
    assert found.text == heard[-1] == "Velm\n and"
    assert all(found.text.startswith(text) and not text.endswith("\n") for text in heard)
    assert "Velm" in heard


# ---- behind a server


def serve(behaviour: does.Behaviour, stops: tuple[str, ...], prompt: Any = "say") -> tuple[Completion, Any, list[str]]:
    """The completion, the body that was sent, the notes."""
    from tests.invented import Notes

    with serving(always(behaviour)) as (there, transport):
        notes = Notes()
        request = Request("0", prompt, replace(GREEDY, stop=stops))
        (found,) = OpenAIEngine("m", transport).sample([request], notes)
        return found, there.asked[-1].body, notes.notes


def test_a_server_is_told_the_stop_strings_and_a_text_that_goes_on_is_cut_all_the_same() -> None:
    for text, finish in (("Velm", "stop"), ("Velm" + NEXT, "length"), ("Velm\n", "stop")):
        found, body, _ = serve(does.ok(text, finish), ("\n", "Q"))
        assert body["stop"] == ["\n", "Q"]
        assert (found.text, found.finish, found.error) == ("Velm", "stop", None)
    found, body, _ = serve(does.ok("Velm" + NEXT, "length"), ())
    assert "stop" not in body
    assert (found.text, found.finish) == ("Velm" + NEXT, "length")


def test_a_server_whose_text_ends_before_it_begins_has_answered() -> None:
    for text, finish in (("", "stop"), ("\nVelm", "length")):
        found, _, _ = serve(does.ok(text, finish), ("\n",))
        assert (found.text, found.finish, found.error) == ("", "stop", None)


def test_a_stop_string_in_a_thought_ends_that() -> None:
    said = {"role": "assistant", "content": "Velm", "reasoning_content": "hm\nso"}
    told = {"choices": [{"index": 0, "message": said, "finish_reason": "stop"}]}
    turns = [{"role": "user", "content": "Who?"}]
    found, _, _ = serve(does.body(told), ("\n",), turns)
    assert (found.text, found.finish) == ("<think>\nhm", "stop")


def test_a_text_that_a_filter_or_an_abort_cut_short_is_no_answer_whatever_stands_in_it() -> None:
    for ended, finish, error in (
        ("content_filter", "refused", "refused: "),
        ("abort", "failed", "api_error: ended by abort"),
    ):
        for message in ({"content": "Velm\nso"}, {"content": "Velm", "reasoning_content": "hm\nso"}):
            told = {"choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": ended}]}
            found, _, _ = serve(does.body(told), ("\n",), [{"role": "user", "content": "Who?"}])
            assert (found.finish, str(found.error)[: len(error)]) == (finish, error)


def test_a_server_is_sent_four_stop_strings_and_the_others_count_here() -> None:
    found, body, _ = serve(does.ok("Velm;so", "length"), ("a", "b", "c", "d", ";"))
    assert (body["stop"], found.text, found.finish) == (["a", "b", "c", "d"], "Velm", "stop")


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("Invalid 'stop': array too long. Expected an array with maximum length 4, but got one with length 5.", "stop"),
        ("stop is not supported", "stop"),
        ("Unknown argument: stop", "stop"),
        ("Unrecognized request argument supplied: stop", "stop"),
        ("This model does not support stop sequences", "stop"),
        ("it is unknown why the work had to stop", None),
    ],
)
def test_a_refusal_of_stop_strings_is_known_by_its_words(words: str, refused: str | None) -> None:
    assert get_refused_parameter(Failure("api_error", words, 400)) == refused


def test_a_server_that_refuses_stop_strings_is_asked_without_and_its_texts_are_cut() -> None:
    def picky(exchange: does.Exchange) -> None:
        refusal = does.status(400, "Unsupported parameter: 'stop' is not supported with this model.")
        (refusal if "stop" in exchange.body else does.ok("Velm\nand"))(exchange)

    found, body, notes = serve(picky, ("\n",))
    assert (found.text, "stop" in body) == ("Velm", False)
    assert notes == ["the server of m does not take stop ['\\n']: it is left out from here on, and texts are cut here"]


def test_what_a_server_streams_is_heard_up_to_the_stop_string() -> None:
    heard = list[str]()
    pieces = [{"choices": [{"index": 0, "text": text, "finish_reason": None}]} for text in ("Ve", "lm\n", "\nQ", "x")]
    body = "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces) + "data: [DONE]\n\n"
    with serving(always(does.raw(body.encode(), "text/event-stream"))) as (_, transport):
        engine = OpenAIEngine("m", transport)
        engine.hear = lambda name, text: heard.append(text)
        (found,) = engine.sample([Request("0", "say", replace(GREEDY, stop=("\n\nQ",)))])
    assert heard == ["Ve", "Velm", "Velm", "Velm"]
    assert found.text == "Velm"


def test_a_batch_of_calls_has_the_stop_strings_too() -> None:
    from stages.engines.openai import make_call

    call = make_call(Request("0", "say", replace(GREEDY, stop=("\n",))), "m", "max_tokens")
    assert isinstance(call, Call)
    assert call.body["stop"] == ["\n"]
