"""A headless Chromium that opens a file and evaluates JavaScript in it, over the DevTools protocol on two pipes."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")


class Page:
    """An open page. `run` evaluates an expression and returns its value."""

    def __init__(self, commands: int, answers: int) -> None:
        self.commands, self.answers = os.fdopen(commands, "wb"), os.fdopen(answers, "rb")
        self.number, self.session = 0, ""

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        self.number += 1
        session = {"sessionId": self.session} if self.session else {}
        message = {"id": self.number, "method": method, "params": parameters, **session}
        self.commands.write(json.dumps(message).encode() + b"\0")
        self.commands.flush()
        while (answer := self._receive()).get("id") != self.number:
            pass
        assert "error" not in answer, answer
        return dict(answer["result"])

    def _receive(self) -> dict[str, Any]:
        data = b""
        while not data.endswith(b"\0"):
            byte = self.answers.read(1)
            assert byte, "the browser has ended"
            data += byte
        return dict(json.loads(data[:-1]))

    def open(self, url: str) -> None:
        target = self.call("Target.createTarget", url=url)["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        while not self.run("location.protocol == 'file:' && document.readyState == 'complete'"):
            pass

    def run(self, expression: str) -> Any:
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")


@contextmanager
def opened(path: Path, profile: Path) -> Iterator[Page]:
    """Open the file in a browser with a profile folder of its own."""
    (read_commands, commands), (answers, write_answers) = os.pipe(), os.pipe()
    flags = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --remote-debugging-pipe"
    shell = f'exec "$0" {flags} --user-data-dir="$1" 3<&{read_commands} 4>&{write_answers}'
    command = ["bash", "-c", shell, str(CHROMIUM), str(profile)]
    process = subprocess.Popen(command, pass_fds=(read_commands, write_answers), stderr=subprocess.DEVNULL)
    os.close(read_commands)
    os.close(write_answers)
    page = Page(commands, answers)
    try:
        page.open(path.as_uri())
        yield page
    finally:
        process.kill()
        process.wait()
        page.commands.close()
        page.answers.close()
