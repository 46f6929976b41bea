"""C. Patient matching: one certain person, or a doubt that is said."""

from __future__ import annotations

from datetime import UTC, datetime

from ehr.people.identity import Ambiguous, Grade, Matched, MatchResult, NotFound, Person, Undetermined
from ehr.records.fetched import State
from ehr.records.patient import PatientRef
from ehr.sandbox.faults import Fault, Status, When
from ehr.testing import capabilities as needs
from ehr.testing.case import case
from ehr.testing.case_context import CaseContext
from ehr.testing.expect import equal, expect
from ehr.testing.server import said, searchset
from ehr.testing.synthetic import (
    BORN,
    FAMILY,
    GIVEN,
    MRN,
    NUMBERS,
    PERSON,
    WHO,
    Resource,
    outcome,
    patient,
    record_number,
)

_DEMOGRAPHICS = {"family", "given", "name", "birthdate"}


def server_finds(context: CaseContext, *people: Resource) -> None:
    """Whatever is asked about patients, these records come."""
    answer = searchset(*context.dressed(*people))
    for end in ("Patient", "Patient/_search", "Patient/$match"):
        context.ehr.says(end, lambda _: answer)


async def found(context: CaseContext, person: Person = PERSON) -> MatchResult:
    """Open the adapter and look for a person."""
    async with context.open() as site:
        return await site.find(person)


def is_ana(match: MatchResult) -> None:
    """The usual person was found, and certainly."""
    expect(isinstance(match, Matched), f"the person was not found: {match!r}")
    equal(match.require(), PatientRef(WHO), "who was found")


def is_nobody(match: MatchResult, why: str) -> None:
    """Nobody was taken for the person."""
    expect(not isinstance(match, Matched), f"somebody was taken for the person although {why}")


@case(41)
async def match_exact_name_dob_single(context: CaseContext) -> None:
    """Full name and birth date find the one person who has them."""
    context.people(patient("kit-other", "Otherfamily", "Other", "1961-07-08"))
    match = await found(context)
    is_ana(match)
    expect(isinstance(match, Matched) and match.grade <= Grade.B, "the grade is not A or B")


@case(42)
async def match_single_hit_with_wrong_dob_rejected(context: CaseContext) -> None:
    """A server's only hit is not the person if the birth date differs."""
    server_finds(context, patient(born="1950-02-04"))
    is_nobody(await found(context), "the birth date differs")


@case(43)
async def match_single_hit_with_wrong_given_rejected(context: CaseContext) -> None:
    """A server's only hit is not the person if the given name differs."""
    server_finds(context, patient(given="Somebodyelse"))
    is_nobody(await found(context), "the given name differs")


@case(44)
async def match_sends_family_and_given_not_name(context: CaseContext) -> None:
    """Name parts are asked for by family and given, never by name."""
    context.people()
    is_ana(await found(context))
    asked = [name.partition(":")[0] for one in context.ehr.searches("Patient") for name, _ in one.params]
    expect("name" not in asked, "a search by name was sent")
    by_name = any({"family", "given"} <= set(group) for group in context.profile.patient_search)
    looked_up = context.profile.match_operation and not {"family", "given"} & set(asked)
    expect(not by_name or looked_up or {"family", "given"} <= set(asked), "family and given were not sent")


@case(45)
async def match_prefix_hits_filtered_locally(context: CaseContext) -> None:
    """A family name that only begins like the one asked for is another one."""
    longer = patient("kit-longer", f"{FAMILY}son")
    server_finds(context, longer, patient())
    is_ana(await found(context))
    server_finds(context, longer)
    is_nobody(await found(context), "the family name is longer")


@case(46)
async def match_two_same_name_dob_is_ambiguous(context: CaseContext) -> None:
    """Two people with one name and birth date are a doubt, not a choice."""
    context.people(patient("kit-namesake"))
    match = await found(context)
    expect(isinstance(match, Ambiguous), f"two namesakes gave {type(match).__name__}")
    expect(isinstance(match, Ambiguous) and match.count in (2, None), "the count is not 2")


@case(47)
async def match_twins_not_confused(context: CaseContext) -> None:
    """One of two twins is never taken for the other."""
    context.people(patient("kit-twin", FAMILY, "Berta"))
    is_ana(await found(context))
    match = await found(context, Person(family=FAMILY, given="Berta", birth_date=BORN))
    equal(match.require(), PatientRef("kit-twin"), "who was found")
    is_nobody(
        await found(context, Person(family=FAMILY, given="Clara", birth_date=BORN)), "it is a third name"
    )


@case(48)
async def match_candidate_on_second_page_found(context: CaseContext) -> None:
    """Every page of candidates is read."""
    context.ehr.reskin(paging={"default_count": 2, "max_count": 2})
    context.ehr.says("Patient/$match", lambda _: searchset())
    context.ehr.put(*(patient(f"kit-{n}", FAMILY, f"{GIVEN}{'abcde'[n]}bel") for n in range(5)), patient())
    is_ana(await found(context))


