"""The generic adapter: practitioners, documents, support."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ehr.errors import (
    BadBody,
    ConfigurationError,
    DestinationRefused,
    HttpStatusError,
    LoginRefused,
    ReadError,
)
from ehr.providers.generic import AdapterParts, GenericAdapter, generic_adapter
from ehr.providers.registry import provider
from ehr.records.patient import RESOURCES, DocumentReference, Kind, PatientRef, State
from ehr.sandbox import Body, Fault, Sandbox, Status, When
from ehr.sandbox.skin import skin_named
from ehr.sandbox.store import store_of
from ehr.site import open_site_async
from tests.ehr.sandbox.synthetic import condition, patient
from tests.ehr.site_folder import Folder, clients

ANA = PatientRef("ana")
PDF = b"%PDF-1.7 \x00\xff bytes"


def visit(key: str, start: str, status: str, who: str) -> dict[str, Any]:
    actors = [{"actor": {"reference": "Patient/ana"}}, {"actor": {"reference": f"Practitioner/{who}"}}]
    return {"resourceType": "Appointment", "id": key, "status": status, "start": start, "participant": actors}


def doctor(key: str) -> dict[str, Any]:
    return {"resourceType": "Practitioner", "id": key, "name": [{"family": key.title()}]}


HELD = [
    {
        **patient("ana", "Núñez", "Ana", "1950-02-03"),
        "generalPractitioner": [{"reference": "Practitioner/gp"}],
    },
    condition("c1", "ana", "H35.3131", "2020-01-15"),
    condition("c2", "ana", "I10", "2018"),
    {key: value for key, value in condition("c3", "ana", "E11.9", "2019").items() if key != "onsetDateTime"},
    *(doctor(key) for key in ("gp", "early", "late")),
    # As text the first would be the newest.
    visit("a1", "2024-03-01T23:00:00-08:00", "fulfilled", "late"),
    visit("a2", "2024-03-02T01:00:00+09:00", "fulfilled", "early"),
    visit("a3", "2027-03-01", "booked", "gp"),
    {
        "resourceType": "Binary",
        "id": "b1",
        "contentType": "application/pdf",
        "data": base64.b64encode(PDF).decode(),
    },
]


@pytest.fixture
def running() -> Iterator[Sandbox]:
    with Sandbox(store_of(HELD), clients=clients()) as made:
        yield made


@asynccontextmanager
async def adapter_of(running: Sandbox, folder: Path, ehr: str = "") -> AsyncIterator[GenericAdapter]:
    async with open_site_async(Folder(folder / "site").write(running.base_url, ehr=ehr)) as site:
        assert isinstance(site.adapter, GenericAdapter)
        yield site.adapter


@pytest.fixture
async def ehr(running: Sandbox, tmp_path: Path) -> AsyncIterator[GenericAdapter]:
    async with adapter_of(running, tmp_path) as made:
        yield made


def ids(found: Any) -> set[str]:
    return {record.id for record in found.require()}


# --- practitioners -----------------------------------------------------------------------------------------


async def test_the_practitioner_is_of_the_newest_kept_visit_by_the_clock(ehr: GenericAdapter) -> None:
    assert ids(await ehr.read(Kind.PRACTITIONER, ANA)) == {"late"}


async def test_without_a_kept_visit_the_record_names_the_practitioner(
    running: Sandbox, tmp_path: Path
) -> None:
    held = [one for one in HELD if one["resourceType"] != "Appointment"]
    with Sandbox(store_of(held), clients=clients()) as other:
        async with adapter_of(other, tmp_path) as ehr:
            assert ids(await ehr.read(Kind.PRACTITIONER, ANA)) == {"gp"}


async def test_without_the_visits_a_practitioner_is_not_certain(
    ehr: GenericAdapter, running: Sandbox
) -> None:
    running.faults = [Fault(Status(403), When(resource_type="Appointment"))]
    found = await ehr.read(Kind.PRACTITIONER, ANA)
    assert found.state is State.PARTIAL
    assert [record.id for record in found.items] == ["gp"]
    running.faults = [Fault(Status(403), When(resource_type=kind)) for kind in ("Appointment", "Patient")]
    assert (await ehr.read(Kind.PRACTITIONER, ANA)).state is State.FORBIDDEN


# --- documents ---------------------------------------------------------------------------------------------


def document(**attachment: Any) -> DocumentReference:
    raw = {"resourceType": "DocumentReference", "id": "d1", "content": [{"attachment": attachment}]}
    return msgspec.convert(raw, DocumentReference)


async def content(ehr: GenericAdapter, **attachment: Any) -> tuple[str, bytes]:
    async with ehr.open_document(document(**attachment)) as opened:
        assert repr(opened).startswith("<Content ")
        return opened.content_type, b"".join([piece async for piece in opened])


async def test_a_document_is_read_inline_or_from_its_binary(ehr: GenericAdapter, running: Sandbox) -> None:
    inline = base64.b64encode(PDF).decode()
    assert await content(ehr, data=inline, contentType="application/pdf") == ("application/pdf", PDF)
    assert await content(ehr, data="\n ".join([inline[:8], inline[8:]])) == ("application/octet-stream", PDF)
    before = len(running.witness.requests)
    assert (await content(ehr, url="Binary/b1", contentType="application/pdf"))[1] == PDF
    assert (await content(ehr, url=f"{running.base_url}/Binary/b1"))[1] == PDF
    assert len(running.witness.requests) > before


async def test_a_long_document_comes_in_pieces(ehr: GenericAdapter) -> None:
    long = b"x" * 200_000
    async with ehr.open_document(document(data=base64.b64encode(long).decode())) as opened:
        sizes = [len(piece) async for piece in opened]
    assert len(sizes) == 4
    assert sum(sizes) == len(long)


async def test_a_document_elsewhere_is_never_fetched_with_the_token(
    ehr: GenericAdapter, running: Sandbox
) -> None:
    with Sandbox(store_of(HELD), login=False) as elsewhere:
        elsewhere.witness = running.witness
        with pytest.raises(DestinationRefused):
            await content(ehr, url=f"{elsewhere.base_url}/Binary/b1")
    running.witness.assert_tokens_stayed_home()


@pytest.mark.parametrize("attachment", [{}, {"title": "x"}, {"data": "not base64!"}, {"data": "AAA"}])
async def test_a_document_without_readable_content_says_so(
    ehr: GenericAdapter, attachment: dict[str, Any]
) -> None:
    with pytest.raises(ReadError):
        await content(ehr, **attachment)
    with pytest.raises(ReadError):
        async with ehr.open_document(msgspec.structs.replace(document(), content=())):
            pass


@pytest.mark.parametrize("kind", ["text/html\r\nx: y", "no type", "", "é/é"])
async def test_a_content_type_that_is_none_is_not_sent(ehr: GenericAdapter, kind: str) -> None:
    assert (await content(ehr, url="Binary/b1", contentType=kind))[1] == PDF


async def test_a_binary_that_is_missing_or_broken_is_an_error(ehr: GenericAdapter, running: Sandbox) -> None:
    with pytest.raises(HttpStatusError):
        await content(ehr, url="Binary/none")
    running.faults = [Fault(Body("truncated"), When(endpoint="read"))]
    with pytest.raises((BadBody, ReadError)):
        await content(ehr, url="Binary/b1")


# --- what can be asked -------------------------------------------------------------------------------------


async def test_what_the_server_does_not_offer_is_unsupported_and_not_empty(
    running: Sandbox, tmp_path: Path
) -> None:
    running.faults = [Fault(Status(404), When(endpoint="metadata"))]
    async with adapter_of(running, tmp_path) as ehr:
        assert ehr.supports(Kind.CONDITION).answer == "unknown"
        running.faults = []
        info = await ehr.discover()
        assert info.fhir_version == "4.0.1"
        assert info.types is not None
        assert ehr.supports(Kind.CONDITION).answer == "yes"
        capability = ehr._session.capability
        assert capability is not None
        ehr._session.capability = dataclasses.replace(capability, types=info.types - {"Condition"})
        assert ehr.supports(Kind.CONDITION).answer == "no"
        assert "neither the profile nor the server" in (ehr.supports(Kind.CONDITION).reason or "")
        assert (await ehr.read(Kind.CONDITION, ANA)).state is State.UNSUPPORTED


async def test_what_was_not_granted_cannot_be_read(tmp_path: Path) -> None:
    with Sandbox(store_of(HELD), clients=clients("system/Patient.rs", narrows=True)) as running:
        async with adapter_of(running, tmp_path) as ehr:
            await ehr.read(Kind.PATIENT, ANA)
            assert ehr.supports(Kind.CONDITION).answer == "no"
            assert "scopes" in (ehr.supports(Kind.CONDITION).reason or "")
            assert (await ehr.read(Kind.CONDITION, ANA)).state is State.FORBIDDEN
            assert ehr.supports(Kind.PATIENT).answer != "no"


async def test_several_types_of_one_kind_are_one_answer(ehr: GenericAdapter, running: Sandbox) -> None:
    assert (await ehr.read(Kind.MEDICATION, ANA)).state is State.EMPTY
    assert (await ehr.read(Kind.ORDER, ANA)).state is State.EMPTY
    running.faults = [Fault(Status(403), When(resource_type="MedicationStatement"))]
    assert (await ehr.read(Kind.MEDICATION, ANA)).state is State.FORBIDDEN


async def test_a_refused_login_is_an_error_from_every_method_and_leaves_no_task(
    running: Sandbox, tmp_path: Path
) -> None:
    async with adapter_of(running, tmp_path) as ehr:
        running.app.server._clients.clear()  # type: ignore[union-attr]  # the client is no longer registered
        before = asyncio.all_tasks()
        for kind in (Kind.PATIENT, Kind.MEDICATION, Kind.PRACTITIONER, Kind.CONDITION):
            with pytest.raises(LoginRefused):
                await ehr.read(kind, ANA)
        assert asyncio.all_tasks() == before
    assert running.witness.count("token") == 1


async def test_an_adapter_closes_once_and_again(running: Sandbox, tmp_path: Path) -> None:
    async with adapter_of(running, tmp_path) as ehr:
        async with ehr as same:
            assert same is ehr
        await ehr.aclose()


def test_a_profile_that_offers_nothing_makes_no_adapter() -> None:
    profile = provider("smarthealthit r4").profile
    empty = type(profile)(name="x", title="X")
    parts = AdapterParts(empty, None, None, None, None)  # type: ignore[arg-type]  # only the profile is looked at
    with pytest.raises(ConfigurationError, match="search_parameters"):
        generic_adapter(parts)


@pytest.mark.parametrize(
    ("kind", "without", "state"),
    [
        (Kind.MEDICATION, "MedicationStatement", State.EMPTY),
        (Kind.MEDICATION, "MedicationRequest", State.UNSUPPORTED),
        (Kind.ORDER, "DeviceRequest", State.UNSUPPORTED),
        (Kind.ORDER, "ServiceRequest", State.UNSUPPORTED),
        (Kind.CONDITION, "Condition", State.UNSUPPORTED),
    ],
)
async def test_a_type_that_the_server_lacks_is_a_gap_unless_others_repeat_it(
    kind: Kind, without: str, state: State, tmp_path: Path
) -> None:
    """Only statements of drugs may be absent; "no device was ordered" needs a server that has device orders."""
    every = frozenset(resource.__name__ for types in RESOURCES.values() for resource in types) | {"Binary"}
    ways = replace(skin_named("smarthealthit"), types=every - {without})
    with Sandbox(
        store_of([patient("ana", "Lopez", "Ana", "1990-01-01")]), ways, clients=clients()
    ) as running:
        async with adapter_of(running, tmp_path) as ehr:
            assert (await ehr.read(kind, ANA)).state is state
