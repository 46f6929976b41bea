"""Loading: every form of file, and files that are not what they seem."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from ehr.errors import ConfigurationError
from ehr.sandbox import load
from ehr.sandbox.data import DataLimits
from tests.ehr.sandbox.synthetic import condition, patient, people, records

ANA = patient("ana", "Secretname", "Ana", "1950-02-03")


def write(folder: Path, name: str, content: bytes | str | dict[str, Any] | list[dict[str, Any]]) -> Path:
    if isinstance(content, dict):
        content = json.dumps(content, indent=2)
    if isinstance(content, list):
        content = "".join(json.dumps(item) + "\n" for item in content)
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder


def bundle(kind: str, *resources: dict[str, Any]) -> dict[str, Any]:
    return {
        "resourceType": "Bundle",
        "type": kind,
        "entry": [{"resource": resource} for resource in resources],
    }


def test_all_forms_load_to_the_same(tmp_path: Path) -> None:
    everything = [*people(), *records()]
    forms: dict[str, Any] = {
        "a.ndjson": everything,
        "b.ndjson.gz": everything,
        "c.json": bundle("collection", *everything),
        "d.json.gz": bundle("searchset", *everything),
        "e.ndjson": [bundle("batch", *everything[:5]), bundle("transaction", *everything[5:])],
        "f.ndjson": "\ufeff" + "\r\n\r\n".join(json.dumps(item) for item in everything),
    }
    for name, content in forms.items():
        folder = tmp_path / name
        folder.mkdir()
        loaded = load(write(folder, name, content))
        assert len(loaded) == len(everything)
        assert loaded.get("Patient", "ana") is not None
        assert len(loaded.of_patients("Condition", ["ana", "bea", "ana"])) == 4
        assert len(load(folder / name)) == len(everything)


def test_several_files_add_up_and_others_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path, "a.ndjson", [ANA])
    write(tmp_path, "b.json", condition("c", "ana", "I10", "2020"))
    write(tmp_path, "README.md", "not data")
    (tmp_path / "folder.ndjson").mkdir()
    assert load(tmp_path).types() == {"Patient", "Condition"}


def test_a_transaction_gives_ids_and_keeps_references(tmp_path: Path) -> None:
    born = {key: value for key, value in ANA.items() if key != "id"}
    about = condition("c", "x", "I10", "2020") | {"subject": {"reference": "urn:uuid:7c1f"}}
    entries = [{"fullUrl": "urn:uuid:7c1f", "resource": born}, {"fullUrl": "urn:uuid:9a", "resource": about}]
    write(tmp_path, "t.json", {"resourceType": "Bundle", "type": "transaction", "entry": entries})
    loaded = load(tmp_path)
    assert loaded.get("Patient", "7c1f") is not None
    assert [stored.id for stored in loaded.of_patients("Condition", ["7c1f"])] == ["c"]


def test_references_by_identifier_are_resolved_where_one_resource_has_it(tmp_path: Path) -> None:
    doctors = [
        {"resourceType": "Practitioner", "id": key, "identifier": [{"system": "urn:npi", "value": value}]}
        for key, value in (("one", "1"), ("two", "2"), ("other", "2"))
    ]
    asked = [{"individual": {"reference": f"Practitioner?identifier=urn:npi|{value}"}} for value in "123"]
    write(tmp_path, "a.json", {"resourceType": "Encounter", "id": "e", "participant": asked})
    write(tmp_path, "b.ndjson", doctors)
    stored = load(tmp_path).get("Encounter", "e")
    assert stored is not None
    named = [part["individual"]["reference"] for part in stored.data["participant"]]
    assert named == ["Practitioner/one", *(f"Practitioner?identifier=urn:npi|{value}" for value in "23")]


def test_the_same_resource_twice_counts_once(tmp_path: Path) -> None:
    write(tmp_path, "a.ndjson", [ANA, ANA])
    assert len(load(tmp_path)) == 1


def test_outcome_entries_of_a_searchset_are_no_data(tmp_path: Path) -> None:
    remark = {"resource": {"resourceType": "OperationOutcome", "issue": []}, "search": {"mode": "outcome"}}
    page = bundle("searchset", ANA)
    page["entry"].append(remark)
    write(tmp_path, "a.json", page)
    assert load(tmp_path).types() == {"Patient"}


DEEP = '{"resourceType":"Basic","id":"x","a":' + "[" * 5000 + "]" * 5000 + "}"
LESS_DEEP = '{"resourceType":"Basic","id":"x","a":' + "[" * 150 + "]" * 150 + "}"
HOSTILE: dict[str, tuple[str, bytes | str | dict[str, Any] | list[dict[str, Any]]]] = {
    "not JSON": ("a.ndjson", "Secretname"),
    "half a line": ("a.ndjson", json.dumps(ANA)[:-5]),
    "two on a line": ("a.ndjson", json.dumps(ANA) * 2),
    "a list": ("a.json", "[1]"),
    "text": ("a.json", '"Secretname"'),
    "latin-1": ("a.ndjson", '{"resourceType":"Patient","id":"é"}'.encode("latin-1")),
    "NUL bytes": ("a.ndjson", b"\x00" * 20),
    "very deep": ("a.ndjson", DEEP),
    "too deep": ("a.ndjson", LESS_DEEP),
    "no type": ("a.ndjson", '{"id":"x"}'),
    "type as a path": ("a.ndjson", '{"resourceType":"../x","id":"x"}'),
    "no id": ("a.ndjson", '{"resourceType":"Patient"}'),
    "id as a path": ("a.ndjson", '{"resourceType":"Patient","id":"../Secretname"}'),
    "id a number": ("a.ndjson", '{"resourceType":"Patient","id":1}'),
    "a history bundle": ("a.json", bundle("history", ANA)),
    "entries that are none": ("a.json", {"resourceType": "Bundle", "type": "batch", "entry": "Secretname"}),
    "one id for two": ("a.ndjson", [ANA, {**ANA, "gender": "male"}]),
    "a long line": ("a.ndjson", json.dumps(ANA | {"x": "y" * 3_000_000})),
    "too much": ("a.ndjson", "\n" * 9_000_000),
    "a bomb": ("a.ndjson.gz", b" " * 9_000_000),
    "too many": ("a.ndjson", [{"resourceType": "Basic", "id": str(n)} for n in range(101)]),
}


@pytest.mark.parametrize(("name", "content"), HOSTILE.values(), ids=HOSTILE)
def test_a_file_that_is_not_what_it_seems_is_refused(tmp_path: Path, name: str, content: Any) -> None:
    bounds = DataLimits(file_bytes=8_000_000, line_bytes=2_000_000, resources=100)
    with pytest.raises(ConfigurationError) as caught:
        load(write(tmp_path, name, content), limits=bounds)
    assert str(caught.value).startswith(f"{name}:")
    assert "Secretname" not in str(caught.value)


def test_a_message_names_the_line(tmp_path: Path) -> None:
    write(tmp_path, "a.ndjson", json.dumps(ANA) + "\n\n{}\n")
    with pytest.raises(ValueError, match=r"^a\.ndjson:3: no resourceType"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"{}" * 5000)[:-12]], ids=["other", "cut off"])
def test_a_gz_file_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.ndjson.gz").write_bytes(content)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path)


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no"):
        load(tmp_path)
    with pytest.raises(ConfigurationError, match="neither"):
        load(tmp_path / "nowhere")


def test_validation_is_done_on_demand(tmp_path: Path) -> None:
    write(tmp_path, "a.ndjson", [ANA | {"birthDate": "03/02/1950"}])
    assert len(load(tmp_path)) == 1
    with pytest.raises(ConfigurationError, match="not valid R4B") as caught:
        load(tmp_path, validate=True)
    assert "1950" not in str(caught.value)
    write(tmp_path, "a.ndjson", [{"resourceType": "Nothing", "id": "x"}])
    with pytest.raises(ConfigurationError):
        load(tmp_path, validate=True)


SYNTHEA = Path(__file__).parents[4] / "shared" / "data" / "synthea-r4-100"


@pytest.mark.skipif(not SYNTHEA.is_dir(), reason="needs ../shared/data/synthea-r4-100")
def test_a_hundred_generated_patients_load_and_are_found() -> None:
    loaded = load(SYNTHEA)
    assert len(loaded.all_of("Patient")) == 100
    ids = [stored.id for stored in loaded.all_of("Patient")]
    assert len(loaded.of_patients("Condition", ids)) == len(loaded.all_of("Condition")) > 0