@case(49)
async def match_zero_is_notfound_including_4101_warning(context: CaseContext) -> None:
    """No hit is NotFound, also where a warning says so."""
    for remark in ([], [outcome("warning", "not-found", "4101")]):
        server_finds(context, *remark)
        match = await found(context)
        expect(isinstance(match, NotFound), f"no hit gave {type(match).__name__}")


@case(50, needs=needs.too_many_code)
async def match_over_100_is_ambiguous_not_error(context: CaseContext) -> None:
    """A server that has too many candidates to show leaves a doubt, not an error."""
    code = next(code for code, meaning in context.profile.outcome_states.items() if meaning == "AMBIGUOUS")
    refusal = said(outcome("fatal", "too-costly", code), 400)
    for end in ("Patient", "Patient/_search"):
        context.ehr.says(end, lambda _: refusal)
    context.ehr.says("Patient/$match", lambda _: searchset())
    match = await found(context)
    expect(isinstance(match, Ambiguous), f"too many candidates gave {type(match).__name__}")


@case(51)
async def match_by_mrn_with_system_and_dob_agreement(context: CaseContext) -> None:
    """A record number of the asked system finds its person, and the birth date confirms it."""
    context.people(patient("kit-other", "Otherfamily", "Other", "1961-07-08"))
    match = await found(context, Person(mrn=f"{NUMBERS}|{MRN}", birth_date=BORN))
    is_ana(match)
    expect(isinstance(match, Matched) and "mrn" in match.evidence, "the number is not among the evidence")
    server_finds(context, patient())
    elsewhere = await found(context, Person(mrn=f"urn:example:another-range|{MRN}", birth_date=BORN))
    is_nobody(elsewhere, "the number is of another system")


@case(52)
async def match_mrn_agrees_dob_conflicts_undetermined(context: CaseContext) -> None:
    """A number that agrees and a birth date that does not are a contradiction, which is said."""
    server_finds(context, patient(born="1950-02-04"))
    match = await found(context, Person(mrn=MRN, birth_date=BORN))
    expect(isinstance(match, Undetermined), f"a contradiction gave {type(match).__name__}")


@case(53)
async def match_mrn_extracted_by_type_code_text_or_use(context: CaseContext) -> None:
    """The record number is found by its type's code or text, or as the usual number without a type."""
    mark = context.profile.mrn_types[0]
    other = {"use": "secondary", "system": "urn:example:other", "value": "CANARY-other"}
    marked: list[Resource] = [
        record_number("CANARY-0", coding=[{"code": mark}]),
        record_number("CANARY-1", text=mark),
        {"use": "usual", "system": NUMBERS, "value": "CANARY-2"},
    ]
    for number, identifier in enumerate(marked):
        server_finds(context, patient(identifier=[other, identifier]))
        async with context.open() as site:
            (row,) = (await site.query([PERSON], [])).table(datetime.now(UTC))
        equal(row["Medical Record Number (MRN)"], [f"CANARY-{number}"], "record numbers")


@case(54, needs=needs.match_operation)
async def match_operation_grade_used_but_verified(context: CaseContext) -> None:
    """What $match calls certain is compared here all the same."""
    certain = {
        "search": {
            "mode": "match",
            "score": 1.0,
            "extension": [
                {"url": "http://hl7.org/fhir/StructureDefinition/match-grade", "valueCode": "certain"}
            ],
        }
    }
    for end in ("Patient", "Patient/_search"):
        context.ehr.says(end, lambda _: searchset())
    for born, right in (("1950-02-04", False), (BORN, True)):
        (one,) = context.dressed(patient(born=born))
        context.ehr.says("Patient/$match", lambda _, one=one: searchset({"resource": one, **certain}))  # type: ignore[misc]  # bound now
        match = await found(context)
        equal(isinstance(match, Matched), right, "whether a certain hit of $match was taken")
    expect(bool(context.ehr.asked("Patient/$match")), "$match was not asked")


@case(55)
async def match_accents_hyphens_apostrophes_suffixes(context: CaseContext) -> None:
    """Accents, hyphens, apostrophes, titles and suffixes make no other person."""
    name = {"family": "Núñez-O’Brien", "given": ["José"], "prefix": ["Dr."], "suffix": ["Jr."]}
    server_finds(context, patient(name=[name]))
    for family, given in (
        ("Nunez-O'Brien", "Jose"),
        ("NÚÑEZ OBRIEN", "JOSÉ"),
        ("Núñez-O’Brien Jr", "José"),
        ("Nuñez O’Brien", "jose"),
    ):
        is_ana(await found(context, Person(family=family, given=given, birth_date=BORN)))
    is_nobody(
        await found(context, Person(family="Nunez", given="Jose", birth_date=BORN)), "half the name differs"
    )


