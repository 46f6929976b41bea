"""A finished run of invented people, made from a seed, with every kind of decision in it."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from datetime import date, timedelta

from federated.screening.decide.evidence import (
    Considered,
    CriterionOutcome,
    Decision,
    Evidence,
    Fact,
    LookUp,
    Outcome,
    RecordUsed,
    Verdict,
)
from federated.screening.report.results import (
    CriterionHead,
    Execution,
    Explained,
    MatchState,
    PatientResult,
    Run,
    SiteHead,
    TrialHead,
    ValueSetHead,
    Work,
)

INDEX = date(2026, 11, 23)
P, F, U, NA = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN, Verdict.NOT_APPLICABLE
_LETTERS = {"p": P, "f": F, "u": U, "x": NA, "-": Verdict.NOT_EVALUATED}

KIDNEY = Explained(
    "any",
    "where",
    children=(
        Explained("leaf", "where.any[0]", "latest eGFR of three years at least 60"),
        Explained("leaf", "where.any[1]", "latest creatinine of three years at most 1.5 mg/dL"),
    ),
)
IN, OUT = "inclusion", "exclusion"
EGFR = "eGFR of 60 or more, or creatinine of 1.5 or less."
CRITERIA = (
    CriterionHead("age", IN, "40 to 85 years", "Age 40 to 85."),
    CriterionHead("risk", IN, "Active risk diagnosis", "Hypertension or diabetes.", codes=("icd10cm E11*",)),
    CriterionHead("hba1c", IN, "HbA1c at least 5.7 percent", "HbA1c 5.7 or more.", codes=("loinc 4548-4",)),
    CriterionHead("bmi", IN, "BMI at least 25", "BMI 25 or more.", codes=("loinc 39156-5",)),
    CriterionHead("kidney", IN, "Kidney function adequate", EGFR, KIDNEY),
    CriterionHead("seen", IN, "Two encounters in two years", "In regular care."),
    CriterionHead("insulin", OUT, "On insulin", "Current insulin.", codes=("rxnorm 106892",)),
    CriterionHead("stroke", OUT, "Stroke in five years", "Stroke within 5 years.", codes=("icd10cm I63*",)),
    CriterionHead("pregnant", OUT, "Pregnant", "Pregnancy.", codes=("icd10cm Z33.1",)),
    CriterionHead("colonoscopy", OUT, "Colonoscopy in three years", "A distractor."),
    CriterionHead("trial", OUT, "In another trial", "No other trial.", if_unknown="note"),
)
_SAID = {
    "age": ("63 years on 2026-11-23; 40 to 85 years is asked: {}.", "Patient", "", ""),
    "risk": ("Type 2 diabetes, active, since 2019-03-04: {}.", "Condition", "44054006", "Diabetes type 2"),
    "hba1c": (
        "HbA1c 6.1 % on 2026-03-02 (latest of 4 since 2024-11-23); 5.7 % or more is asked: {}.",
        *("Observation", "4548-4", "HbA1c"),
    ),
    "bmi": (
        "BMI 27.3 kg/m² on 2026-03-02 (latest of 6 since 2024-11-23); 25 or more is asked: {}.",
        *("Observation", "39156-5", "BMI"),
    ),
    "kidney": (
        "eGFR 71 on 2026-01-12 (latest of 3 since 2023-11-23); 60 or more is asked: {}.",
        *("Observation", "33914-3", "eGFR"),
    ),
    "seen": ("7 encounters since 2024-11-23; 2 or more are asked: {}.", "Encounter", "", ""),
}
_NONE = ("No entry of the value set in the whole record: {}.", "Condition", "", "")
_WORD = {P: "met", F: "not met", U: "not known", NA: "does not apply", Verdict.NOT_EVALUATED: "not evaluated"}


def key(text: str) -> str:
    """Something that looks like a keyed pseudonym."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def leaf(head: CriterionHead, verdict: Verdict, number: int, path: str = "where") -> Evidence:
    """Evidence as long as real evidence is."""
    absent = head.side != "inclusion" and verdict is P
    kind = "observation" if head.id in {"hba1c", "bmi", "kidney"} else "condition"
    text, resource, code, display = _SAID.get(head.id, _NONE)
    ref, system = key(f"{head.id}{number}")[:16], "http://loinc.org"
    record = RecordUsed(
        kind, resource, ref, system, code or None, display or None, "2026-03-02", "day", "final"
    )
    if verdict is U:
        text, reason = "No result since 2024-11-23: {}; a missing test is not a normal test.", "NOT_RECORDED"
    else:
        reason = "IN_RANGE" if verdict is P else "BELOW_MIN"
    return Evidence(
        criterion=head.id,
        path=path,
        outcome={P: Fact.YES, F: Fact.NO, U: Fact.UNKNOWN}.get(verdict, Fact.NOT_APPLICABLE),
        verdict=verdict,
        reason=reason,
        text=text.format(_WORD[verdict]),
        value=None if verdict is U or kind == "condition" else 6.1,
        unit="%" if head.id == "hba1c" else None,
        threshold=">= 5.7" if head.id == "hba1c" else None,
        records=() if verdict is U or absent else (record,),
        considered=Considered(0 if absent or verdict is U else 4, 1, 0),
        world="recorded" if kind == "observation" else "closed",
        source_state="OK",
    )


