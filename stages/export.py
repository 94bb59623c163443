"""adapter → the formats of other programs: a merged model, a PEFT directory, GGUF, Ollama, vLLM."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge

from stages.errors import BadConfig, BadInput, ExistingOutput, MissingInput, refuse_given
from stages.files import hold_name, make_folder, remove_partials
from stages.settings import Doc

if TYPE_CHECKING:
    from stages.exports.plain_lora import PlainLora
    from stages.exports.weights import ModelWeights
    from stages.records.record import Record

Format = Literal["merged", "peft", "gguf", "ollama", "vllm"]
_OURS = (  # directories that --overwrite may replace, beside those whose seal.json lists all that is there
    {"adapter_config.json", "adapter_model.safetensors"},
    {"Modelfile", "model.gguf", "adapter.gguf"},
)
_OF_MODELS = ("gguf", "ollama")  # formats in which a model can be written, too


@dataclass(frozen=True)
class Export:
    """What is to be written, and how."""

    panel: ClassVar[str] = "Options"
    to: Annotated[
        Format,
        Doc(
            "merged: a model directory; peft: a PEFT directory with one rank; gguf: llama.cpp's file; ollama: a folder "
            "for `ollama create`; vllm: its command."
        ),
    ]
    out: Annotated[
        Path | None, Doc("What to write; vllm needs it only for adapters whose layers have different ranks.", "PATH")
    ] = None
    model: Annotated[
        str | None, Doc("The base model.", "DIR|NAME", default="the one that the adapter names, by weights")
    ] = None
    merge: Annotated[bool, Doc("For gguf and ollama: write the model with the adapter in it.", flag="--merge")] = False
    numbers: Annotated[
        Literal["f32", "f16", "bf16", "q8_0"] | None,
        Doc("How GGUF has its weights.", flag="--numbers", default="as the base; a LoRA f32"),
    ] = None
    context: Annotated[
        int | None, Ge(1), Doc("For ollama: tokens of the context.", "N", flag="--context", default="Ollama's own")
    ] = None
    name: Annotated[str | None, Doc("What it is called there.", "NAME", default="its directory's name")] = None
    overwrite: Annotated[bool, Doc("Replace --out if it exists.")] = False

    def run(self, source: Path) -> str:
        """Write the adapter, or the model, in this directory. Return what was written: its path, or vLLM's command.

        Raise BadConfig for what the format has no place for, and as everything does that reads an adapter.
        """
        self._check(source)
        if self.out is None:
            return self._write(source, None)
        make_folder(self.out.parent)
        with hold_name(self.out):
            remove_partials(self.out.parent, {self.out.name})
            return self._write(source, self.out)

    def find_lost_quantization(self, source: Path) -> str | None:
        """Return how the base was quantized that the adapter was trained on, where a merge is with the plain one."""
        from stages.models.adapter_checks import read_quantization

        kind = read_quantization(source) if self.merge or self.to == "merged" else "none"
        return None if kind == "none" else kind

    def _check(self, source: Path) -> None:
        """Raise before anything is read what the flags alone tell."""
        if self.to not in _OF_MODELS:
            given = {"--merge": self.merge or None, "--numbers": self.numbers}
            refuse_given(given, f"is for --to gguf and --to ollama, not for {self.to}")
        if self.to != "ollama":
            refuse_given({"--context": self.context}, "is for --to ollama")
        if self.out is None and self.to != "vllm":
            raise BadConfig(f"--to {self.to}: give --out PATH, the place to write it")
        if self.out is not None:
            _check_out(self.out, source, self.model, overwrite=self.overwrite)

    def _write(self, source: Path, out: Path | None) -> str:
        name = self.name or source.resolve().name
        if _is_model(source):
            return self._write_model(source, out, name)
        from stages.exports.plain_lora import read_lora

        lora = read_lora(source)
        model = self._find_model(lora)
        if out is not None:
            _check_holds_none(out, source, Path(model))
        if out is None or self.to in ("peft", "vllm"):
            from stages.exports.peft_form import make_vllm_command, write_even_adapter

            if out is None:
                return make_vllm_command(lora, model, source, name)
            write_even_adapter(lora, model, out)
            return str(out) if self.to == "peft" else make_vllm_command(lora.even_out(), model, out, name)
        from stages.exports.weights import ModelWeights, find_weights_folder

        folder = find_weights_folder(model)
        if self.to == "gguf" and not self.merge:
            from stages.exports.gguf.lora import write_gguf_lora

            write_gguf_lora(lora, folder, out, name, self.numbers or "f32")
            return str(out)
        merges = self.merge or self.to == "merged"
        with ModelWeights(folder, lora if merges else None) as weights:
            self._write_weights(weights, None if merges else lora, out, name, _describe_origin(lora, model))
        return str(out)

    def _write_model(self, source: Path, out: Path | None, name: str) -> str:
        if self.to not in _OF_MODELS or out is None:
            ways = "give --to gguf or --to ollama, or an adapter"
            raise BadConfig(f"{source}: a whole model, and --to {self.to} writes adapters; {ways}")
        refuse_given({"--merge": self.merge or None, "--model": self.model}, f"{source} is a whole model")
        from stages.exports.weights import ModelWeights

        with ModelWeights(source) as weights:
            self._write_weights(weights, None, out, name, {})
        return str(out)

    def _write_weights(
        self, weights: "ModelWeights", lora: "PlainLora | None", out: Path, name: str, origin: dict[str, str]
    ) -> None:
        if self.to == "merged":
            from stages.exports.merged import write_merged_model

            write_merged_model(weights, out, {"export": self.to, **origin})
        elif self.to == "gguf":
            from stages.exports.gguf.model import write_gguf_model

            write_gguf_model(weights, out, name, self.numbers)
        else:
            from stages.exports.ollama import write_ollama_folder

            write_ollama_folder(weights, lora, out, name, numbers=self.numbers, context=self.context)

    def _find_model(self, lora: "PlainLora") -> str:
        """Return the base model. Raise as `make_adapter_check` does for one that the adapter does not fit."""
        from stages.models.adapter_checks import make_adapter_check
        from stages.models.checkpoints import plain
        from stages.models.directories import check_model

        named = lora.config.get("base_model_name_or_path")
        trained_on = named if isinstance(named, str) and named else None
        model = self.model or trained_on
        if model is None:
            raise BadConfig(f"adapter {lora.path}: names no base model; give --model DIR")
        try:
            check_model(model)
        except MissingInput:
            if self.model:
                raise
            raise MissingInput(
                f"adapter {lora.path}: names {model}, which is no model here: give --model DIR"
            ) from None
        if Path(model).is_dir():
            make_adapter_check(model)(lora.path, model)
        if lora.copies:
            from stages.exports.weights import ModelWeights, find_weights_folder

            with ModelWeights(find_weights_folder(model)) as weights:
                weights.check_copies(lora)
        return plain(model)


def _describe_origin(lora: "PlainLora", model: str) -> dict[str, str]:
    from stages.fingerprints import fingerprint_folder
    from stages.models.checkpoints import fingerprint, resolve_model_name

    weights = fingerprint_folder(lora.path)
    return {"model": resolve_model_name(model), "weights": fingerprint(model), "merged_adapter": weights}


def _is_model(path: Path) -> bool:
    return (path / "config.json").is_file() and not (path / "adapter_config.json").exists()


def _check_out(out: Path, source: Path, model: str | None, *, overwrite: bool) -> None:
    """Raise ExistingOutput for a place that must not be replaced."""
    if out.is_symlink():
        raise ExistingOutput(f"--out {out}: a symlink; give the path itself")
    _check_holds_none(out, source, *([Path(model)] if model is not None else []))
    if not out.exists():
        return
    if not overwrite:
        raise ExistingOutput(f"--out {out}: exists already; give --overwrite, or another path")
    if not (out.suffix == ".gguf" if out.is_file() else _is_export(out)):
        raise ExistingOutput(f"--out {out}: is there and is no export; give another path")


def _is_export(folder: Path) -> bool:
    """True for a directory that `seal` wrote, and in which nothing else was laid since."""
    from stages.models.checkpoints import is_as_written  # late: help does without

    names = {each.name for each in folder.iterdir()}
    return bool(names) and (is_as_written(folder) or any(names <= own for own in _OURS))


def _check_holds_none(out: Path, *places: Path) -> None:
    """Raise ExistingOutput for a place that is, or holds, one of these, which are read."""
    if any(out.resolve() in (place.resolve(), *place.resolve().parents) for place in places):
        raise ExistingOutput(f"--out {out}: holds what is exported; give another path")


def choose_adapter(lines: "Iterable[Record]", wanted: str | None, name: str) -> Path:
    """Return the directory of the one adapter that the lines name, or of that with the id `wanted`.

    Raise BadConfig where they name several, MissingInput where they name none.
    """
    found = dict(_list_adapters(lines))
    if wanted is not None:
        found = {key: path for key, path in found.items() if key == wanted}
    if not found:
        what = f"no adapter {wanted}" if wanted else "no adapter"
        raise MissingInput(f"{name}: {what} on its lines; give a file of `seal adapt`")
    paths = list(dict.fromkeys(found.values()))
    if len(paths) > 1:
        ids = ", ".join(list(found)[:3]) + (", …" if len(found) > 3 else "")
        raise BadConfig(f"{name}: names {len(paths)} adapters ({ids}): give --adapter ID, or the directory of one")
    return paths[0]


def _list_adapters(lines: "Iterable[Record]") -> Iterator[tuple[str, Path]]:
    for line in lines:
        if line.adapter is not None and line.adapter.path is not None:
            yield line.adapter.id, Path(line.adapter.path)


def check_source(path: Path) -> None:
    """Raise MissingInput or BadInput for what is neither an adapter's directory nor a model's."""
    if not path.exists():
        raise MissingInput(f"{path}: no such file or directory; give an adapter's directory, or a file of `seal adapt`")
    if path.is_dir() and not any((path / name).is_file() for name in ("adapter_config.json", "config.json")):
        raise BadInput(f"{path}: neither an adapter nor a model (it has no adapter_config.json, nor config.json)")
