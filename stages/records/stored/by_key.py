"""What lines are made of, by their keys. To the workers of a cluster it goes in portions: those of a lease with it."""

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from stages.records.record import Record
from stages.records.stored.lines import InputReader, StoredRecords

_T = TypeVar("_T")
_Packed = Mapping[str, Any]  # lines as they lie in their file, or what they have been read as, by their keys


class Portion(Mapping[str, _T], Generic[_T]):
    """What a worker of a cluster has of a mapping: the keys of one lease."""

    def __init__(self, read: InputReader | None, change: Callable[[Any], _T]) -> None:
        self.read, self.change = read, change
        self.packed: _Packed = {}

    def unpack(self, packed: _Packed) -> None:
        """Have these keys from now on, and no others."""
        self.packed = packed

    def __getitem__(self, key: str) -> _T:
        found = self.packed[key]
        return self.change(self.read(found) if self.read else found)

    def __iter__(self) -> Iterator[str]:
        return iter(self.packed)

    def __len__(self) -> int:
        return len(self.packed)


class ItemsByKey(Mapping[str, _T], Generic[_T]):
    """A mapping of anything that can be pickled. It is sent to other processes as a Portion with nothing in it."""

    def __init__(self, items: Mapping[str, _T]) -> None:
        self.all = items

    def __getitem__(self, key: str) -> _T:
        return self.all[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    def pack(self, keys: Iterable[str]) -> _Packed:
        """Return what the Portion is to `unpack`, to have these keys."""
        return {key: self.all[key] for key in keys}

    def __reduce__(self) -> tuple[Any, ...]:
        return Portion, (None, _keep)


class RecordsByKey(Mapping[str, Record]):
    """Records by their keys, each as `change` makes it of the one that was read, when it is asked for.

    `list_keys` gives the keys of a record: none, one or several. Of two records with one key the later counts.
    `kin_of` gives the name of its kin, which is then known without reading it again. They are sent to other processes
    as a Portion with nothing in it.
    """

    def __init__(
        self,
        records: Iterable[Record],
        list_keys: Callable[[Record], Iterable[str]],
        change: Callable[[Record], Record] | None = None,
        kin_of: Callable[[Record], str] | None = None,
    ) -> None:
        self.records: Sequence[Record] = records if isinstance(records, Sequence) else list(records)
        self.change = change or _keep
        self.ordered, self.record_of = list[str](), array("I")  # every key that was listed, and whose it is
        self.places: dict[str, int] = {}  # among these
        self.kin: list[str] = []  # of each record
        for number, record in enumerate(self.records):
            if kin_of:
                self.kin.append(kin_of(record))
            for key in list_keys(record):
                self.places[key] = len(self.ordered)
                self.ordered.append(key)
                self.record_of.append(number)

    def __getitem__(self, key: str) -> Record:
        return self.change(self.records[self.record_of[self.places[key]]])

    def __contains__(self, key: object) -> bool:
        return key in self.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def get_held(self, key: str) -> str:
        """Return the key as it is held here, so that nobody holds it a second time; any other is given back."""
        place = self.places.get(key)
        return key if place is None else self.ordered[place]

    def get_kin(self, key: str) -> str:
        """Return the name of the record's kin."""
        return self.kin[self.record_of[self.places[key]]]

    def change_with(self, change: Callable[[Record], Record]) -> "RecordsByKey":
        """Return the same records, changed in another way."""
        found = object.__new__(RecordsByKey)
        vars(found).update(vars(self), change=change)
        return found

    def without(self, keys: Collection[str]) -> "RecordsByKey":
        """Return those with other keys."""
        found = self.change_with(self.change)
        found.places = {key: place for key, place in self.places.items() if key not in keys}
        return found

    def pack(self, keys: Iterable[str]) -> _Packed:
        """Return what the Portion is to `unpack`, to have these keys: lines as they lie in their file, if they do."""
        numbers, records = {key: self.record_of[self.places[key]] for key in keys}, self.records
        take = records.get_line if isinstance(records, StoredRecords) else records.__getitem__
        return {key: take(number) for key, number in numbers.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        return Portion, (self.records.read if isinstance(self.records, StoredRecords) else None, self.change)


def _keep(item: _T) -> _T:
    """The item itself."""
    return item
