"""GGUF files with other settings or tensors than ours have, written by the gguf package."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np


def rewrite(
    source: Path, out: Path, changes: Mapping[str, Any], tensors: Mapping[str, Any] | None = None, name: str = ""
) -> Path:
    """Copy a file with these settings changed (None: left out) and these tensors added (None: left out)."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(out, name or str(reader.fields["general.architecture"].contents()))
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture" or key in changes:
            continue
        kinds = [*field.types, None]
        writer.add_key_value(key, field.contents(), kinds[0], kinds[1])
    for key, value in changes.items():
        if value is not None:
            writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    kept = dict(tensors or {})
    for each in reader.tensors:
        if each.name not in kept:
            writer.add_tensor(each.name, each.data, raw_dtype=each.tensor_type)
    for key, numbers in kept.items():
        if numbers is not None:
            writer.add_tensor(key, np.asarray(numbers, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out
