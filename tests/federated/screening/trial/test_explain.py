"""The printed trial names what decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from federated.screening.trial.criteria import Trial, leaves
from federated.screening.trial.explain import explain
from federated.screening.trial.load import load_trial
from federated.screening.trial.lock import digest
from tests.federated.screening.trial_texts import read, with_node

EXAMPLES = sorted((Path(__file__).parents[4] / "examples" / "trials").glob("*.yaml"))
_WINDOWS = ("window", "onset", "recorded", "active", "performed", "authored")


def squeezed(trial: Trial) -> str:
    return " ".join(explain(trial).split())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_explain_mentions_every_criterion_window_and_unit(path: Path) -> None:
    trial = load_trial(path)
    text = squeezed(trial)
    for criterion in trial.criteria:
        assert f"{criterion.id}: {criterion.text}" in text
        assert criterion.source in text
        assert criterion.todo is None or criterion.todo in text
        for leaf in leaves(criterion):
            for name in _WINDOWS:
                window = getattr(leaf, name, None)
                assert window is None or str(window) in text
            for name in ("compare", "count", "every"):
                asked = getattr(leaf, name, None)
                assert asked is None or str(asked) in text
            unit = getattr(leaf, "unit", None)
            assert unit in (None, "a") or unit in text
            codes = getattr(leaf, "codes", None)
            assert codes is None or f"[{codes.name}]" in text
            assert not leaf.elsewhere_matters or "elsewhere" in text
    for found in trial.value_sets.values():
        for _, pattern in found.members():
            assert pattern.removeprefix("-") in text
    assert digest(trial) in text


KEYS = [
    ("{age: {is: '>= 18', at: index - 20 a}}", "index - 20 a"),
    ("{condition: {in: dm, category: [problem-list-item]}}", "problem-list-item"),
    ("{condition: {in: dm, maybe: [provisional]}}", "perhaps: provisional"),
    (
        "{condition: {in: dm, active: {from: index - 1 a, to: index, ends: '[)'}}}",
        "active from index - 1 a to index",
    ),
    ("{procedure: {in: dm, count: '>= 2', distinct: records}}", "counting records"),
    ("{medication: {in: dm, status: [active], intent: [order], kind: request}}", "intent order"),
    ("{medication: {in: dm, status: [active], kind: request}}", "as request"),
    ("{order: {in: dm, kind: device, authored: {within: 3 wk}}}", "authored within 3 wk"),
    (
        "{observation: {in: hba1c, take: max, is: '< 9', unit: '%', units_as: [percent]}}",
        "percent is read as %",
    ),
    ("{observation: {in: hba1c, take: latest, is: '< 9', unit: '%', stale_after: 40 d}}", "40 d"),
    ("{observation: {in: hba1c, take: latest, is: '< 9', unit: '%', same_day: highest}}", "highest"),
    ("{observation: {in: hba1c, take: any, component: dm}}", "component [dm]"),
    ("{observation: {in: hba1c, take: any, code_in: dm}}", "[dm]"),
    ("{observation: {in: hba1c, take: any, text_is: [pos, high]}}", "pos or high"),
    ("{observation: {in: hba1c, take: any, specimen: serum, method: ifcc}}", "specimen serum"),
    ("{encounter: {class: [AMB], whole: true, discharge: dm}}", "discharged to [dm]"),
    ("{appointment: {next: 2 mo, kind: retina, location: Hull}}", "at hull"),
    ("{measurement: {metric: total_ga_area, is: '> 1', unit: mm2, min_coverage: 0.8, model: m1}}", "0.8"),
    ("{column: {name: letters, is: '> 20'}}", '"letters" (number) > 20'),
    ("{allergy: {in: dm, within: 9 a}}", "9 a"),
    ("{at_least: {n: 2, of: [{deceased: {is: false}}, {sex: {is: male}}]}}", "At least 2 of"),
    ("{not: {sex: {is: [male, other], which: birth}}}", "birth sex is male or other"),
    ("{document: {type: dm, status: superseded}}", "superseded"),
    ("{immunization: {in: dm, count: '= 0'}}", "count = 0"),
]


@pytest.mark.parametrize(("node", "words"), KEYS)
def test_every_key_that_has_a_say_is_printed(node: str, words: str) -> None:
    assert words in squeezed(read(with_node(node)).require())


def test_what_a_site_set_is_printed() -> None:
    head = "parameters: {low: {value: 49, unit: a, text: Lowest age, site: true}}\n"
    trial = read(with_node("{age: {is: '>= $low'}}", head), None, low="60").require()
    assert "$low = 60 a: Lowest age (set by the site)" in squeezed(trial)


def test_the_implicit_criterion_is_printed_unless_it_is_off() -> None:
    text = with_node("{deceased: {is: false}}")
    assert "alive" in explain(read(text).require())
    off = with_node("{deceased: {is: false}}", "allow_deceased: true\n")
    assert "alive" not in explain(read(off).require())
