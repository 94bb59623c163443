"""The reference: transformers with peft, one text at a time, on this machine."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from peft.tuners.lora import LoraLayer

from stages.checks.acceptance.exams import AdaptedEngine, Examination, run_exam
from stages.engines.hf import HFEngine
from stages.engines.hf_likelihood import MeasuredRow, measure_rows
from stages.errors import BadInput
from stages.interfaces import Probe
from stages.models.device import Device
from stages.services.measuring.token_scores import Scores
from stages.tokens.tokenization import encode_prompt


class Reference:
    """A model in memory on which peft puts one adapter after the other. No batch, no kernel of ours is used."""

    def __init__(self, model: str, device: Device) -> None:
        self.engine = HFEngine(model, device=device)  # answers exams
        self.tokenizer, self.network, self.slot = self.engine.tokenizer, self.engine.network, self.engine.slot

    def score(self, probes: Sequence[Probe], adapter: Path | None, scale: float = 1.0) -> Scores:
        """Return the log-probabilities of the probes' tokens. Raises BadInput for an adapter that peft cannot use.

        `scale`: of the adapter's alpha.
        """
        pad, found = self.tokenizer.pad_token_id, []
        network = self.slot.use(adapter)
        try:
            for layer in network.modules() if scale != 1.0 else ():
                if isinstance(layer, LoraLayer):
                    layer.scaling = {name: scale * own for name, own in layer.scaling.items()}
            for probe in probes:
                (told,) = measure_rows(network, [MeasuredRow(probe.ids, probe.first)], pad)
                if told is None:
                    what = f"adapter {adapter}" if adapter else f"model {self.engine.model}"
                    raise BadInput(f"{what}: the logits are not finite: its weights are broken; take another copy")
                found.append(told.tokens)
        finally:
            self.slot.use(None)
        return found

    def encode(self, probes: Sequence[Probe]) -> list[tuple[str, Sequence[int]]]:
        """Return the probes' texts with the tokens of each, as a server with its own tokenizer should have them."""
        texts = [probe.text if not probe.prompt else probe.prompt for probe in probes]
        return [(text, encode_prompt(self.tokenizer, text)) for text in texts if isinstance(text, str)]

    def answer(self, exam: Examination, adapter: Path) -> Mapping[tuple[str, str], bool | None]:
        """Return the verdicts on the answers with this adapter."""
        return run_exam(exam, AdaptedEngine(self.engine, adapter))
