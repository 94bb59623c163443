"""What a run has cost, as FILE.manifest.json says under `actual`: tokens, trainings, calls, seconds, memory, bytes.

It is the account of one try: of the lines that it made, by all of its worker processes. What an earlier try of the
same command had made is not in it, but counted.
"""

import ctypes
import json
import mmap
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from seal_cli.terminal.console import note
from seal_cli.terminal.progress import ProgressMeter
from stages.errors import one_line
from stages.models.device import get_peak_bytes
from stages.records.frozen import FrozenModel
from stages.records.jsonl import EncodedLine, encode_line
from stages.records.record import Record
from stages.records.schema import Checkpoint
from stages.services.base import list_usages

_COUNTS = ("trainings", "steps", "trained", "calls", "call_read", "call_said", "line_bytes", "model_bytes")
_TIMES = ("load_s", "work_s", "load_cpu_s", "work_cpu_s", "cost")
_PEAKS = ("peak", "device_peak")  # bytes
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss


class _Totals(ctypes.Structure):
    """The sums, and of memory the most. cost and device_peak below 0: nobody told one."""

    _fields_ = [(name, ctypes.c_double) for name in (*_COUNTS, *_TIMES, *_PEAKS)]


class Account:
    """Adds up what a run costs, in memory that its workers share with it."""

    def __init__(self) -> None:
        self.totals: Any = _Totals.from_buffer(mmap.mmap(-1, ctypes.sizeof(_Totals)))
        self.totals.cost = self.totals.device_peak = -1
        self.known = set[str]()  # ids of adapters that are counted
        self.forecast = tempfile.TemporaryFile()  # noqa: SIM115 - a worker writes it, its parent reads it
        self.since, self.cpu = time.monotonic(), time.process_time()

    def predict(self, make: Callable[[], Mapping[str, Any]]) -> None:
        """Keep a forecast for `predicted`, that of the first worker: it is of all lines that the try has to make."""
        if self.predicted:
            return
        try:
            found = make()
        except Exception as error:  # noqa: BLE001 - the work does not depend on what is said of it beforehand
            note(f"seal: no forecast for the manifest ({type(error).__name__}: {one_line(str(error))})")
            return
        os.pwrite(self.forecast.fileno(), json.dumps(found).encode(), 0)

    @property
    def predicted(self) -> dict[str, Any]:
        """The forecast, under its key in a manifest; nothing where there is none."""
        data = os.pread(self.forecast.fileno(), os.fstat(self.forecast.fileno()).st_size, 0)
        return {"predicted": json.loads(data)} if data else {}

    def begin(self) -> None:
        """Begin to count the time of this process."""
        self.since, self.cpu = time.monotonic(), time.process_time()

    def end_loading(self, at: tuple[float, float] | None = None) -> None:
        """Count what has passed as the time of loading; `at`: by both clocks when it ended, if that is not now."""
        now, cpu = at or (time.monotonic(), time.process_time())
        self.totals.load_s += now - self.since
        self.totals.load_cpu_s += cpu - self.cpu
        self.since, self.cpu = now, cpu

    def add_line(self, line: FrozenModel | EncodedLine, size: int) -> None:
        """Count a line of `size` bytes, and the training whose adapter it is the first to name."""
        self.totals.line_bytes += size
        adapter = line.trained if isinstance(line, EncodedLine | Record) else None
        if adapter and adapter.path and adapter.train and adapter.id not in self.known:
            self.known.add(adapter.id)
            epochs = adapter.fit.get("epochs", 1)
            tokens = adapter.train.tokens * (epochs if isinstance(epochs, int) else 1)
            self.add_training(adapter.train.steps, tokens, Path(adapter.path))

    def add_training(self, steps: int, tokens: int, folder: Path) -> None:
        """Count a training: its optimizer steps, its tokens in all epochs, and what it has left in the folder."""
        self.totals.trainings += 1
        self.totals.steps += steps
        self.totals.trained += tokens
        self.totals.model_bytes += measure_folder(folder)

    def add_checkpoint(self, made: Checkpoint, meter: ProgressMeter) -> None:
        """Count the training of a model that is now complete, and the time of this process."""
        self.end_loading((meter.shared.working, meter.shared.working_cpu) if meter.shared.working else None)
        self.add_training(made.steps, int(meter.shared.trained), Path(made.model))
        self.totals.line_bytes += len(encode_line(made))
        self.end()

    def end(self, worker: object = None) -> None:
        """Count the time and the memory of this process, and what its worker's services were asked."""
        totals = self.totals
        totals.work_s += time.monotonic() - self.since
        totals.work_cpu_s += time.process_time() - self.cpu
        totals.peak = max(totals.peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT)
        totals.device_peak = max(totals.device_peak, get_peak_bytes())
        for usage in list_usages(worker):
            totals.calls += usage.calls
            totals.call_read += usage.prompt_tokens
            totals.call_said += usage.completion_tokens
            if usage.cost is not None:
                totals.cost = max(totals.cost, 0.0) + usage.cost

    def describe(self, meter: ProgressMeter, lines: int, before: int) -> dict[str, Any]:
        """Return the account for a manifest: of so many `lines`; as many as `before` were there already.

        Times in s, memory and disk in bytes; null where nobody knows.
        """
        totals, shared = self.totals, meter.shared
        return {
            **{"lines": lines, "lines_before": before},
            **{"requests": int(shared.asked), "tokens_in": int(shared.read), "tokens_out": int(shared.said)},
            **{"trainings": int(totals.trainings), "steps": int(totals.steps), "tokens_trained": int(totals.trained)},
            **{"calls": int(totals.calls)},
            **{"call_tokens_in": int(totals.call_read), "call_tokens_out": int(totals.call_said)},
            "cost": None if totals.cost < 0 else round(totals.cost, 6),
            **{name: round(getattr(totals, name), 3) for name in _TIMES if name != "cost"},
            "peak_bytes": int(totals.peak),
            "device_peak_bytes": None if totals.device_peak < 0 else int(totals.device_peak),
            **{"line_bytes": int(totals.line_bytes), "model_bytes": int(totals.model_bytes)},
        }


def measure_folder(folder: Path) -> int:
    """Count the bytes of the files in a folder and below; 0 where there is none."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
