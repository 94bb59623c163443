"""A local service that speaks Tinker's protocol, trains small LoRAs with peft, and fails as a test says.

with serving(folder, faults={("optim_step", 2): status(500)}) as service: ... service.url, service.asked
"""

import io
import json
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import log_softmax
from transformers import AutoModelForCausalLM

from tests.services.scripted import Listener

ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")
ALPHA = 32.0
NAME = "owner/student"
Answer = tuple[int, Any]  # status, JSON
Fault = Callable[["Service", "Exchange"], None]


@cache
def load(folder: Path, dtype: torch.dtype) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).requires_grad_(False)


class Student:
    """One LoRA in training, as the service has it."""

    def __init__(self, folder: Path, lora: Mapping[str, Any], dtype: torch.dtype) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(lora["seed"])
            targets = [*(ATTENTION if lora["train_attn"] else ()), *(MLP if lora["train_mlp"] else ())]
            settings = LoraConfig(r=lora["rank"], lora_alpha=ALPHA, target_modules=targets, task_type="CAUSAL_LM")
            self.network = get_peft_model(deepcopy(load(folder, dtype)), settings)
        self.weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights)
        self.done: dict[int, tuple[Any, str]] = {}  # by the number of a request: the request, and its answer's name
        self.steps = 0
        self.saved: dict[str, bytes] = {}

    def forward_backward(self, data: list[Any]) -> dict[str, Any]:
        outputs = []
        for datum in data:
            (chunk,) = datum["model_input"]["chunks"]
            given = datum["loss_fn_inputs"]
            logits = self.network(input_ids=torch.tensor([chunk["tokens"]])).logits[0]
            targets = torch.tensor(given["target_tokens"]["data"])
            found = log_softmax(logits, -1).gather(-1, targets[:, None])[:, 0]
            (-found @ torch.tensor(given["weights"]["data"], dtype=found.dtype)).backward()
            outputs.append({"logprobs": {"data": found.tolist(), "dtype": "float32", "shape": [len(targets)]}})
        return {"loss_fn_output_type": "scalar", "loss_fn_outputs": outputs, "metrics": {}}

    def optim_step(self, adam: Mapping[str, float]) -> dict[str, Any]:
        if adam["grad_clip_norm"]:
            torch.nn.utils.clip_grad_norm_(self.weights, adam["grad_clip_norm"])
        self.optimizer.param_groups[0].update(
            lr=adam["learning_rate"],
            betas=(adam["beta1"], adam["beta2"]),
            eps=adam["eps"],
            weight_decay=adam["weight_decay"],
        )
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.steps += 1
        return {}

    def archive(self) -> bytes:
        with TemporaryDirectory() as folder:
            self.network.save_pretrained(folder)
            return pack({path.name: path.read_bytes() for path in Path(folder).iterdir()})


