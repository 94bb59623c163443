"""Everything that a stage may import, imported once, so that a trial costs a fork."""

import gc
import importlib
import os
import warnings

MODULES = """
torch transformers peft peft.tuners.lora trl accelerate datasets safetensors.torch pydantic rich.table
transformers.models.llama.modeling_llama transformers.generation.utils torch.optim.adamw
seal_cli.app seal_cli.runs.drive seal_cli.runs.engines seal_cli.runs.omissions stages.models.checkpoints typer._adapters
stages.export stages.import_gguf stages.exports.merged stages.exports.gguf.model stages.exports.gguf.lora
stages.exports.gguf.reading gguf stages.adapt stages.eval stages.filter stages.generate stages.judge stages.sft
stages.tasks stages.report
stages.sources.seal_official stages.engines.hf stages.trainers.batched.trainer stages.trainers.peft stages.trainers.sft
stages.judges.exact stages.judges.lexical stages.domains.qa tests.conftest
""".split()  # noqa: SIM905
CANARY = "sk-canary-5f1d0c2e9b"
CALM = {
    "OMP_NUM_THREADS": "1",
    "MKL_CBWR": "AUTO,STRICT",  # as the command sets it
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "NO_COLOR": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "OPENAI_API_KEY": CANARY,
    "HF_TOKEN": CANARY,
    "JUDGE_API_KEY": CANARY,
}


def warm() -> None:
    """Raises ImportError where a module is gone."""
    os.environ.update(CALM)
    warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")
    gc.disable()  # meanwhile: imports make no garbage
    for name in MODULES:
        importlib.import_module(name)
    import torch
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping
    from trl import SFTConfig, SFTTrainer  # noqa: F401

    get_checkpoint_conversion_mapping("llama")  # hundreds of patterns, compiled at the first model that is loaded
    torch.set_num_threads(1)
    gc.freeze()
    gc.enable()
