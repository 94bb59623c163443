"""Asynchronous work for ordinary, synchronous code: in an event loop of its own, in a daemon thread."""

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from stages.services.client import DaemonExecutor

_T = TypeVar("_T")
_CLEANUP_S = 2.0  # for what is cancelled to take its leave


@dataclass(frozen=True)
class _End:
    error: BaseException | None


def run_in_background(work: Callable[[Callable[[_T], None]], Coroutine[Any, Any, None]]) -> Iterator[_T]:
    """Yield what the work gives to the function that it is called with, as it comes; raise its error behind that.

    It begins with the first item asked for, and is cancelled where no more are.
    """
    arrived: queue.SimpleQueue[_T | _End] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    loop.set_default_executor(DaemonExecutor())
    task = loop.create_task(work(arrived.put))

    def run() -> None:
        error: BaseException | None = None
        try:
            loop.run_until_complete(task)
        except BaseException as raised:  # noqa: BLE001 — it is raised where the items are taken
            error = raised.exceptions[0] if isinstance(raised, BaseExceptionGroup) else raised
        loop.close()
        arrived.put(_End(error))

    thread = threading.Thread(target=run, name="background", daemon=True)
    thread.start()
    try:
        while True:
            with suppress(queue.Empty):
                found = arrived.get(timeout=0.5)  # some platforms hear no signal until it ends
                if isinstance(found, _End):
                    if found.error:
                        raise found.error
                    return
                yield found
    finally:
        with suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(task.cancel)
        thread.join(_CLEANUP_S)
