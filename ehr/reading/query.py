"""The result of reading some people: typed for Python users, and as the reference's table for everyone else."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any

from ehr.dates import day_of, interval_of
from ehr.errors import ConfigurationError
from ehr.people.identity import Ambiguous, Matched, NotFound
from ehr.people.matching import MRN_TYPES, record_numbers
from ehr.reading.cohort import Reading
from ehr.records.codes import Code, code_of
from ehr.records.elements import Address, HumanName
from ehr.records.patient import Fetched, Kind, Patient, State

if TYPE_CHECKING:
    import pandas

COLUMNS = (
    "BitfountPatientID",
    "Patient's Birth Date",
    "Patient's Name",
    "Sex (EHR)",
    "Home Numbers",
    "Cell Numbers",
    "Emails",
    "Mailing Address",
    "Medical Record Number (MRN)",
    "Extracted Given Name",
    "Extracted Family Name",
    "Next Appointment Date",
    "Previous Appointments Info",
    "New Patient",
    "_original_filename",
    "Acquisition DateTime",
    "Scan Laterality",
    "ICD10",
    "CPT4",
    "Latest Practitioner Name",
)
"""The reference's output columns, in its order; a state column per kind follows them."""
AGE = "Age (yrs)"
"""Follows the reference's columns where the patients file has it."""
_PASSED_ON = ("_original_filename", "Acquisition DateTime", "Scan Laterality", AGE)
_NOT_KEPT = frozenset({"cancelled", "noshow", "entered-in-error"})
_DENIALS = frozenset({"refuted", "entered-in-error", "not-done"})
_NOT_YET_KEPT = _NOT_KEPT | {"waitlist", "booked", "pending", "proposed"}


