"""The plan: constants, digest, and that a locked file decides alike (P12)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from ehr.records.codes import Code
from federated.screening.plan.bounds import code_set
from federated.screening.plan.nodes import Exists, Latest, leaves
from federated.screening.plan.trial_plan import Plan, PlanRefused, make_plan
from federated.screening.trial import criteria as c
from federated.screening.trial.load import load_trial, read_trial
from federated.screening.trial.lock import lock
from tests.federated.screening.making import (
    INDEX,
    KEY,
    age,
    at,
    codes,
    facts,
    has,
    lab,
    plan_of,
    rule,
    trial,
    within,
)

EXAMPLES = sorted((Path(__file__).parents[4] / "examples" / "trials").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_locked_and_unlocked_files_decide_alike(path: Path) -> None:
    """P12: the same plan, constant by constant."""
    own = load_trial(path)
    locked = read_trial(lock(own).encode()).require()
    one, two = make_plan(own, facts(), INDEX), make_plan(locked, facts(), INDEX)
    assert one.digest == two.digest
    assert [rule_.where for rule_ in one.rules] == [rule_.where for rule_ in two.rules]


def test_the_digest_follows_what_decides_and_nothing_else() -> None:
    base = plan_of(lab(">= 5.7"))

    def differs(other: Plan) -> bool:
        return other.digest != base.digest

    assert differs(plan_of(lab(">= 5.8")))
    assert differs(plan_of(lab("> 5.7")))
    assert differs(plan_of(lab(">= 5.7", window=within("6 mo"))))
    assert differs(plan_of(lab(">= 5.7"), date(2024, 6, 29)))
    assert differs(plan_of(lab(">= 5.7"), world={"observation": "closed"}))
    assert differs(plan_of(lab(">= 5.7"), care_since=date(2020, 1, 1)))
    assert differs(plan_of(lab(">= 5.7", codes=codes("4549-2", system="loinc"))))
    assert differs(make_plan(trial(rule(lab(">= 5.7"), near=Decimal(5))), facts(), INDEX))
    titled = lab(
        ">= 5.7", codes=replace(codes("4548-4", system="loinc", name="hba1c"), title="Glycated haemoglobin")
    )
    assert not differs(plan_of(titled))
    assert not differs(make_plan(replace(trial(rule(lab(">= 5.7"))), title="another title"), facts(), INDEX))


def test_code_sets_are_frozen_with_prefixes_by_system() -> None:
    made = code_set(codes("H35.31*", "E11.9", hints=("dry amd",)))
    assert made.codes == {Code("icd10cm", "E11.9")}
    assert dict(made.prefixes) == {"icd10cm": ("H35.31",)}
    assert [made.has(Code(system, code)) for system, code in (
        ("icd10cm", "H35.3112"), ("icd10cm", "H35.32"), ("icd10", "H35.3112"), ("icd10cm", "E11.9"),
        ("icd10cm", "E11"),
    )] == [True, False, False, True, False]  # fmt: skip


def test_excluded_codes_and_prefixes_leave_a_set() -> None:
    without = replace(
        codes("H35.31*"),
        not_codes=frozenset({Code("icd10cm", "H35.3111")}),
        not_prefixes=frozenset({Code("icd10cm", "H35.319")}),
    )
    made = code_set(without)
    tried = ("H35.3111", "H35.3112", "H35.3190", "H35.31")
    assert [made.has(Code("icd10cm", code)) for code in tried] == [False, True, False, True]
    assert [without.has(Code("icd10cm", code)) for code in tried] == [False, True, False, True]


def test_an_observation_that_merely_exists_is_an_exists() -> None:
    merely = c.Observation(codes=codes("4548-4", system="loinc"), take="any", at=at())
    assert isinstance(plan_of(merely).rules[0].where, Exists)
    assert isinstance(plan_of(lab()).rules[0].where, Latest)


def test_a_method_without_a_rule_is_refused() -> None:
    with pytest.raises(PlanRefused, match="ifcc"):
        plan_of(lab(method="jendrassik"))


def test_a_plan_needs_no_patient_to_be_made_for_every_example() -> None:
    for path in EXAMPLES:
        plan = make_plan(load_trial(path), facts(), INDEX)
        assert len(plan.rules) > 5
        assert all(list(leaves(one.where)) for one in plan.rules)
        assert plan.rules[-1].id == "alive"


def test_an_age_counted_from_birth_is_refused() -> None:
    from federated.screening.trial import value_types

    with pytest.raises(PlanRefused, match="birth"):
        plan_of(age(">= 18", when=value_types.Point("birth")))


def test_the_key_is_no_part_of_a_plans_text() -> None:
    assert KEY.decode() not in repr(plan_of(has()))
