"""An OpenAI-compatible server over HTTP: many calls at once, asked from ordinary, synchronous code.

The calls run in one event loop in a daemon thread, which is never joined: whoever interrupts the main thread ends the
process at once. The thread starts with the first call, so that a process may fork before.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from stages.errors import Denied
from stages.interfaces import NullProgress, Progress
from stages.services.base import Call, Reply, Usage
from stages.services.connection import HttpClient
from stages.services.endpoint import KEY_NAME, check_key, check_url, start_daemon
from stages.services.retry import ConcurrencyLimiter, Exhausted, RetryingClient

_T = TypeVar("_T")


class Server:
    """A Transport over HTTP. A call is tried for `retry_for_s`; a request that has begun has its whole `timeout_s`."""

    live = True

    def __init__(
        self,
        base_url: str,
        *,
        key: str | None,
        concurrency: int = 16,
        timeout_s: float = 120.0,
        retry_for_s: float = 300.0,
        progress: Progress = NullProgress(),
        key_name: str = KEY_NAME,
    ) -> None:
        """Raise BadConfig for an address or a key that cannot be used. `key_name`: of the environment variable."""
        base = check_url(base_url)
        check_key(key)
        self.usage, self.progress = Usage(), progress
        self._key_name, self._concurrency = key_name, concurrency
        self._http = HttpClient(base, key or None, timeout_s)
        self._arrived: queue.SimpleQueue[Reply | Exhausted | str | BaseException] = queue.SimpleQueue()  # str: a note
        self._client = RetryingClient(self._http, ConcurrencyLimiter(concurrency), retry_for_s, note=self._arrived.put)
        self._calls: asyncio.Queue[Call] = asyncio.Queue()
        self._serving: asyncio.Task[None] | None = None  # in its event loop
        self._closed, self._open = False, 0
        self._exhausted: list[Reply] = []  # since the last answer
        self._held_back: list[Reply] = []  # one, as long as it may be part of an error that must find a call open
        self._error: BaseException | None = None

    @property
    def room(self) -> bool:
        return self._open < self._concurrency

    @property
    def open(self) -> int:
        return self._open

    # ---- in the thread that asks

    def submit(self, call: Call) -> None:
        if self._closed:
            raise RuntimeError("a call was submitted to a server that is closed")
        self._open += 1
        self._serving = self._serving or self._start()
        with suppress(RuntimeError):  # the loop has ended with an error, which `take` raises
            self._serving.get_loop().call_soon_threadsafe(self._calls.put_nowait, call)

    def take(self, *, wait: bool) -> list[Reply]:
        """Take the replies that have come, before an error is raised, which is then raised each time."""
        if self._closed:
            return []
        replies = self._receive(wait=False)
        while wait and self._open and not replies and self._error is None:
            replies = self._receive(wait=True)
        replies = self._fail_fast(replies, wait=wait)
        self.usage.retries = self._client.retries
        if self._error is not None and not replies:
            told = str(self._error).replace(KEY_NAME, self._key_name)
            raise Denied(told) if isinstance(self._error, Denied) else self._error
        self._open -= len(replies)
        self.usage.add(replies)
        return replies

    def close(self) -> None:
        self._closed, self._open = True, 0
        if self._serving:
            with suppress(RuntimeError):  # the loop has ended already
                self._serving.get_loop().call_soon_threadsafe(self._serving.cancel)

    def _receive(self, *, wait: bool) -> list[Reply]:
        """Take what has arrived. Exhausted calls come with the next answer: if the service is gone, they stay open."""
        replies, self._held_back = self._held_back, []
        with suppress(queue.Empty):
            arrived = self._arrived.get(wait, timeout=0.5)  # some platforms hear no signal until it ends
            while True:
                if isinstance(arrived, Reply):
                    replies.append(arrived)
                elif isinstance(arrived, Exhausted):
                    self._exhausted.append(arrived.reply)
                elif isinstance(arrived, str):
                    self.progress.note(arrived)
                else:
                    self._error = arrived
                arrived = self._arrived.get_nowait()
        nothing_else = self._open == len(self._exhausted) + len(replies)
        if self._error is None and (replies or nothing_else):
            replies, self._exhausted = self._exhausted + replies, []
        return replies

    def _fail_fast(self, replies: list[Reply], *, wait: bool) -> list[Reply]:
        """Hold one reply back if all calls failed alike; none are left if the caller waits and has no more calls."""
        error = self._client.fail_fast.error() if self._error is None and self._open == len(replies) else None
        if error is None:
            return replies
        if wait and self.room:
            self._error = error
            return []
        kept = 1 if wait and len(replies) == 1 else len(replies) - 1
        self._held_back = replies[kept:]
        return replies[:kept]

    # ---- in the event loop

    def _start(self) -> "asyncio.Task[None]":
        loop = asyncio.new_event_loop()
        loop.set_default_executor(DaemonExecutor())
        serving = loop.create_task(self._serve())

        def run() -> None:
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(serving)
            loop.run_until_complete(self._http.close())
            loop.close()

        threading.Thread(target=run, name="server", daemon=True).start()
        return serving

    async def _serve(self) -> None:
        """Answer calls until `close`, or until an error that ends the run."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    tasks.create_task(self._answer(await self._calls.get()))
        except BaseExceptionGroup as group:
            self._arrived.put(group.exceptions[0])

    async def _answer(self, call: Call) -> None:
        self._arrived.put(await self._client.ask(call))


class DaemonExecutor(ThreadPoolExecutor):
    """Looks up names of hosts in daemon threads, for which a process does not wait at its end."""

    def submit(self, function: Callable[..., _T], /, *arguments: Any, **named: Any) -> Future[_T]:
        return start_daemon(lambda: function(*arguments, **named))
