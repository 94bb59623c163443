"""A script that holds adapters as vLLM does: loaded and unloaded at run time, a name only once."""

from collections.abc import Mapping
from typing import Any

from tests.services.behaviours import Behaviour, Exchange, answer, completion, raw, status
from tests.services.scripts import prompt_of


class Adapters:
    """`most`: how many the server has room for; one more is an error of the test. Answers say who was asked."""

    def __init__(self, most: int = 100, forgets_after: int | None = None) -> None:
        self.most, self.forgets_after = most, forgets_after
        self.there: dict[str, str] = {}  # name → path
        self.names: list[str] = []  # in the order in which they were loaded
        self.most_there = self.answered = 0

    def __call__(self, n: int, body: Mapping[str, Any]) -> Behaviour:
        if "lora_path" in body:
            return self.load(body["lora_name"], body["lora_path"])
        if "lora_name" in body:
            return self.unload(body["lora_name"])
        return self.say(str(body["model"]), body)

    def load(self, name: str, path: str) -> Behaviour:
        if name in self.names:
            return status(400, f"The lora adapter '{name}' has already been loaded.")
        if "nowhere" in path:
            return status(404, f"Loading lora {name} failed: No adapter found for <path>")
        if "rank" in path:
            words = "Worker failed with error 'LoRA rank 17 is greater than max_lora_rank 16.'"
            return status(500, f"Call to add_lora method failed: {words}")
        self.there[name] = path
        self.names.append(name)
        self.most_there = max(self.most_there, len(self.there))
        assert self.most_there <= self.most
        return raw(f"Success: LoRA adapter '{name}' added successfully.".encode(), "text/plain")

    def unload(self, name: str) -> Behaviour:
        if self.there.pop(name, None) is None:
            return status(404, f"The lora adapter '{name}' cannot be found.")
        return raw(f"Success: LoRA adapter '{name}' removed successfully.".encode(), "text/plain")

    def say(self, model: str, body: Mapping[str, Any]) -> Behaviour:
        if self.answered == self.forgets_after:
            self.there.clear()  # as when the server was started anew
        self.answered += 1
        if model != "m" and model not in self.there:
            return status(404, f"The model `{model}` does not exist.")
        path = self.there.get(model, "no adapter").rpartition("/")[2]

        def reply(exchange: Exchange) -> None:
            answer(exchange, completion(exchange.handler.path, f"{path}: {prompt_of(body)}"))

        return reply
