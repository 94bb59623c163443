"""`seal adapt`"""

from dataclasses import replace

from seal_cli.flags import options as opt
from seal_cli.flags.expand import Given
from seal_cli.flags.run import InputFlags, RunFlags
from seal_cli.runs.drive import drive
from stages.adapt import Adapt
from stages.interfaces import FitConfig, PadMode


def adapt(run: RunFlags, lines: InputFlags, stage: Adapt, fit: Given[FitConfig], seed: opt.Seed = 0) -> int:
    """Fine-tune the student on each self-edit, once per seed. edit → adapter lines, and PEFT directories under --out.

    The defaults are the paper's (SEAL App. B). The training sequences are the self-edit's pieces, each under the
    title, and the passage last; of an ARC task, the training tasks that the self-edit's tools make of the
    demonstrations. An adapter does not depend on what is trained beside it: to the last bit where `seal doctor` says
    so (same bits), else to the last digits.

    \b
    Examples:
      seal adapt edits.jsonl --out adapters --seeds 3 -o adapters.jsonl
      seal adapt edits.jsonl --rank 8 --alpha 16 --target q_proj --target v_proj --epochs 4
      seal adapt edits.jsonl --show-data | jq -r '.sequences[]'
      seal adapt arc-edits.jsonl --show-data | jq -r '.tasks[].tool' | sort | uniq -c
    """
    PadMode.parse(fit.values.get("pad_mode", "none"))
    stage.trainer.check()
    return drive(replace(stage, fit=fit.values, seed=seed), lines, run)
