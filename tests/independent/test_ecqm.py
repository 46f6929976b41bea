"""Two published quality measures as trial files, against their published populations.

The trial files of ``ecqm/`` were written from the measures' plain words. The engine's *unknown* is compared as such:
a measure only knows met and not met, so every place where we say *unknown* is listed in `DIFFERENCES` with its cause.
Nothing may be decided the other way round.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ehr.sandbox.data import load
from ehr.site import ClockAndWire
from federated.screening.decide.evidence import Decision, Verdict
from federated.screening.run import Options, screen_async
from tests.end_to_end.clinics import clinic_ehr, make_pod, ring_in
from tests.fakes.clock import FakeClock
from tests.independent.ecqm.deck import (
    CLOSED,
    Screened,
    bundles,
    records,
    require,
    screened,
    table,
    write_trial,
)

MEASURES = ("cms122", "cms131")
POPULATION = ("age", "seen", "diabetes")
EXCLUSIONS = ("hospice", "nursing", "frail_and_ill", "palliative", "no_eyes")
PARTS = {
    "frailty": "AdvancedIllnessandFrailty.Has Criteria Indicating Frailty",
    "advanced": "AdvancedIllnessandFrailty.Has Advanced Illness in Year Before or During Measurement Period",
    "dementia": "AdvancedIllnessandFrailty.Has Dementia Medications in Year Before or During Measurement Period",
    "frail_and_ill": "AdvancedIllnessandFrailty.Is Age 66 or Older with Advanced Illness and Frailty",
    "nursing": "AdvancedIllnessandFrailty.Is Age 66 or Older Living Long Term in a Nursing Home",
    "hospice": "Hospice.Has Hospice Services",
    "palliative": "PalliativeCare.Has Palliative Care in the Measurement Period",
}
"""Criterion of ``parts.yaml`` to the sub-criterion's column in ``criteria.csv``."""

PERIOD = "DATE_UNCERTAIN"
"""A finding's Period is to us *when it may have held*, not how long: one over the border is unknown, not inside."""
UNSAID = "NOT_CONFIRMED"
"""A finding whose status is literally "unknown": the measure drops it, to us it may be one."""
ABSENT = "VALUE_MISSING"
"""A result with a ``dataAbsentReason``: the measure counts that the entry is there; to us its own record says no."""

DIFFERENCES: dict[tuple[str, str, str], tuple[str, str, str]] = {
    ("cms122", "6f0553ac", "palliative"): ("true", "unknown", PERIOD),  # questionnaire until 1 January after
    ("cms122", "f4eeba51", "palliative"): (
        "true",
        "unknown",
        PERIOD,
    ),  # questionnaire from 31 December before
    ("cms122", "96cfe7f0", "hospice"): (
        "true",
        "unknown",
        PERIOD,
    ),  # assessment over 2025 and one day of 2026
    ("cms131", "f77b9abc", "hospice"): ("true", "unknown", PERIOD),  # the same
    ("cms131", "9177b3ca", "nursing"): ("false", "unknown", UNSAID),  # housing status with status "unknown"
    ("cms131", "a6cd48c6", "palliative"): ("true", "unknown", ABSENT),  # questionnaire without an answer
    ("cms131", "e9b9b388", "palliative"): ("true", "unknown", ABSENT),  # the same
}
"""(measure, start of patient id, criterion) to (the measure's truth, ours, our reason): all there are."""

TRUTH = {Verdict.PASS: "true", Verdict.FAIL: "false", Verdict.UNKNOWN: "unknown"}


@pytest.fixture(scope="module", params=MEASURES)
def measure(request: pytest.FixtureRequest) -> str:
    require()
    name: str = request.param
    return name


def _screen(
    measure: str, trial: str, folder: Path, *, verified: bool = True, world: Any = CLOSED
) -> Screened:
    people = records(measure, verified=verified)
    return screened(write_trial(measure, trial, folder), people, world)


def _population(found: Screened, patient: str) -> str:
    truths = [TRUTH[found.criterion(patient, name).verdict] for name in POPULATION]
    return "false" if "false" in truths else "unknown" if "unknown" in truths else "true"


def test_each_initial_population_is_the_published_one(measure: str, tmp_path: Path) -> None:
    found = _screen(measure, measure, tmp_path)
    for patient, row in table(measure, "expected.csv").items():
        wanted = "true" if row["initial_population"] == "1" else "false"
        assert _population(found, patient) == wanted, row["case_name"]


def test_each_exclusion_is_the_published_one_or_a_listed_unknown(measure: str, tmp_path: Path) -> None:
    found = _screen(measure, measure, tmp_path)
    for patient, row in table(measure, "expected.csv").items():
        verdicts = {one.id: one.verdict for one in found.outcomes[patient].criteria if one.id in EXCLUSIONS}
        excluded = "false"
        if Verdict.UNKNOWN in verdicts.values():
            excluded = "unknown"
        if Verdict.FAIL in verdicts.values():
            excluded = "true"
        listed = [part for part in verdicts if (measure, patient[:8], part) in DIFFERENCES]
        assert excluded == ("unknown" if listed else row["raw_denex"]), row["case_name"]


