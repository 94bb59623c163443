"""Encode texts so that control tokens, such as the end of a turn, are only letters in them.

`hide` puts a name that no text can hold in the place of each in a text. `encode` makes it letters again; the control
tokens that are then left are the template's own.
"""

import json
import re
from collections.abc import Container, Sequence
from functools import cached_property
from secrets import token_hex
from typing import Any

SECRET_PREFIX = f"x{token_hex(8)}"  # another in every process: a text cannot hold it
_HIDDEN = re.compile(f"{SECRET_PREFIX}t([0-9]+);")
_BEHINDS = ("\n", ":", "x", " ")  # what a text may be put behind, to see how it goes on


class ControlTokens:
    """The control tokens of one tokenizer: the special ones, and `marks`, others that its chat template writes."""

    def __init__(self, tokenizer: Any, marks: frozenset[str] = frozenset()) -> None:
        self.tokenizer = tokenizer
        added = {number: token for number, token in tokenizer.added_tokens_decoder.items() if str(token)}
        self.special = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
        self.special |= {number: str(token) for number, token in added.items() if token.special}
        marked = {number: str(token) for number, token in added.items() if str(token) in marks}
        self.ids = {text: number for number, text in (self.special | marked).items()}
        self.texts = sorted(self.ids, key=len, reverse=True)  # of two that begin alike, the longer one
        self.pattern = re.compile("|".join(map(re.escape, self.texts)) or "(?!)")

    def hide(self, text: str) -> str:
        """Put a name in the place of each control token of a text."""
        return self.pattern.sub(lambda found: f"{SECRET_PREFIX}t{self.texts.index(found[0])};", text)

    def show(self, text: str) -> str:
        """Return the text as it was before `hide`."""
        return _HIDDEN.sub(lambda found: self.texts[int(found[1])], text)

    def encode(self, text: str, *, start: bool = False) -> list[int]:
        """Encode a text in which what is hidden is letters; `start`: with the start token, if there is one."""
        if SECRET_PREFIX not in text:
            ids = list(self.tokenizer(text, add_special_tokens=start)["input_ids"])
        elif getattr(self.tokenizer, "backend_tokenizer", None) is None:
            ids = self._piecewise(text, start)
        else:
            ids = self._by_name(text, start)
        return ids[:-1] if start and ids and ids[-1] == self.tokenizer.eos_token_id else ids

    def _piecewise(self, text: str, start: bool) -> list[int]:
        """Encode with a tokenizer in Python, which knows no names: piece by piece between the control tokens."""
        ids: list[int] = []
        for piece in re.split(f"({self.pattern.pattern})", text):
            if piece in self.ids:
                ids.append(self.ids[piece])
            elif piece:
                ids += self.tokenizer(self.show(piece), add_special_tokens=False, split_special_tokens=True)[
                    "input_ids"
                ]
        return list(self.tokenizer.build_inputs_with_special_tokens(ids)) if start else ids

    def _by_name(self, text: str, start: bool) -> list[int]:
        """Encode with a copy of the tokenizer that knows its control tokens only under other names."""
        copy, known = self._renamed
        named = self.pattern.sub(lambda found: _name(self.texts.index(found[0])), text)
        return [known.get(each, each) for each in copy.encode(self.show(named), add_special_tokens=start).ids]

    @cached_property
    def _renamed(self) -> tuple[Any, dict[int, int]]:
        """The copy of the tokenizer, and what the ids of its added tokens were before."""
        from tokenizers import Tokenizer

        numbered = {self.ids[text]: _name(place) for place, text in enumerate(self.texts)}
        told = json.loads(self.tokenizer.backend_tokenizer.to_str())
        told["truncation"] = told["padding"] = None
        names, numbers = dict[str, str](), dict[str, int]()
        for token in told["added_tokens"]:
            name = numbered.get(token["id"], token["content"])
            names[token["content"]], numbers[name] = name, token["id"]
            token["content"] = name
        _rename(told["model"], names)
        copy = Tokenizer.from_str(json.dumps(told))
        return copy, {int(copy.token_to_id(name) or 0): number for name, number in numbers.items()}

    def continuation(self, before: str, front: Sequence[int], text: str, *, start: bool) -> list[int]:
        """Encode a text that goes on behind `before`, whose ids are `front`, without a blank that nobody wrote.

        They are those of the whole, cut where `before` ends. Where a token would reach over that place, the text goes
        on as it does behind another: a model that has read `before` cannot take back its last token either.
        """
        alone = self.encode(text)
        if not self.adds_blanks or not text:
            return alone
        found, plain = [], self.show(text)
        fronts = [(before, list(front), start), *((each, self.encode(each), False) for each in _BEHINDS)]
        for written, ids, starts in fronts:
            whole = self.encode(written + text, start=starts)
            if whole[: len(ids)] == ids:
                found.append(whole[len(ids) :])
                if self.decode(found[-1]) == plain:
                    return found[-1]
        return found[0] if found else alone  # of a tokenizer that does not keep a text to the letter

    def decode(self, ids: Sequence[int], *, keep: Container[str] = ()) -> str:
        """Decode tokens behind others: a first blank is a blank. Special tokens are left out, save those to `keep`."""
        kept = [each for each in ids if each not in self.special or self.special[each] in keep]
        if not self.adds_blanks:
            return self._decode(kept)
        end = self.tokenizer.eos_token_id
        return self._decode([end, *kept]).removeprefix(self._decode([end]))

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    @cached_property
    def adds_blanks(self) -> bool:
        """True if a text that stands alone is made to begin with a blank, as SentencePiece does."""
        end = self.tokenizer.eos_token_id
        alone = self.tokenizer("a", add_special_tokens=False)["input_ids"]
        return self._decode([end, *alone]) != self._decode([end]) + "a"


def _name(place: int) -> str:
    return f"{SECRET_PREFIX}c{place};"


def _rename(model: dict[str, Any], names: dict[str, str]) -> None:
    """Rename control tokens that a model's own vocabulary has, too: no text may come to them."""
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, list):
        model["vocab"] = [[names.get(text, text), score] for text, score in vocabulary]
    elif isinstance(vocabulary, dict):
        told = {text: name for text, name in names.items() if text not in (name, model.get("unk_token"))}
        model["vocab"] = {told.get(text, text): number for text, number in vocabulary.items()}
    if "merges" in model:
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        model["merges"] = [pair for pair in pairs if not told.keys() & {*pair, "".join(pair)}]