@case(56)
async def match_multiple_given_and_initials(context: CaseContext) -> None:
    """Further given names and initials agree as far as both sides have them."""
    server_finds(context, patient(given="Ana María"))
    for given in ("Ana", "Ana M.", "A. María", "Ana María", "ana maria"):
        is_ana(await found(context, Person(family=FAMILY, given=given, birth_date=BORN)))
    is_nobody(
        await found(context, Person(family=FAMILY, given="Ana Berta", birth_date=BORN)), "a name differs"
    )


@case(57)
async def match_maiden_and_other_name_entries(context: CaseContext) -> None:
    """Every name that the record holds counts."""
    names = [
        {"use": "official", "family": "Married", "given": [GIVEN]},
        {"use": "maiden", "family": FAMILY, "given": [GIVEN]},
    ]
    server_finds(context, patient(name=names))
    is_ana(await found(context))
    is_ana(await found(context, Person(family="Married", given=GIVEN, birth_date=BORN)))


@case(58)
async def match_mononym_or_missing_part_never_wildcards(context: CaseContext) -> None:
    """A part of the name that is missing, on either side, fits nobody by itself."""
    server_finds(context, patient())
    is_nobody(await found(context, Person(given=GIVEN, birth_date=BORN)), "no family name was given")
    is_nobody(await found(context, Person(family=FAMILY, birth_date=BORN)), "no given name was given")
    is_nobody(await found(context, Person(birth_date=BORN)), "no name was given")
    server_finds(context, patient(given=None))
    is_nobody(await found(context), "the record has no given name")
    server_finds(context, patient(family=None, given=None))
    is_nobody(await found(context), "the record has no name")


@case(59)
async def match_partial_birth_date_not_certain(context: CaseContext) -> None:
    """A year or month alone is never certain."""
    for born in ("1950", "1950-02", None):
        server_finds(context, patient(born=born))
        is_nobody(await found(context), "the recorded birth date is not complete")
    server_finds(context, patient())
    partly = Person(family=FAMILY, given=GIVEN, birth_date="1950-02")
    is_nobody(await found(context, partly), "the given birth date is not complete")


@case(60)
async def match_sentinel_dob_is_unknown(context: CaseContext) -> None:
    """A date that stands for none is no date, even where both sides have it."""
    for born in ("1900-01-01", "0001-01-01"):
        server_finds(context, patient(born=born))
        same = Person(family=FAMILY, given=GIVEN, birth_date=born)
        is_nobody(await found(context, same), "the birth date stands for an unknown one")


@case(61)
async def match_merged_record_resolves_to_survivor(context: CaseContext) -> None:
    """A record that was merged away leads to the one that took its place; entries of both count."""
    link = [{"other": {"reference": f"Patient/{WHO}"}, "type": "replaced-by"}]
    context.people()
    server_finds(context, patient("kit-older", active=False, link=link))
    match = await found(context)
    expect(isinstance(match, Matched), f"the survivor was not found: {match!r}")
    equal(match.require(), PatientRef(WHO, frozenset({"kit-older"})), "who was found")


@case(62)
async def match_inactive_or_deceased_flagged(context: CaseContext) -> None:
    """That a record is inactive or the person dead is said beside the match."""
    for flag, element in (("inactive", {"active": False}), ("deceased", {"deceasedDateTime": "2020-01-02"})):
        server_finds(context, patient(**element))
        match = await found(context)
        is_ana(match)
        expect(isinstance(match, Matched) and flag in match.flags, f"the match does not say {flag}")


@case(63)
async def match_result_demographics_come_from_record(context: CaseContext) -> None:
    """Demographics of a match are the record's, never what was asked for."""
    context.people()
    match = await found(context, Person(family=FAMILY.lower(), given=GIVEN.upper(), birth_date=BORN))
    is_ana(match)
    name = match.patient.name[0] if isinstance(match, Matched) else None
    equal(name and (name.family, name.given), (FAMILY, (GIVEN,)), "name of the result")


@case(64)
async def match_server_failure_is_undetermined(context: CaseContext) -> None:
    """A search that fails leaves the person undetermined, never not found."""
    context.people()
    for status, state in ((503, State.UNAVAILABLE), (403, State.FORBIDDEN), (400, State.ERROR)):
        context.ehr.fails(Fault(Status(status), When(resource_type="Patient")))
        match = await found(context)
        expect(isinstance(match, Undetermined), f"HTTP {status} gave {type(match).__name__}")
        equal(isinstance(match, Undetermined) and match.state, state, f"state after HTTP {status}")


@case(65, level="should", needs=needs.post_search)
async def match_demographics_sent_by_post_when_supported(context: CaseContext) -> None:
    """Names and birth dates go in a body, which no access log keeps."""
    context.people()
    is_ana(await found(context))
    in_url = [one for one in context.ehr.requests if any(f"{name}=" in one.query for name in _DEMOGRAPHICS)]
    equal(len(in_url), 0, "requests with demographics in their address")
    expect(
        FAMILY not in "".join(one.query + one.path for one in context.ehr.requests), "a name is in an address"
    )