def test_each_decision_follows_from_both_populations(measure: str, tmp_path: Path) -> None:
    found = _screen(measure, measure, tmp_path)
    unknown = {patient for name, patient, _ in DIFFERENCES if name == measure}
    for patient, row in table(measure, "expected.csv").items():
        wanted = Decision.NOT_ELIGIBLE
        if row["initial_population"] == "1":
            wanted = Decision.ELIGIBLE if row["denominator_exclusion"] == "0" else wanted
            wanted = Decision.UNDECIDED if patient[:8] in unknown else wanted
        assert found.outcomes[patient].decision is wanted, row["case_name"]


def test_each_sub_criterion_is_the_published_one_or_a_listed_unknown(measure: str, tmp_path: Path) -> None:
    found = _screen(measure, "parts", tmp_path)
    seen: dict[tuple[str, str, str], tuple[str, str, str]] = {}
    compared = 0
    for patient, row in table(measure, "criteria.csv").items():
        for name, column in PARTS.items():
            one = found.criterion(patient, name)
            ours = TRUTH[one.verdict]
            compared += 1
            if ours != row[column]:
                reasons = {leaf.reason for leaf in one.evidence if leaf.outcome == "unknown"}
                (reason,) = reasons
                seen[measure, patient[:8], name] = (row[column], ours, reason)
    assert compared == len(PARTS) * {"cms122": 55, "cms131": 63}[measure]
    assert seen == {key: value for key, value in DIFFERENCES.items() if key[0] == measure}


@pytest.mark.parametrize("world", [{}, CLOSED], ids=["usual world", "closed world"])
def test_without_the_measures_own_rules_nothing_is_decided_the_other_way(
    measure: str, world: Mapping[str, str], tmp_path: Path
) -> None:
    """No condition of the decks has a verification status, so to us none is proven: unknown, never the opposite."""
    found = _screen(measure, measure, tmp_path, verified=False, world=world)
    decided: Counter[Decision] = Counter()
    for patient, row in table(measure, "expected.csv").items():
        outcome = found.outcomes[patient]
        decided[outcome.decision] += 1
        inside = row["initial_population"] == "1" and row["denominator_exclusion"] == "0"
        assert outcome.decision is not (Decision.NOT_ELIGIBLE if inside else Decision.ELIGIBLE)
        for one in outcome.criteria:
            if one.verdict is Verdict.UNKNOWN and one.id == "diabetes":
                assert {leaf.reason for leaf in one.evidence} == {"NOT_CONFIRMED"}
    assert decided[Decision.UNDECIDED] > decided[Decision.ELIGIBLE] == 0


def test_a_missing_glycaemia_is_unknown_where_the_measure_has_null(tmp_path: Path) -> None:
    require()
    found = _screen("cms122", "cms122_glycaemia", tmp_path)
    column = "CMS122FHIRDiabetesAssessGT9Pct.Has Most Recent Elevated Glycemic Status Assessment"
    for patient, row in table("cms122", "criteria.csv").items():
        ours = TRUTH[found.criterion(patient, "elevated").verdict]
        assert ours == {"null": "unknown"}.get(row[column], row[column])


def test_a_deck_read_over_http_is_decided_as_the_same_deck_in_memory(tmp_path: Path) -> None:
    require()
    direct = _screen("cms131", "cms131", tmp_path)
    lines = [json.dumps(bundle) for bundle in bundles("cms131", verified=True)]
    data = tmp_path / "deck"
    data.mkdir()
    (data / "deck.ndjson").write_text("\n".join(lines) + "\n", encoding="utf-8")
    chosen = sorted(direct.outcomes)[::2]
    after_the_period = FakeClock(seconds=400 * 86_400)  # a date that lies ahead is a mistake, and unknown
    with clinic_ehr(load(data), ring_in(tmp_path), clock=after_the_period.now) as ehr:
        pod = make_pod(tmp_path, ehr.base_url, "id\n" + "\n".join(chosen) + "\n")
        worlds = "".join(f"    {kind}: {word}\n" for kind, word in CLOSED.items())
        text = pod.config.read_text(encoding="utf-8").replace("Europe/London", "UTC")
        text = text.replace("cohort:\n", f"  world:\n{worlds}cohort:\n")
        pod.config.write_text(text, encoding="utf-8")
        surroundings = ClockAndWire(clock=after_the_period.clock)
        trial = tmp_path / "cms131.yaml"
        run = asyncio.run(screen_async(pod.config, trial, Options(), surroundings)).run
    assert len(run.patients) == len(chosen)
    for patient, result in zip(chosen, run.patients, strict=True):
        assert result.outcome is not None
        verdicts = {one.id: one.verdict for one in result.outcome.criteria}
        assert verdicts == {one.id: one.verdict for one in direct.outcomes[patient].criteria}
        assert result.decision is direct.outcomes[patient].decision
