"""What tells the files of a model or an adapter from others of the same name."""

import hashlib
from pathlib import Path

MODEL_FILES = (  # whatever changes what a model says
    "config.json",
    "*quant_config.json",  # vLLM reads these where config.json does not say how the weights are quantized
    "quantize_config.json",
    "adapter_config.json",  # transformers takes an adapter that lies in the model's folder
    "generation_config.json",
    "model.safetensors.index.json",
    "tokenizer*",
    "vocab.*",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template*",
    "*.jinja",
    "*.model",
    "*.tiktoken",
    "tekken.json",
    "*.safetensors",
)
_SAMPLE_BYTES, _SAMPLES = 4096, 512  # of one sample, of one file


def fingerprint_folder(folder: Path) -> str:
    """Return a digest of the files in a model's or an adapter's folder. Raises OSError for one that cannot be read.

    Of each file, samples from all over it are read, so that a large model takes no longer.
    """
    found = hashlib.sha256()
    for path in sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern) if path.is_file()}):
        size = path.stat().st_size
        found.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for start in range(0, size, max(_SAMPLE_BYTES, size // _SAMPLES)):
                file.seek(start)
                found.update(file.read(_SAMPLE_BYTES))
    return found.hexdigest()[:16]
