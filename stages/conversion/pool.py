"""Several documents converted at once, by a process each, and handed out in the order in which they are asked for."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue

from stages.conversion.converter import Converter
from stages.conversion.formats import ConvertedText, has_converter, tell_format
from stages.cores import count_cores

_MOST_PROCESSES = 4  # where nobody says how many: each may have as much memory as the limits allow
_AHEAD = 2  # documents per process that are converted, or being so, before they are asked for
_WAIT_S = 0.1


class ConverterPool:
    """Converts documents with up to `concurrency` processes; None: one for each core, four at most."""

    def __init__(self, concurrency: int | None = None) -> None:
        self._concurrency = concurrency or min(_MOST_PROCESSES, count_cores())
        self._given = concurrency
        self._threads: ThreadPoolExecutor | None = None
        self._converters: list[Converter] = []
        self._idle: SimpleQueue[Converter] = SimpleQueue()
        self._coming: Iterator[Path] = iter(())
        self._begun: deque[tuple[Path, Future[ConvertedText]]] = deque()

    def explain_unused(self) -> str:
        """Say that `concurrency` was given and no document was converted; "" otherwise."""
        given = self._given if self._threads is None else None
        return f"--concurrency {given}: has no effect, as no source is a document that is converted" if given else ""

    def expect(self, paths: Iterable[Path]) -> None:
        """Convert these documents ahead: they are asked for next, in this order. What is not expected is done then."""
        self._coming = (path for path in paths if has_converter(tell_format(path)))
        self._begin()

    def convert(self, path: Path, name: str) -> ConvertedText:
        """Return what a document of this format says. Raises BadDocument, or OSError where it cannot be read."""
        if not any(path == begun for begun, _ in self._begun):
            return self._submit(path, name).result()
        while (begun := self._begun.popleft())[0] != path:  # one that nobody asked for
            begun[1].cancel()
        self._begin()
        return begun[1].result()

    def _begin(self) -> None:
        """Begin with as many documents as there is room for."""
        while len(self._begun) < _AHEAD * self._concurrency:
            try:
                path = next(self._coming)
                self._begun.append((path, self._submit(path, tell_format(path))))
            except StopIteration:
                return
            except OSError:  # who reads it will tell
                self._coming = iter(())

    def _submit(self, path: Path, name: str) -> Future[ConvertedText]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._concurrency, "convert")
            self._converters = [Converter() for _ in range(self._concurrency)]
            for converter in self._converters:
                self._idle.put(converter)
        return self._threads.submit(self._convert, path, name)

    def _convert(self, path: Path, name: str) -> ConvertedText:
        converter = self._idle.get()
        try:
            return converter.convert(path, name)
        finally:
            self._idle.put(converter)

    def close(self) -> None:
        """End all processes, and whatever they have started."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            running = [future for _, future in self._begun if not future.cancelled()]
            while wait(running, 0).not_done:
                for converter in self._converters:
                    converter.kill()
                wait(running, _WAIT_S)
            self._threads.shutdown()
        for converter in self._converters:
            converter.close()
        self._threads, self._converters, self._idle = None, [], SimpleQueue()
        self._coming = iter(())
        self._begun.clear()
