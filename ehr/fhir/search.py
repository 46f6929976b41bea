"""What is sent for a search: only what the server understands, in the form that it understands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from ehr.config import ProviderProfile
from ehr.records.fetched import Issue, Severity
from ehr.records.patient import PatientRef
from ehr.records.people import Patient, Resource

Params = Mapping[str, str | Sequence[str]] | Iterable[tuple[str, str]]
"""Search parameters; a name may repeat, which means AND."""

_IDENTITY = frozenset(
    {
        *("family", "given", "name", "birthdate", "identifier", "phone", "email", "telecom", "phonetic"),
        *("address", "address-city", "address-postalcode", "address-state", "death-date"),
    }
)
_PATIENT = ("patient", "subject")


@dataclass(frozen=True, slots=True, repr=False)
class Query:
    """One search, ready to be sent.

    Args:
        shape: what is asked for.
        pairs: parameters in order, the page size included.
        patient: whose records are asked for, if one patient's are.
        method: POST keeps names and birth dates out of the server's access log.
    """

    shape: type[Resource]
    pairs: tuple[tuple[str, str], ...]
    patient: PatientRef | None
    method: Literal["GET", "POST"]

    @property
    def type_name(self) -> str:
        """The resource type."""
        return str(self.shape.__struct_config__.tag)

    @property
    def path(self) -> str:
        """Relative to the FHIR base."""
        return f"{self.type_name}/_search" if self.method == "POST" else self.type_name

    @property
    def page_size(self) -> int | None:
        """How many entries a page was asked to have."""
        return next((int(v) for n, v in self.pairs if n in ("_count", "_maxresults") and v.isdigit()), None)


@dataclass(frozen=True, slots=True, repr=False)
class SearchPlan:
    """The searches that answer one question.

    Args:
        queries: one for each value that the vendor wants asked apart; none where nothing can be sent.
        issues: which parameters were not sent and so are the caller's to filter by.
    """

    queries: tuple[Query, ...]
    issues: tuple[Issue, ...] = ()


def plan(
    shape: type[Resource],
    params: Params | None,
    patient: PatientRef | None,
    profile: ProviderProfile,
    understood: frozenset[str],
) -> SearchPlan:
    """Make the searches.

    Args:
        shape: what is asked for.
        params: what the caller would like to have filtered.
        patient: whose records.
        profile: the vendor.
        understood: parameters that may be sent (`capability.parameters`).
    """
    if params is None and str(shape.__struct_config__.tag) not in profile.fan_out:
        whose = _patient_pairs(shape, patient, understood)
        return SearchPlan(
            () if patient is not None and not whose else (_query(shape, whose, patient, profile),)
        )
    asked = pairs_of(params)
    sent = [(name, value) for name, value in asked if _may_send(name, profile, understood)]
    kept = {name for name, _ in sent}
    unsent = tuple(dict.fromkeys(name for name, _ in asked if name not in kept))
    issues = tuple(Issue(f"not-sent:{name}", Severity.INFORMATION) for name in unsent)
    whose = _patient_pairs(shape, patient, understood)
    if (patient is not None and not whose) or (unsent and not sent and not whose):
        # Nothing would narrow the search any more: it would return everyone.
        return SearchPlan((), issues)
    base = (*whose, *sent, *_drugs_along(shape, kept, understood))
    name, values = profile.fan_out.get(str(shape.__struct_config__.tag), ("", ()))
    parts: list[tuple[tuple[str, str], ...]] = [((name, value),) for value in values if name not in kept]
    return SearchPlan(
        tuple(_query(shape, (*base, *part), patient, profile) for part in parts or [()]), issues
    )


def _drugs_along(
    shape: type[Resource], kept: set[str], understood: frozenset[str]
) -> tuple[tuple[str, str], ...]:
    """Asks for the drugs that prescriptions point to on the same page, where each would be a request of its own."""
    if (
        "medication_reference" not in shape.__struct_fields__
        or "_include" in kept
        or "_include" not in understood
    ):
        return ()
    return (("_include", f"{shape.__struct_config__.tag}:medication"),)


def pairs_of(params: Params | None) -> list[tuple[str, str]]:
    """Parameters as pairs, with one pair for each repetition."""
    if params is None:
        return []
    if not isinstance(params, Mapping):
        return list(params)
    return [
        (name, value)
        for name, values in params.items()
        for value in ((values,) if isinstance(values, str) else values)
    ]


def _may_send(name: str, profile: ProviderProfile, understood: frozenset[str]) -> bool:
    stem, colon, modifier = name.partition(":")
    if name == "_sort":
        return profile.sort
    if colon and name not in understood:
        return modifier == "not" and profile.not_modifier and stem in understood
    return name in understood


def _patient_pairs(
    shape: type[Resource], patient: PatientRef | None, understood: frozenset[str]
) -> tuple[tuple[str, str], ...]:
    if patient is None:
        return ()
    names = ("_id",) if shape is Patient else _PATIENT
    name = next((name for name in names if name in understood), None)
    return () if name is None else ((name, patient.id),)


def _query(
    shape: type[Resource],
    pairs: tuple[tuple[str, str], ...],
    patient: PatientRef | None,
    profile: ProviderProfile,
) -> Query:
    names = [name for name, _ in pairs]
    # A form is a mapping, so a repeated parameter goes by GET.
    post = (
        profile.post_search
        and any(name.partition(":")[0].split(".")[-1] in _IDENTITY for name in names)
        and len(set(names)) == len(names)
    )
    size = str(min(profile.page_size, profile.page_size_max))
    sized = pairs if profile.page_parameter in names else (*pairs, (profile.page_parameter, size))
    return Query(shape, sized, patient, "POST" if post else "GET")


def ignored_parameters(query: Query, self_link: str | None) -> tuple[str, ...]:
    """Parameters that were sent and that the server's ``self`` link says were not applied.

    A server that gives no ``self`` link, or after a POST one without a query, has said nothing.
    """
    if self_link is None or _repeats_all(query, self_link):
        return ()
    text = urlsplit(self_link).query
    if not text and query.method == "POST":
        return ()
    applied = {name.partition(":")[0] for name, _ in parse_qsl(text, keep_blank_values=True)}
    narrowing = [name.partition(":")[0] for name, _ in query.pairs if not name.startswith("_")]
    if "_getpages" in applied and not applied & set(narrowing):
        return ()  # the server names a stored search instead of its parameters
    said = applied | set(_PATIENT) if applied & set(_PATIENT) else applied  # one of both stands for the other
    return tuple(dict.fromkeys(name for name in narrowing if name not in said))


def _repeats_all(query: Query, self_link: str) -> bool:
    """Whether each parameter stands in the link under its own name, as it does as a rule: read without parsing."""
    text = f"&{self_link.partition('?')[2]}"
    narrowing = (name for name, _ in query.pairs if not name.startswith("_"))
    return "#" not in self_link and all(f"&{name}=" in text for name in narrowing)