def pseudonym(key: bytes, text: str) -> str:
    """A keyed reference to a record: the first 16 hex digits of HMAC-SHA-256.

    Never a plain hash: ids, names and birth dates are few enough to be tried one by one (S24).
    """
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What came back for some people, in the order they were asked.

    Args:
        readings: one for each.
        kinds: what was asked for.
        key: the site's key for pseudonyms.
        zone: the site's time zone.
        code_systems: the provider's own spellings of code systems.
        mrn_types: what the provider marks medical record numbers with.
    """

    readings: tuple[Reading, ...]
    kinds: tuple[Kind, ...]
    key: bytes = field(repr=False)
    zone: tzinfo
    code_systems: Mapping[str, str] = field(default_factory=dict)
    mrn_types: tuple[str, ...] = MRN_TYPES

    def __iter__(self) -> Iterator[Reading]:
        return iter(self.readings)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a query result is never pickled: it holds the site's key; keep .table() instead")

    def table(self, now: datetime) -> list[dict[str, Any]]:
        """One row each with `COLUMNS` and ``… Status`` columns. It identifies patients: it stays in the pod.

        Args:
            now: aware; appointments of today count as next until they are kept.
        """
        return [self._row(reading, now) for reading in self.readings]

    def to_pandas(self, now: datetime | None = None) -> pandas.DataFrame:
        """`table` as a data frame.

        Raises:
            ConfigurationError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ConfigurationError(".to_pandas() needs pandas: pip install 'trialveil[pandas]'") from None
        rows = self.table(now or datetime.now(self.zone))
        age = [AGE] if any(AGE in row for row in rows) else []
        states = [status_column(kind) for kind in self.kinds]
        return pandas.DataFrame(rows, columns=[*COLUMNS, *age, "Match Status", *states])

    def _row(self, reading: Reading, now: datetime) -> dict[str, Any]:
        row: dict[str, Any] = dict.fromkeys(COLUMNS)
        row |= {name: value for name, value in reading.row.columns.items() if name in _PASSED_ON}
        row["Match Status"] = match_word(reading)
        row |= {status_column(kind): self._state(reading, kind).value for kind in self.kinds}
        record = reading.record
        if record is None or record.patient is None:
            return row
        row |= self._person(record.patient)
        row["BitfountPatientID"] = pseudonym(self.key, f"Patient/{record.ref.id}")
        row |= self._visits(record.kinds.get(Kind.APPOINTMENT), now)
        row["ICD10"] = self._codes(record.kinds.get(Kind.CONDITION), ("icd10cm", "icd10"))
        row["CPT4"] = self._codes(record.kinds.get(Kind.PROCEDURE), ("cpt",))
        seen_by = record.kinds.get(Kind.PRACTITIONER)
        if seen_by is not None and seen_by.items:
            row["Latest Practitioner Name"] = _full_name(seen_by.items[0].name)
        return row

    def _state(self, reading: Reading, kind: Kind) -> State:
        record = reading.record
        fetched = None if record is None else record.kinds.get(kind)
        return State.UNAVAILABLE if fetched is None else fetched.state

    def _person(self, patient: Patient) -> dict[str, Any]:
        name = _best_name(patient.name)
        numbers = [
            (point.use, point.value) for point in patient.telecom if point.system == "phone" and point.value
        ]
        home = [value for use, value in numbers if use in ("home", None)]
        return {
            "Patient's Birth Date": patient.birth_date,
            "Patient's Name": _full_name(patient.name),
            "Sex (EHR)": patient.sex("administrative"),
            "Home Numbers": home,
            "Cell Numbers": [value for use, value in numbers if use == "mobile"],
            "Emails": [point.value for point in patient.telecom if point.system == "email" and point.value],
            "Mailing Address": _address(patient.address),
            "Medical Record Number (MRN)": [
                number.value for number in record_numbers(patient, self.mrn_types)
            ],
            "Extracted Given Name": None if name is None else " ".join(name.given) or None,
            "Extracted Family Name": None if name is None else name.family,
        }

    def _visits(self, fetched: Fetched[Any] | None, now: datetime) -> dict[str, Any]:
        # An outage is not "no appointment": without a complete answer the columns stay empty.
        if fetched is None or not fetched.complete:
            return {"New Patient": "Unknown"}
        today = now.astimezone(self.zone).date()
        dated = sorted(
            (
                (span, visit)
                for visit in fetched.items
                if (span := interval_of(visit.start, self.zone)) is not None
            ),
            key=lambda pair: pair[0],
        )
        local = [(day_of(span.lo), visit) for span, visit in dated]
        ahead = [(day, v) for day, v in local if day >= today and v.status not in _NOT_KEPT | {"fulfilled"}]
        past = [
            (day, v)
            for day, v in local
            if (day < today and v.status not in _NOT_YET_KEPT) or (day == today and v.status == "fulfilled")
        ]
        info = [
            {
                "Appointment Date": day.isoformat(),
                "Location Name": visit.location,
                "Event Name": next((c.label for c in visit.concepts if c.label), visit.description),
            }
            for day, visit in past
        ]
        return {
            "Next Appointment Date": ahead[0][0].isoformat() if ahead else None,
            "Previous Appointments Info": info,
            "New Patient": len(info) <= 1,
        }

    def _codes(self, fetched: Fetched[Any] | None, systems: Sequence[str]) -> list[str] | None:
        # None where something may be missing and nothing was found; a list of a part proves presence only.
        if fetched is None:
            return None
        found = {
            code.code: None
            for record in fetched.items
            if not _denied(record)
            for code in self._codings(record)
            if code.system in systems
        }
        return list(found) if found or fetched.complete else None

    def _codings(self, record: Any) -> Iterator[Code]:
        for concept in record.concepts:
            for coding in concept.coding:
                code = code_of(coding.system, coding.code, self.code_systems)
                if code is not None:
                    yield code

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{kind}</th>" for kind in self.kinds)
        rows = "".join(
            f"<tr><td>{reading.row.number}</td><td>{match_word(reading)}</td>"
            + "".join(f"<td>{self._state(reading, kind).value}</td>" for kind in self.kinds)
            + "</tr>"
            for reading in self.readings[:50]
        )
        return f"<table><tr><th>row</th><th>match</th>{head}</tr>{rows}</table>"


def status_column(kind: Kind) -> str:
    """Name of the column that holds a kind's state."""
    return f"{kind.value.capitalize()} Status"


def match_word(reading: Reading) -> str:
    """``matched``, ``ambiguous``, ``not found`` or ``undetermined``."""
    if isinstance(reading.match, Matched):
        return "matched"
    if isinstance(reading.match, Ambiguous):
        return "ambiguous"
    return "not found" if isinstance(reading.match, NotFound) else "undetermined"


def _denied(record: Any) -> bool:
    """Whether a record says that something is *not* so."""
    words = (getattr(record, "verification", None), getattr(record, "status", None))
    return not _DENIALS.isdisjoint(words)


def _best_name(names: Sequence[HumanName]) -> HumanName | None:
    return next((n for n in names if n.use in ("official", "usual")), None) or next(iter(names), None)


def _full_name(names: Sequence[HumanName]) -> str | None:
    name = _best_name(names)
    if name is None:
        return None
    return name.text or " ".join([*name.given, name.family or ""]).strip() or None


def _address(addresses: Sequence[Address]) -> str | None:
    address = next((a for a in addresses if a.use == "home"), None) or next(iter(addresses), None)
    if address is None:
        return None
    parts = [*address.line, address.city, address.district, address.state, address.postal_code]
    return address.text or ", ".join(part for part in parts if part) or None
