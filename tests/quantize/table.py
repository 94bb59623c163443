"""What a model costs and says, plain and quantized: python -m tests.quantize.table MODEL TEXTS, one JSON line a kind.

TEXTS has one text a line. Times are of the processor, for 1,000 tokens: measured, trained (one LoRA) and decoded.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stages.interfaces import Example, FitJob, Request, TrainingSet
from stages.models.device import Device
from stages.settings import FitConfig, Sampling

DECODED = 8


def main(model: str, texts: Path, kind: str) -> None:
    from stages.engines.hf import HFEngine
    from stages.models.libraries import quiet_libraries
    from stages.trainers.batched.trainer import BatchedLoraTrainer

    quiet_libraries()
    import peft  # noqa: F401  # before anything is counted

    if kind != "none":
        import bitsandbytes.functional  # noqa: F401
    bare, rows = resident_bytes(), texts.read_text(encoding="utf-8").splitlines()
    engine = HFEngine(model, device=Device("cpu", "float32", kind))
    own = [*engine.network.parameters(), *engine.network.buffers()]
    found: dict[str, object] = {"quantize": kind}
    found["weights_mb"] = round(sum({id(each): each.nbytes for each in own}.values()) / 1e6, 1)
    found["grown_mb"], found["peak_mb"] = round((resident_bytes() - bare) / 1e6), round(peak_bytes() / 1e6)
    greedy = Sampling(temperature=0.0, max_tokens=DECODED)
    started = time.process_time()
    sizes, logs = 0, 0.0
    for number, row in enumerate(rows):
        (told,) = engine.sample([Request(f"{number}", "", greedy, continuation=row)])
        sizes += len(told.token_log_probabilities)
        logs += sum(told.token_log_probabilities)
    found |= {"tokens": sizes, "log_probability": round(logs / sizes, 4)}
    found["read_s"] = round((time.process_time() - started) / sizes * 1000, 1)
    started = time.process_time()
    list(engine.sample([Request("said", rows[0][:100], greedy)]))
    found["decode_s"] = round((time.process_time() - started) / DECODED * 1000)
    trainer = BatchedLoraTrainer(model, loaded=(engine.tokenizer, engine.network))
    with tempfile.TemporaryDirectory() as out:
        lesson = TrainingSet((Example("", rows[0]),))
        job = FitJob("own", lesson, FitConfig(rank=8, epochs=2), 0, Path(out) / "own")
        started = time.process_time()
        (result,) = trainer.fit([job])
    found["train_s"] = round((time.process_time() - started) / result.tokens * 1000, 1)
    found |= {
        "loss_first": result.loss_first,
        "loss_last": result.loss_last,
        "peak_after_mb": round(peak_bytes() / 1e6),
    }
    print(json.dumps(found), flush=True)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    if len(sys.argv) == 4:
        main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
    else:
        for kind in ("none", "int8", "nf4"):
            subprocess.run([sys.executable, "-m", "tests.quantize.table", *sys.argv[1:3], kind], check=True)
