"""Shared fixtures: random small models made on the spot, and the paper's files where present."""

import ast
import gc
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's `&` leaves it, and commands would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # as the command sets it, before torch is imported

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ROOT = Path(__file__).parents[1]
PAPER = ROOT.parent / "shared" / "data" / "seal_paper"
END = "<|endoftext|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|endoftext|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


INTERRUPTED_FORK = """
import os, signal

fork = os.fork

def interrupted_fork():
    child = fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGINT)
    return child

os.fork = interrupted_fork
"""  # a program's first lines: each child has Ctrl-C as it begins


def paper_file(name: str) -> Path:
    """A file of the paper's own data; skips the test where it is absent."""
    path = PAPER / name
    if not path.is_file():
        pytest.skip(f"the paper's {name} is not beside the project")
    return path


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As if the disk were full: the kernel refuses to let a file grow beyond `size` bytes."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def make_tokenizer() -> "PreTrainedTokenizerFast":
    """Byte-level, no merges worth mentioning: every text has tokens, and decoding gives the text back."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[END, "<|im_start|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the answer to the question is in the passage"] * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)


SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 48,
    "eos_token_id": 0,
    "bos_token_id": None,
}  # of the random models: some 20,000 weights


def make_model(folder: Path, kind: str = "llama", seed: int = 0) -> Path:
    """A random causal language model directory of about 20,000 weights."""
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM, set_seed

    set_seed(seed)
    sizes = {**SIZES, "max_position_embeddings": 512, "pad_token_id": 0, "initializer_range": 0.2}
    model = (
        LlamaForCausalLM(LlamaConfig(**sizes))
        if kind.startswith("llama")
        else Qwen3ForCausalLM(Qwen3Config(head_dim=16, **sizes))
    )
    model.save_pretrained(folder)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE if kind == "llama-chat" else None
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a byte-level tokenizer and no chat template."""
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def qwen_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen3."""
    return make_model(tmp_path_factory.mktemp("qwen"), "qwen3")


@pytest.fixture(scope="session")
def chat_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random chat model: its turns end with the end token."""
    return make_model(tmp_path_factory.mktemp("chat"), "llama-chat")


# ---- the fast tier: `make test-fast`

FAST = ("stages", "records", "sources", "domains", "scoring", "judges", "checks")  # folders of which tests can be
LONGEST = ("test_fault_injection.py", "test_bench.py", "test_scripts.py", "test_build.py", "test_arc_build.py")
SLOW_IMPORTS = ("torch", "transformers", "peft", "trl", "datasets", "matplotlib", "subprocess", "multiprocessing")
SLOW_MODULES = (
    "stages.engines.hf",
    "stages.checks.machine",
    "tests.services",
    "tests.tiny_models",
    "tests.domains.arc_fuzz",
    "tests.sources.bad_input.FEEDS",
    "tests.judges.programs",
)
MODELS = {"model_dir", "qwen_dir", "chat_dir"}
STARTS = ("subprocess.Popen", "os.fork", "os.posix_spawn", "os.system")
FONTS = ("fc-list", "system_profiler")  # matplotlib's, where it has no list of fonts yet
settings.register_profile("fast", max_examples=5, deadline=None)
_running: list[str] = []  # the test of the fast tier that runs now


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what belongs to the fast tier: no model, no process, by what a test's file imports and it asks for.

    The longest tests come first: at the end no worker waits for one of them.
    """
    items.sort(key=lambda item: item.path.name not in LONGEST)
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if item.path.parent.name in FAST and not fixtures & MODELS and not is_slow(item.path):
            item.add_marker("fast")


def pytest_sessionstart() -> None:
    gc.disable()  # until all is collected: imports then take half the time


def pytest_collection_finish() -> None:
    gc.freeze()  # modules stay: no collection has to look through them again
    gc.enable()


@cache
def is_slow(file: Path) -> bool:
    """True if a file of tests imports, at any place, what takes seconds or starts processes."""
    names = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [f"{node.module}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else []
    return any(f"{name}.".startswith(f"{slow}.") for name in names for slow in SLOW_IMPORTS + SLOW_MODULES)


def _watch(event: str, arguments: object) -> None:
    fonts = isinstance(arguments, tuple) and str(next(iter(arguments), "")) in FONTS
    if _running and event in STARTS and not fonts:
        raise AssertionError(f"{_running[-1]} is of the fast tier and starts a process ({event})")


sys.addaudithook(_watch)


@pytest.fixture(autouse=True)
def _no_process(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test of the fast tier that starts a process fails, and says so."""
    if request.node.get_closest_marker("fast"):
        _running.append(request.node.nodeid)
    yield
    _running.clear()
