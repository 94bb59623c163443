"""A judge that needs no server, not loaded yet."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stages.errors import BadConfig
from stages.judges.base import JUDGES, RULES_VERSION, Case, Judge
from stages.judges.factory import make_judge
from stages.services.base import Call, Transport


@dataclass(frozen=True)
class LocalJudge:
    """A judge by its --judge name, other than openai:…, which needs a key and a connection."""

    text: str = "lexical"

    @property
    def offline(self) -> bool:
        return self.text in JUDGES

    def settings(self) -> str:
        return f"{self.text}, rules {RULES_VERSION}" if self.offline else self.text

    def limits(self) -> Mapping[str, Any]:
        return {}

    def probe(self) -> None: ...

    def load(self) -> Judge:
        return make_judge(self.text, _refuse, None)

    def calls(self, cases: Iterable[Case]) -> Iterator[Call]:
        raise BadConfig(f"the judge {self.text} asks no server")


def _refuse(url: str) -> Transport:
    raise BadConfig(f"{url}: a judge behind a server needs a connection; take `seal judge`")
