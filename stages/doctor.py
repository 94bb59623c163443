"""→ findings: what this machine, a model, its adapters, a server and a judge are like before a run depends on them.

Nothing is changed or downloaded. Every check ends as findings; none of them raises.
"""

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from stages.checks import model as health
from stages.checks.finding import Finding, fine, from_error, guard, unknown, wrong
from stages.checks.machine import check_disk, check_memory, format_bytes
from stages.checks.packages import check_packages
from stages.checks.server import check_server
from stages.errors import Denied, MissingInput, SealError, Unavailable
from stages.interfaces import Doc
from stages.judges import factory
from stages.judges.base import EXAMPLES, JUDGES, Case
from stages.judges.guarded import GuardedJudge
from stages.models.adapter_checks import AdapterInfo, read_adapter, shape_mismatches
from stages.models.device import Device
from stages.models.inspection import read_model_tensors
from stages.models.safetensors_header import TensorInfo, quote_name
from stages.services.base import Transport

__all__ = ["SERVICES", "Finding", "Wanted", "run"]

SERVICES = ("server", "judge server")  # checks that are wrong only while somebody else's machine is
_RIGHT = Case("What colour is the inn?", gold="red", prediction="red")
_WRONG = Case("What colour is the inn?", gold="red", prediction="blue")
JUDGE_TIMEOUT_S, JUDGE_RETRY_S = 30.0, 2.0
_TAKE_ANOTHER = "give another --model, or copy or download it again"


@dataclass(frozen=True)
class Wanted:
    """What is to be checked beside the machine."""

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
    """One finding per check, as soon as it is known. Keys go to the server and to the judge's, and into no finding."""
    yield from guard("packages", "pip install -e . again", lambda: check_packages(platform.python_version()))
    device = list(guard("device", "--device cpu, or see nvidia-smi", lambda: health.check_device(wanted.device)))
    yield from device
    if all(finding.ok is not False for finding in device):
        folder = Path(wanted.model or "")
        yield from guard("same bits", "--device cpu", lambda: health.check_bits(wanted.device, folder))
    yield from guard("memory", "see /proc/meminfo", check_memory)
    yield from guard("disk", "give another directory with --out", lambda: check_disk(wanted.out))
    if wanted.model is not None:
        yield from check_model(wanted.model, wanted.device, wanted.deep)
    for path in wanted.adapters:
        yield from check_adapter(path, wanted.model)
    if (url := wanted.base_url) is not None:
        yield from check_server(url, key)
    if (judge := wanted.judge) is not None:
        yield from check_judge(judge, key if judge_key is None else judge_key)


def check_model(name: str, device: Device, deep: bool) -> Iterator[Finding]:
    """Its place, settings, tokenizer and weights; with `deep` and where all of that is well, one token."""
    try:
        finding, folder = health.place_of(name)
    except Exception as error:  # noqa: BLE001
        yield from_error("model", error, _TAKE_ANOTHER)
        return
    yield finding
    if folder is None:
        return
    well = True
    for finding in _model_parts(folder, device):
        well = well and finding.ok is not False
        yield finding
    if deep and well:
        yield from guard("model forward", _TAKE_ANOTHER, lambda: health.check_forward(folder, device))
    elif deep:
        yield unknown("model forward", "not tried, because of what is wrong above")


def _model_parts(folder: Path, device: Device) -> Iterator[Finding]:
    config = list(guard("model config", _TAKE_ANOTHER, lambda: health.check_config(folder)))
    yield from config
    known = all(finding.ok is not False for finding in config)
    yield from guard("model tokenizer", _TAKE_ANOTHER, lambda: health.check_tokenizer(folder))
    yield from guard("model weights", _TAKE_ANOTHER, lambda: _check_weights(folder, device, known))


def _check_weights(folder: Path, device: Device, known: bool) -> Iterator[Finding]:
    """Whole files, those of the class where it is known, and whether there is memory for them where they would go."""
    tensors = read_model_tensors(folder)
    stored = format_bytes(sum(tensor.bytes for tensor in tensors.values()))
    beside = health.beside_weights(folder) if known else ()
    more = f", {len(beside)} of them not for text (as {quote_name(beside[0])})" if beside else ""
    yield fine("model weights", f"{len(tensors)} tensors, {stored}, every file whole{more}")
    yield from guard("model memory", "--device cpu, or see nvidia-smi", lambda: _check_room(tensors, device))


