"""Check the machine, a model, its adapters, a server and a judge before a run depends on them.

Nothing is changed or downloaded. Every check ends as findings; none of them raises.
"""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from stages.checks.finding import Finding, guard
from stages.judges.base import EXAMPLES
from stages.models.device import Device
from stages.settings import Doc

SERVICES = ("server", "judge server")  # checks that fail only because somebody else's machine does


@dataclass(frozen=True)
class Wanted:
    """The things to check besides the machine."""

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
    from stages.checks import machine, model, server  # late, as what imports the records: help does without

    device = wanted.device
    yield from guard("packages", "pip install -e . again", lambda: machine.check_packages(platform.python_version()))
    computes = True
    for finding in guard("device", "--device cpu, or see nvidia-smi", lambda: machine.check_device(device)):
        computes = computes and finding.ok is not False
        yield finding
    if computes:
        folder = Path(wanted.model or "")
        yield from guard("same bits", "--device cpu", lambda: machine.check_bits(device, folder))
    yield from guard("memory", "see /proc/meminfo", machine.check_memory)
    yield from guard("disk", "give another directory with --out", lambda: machine.check_disk(wanted.out))
    if wanted.model is not None:
        yield from model.examine_model(wanted.model, device, wanted.deep, wanted.out)
    for path in wanted.adapters:
        yield from model.examine_adapter(path, wanted.model)
    if wanted.base_url is not None:
        yield from server.check_server(wanted.base_url, key)
    if wanted.judge is not None:
        yield server.examine_judge(wanted.judge, key if judge_key is None else judge_key)
