"""An OpenAI-compatible server over HTTP: several calls at once, each tried again while there is hope.

Import it when a server is to be asked: it loads the OpenAI SDK. The threads are daemons and are never joined, so that
whoever interrupts the main thread ends the process at once.
"""

import queue
import threading

from stages.errors import Denied
from stages.interfaces import NullProgress, Progress
from stages.services.base import Call, Reply, Usage
from stages.services.concurrency import ConcurrencyLimiter
from stages.services.connection import HttpClient, silence
from stages.services.endpoint import KEY_NAME, check_key, check_url
from stages.services.retry import Closed, Exhausted, RetryingClient
from stages.services.usage import count

Came = Reply | Exhausted | str | BaseException  # a str is a note


class Server:
    """A Transport over HTTP. A call is tried for `retry_for_s`; a request that was begun has its whole `timeout_s`."""

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
        """Raises BadConfig for an address or a key that cannot be used."""
        base, key = check_url(base_url), key or None
        check_key(key)
        silence()
        self.tally = Usage()
        self.progress = progress
        self._key_name = key_name  # in the environment
        self._concurrency = concurrency
        self._wire = HttpClient(base, key, timeout_s)
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._came: queue.SimpleQueue[Came] = queue.SimpleQueue()
        self._tries = RetryingClient(self._wire, key, ConcurrencyLimiter(concurrency), retry_for_s, say=self._came.put)
        self._threads: list[threading.Thread] = []
        self._ended = 0  # threads, counted under the lock
        self._lock = threading.Lock()
        self._closed, self._open = False, 0
        self._doubtful: list[Reply] = []  # of calls given up since the last answer
        self._last: list[Reply] = []  # held back: the error that it may be part of must find a call open
        self._error: BaseException | None = None

    @property
    def room(self) -> bool:
        return self._open < self._concurrency

    @property
    def open(self) -> int:
        return self._open

    def submit(self, call: Call) -> None:
        if self._closed:
            raise RuntimeError("a call was submitted to a server that is closed")
        self._open += 1
        self._calls.put(call)
        if len(self._threads) < min(self._concurrency, self._open):
            thread = threading.Thread(target=self._work, name=f"server-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def take(self, *, wait: bool) -> list[Reply]:
        """Replies that have come. They are handed out before an error is raised, which is then raised each time."""
        if self._closed:
            return []
        replies = self._arrived(wait=False)
        while wait and self._open and not replies and self._error is None:
            replies = self._arrived(wait=True)
        replies = self._checked(replies, wait=wait)
        self.tally.retries = self._tries.retries
        if self._error is not None and not replies:
            raise self._named(self._error) from None
        self._open -= len(replies)
        count(self.tally, replies)
        return replies

    def _checked(self, replies: list[Reply], *, wait: bool) -> list[Reply]:
        """The replies, less one where all calls have failed alike; none where who waits has no more calls to submit."""
        error = self._tries.alike.error() if self._error is None and self._open == len(replies) else None
        if error is None:
            return replies
        if wait and self.room:
            self._error = error
            return []
        kept = 1 if wait and len(replies) == 1 else len(replies) - 1
        self._last = replies[kept:]
        return replies[:kept]

    def _named(self, error: BaseException) -> BaseException:
        """The error, which tells by name where the key is from."""
        return Denied(str(error).replace(KEY_NAME, self._key_name)) if isinstance(error, Denied) else error

    def _arrived(self, *, wait: bool) -> list[Reply]:
        """What has come, without calls given up after which nothing came: where the service is gone they stay open."""
        replies, self._last = self._last, []
        for came in self._queued(wait=wait):
            if isinstance(came, Reply):
                replies.append(came)
            elif isinstance(came, Exhausted):
                self._doubtful.append(came.reply)
            elif isinstance(came, str):
                self.progress.note(came)
            else:
                self._error = self._error or came
        nothing_else = self._open == len(self._doubtful) + len(replies)
        if self._error is None and (replies or nothing_else):
            replies, self._doubtful = self._doubtful + replies, []
        return replies

    def _queued(self, *, wait: bool) -> list[Came]:
        """Everything that is in the queue. A wait ends now and then, so that a signal is heard on every platform."""
        found: list[Came] = []
        try:
            found.append(self._came.get(wait, timeout=0.5))
            while True:
                found.append(self._came.get_nowait())
        except queue.Empty:
            return found

    def close(self) -> None:
        self._closed, self._open = True, 0
        self._tries.end()
        self._wire.abort()
        for _ in self._threads:
            self._calls.put(None)
        if not self._threads:
            self._wire.close()

    def _work(self) -> None:
        """What each thread does until `close`. The last one ends the connections that none of them uses any more."""
        while (call := self._calls.get()) is not None:
            try:
                self._came.put(self._tries.settle(call))
            except Closed:
                continue
            except BaseException as error:  # noqa: BLE001
                self._tries.end()
                self._came.put(error)
        with self._lock:
            self._ended += 1
            last = self._ended == len(self._threads)
        if last:
            self._wire.close()
