"""Check the machine, a model, its adapters, a server and a judge before a run depends on them.

Nothing is changed or downloaded. Every check ends as findings; none of them raises.
"""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from stages.checks.device import check_bits, check_device
from stages.checks.finding import Finding, from_error, guard
from stages.checks.machine import check_disk, check_memory
from stages.checks.model import examine_adapter, examine_model
from stages.checks.packages import check_packages
from stages.checks.server import check_server
from stages.errors import Denied, Unavailable
from stages.interfaces import Doc
from stages.judges import factory
from stages.judges.base import EXAMPLES, JUDGES, Case
from stages.judges.factory import GuardedJudge
from stages.models.device import Device
from stages.services.base import Transport

__all__ = ["SERVICES", "Finding", "Wanted", "run"]

SERVICES = ("server", "judge server")  # checks that fail only because somebody else's machine does
_RIGHT = Case("What colour is the inn?", gold="red", prediction="red")
_WRONG = Case("What colour is the inn?", gold="red", prediction="blue")
_JUDGE_TIMEOUT_S, _JUDGE_RETRY_S = 30.0, 2.0


@dataclass(frozen=True)
class Wanted:
    """What to check besides the machine."""

    panel: ClassVar[str] = "Options"
    model: Annotated[str | None, Doc("Check this model; a hub name is looked up offline.", "DIR|NAME")] = None
    adapters: Annotated[
        tuple[Path, ...], Doc("Check this adapter, and whether it fits --model; repeat.", "DIR", "--adapter")
    ] = ()
    base_url: Annotated[str | None, Doc("Ask this OpenAI-compatible server; key: OPENAI_API_KEY.", "URL")] = None
    judge: Annotated[str | None, Doc("Let this judge grade two answers.", "NAME", "--judge -j", values=EXAMPLES)] = None
    device: Device = Device()
    out: Annotated[Path, Doc("Where a run would write.", "DIR")] = Path()
    deep: Annotated[bool, Doc("Also load the model and let it say one token.", flag="--deep")] = False


def run(wanted: Wanted, *, key: str | None = None, judge_key: str | None = None) -> Iterator[Finding]:
    """Yield one finding per check, as soon as it is known. Keys go to the server and the judge's, into no finding."""
    yield from guard("packages", "pip install -e . again", lambda: check_packages(platform.python_version()))
    device = list(guard("device", "--device cpu, or see nvidia-smi", lambda: check_device(wanted.device)))
    yield from device
    if all(finding.ok is not False for finding in device):
        folder = Path(wanted.model or "")
        yield from guard("same bits", "--device cpu", lambda: check_bits(wanted.device, folder))
    yield from guard("memory", "see /proc/meminfo", check_memory)
    yield from guard("disk", "give another directory with --out", lambda: check_disk(wanted.out))
    if wanted.model is not None:
        yield from examine_model(wanted.model, wanted.device, wanted.deep)
    for path in wanted.adapters:
        yield from examine_adapter(path, wanted.model)
    if wanted.base_url is not None:
        yield from check_server(wanted.base_url, key)
    if wanted.judge is not None:
        yield examine_judge(wanted.judge, key if judge_key is None else judge_key)


def examine_judge(name: str, key: str | None = None) -> Finding:
    """Let a judge grade a right and a wrong answer. One behind a server is asked twice, without a cache."""
    advice = f"take one of {', '.join(JUDGES)}, or mend the class"
    try:
        factory.validate_judge(name, key)
        judge = factory.make_judge(name, lambda url: _connect(url, key), None)
        grade = judge.grade_uncounted if isinstance(judge, GuardedJudge) else judge.grade
        verdicts = [verdict for verdict, _ in zip(grade([_RIGHT, _WRONG]), range(3), strict=False)]
    except (Unavailable, Denied) as error:
        return from_error("judge server", error, "start the server that it asks")
    except Exception as error:  # noqa: BLE001
        return from_error("judge", error, advice)
    if len(verdicts) != 2:
        return Finding("judge", False, f"{name}: gives {len(verdicts)} verdicts on 2 answers", advice)
    right, wrong = (verdict.correct for verdict in verdicts)
    if right and wrong is False:
        return Finding("judge", True, f"{name}: takes a right answer as right and a wrong one as wrong")
    if right is not False and wrong is not True:
        reason = next((verdict.reason for verdict in verdicts if verdict.reason), "no reason given")
        return Finding("judge", None, f"{name}: left an answer unscored ({reason})")
    return Finding("judge", False, f"{name}: graded a right answer as {right} and a wrong one as {wrong}", advice)


def _connect(url: str, key: str | None) -> Transport:
    """Connect to a judge's server without trying for long."""
    from stages.services.client import Server

    return Server(url, key=key, concurrency=2, timeout_s=_JUDGE_TIMEOUT_S, retry_for_s=_JUDGE_RETRY_S)
