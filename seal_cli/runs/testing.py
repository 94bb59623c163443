"""The engine under test of `seal accept`, from its flags, and the adapters that it is tested with."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from seal_cli.flags.engine import EngineFlags
from seal_cli.flags.judge import JudgeFlags
from seal_cli.flags.service import ENGINE_KEYS, key_from
from seal_cli.runs.engines import FlaggedJudge, connect
from seal_cli.runs.stdio import input_records, with_places
from stages.accept import Accept, AcceptanceTest
from stages.checks.acceptance.engines import ServerAccess
from stages.checks.acceptance.subjects import Subject, list_subjects, read_directory
from stages.engines.local import LocalEngine
from stages.models.device import Device
from stages.records.adapter_paths import get_base_folders
from stages.reporting.cards.cost import read_settings_of
from stages.services.vllm_server import probe_server

_TIMEOUT_S = 600.0  # of a call: the first may load an adapter


def make_acceptance(wanted: AcceptanceTest, student: EngineFlags, grader: JudgeFlags, source: Path) -> Accept:
    """Return the comparison. Raises for flags that would do nothing, and at once for a server that is not there."""
    grader.check()
    here = replace(student, device=Device())  # the reference is computed here, whoever else is asked
    (here if student.served else student).check(unused=grader.get_unused_flags())
    folders, asked = get_base_folders(None if source.is_dir() else source), read_settings_of(source, "eval")
    judge = FlaggedJudge(grader)
    if not student.served:
        limits = student.batch, None, student.memory_fraction
        engine = LocalEngine(None, student.name, student.device, *limits)
        return Accept(wanted, judge.load, engine=engine, device=student.device, folders=folders, asked=asked)
    key = key_from(ENGINE_KEYS)
    access = ServerAccess(
        student.url,
        wanted.plain_url,
        lambda url: probe_server(url, key),
        lambda url: connect(url, ENGINE_KEYS, student.service, timeout_s=_TIMEOUT_S),
    )
    access.probe(access.url)
    return Accept(wanted, judge.load, server=access, device=student.device, folders=folders, asked=asked)


def read_subjects(source: Path) -> Sequence[Subject]:
    """Return the adapter of a directory, or those of lines."""
    if source.is_dir():
        return [read_directory(source)]
    return list_subjects(with_places(input_records(source, ("adapter",)), source))
