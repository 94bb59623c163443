"""Datasets by their names on the hub, through `datasets`."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stages.errors import BadConfig, BadInput, MissingInput, Unavailable, one_line
from stages.records.record import Record
from stages.sources.datasets.folders import suggest_paths
from stages.sources.datasets.tables import read_rows
from stages.sources.documents import ReadContext

_HUB_TIMEOUT_S = 10


def load_dataset(name: str, reading: ReadContext) -> Iterator[Record]:
    """Load a dataset by its hub name through `datasets` and yield its records; rows are gathered.

    Raises Unavailable where it is neither in the cache nor to be had, which is asked once.
    """
    split = reading.split or "train"
    rows = _fetch_rows(name, reading.config, split)
    others = [other for other in rows.info.splits or () if other != split]
    if others and not reading.split:
        reading.note(f"of {name} the split {split} is read; --split NAME takes another ({', '.join(others)})")
    places = ((f"rows[{number}]", row) for number, row in enumerate(rows))
    return read_rows(rows.column_names, places, name, reading)


def _fetch_rows(name: str, config: str | None, split: str) -> Any:
    """A split as `datasets` has it. Raises Unavailable, BadInput or BadConfig in one line."""
    import datasets
    from datasets.exceptions import DatasetBuildError, DatasetNotFoundError

    if name.isidentifier() and find_spec(f"datasets.packaged_modules.{name}"):  # it would read all files here
        raise MissingInput(f"{name}: no such file or folder; a dataset is called OWNER/NAME")
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    reached = _reach_hub(name)
    try:
        return datasets.load_dataset(name, config, split=split)
    except (DatasetNotFoundError, ConnectionError, OSError) as error:
        why = _first_line(error) if reached else "the hub cannot be reached, and the cache does not have it"
        raise Unavailable(
            f"{name}: neither a file here nor a dataset that can be loaded ({why}); check the name, or "
            f"give a local file{suggest_paths(Path(name))}"
        ) from None
    except (DatasetBuildError, RuntimeError) as error:  # as for a dataset that is a script
        raise BadInput(f"{name}: {_first_line(error.__cause__ or error)}") from None
    except ValueError as error:
        said = one_line(" ".join(str(error).split()))
        raise BadConfig(f"{name}: {said} (--split NAME, --config NAME)") from None


def _reach_hub(name: str) -> bool:
    """True if the hub answers, which is asked once; where it does not, only the cache is looked into from here on.

    `datasets` itself would ask again and again, for half a minute.
    """
    import datasets
    from httpx2 import HTTPError
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        HfApi().dataset_info(name, timeout=_HUB_TIMEOUT_S)
    except HfHubHTTPError:
        return True  # `datasets` says what it means
    except (HTTPError, OSError, OfflineModeIsEnabled):
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
        return False
    return True


def _first_line(error: BaseException) -> str:
    return one_line(str(error).split("\n", 1)[0]) or type(error).__name__