def outcome(
    letters: str, number: int = 1, heads: tuple[CriterionHead, ...] = CRITERIA, **more: object
) -> Outcome:
    """An outcome from a letter per criterion (p f u x), ``alive`` last.

    The implicit criterion ``alive`` is added as met.
    """
    criteria = []
    for head, letter in zip(heads, letters, strict=True):
        verdict = _LETTERS[letter]
        paths = ["where.any[0]", "where.any[1]"] if head.explained else ["where"]
        evidence = tuple(leaf(head, verdict, number, path) for path in paths)
        criteria.append(CriterionOutcome(head.id, head.side, verdict, evidence))
    said = "No date of death is recorded: met."
    alive = Evidence("alive", "deceased", Fact.YES, P, "CODE_ABSENT", said, source_state="OK")
    criteria.append(CriterionOutcome("alive", "implicit", P, (alive,)))
    decision = Decision.UNDECIDED if "u" in letters else Decision.ELIGIBLE
    decision = Decision.NOT_ELIGIBLE if "f" in letters else decision
    lookups = tuple(
        LookUp("read_chart", "observation", f"{head.id}:where", "NOT_RECORDED", (head.id,), "exclude")
        for head, letter in zip(heads, letters, strict=True)
        if letter == "u" and decision is Decision.UNDECIDED
    )
    states = {"condition": "OK", "observation": "PARTIAL" if number % 97 == 5 else "OK", "patient": "OK"}
    return Outcome(decision, tuple(criteria), lookups[:5], states, **more)  # type: ignore[arg-type]  # test data


def _letters(dice: random.Random) -> str:
    kind = dice.random()
    if kind < 0.14:
        return "p" * len(CRITERIA)
    fail, unknown = (0.0, 0.15) if kind < 0.3 else (0.16, 0.08)
    return "".join(dice.choices("pfux", [1 - fail - unknown, fail, unknown, 0.01])[0] for _ in CRITERIA)


def patients(count: int, seed: int) -> Iterator[PatientResult]:
    """Invented people, about one in fifty of them not found."""
    dice = random.Random(seed)
    for number in range(1, count + 1):
        ref = key(f"{seed}:{number}") * 2
        if dice.random() < 0.02:
            yield PatientResult(number, ref, dice.choice([MatchState.NOT_FOUND, MatchState.AMBIGUOUS]))
            continue
        booked = (INDEX + timedelta(days=dice.randrange(120))).isoformat() if dice.random() < 0.6 else None
        yield PatientResult(
            number, ref, MatchState.MATCHED, outcome(_letters(dice), number), next_appointment=booked
        )


def run(count: int = 60, seed: int = 7, site: str = "north", **more: object) -> Run:
    """A whole run."""
    world = {"condition": "closed", "procedure": "closed", "observation": "recorded", "allergy": "open"}
    given: dict[str, object] = {
        "tool_version": "0.1.0",
        "trial": TrialHead(
            "cardiometabolic",
            "1.0",
            "Cardiometabolic risk and type 2 diabetes",
            key("plan") * 2,
            CRITERIA,
            parameters={"min_age": "40 a"},
            overridden=("min_age",),
            provenance="Teaching example; not a protocol.",
        ),
        "site": SiteHead(key(site)[:12], "Europe/London", world, f"{site.capitalize()} clinic"),
        "index_date": INDEX.isoformat(),
        "patients": tuple(patients(count, seed)),
        "value_sets": (ValueSetHead("risk", key("risk"), 214), ValueSetHead("hba1c", key("hba1c"), 1)),
        "work": Work({"TimedOut": 2}, {"mmol/mol to %": 12}, {"date-without-zone": 3}, {"observation": 4}),
        "execution": Execution("2026-11-23T09:14:00+00:00", "2026-11-23T09:21:00+00:00", {"read": 401.2}),
    }
    return Run(**(given | more))  # type: ignore[arg-type]  # test data
