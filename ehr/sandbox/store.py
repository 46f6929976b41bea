"""The resources of one sandbox in memory, indexed, each encoded once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ehr.errors import ConfigurationError
from ehr.sandbox.parameters import Parameter, elements, parameters_of, patients_of, target_of


@dataclass(slots=True, eq=False, repr=False)
class Stored:
    """One resource: its decoded form for searching, its bytes for answering."""

    type: str
    id: str
    data: dict[str, Any]
    body: bytes
    patients: frozenset[str]
    values: dict[str, Any] = field(default_factory=dict)

    def cached(self, key: str, read: Callable[[dict[str, Any]], Any]) -> Any:
        """What ``read`` makes of the resource, worked out once; a sandbox never changes its data."""
        if key not in self.values:
            self.values[key] = read(self.data)
        return self.values[key]


class Store:
    """Resources by type, by id, by patient and by exact value."""

    def __init__(self) -> None:
        self._by_type: dict[str, dict[str, Stored]] = defaultdict(dict)
        self._by_patient: dict[str, dict[str, list[Stored]]] = defaultdict(lambda: defaultdict(list))
        self._exact: dict[tuple[str, str], dict[str, list[Stored]]] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({sum(map(len, self._by_type.values()))} resources)"

    def __len__(self) -> int:
        return sum(map(len, self._by_type.values()))

    def add(self, resource: dict[str, Any]) -> None:
        """Take one resource in.

        Raises:
            ConfigurationError: another resource has its type and id.
        """
        kind, name = str(resource["resourceType"]), str(resource["id"])
        stored = Stored(kind, name, resource, msgspec.json.encode(resource), patients_of(resource))
        known = self._by_type[kind].get(name)
        if known is not None:
            if known.data == resource:
                return
            raise ConfigurationError(f"two different {kind} resources have one id; ids must be unique")
        self.take(stored)

    def take(self, stored: Stored) -> None:
        """Take in a resource of another store as it is."""
        self._by_type[stored.type][stored.id] = stored
        self._exact.clear()
        for patient in stored.patients:
            self._by_patient[stored.type][patient].append(stored)

    def survivor(self, patient: str) -> str | None:
        """Id of the Patient that took the place of this one, as its own link says; None for who is still there."""
        held = self.get("Patient", patient)
        for link in held.data.get("link", ()) if held is not None else ():
            target = target_of(link.get("other")) if link.get("type") == "replaced-by" else None
            if target is not None:
                return target[1]
        return None

    def types(self) -> frozenset[str]:
        return frozenset(kind for kind, held in self._by_type.items() if held)

    def get(self, resource_type: str, resource_id: str) -> Stored | None:
        return self._by_type.get(resource_type, {}).get(resource_id)

    def all_of(self, resource_type: str) -> Sequence[Stored]:
        return list(self._by_type.get(resource_type, {}).values())

    def of_patients(self, resource_type: str, patients: Iterable[str]) -> Sequence[Stored]:
        """Resources of a type about any of the patients, each once."""
        held = self._by_patient.get(resource_type, {})
        found = [stored for patient in dict.fromkeys(patients) for stored in held.get(patient, ())]
        return list(dict.fromkeys(found))

    def with_exact(self, resource_type: str, name: str, texts: Iterable[str]) -> Sequence[Stored]:
        """Resources whose parameter ``name`` holds one of the texts as code, value or date, to the letter."""
        index = self._exact.get((resource_type, name))
        if index is None:
            index = self._index(resource_type, parameters_of(resource_type)[name])
            self._exact[resource_type, name] = index
        found = [stored for text in dict.fromkeys(texts) for stored in index.get(text, ())]
        return list(dict.fromkeys(found))

    def _index(self, resource_type: str, parameter: Parameter) -> dict[str, list[Stored]]:
        index: dict[str, list[Stored]] = defaultdict(list)
        for stored in self.all_of(resource_type):
            for text in {text for value in elements(stored.data, parameter.paths) for text in _texts(value)}:
                index[text].append(stored)
        return dict(index)


def store_of(resources: Iterable[dict[str, Any]]) -> Store:
    """A store of resources that are at hand; each has ``resourceType`` and ``id``.

    Raises:
        ConfigurationError: two different ones have one type and id.
    """
    store = Store()
    for resource in resources:
        store.add(resource)
    return store


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, dict):
        return ()
    if isinstance(value.get("coding"), list):
        return [text for coding in value["coding"] for text in _texts(coding)]
    return [value[name] for name in ("code", "value") if isinstance(value.get(name), str)]