def pack(files: Mapping[str, bytes], kind: str = "w:gz") -> bytes:
    """An archive of files."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=kind) as members:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            members.addfile(member, io.BytesIO(content))
    return data.getvalue()


def unpack(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        return {member.name: members.extractfile(member).read() for member in members}  # type: ignore[union-attr]


@dataclass
class Exchange:
    """A request that waits for its answer; `answer` has the service do what is asked."""

    handler: BaseHTTPRequestHandler
    path: str
    body: Mapping[str, Any]
    answer: Callable[[], Answer]

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.handler.send_response(status)
        told = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for name, value in {**told, **{name.replace("_", "-"): value for name, value in headers.items()}}.items():
            self.handler.send_header(name, value)
        self.handler.end_headers()
        self.handler.wfile.write(body)

    def reply(self) -> None:
        status, body = self.answer()
        if isinstance(body, bytes):
            return self.send(status, body, Content_Type="application/octet-stream")
        moved = {"Location": body} if status == 302 else {}
        return self.send(status, json.dumps(body).encode(), **moved)


@dataclass
class Service:
    """`faults`: by (path, how often it has been asked for), what happens instead of an answer."""

    folder: Path
    dtype: torch.dtype = torch.float32
    faults: Mapping[tuple[str, int], Fault] = field(default_factory=dict)
    repack: Callable[[bytes], bytes] = lambda archive: archive
    metrics: Mapping[str, float] = field(default_factory=dict)  # of a step, beside its answer
    beside: Mapping[str, str] = field(default_factory=dict)  # the name of an answer
    students: dict[str, Student] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)
    asked: list[tuple[str, Mapping[str, Any], Mapping[str, str]]] = field(default_factory=list)
    made: int = 0
    url: str = ""
    lock: Any = field(default_factory=threading.RLock)

    def count(self) -> Counter[str]:
        return Counter(path for path, _, _ in self.asked)

    @property
    def steps(self) -> list[int]:
        """How often each model that is still there was changed."""
        return [student.steps for student in self.students.values()]

    def forget(self) -> None:
        """As if it were started anew."""
        with self.lock:
            self.students.clear()
            self.answers.clear()
            self.sessions.clear()

    def do(self, path: str, body: Mapping[str, Any]) -> Answer:
        with self.lock:
            if path == "get_server_capabilities":
                return 200, {"supported_models": [{"model_name": NAME}]}
            if path == "create_session":
                self.sessions.add(f"session-{len(self.sessions)}")
                return 200, {"session_id": f"session-{len(self.sessions) - 1}", "type": "create_session"}
            if path in ("session_heartbeat", "create_model") and body["session_id"] not in self.sessions:
                return 404, {"detail": "Session not found"}
            if path == "session_heartbeat":
                return 200, {}
            if path == "retrieve_future":
                found = self.answers.get(body["request_id"])
                return (404, {"detail": "Future not found"}) if found is None else (200, found)
            if path == "create_model":
                self.made += 1
                name = f"model_{self.made}"
                self.students[name] = Student(self.folder, body["lora_config"], self.dtype)
                return self.store({"model_id": name, "type": "create_model"})
            if path.startswith("training_runs/"):
                _, name, _, saved, last = path.split("/")
                student = self.students.get(name)
                if student is None or saved not in student.saved:
                    return 404, {"detail": "Checkpoint not found"}
                place = f"{self.url}/api/v1/training_runs/{name}/checkpoints/{saved}/download"
                return (302, place) if last == "archive" else (200, self.repack(student.saved[saved]))
            student = self.students.get(body["model_id"])
            if student is None:
                return 404, {"detail": "Model not found"}
            return self.train(student, path, body)

    def train(self, student: Student, path: str, body: Mapping[str, Any]) -> Answer:
        if path == "unload_model":
            return self.store({"model_id": body["model_id"]})
        before = student.done.get(body["seq_id"])
        if path == "save_weights_for_sampler" and body["path"] in student.saved:  # which SkyRL's server sees first
            return 409, {"detail": "Checkpoint already exists"}
        if before:
            return (200, {"request_id": before[1]}) if before[0] == body else (409, {"detail": "was reused"})
        if path == "forward_backward":
            answer = student.forward_backward(body["forward_backward_input"]["data"])
        elif path == "optim_step":
            answer = {**student.optim_step(body["adam_params"]), "metrics": dict(self.metrics) or None}
        else:
            student.saved[body["path"]] = student.archive()
            answer = {"path": f"tinker://{body['model_id']}/{body['path']}", "type": path}
        status, told = self.store(answer)
        student.done[body["seq_id"]] = body, told["request_id"]
        return status, told

    def store(self, answer: Any) -> Answer:
        self.answers[str(len(self.answers))] = answer
        return 200, {"request_id": str(len(self.answers) - 1), **self.beside}


@contextmanager
def serving(folder: Path, **named: Any) -> Iterator[Service]:
    """Serves until the block ends. `named`: fields of Service."""
    service = Service(folder, **named)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.do({})

        def do_POST(self) -> None:
            self.do(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def do(self, body: Mapping[str, Any]) -> None:
            path = self.path.removeprefix("/api/v1/")
            with service.lock:
                service.asked.append((path, body, dict(self.headers)))
                fault = service.faults.get((path, service.count()[path]))
            exchange = Exchange(self, path, body, lambda: service.do(path, body))
            with suppress(ConnectionError):
                if fault:
                    fault(service, exchange)
                else:
                    exchange.reply()

        def log_message(self, *arguments: object) -> None:
            pass

    listener = Listener(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{listener.server_address[1]}"
    threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield service
    finally:
        listener.shutdown()
        listener.server_close()


# ---- faults


def status(code: int, detail: str = "no", **headers: str) -> Fault:
    """Nothing is done, and this is said."""
    return lambda service, exchange: exchange.send(code, json.dumps({"detail": detail}).encode(), **headers)


def say(answer: Any) -> Fault:
    """Nothing is done, and this is said with success."""
    return lambda service, exchange: exchange.send(200, json.dumps(answer).encode())


def lose_the_answer(service: Service, exchange: Exchange) -> None:
    """All is done, and nobody hears of it."""
    exchange.answer()
    exchange.handler.close_connection = True


def lose_the_number(service: Service, exchange: Exchange) -> None:
    """All is done, nobody hears of it, and the same number will count as another request."""
    lose_the_answer(service, exchange)
    for student in service.students.values():
        student.done.clear()


def forget(service: Service, exchange: Exchange) -> None:
    """The service is started anew in front of this request."""
    service.forget()
    exchange.reply()


def delay(seconds: float) -> Fault:
    def wait(service: Service, exchange: Exchange) -> None:
        time.sleep(seconds)
        exchange.reply()

    return wait