def _check_room(tensors: Mapping[str, TensorInfo], device: Device) -> Iterator[Finding]:
    """Weights alone; training and long prompts need more."""
    free, each, where = health.room(device)
    need = sum(tensor.elements for tensor in tensors.values()) * each
    told = f"{format_bytes(need)} {where}, {format_bytes(free)} free"
    if need < free:
        yield fine("model memory", told)
    else:
        yield wrong("model memory", told, "take a smaller model or a larger machine, or end what else runs here")


def check_adapter(path: Path, model: str | None) -> Iterator[Finding]:
    """Settings and weights, the base model, and with a model whether every target is there in its shape."""
    try:
        adapter = read_adapter(path)
    except Exception as error:  # noqa: BLE001
        yield from_error("adapter", error, "make it again with `seal adapt`, or copy it again")
        return
    kind = adapter.config.get("peft_type")
    about = f"{len(adapter.targets)} layers of the rank it says" if adapter.targets else f"peft_type {kind}: no LoRA"
    told = f"{path}: {adapter.tensors} tensors, {about}"
    yield fine("adapter", told) if adapter.targets else unknown("adapter", told)
    if adapter.base:
        yield fine("adapter base", f"{path}: trained on {adapter.base}")
    else:
        yield unknown("adapter base", f"{path}: does not name its model", "tell `seal eval` with --model")
    if model is not None and adapter.targets:
        yield from guard("adapter fit", _TAKE_ANOTHER, lambda: _check_fit(path, adapter, model))


def _check_fit(path: Path, adapter: AdapterInfo, model: str) -> Iterator[Finding]:
    try:
        folder = health.place_of(model)[1]
        if folder is None:
            raise MissingInput(f"{model} is not here")
        tensors = read_model_tensors(folder)
    except SealError:
        yield unknown("adapter fit", f"{path}: the weights of {model} cannot be read")
        return
    bad, unclear = shape_mismatches(adapter, tensors)
    if bad:
        told = f"{path}: {len(bad)} of {len(adapter.targets)} layers do not fit {model}: {bad[0]}"
        yield wrong("adapter fit", told, f"--model {adapter.base or 'DIR'}: the model that it was trained on")
    elif unclear:
        yield unknown("adapter fit", f"{path}: {len(unclear)} layers cannot be compared: {unclear[0]}")
    else:
        yield fine("adapter fit", f"{path}: all {len(adapter.targets)} layers are in {model}, with fitting shapes")


def check_judge(name: str, key: str | None = None) -> Iterator[Finding]:
    """It grades a right answer as right and a wrong one as wrong. A judge behind a server is asked twice, no cache."""
    advice = f"take one of {', '.join(JUDGES)}, or mend the class"
    try:
        factory.validate_judge(name, key)
        judge = factory.make_judge(name, lambda url: _reach(url, key), None)
        grade = judge.grade_uncounted if isinstance(judge, GuardedJudge) else judge.grade
        verdicts = [verdict for verdict, _ in zip(grade([_RIGHT, _WRONG]), range(3), strict=False)]
        given = [verdict.correct for verdict in verdicts]
    except (Unavailable, Denied) as error:
        yield from_error("judge server", error, "start the server that it asks")
    except Exception as error:  # noqa: BLE001
        yield from_error("judge", error, advice)
    else:
        yield _judged(name, given, [verdict.reason for verdict in verdicts], advice)


def _reach(url: str, key: str | None) -> Transport:
    """A transport that does not try for long."""
    from stages.services.client import Server

    return Server(url, key=key, concurrency=2, timeout_s=JUDGE_TIMEOUT_S, retry_for_s=JUDGE_RETRY_S)


def _judged(name: str, given: list[bool | None], reasons: list[str | None], advice: str) -> Finding:
    if given == [True, False]:
        return fine("judge", f"{name}: takes a right answer as right and a wrong one as wrong")
    if len(given) != 2:
        return wrong("judge", f"{name}: gives {len(given)} verdicts on 2 answers", advice)
    right, wrongly = given
    if right is not False and wrongly is not True:
        return unknown("judge", f"{name}: left an answer unscored ({next(filter(None, reasons), 'no reason given')})")
    return wrong("judge", f"{name}: graded a right answer as {right} and a wrong one as {wrongly}", advice)
