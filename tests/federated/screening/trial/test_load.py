"""Reading trial files: types, references, other files, parameters, formats, hostile input."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from ehr.dates import Duration
from federated.cli.exit_codes import ExitCode, exit_code_for
from federated.screening.trial.criteria import (
    AgeAt,
    AllOf,
    AnyOf,
    Appointment,
    AtLeastOf,
    Column,
    Comparison,
    Condition,
    CountBound,
    Encounter,
    EveryPeriod,
    Measurement,
    Node,
    NotOf,
    Observation,
    Point,
    Sex,
    Trial,
    Window,
    walk,
)
from federated.screening.trial.load import (
    TrialFileErrors,
    check_trial,
    load_trial,
    packaged,
    read_trial,
)
from federated.screening.trial.merge import Sources
from tests.federated.screening.trial_texts import HEAD, SETS, USES, errors, files, read, with_node

EXAMPLES = sorted((Path(__file__).parents[4] / "examples" / "trials").glob("*.yaml"))
DM = "{condition: {in: dm}}"


def node(text: str, head: str = "") -> Node:
    found = read(with_node(text, head)).require().inclusion[-1].where
    assert found is not None
    return found


def codes(text: str, sources: Sources | None = None) -> list[str]:
    return [problem.code for problem in errors(read(text, sources))]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_have_no_problem(path: Path) -> None:
    checked = check_trial(path)
    assert checked.problems == ()
    assert checked.require().id == path.stem


def test_there_are_three_examples() -> None:
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize(
    "text", ["NO", "010", "12:30", "1_000", "null", "~", "2020-01-01", "1e3", "0x10", "on"]
)
def test_a_word_like_no_stays_text(text: str) -> None:
    read_node = node(f"{{column: {{name: {text}, in: [{text}]}}}}")
    assert read_node == Column(name=text, texts=(text,), dtype="text")
    assert (
        read(f"{HEAD}provenance: {text}\ninclusion:\n{USES}".replace("use_", "x_") + SETS)
        .require()
        .provenance
        == text
    )


def test_numbers_are_decimals_with_the_digits_of_the_author() -> None:
    age = node('{age: {is: ">= 5.70"}}')
    assert isinstance(age, AgeAt)
    assert str(age.compare.low) == "5.70"


def test_the_defaults_are_those_of_the_format() -> None:
    condition = node(DM)
    assert isinstance(condition, Condition)
    assert condition.clinical == ("active", "recurrence", "relapse")
    assert (condition.verification, condition.eye, condition.count) == (("confirmed",), None, None)
    observation = node("{observation: {in: hba1c, take: any}}")
    assert isinstance(observation, Observation)
    assert observation.status == ("final", "amended", "corrected")
    assert (observation.same_day, observation.window) == ("time", None)
    trial = read(with_node(DM)).require()
    assert (trial.grain, trial.index_date.kind, trial.compat, trial.allow_deceased) == (
        "patient",
        "run",
        "strict",
        False,
    )


def test_a_status_is_draft_until_somebody_says_final() -> None:
    assert read(with_node(DM).replace("status: final\n", "")).require().status == "draft"


def test_comparisons_keep_their_ends() -> None:
    ranges = {
        '">= 3"': Comparison(">=", low=Decimal(3)),
        '"< 3"': Comparison("<", high=Decimal(3), high_closed=False),
        '"= 3"': Comparison("=", Decimal(3), Decimal(3)),
        '"!= 3"': Comparison("!=", Decimal(3), Decimal(3)),
        "{between: [1, 3]}": Comparison("between", Decimal(1), Decimal(3)),
        '{between: [1, 3], ends: "(]"}': Comparison("between", Decimal(1), Decimal(3), low_closed=False),
    }
    for text, expected in ranges.items():
        age = node(f"{{age: {{is: {text}}}}}")
        assert isinstance(age, AgeAt)
        assert age.compare == expected


def test_windows_are_two_points() -> None:
    six = Duration(6, "mo")
    expected = {
        "within: 6 months": Window("within", Point("index", None, six, -1), Point("index")),
        "from: index - 6 mo": Window("range", Point("index", None, six, -1), None),
        "from: birth + 18 a, to: 2020-01-31": Window(
            "range", Point("birth", None, Duration(18, "a")), Point("date", date(2020, 1, 31))
        ),
        'from: 2019-01-01, to: 2020-01-01, ends: "[)"': Window(
            "range", Point("date", date(2019, 1, 1)), Point("date", date(2020, 1, 1)), "[)"
        ),
    }
    for text, window in expected.items():
        encounter = node(f"{{encounter: {{{text}}}}}")
        assert isinstance(encounter, Encounter)
        assert encounter.window == window


def test_the_statuses_of_an_appointment_follow_its_window() -> None:
    ahead, past = node("{appointment: {next: 6 mo}}"), node("{appointment: {within: 6 mo}}")
    assert isinstance(ahead, Appointment)
    assert isinstance(past, Appointment)
    assert ahead.window is not None
    assert (ahead.window.ends, ahead.window.forward) == ("(]", True)
    assert ahead.status == ("booked", "arrived", "checked-in")
    assert past.status == ("fulfilled", "arrived", "checked-in")


def test_every_and_count_are_typed() -> None:
    every = node("{encounter: {every: {period: 12 mo, times: 2, over: 2 a}}}")
    assert isinstance(every, Encounter)
    assert every.every == EveryPeriod(Duration(12, "mo"), 2, Duration(2, "a"))
    counted = node('{observation: {in: hba1c, take: count, is: ">= 3"}}')
    assert isinstance(counted, Observation)
    assert (counted.count, counted.compare) == (CountBound(">=", 3), None)


def test_this_eye_is_the_default_of_image_values_only() -> None:
    image = '{measurement: {metric: total_ga_area, is: "> 1", unit: mm2}}'
    per_eye, per_patient = node(image, "grain: eye\n"), node(image)
    assert isinstance(per_eye, Measurement)
    assert isinstance(per_patient, Measurement)
    assert (per_eye.eye, per_patient.eye) == ("this", "any")
    condition = node(DM, "grain: eye\n")
    assert isinstance(condition, Condition)
    assert condition.eye is None


def test_nodes_know_their_path_and_line() -> None:
    tree = node(
        f"{{all: [{{any: [{DM}, {{not: {DM}}}]}}, {{at_least: {{n: 1, of: [{{sex: {{is: male}}}}]}}}}]}}"
    )
    assert [(type(n), n.at.path) for n in walk(tree)][3:] == [
        (NotOf, "where.all[0].any[1]"),
        (Condition, "where.all[0].any[1].not"),
        (AtLeastOf, "where.all[1]"),
        (Sex, "where.all[1].at_least[0]"),
    ]
    assert {n.at.line for n in walk(tree)} == {17}


def test_a_reference_is_resolved_where_it_stands() -> None:
    head = "criteria: {sick: {all: [{condition: {in: dm}}, {sex: {is: [male, female]}}]}}\n"
    tree = node("{any: [{ref: sick}]}", head)
    inner = next(walk(tree.of[0])) if isinstance(tree, AnyOf) else None
    assert isinstance(inner, AllOf)
    assert (inner.at.path, inner.of[0].at.path, inner.at.line) == ("where.any[0]", "where.any[0].all[0]", 6)


def test_a_reference_to_itself_is_refused() -> None:
    text = with_node("{ref: a}", "criteria: {a: {not: {ref: b}}, b: {not: {ref: a}}}\n")
    assert set(codes(text)) == {"TV115"}


def test_references_cannot_multiply_without_end() -> None:
    names = [f"a{n}" for n in range(12)]
    rows = [f"  {one}: {{all: [{{ref: {two}}}, {{ref: {two}}}]}}" for one, two in pairwise(names)]
    head = "criteria:\n" + "\n".join(rows) + "\n  a11: {deceased: {is: false}}\n"
    assert codes(with_node("{ref: a0}", head)) == ["TV108"]


def test_deep_nodes_are_refused() -> None:
    assert codes(with_node("{not: " * 25 + DM + "}" * 25)) == ["TV108"]
    assert codes(with_node("{not: " * 5000 + DM + "}" * 5000)) == ["TV108"]


def test_anchors_and_tags_are_refused() -> None:
    bomb = "a: &a [x, x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\n"
    found = read(bomb + HEAD)
    assert {problem.code for problem in errors(found)} >= {"TV101"}
    assert sum(problem.code == "TV101" for problem in found.problems) == 11


def test_duplicate_keys_name_both_lines() -> None:
    (problem,) = errors(read(f"{HEAD}{SETS}title: again\ninclusion:\n{USES}"))
    assert (problem.line, problem.code) == (10, "TV102")
    assert "first on line 3" in problem.message


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe\x00t",
        b"trialveil: 1\ntitle: \xe9\n",
        b"\x00" * 100,
        b"[" * 100_000,
        b"{" * 1000 + b"}" * 1000,
        b"a: " * 10_000,
        b"trialveil: " + b"9" * 100_000,
        b"- 1\n- 2\n",
        b"just text",
        b"%YAML 9.9\n---\na: 1",
        b"a: !!python/object/apply:os.system [x]",
        b"#" * (1 << 20) + b"\n",
        ("a: \ud800").encode("utf-8", "surrogatepass"),
    ],
)
def test_hostile_bytes_give_problems_and_nothing_else(data: bytes) -> None:
    checked = read_trial(data)
    assert checked.trial is None
    assert errors(checked)
    assert all(len(str(problem)) < 500 for problem in checked.problems)


def test_parameters_are_put_in_with_their_unit() -> None:
    head = "parameters: {low: {value: 49, unit: a, text: t}, back: {value: 6, unit: mo, text: t}}\n"
    age = node('{age: {is: ">= $low", unit: a}}', head.replace(", back: {value: 6, unit: mo, text: t}", ""))
    assert isinstance(age, AgeAt)
    assert age.compare.low == 49
    encounter = node("{all: [{encounter: {within: $back}}, {age: {is: '> $low'}}]}", head)
    assert isinstance(encounter, AllOf)
    assert encounter.of[0] == Encounter(
        window=Window("within", Point("index", None, Duration(6, "mo"), -1), Point("index"))
    )


def _with_parameter(site: str) -> str:
    return with_node('{age: {is: ">= $low"}}', f"parameters: {{low: {{value: 49, text: t{site}}}}}\n")


def _low(trial: Trial) -> Decimal | None:
    age = trial.inclusion[-1].where
    assert isinstance(age, AgeAt)
    return age.compare.low


def test_a_site_sets_only_what_the_file_lets_it() -> None:
    trial = read(_with_parameter(", site: true"), low="60").require()
    assert _low(trial) == 60
    assert trial.parameters["low"].overridden
    assert _low(read(_with_parameter(", site: true")).require()) == 49
    for text, name, value in ((_with_parameter(""), "low", "60"), (_with_parameter(", site: true"), "lo", "60"),
                              (_with_parameter(", site: true"), "low", "sixty")):  # fmt: skip
        assert [p.code for p in errors(read(text, None, **{name: value}))] == ["TV176"]


LIBRARY = """trialveil: 1
parameters: {back: {value: 1, unit: a, text: t}}
value_sets: {stroke: {include: [{system: icd10cm, codes: ["I63*"]}]}}
criteria: {recent: {condition: {in: stroke, onset: {within: $back}}}}
"""


def test_used_files_bring_prefixed_names() -> None:
    text = with_node("{all: [{ref: brain.recent}, {condition: {in: brain.stroke}}]}", "use: [brain.yaml]\n")
    trial = read(text, files(brain__yaml=LIBRARY)).require()
    tree = trial.inclusion[-1].where
    assert isinstance(tree, AllOf)
    first = tree.of[0]
    assert isinstance(first, Condition)
    assert first.codes is trial.value_sets["brain.stroke"]
    assert first.onset is not None
    assert first.onset.duration == Duration(1, "a")


def test_used_files_may_use_others() -> None:
    middle = "trialveil: 1\nuse: [brain.yaml]\ncriteria: {old: {not: {ref: brain.recent}}}\n"
    text = with_node("{ref: middle.old}", "use: [middle.yaml]\n")
    trial = read(text, files(brain__yaml=LIBRARY, middle__yaml=middle)).require()
    assert "middle.brain.stroke" in trial.value_sets


def test_mistakes_of_a_used_file_name_that_file() -> None:
    text = with_node("{ref: brain.recent}", "use: [brain.yaml]\n")
    (problem,) = errors(read(text, files(brain__yaml=LIBRARY.replace("in: stroke", "in: strok"))))
    assert (problem.file, problem.line, problem.code) == ("brain.yaml", 4, "TV120")


def test_files_that_use_themselves_are_refused() -> None:
    text = with_node(DM, "use: [a.yaml]\n")
    assert codes(
        text, files(a__yaml="trialveil: 1\nuse: [b.yaml]\n", b__yaml="trialveil: 1\nuse: [a.yaml]\n")
    ) == ["TV172"]


def test_files_are_used_three_deep_at_most() -> None:
    chain = {f"{a}__yaml": f"trialveil: 1\nuse: [{b}.yaml]\n" for a, b in ("ab", "bc", "cd")}
    assert codes(with_node(DM, "use: [a.yaml]\n"), files(**chain)) == ["TV173"]


OUTSIDE = [
    "../x.yaml", "/x.yaml", "a/../x.yaml", "a//x.yaml", "./x.yaml", ".x.yaml", "a\\x.yaml", "C:/x.yaml", "x.yaml/",
    "~/x.yaml", "a/.git/x.yaml", "x" * 300 + ".yaml",
]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
def test_use_cannot_leave_the_folder(path: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(LIBRARY)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "t.yaml").write_text(with_node(DM, f"use: ['{path}']\n"))
    with pytest.raises(TrialFileErrors, match="TV170"):
        load_trial(folder / "t.yaml")


def test_links_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "x.yaml").write_text(LIBRARY)
    (folder / "x.yaml").symlink_to(tmp_path / "x.yaml")
    (folder / "sub").symlink_to(tmp_path)
    for path in ("x.yaml", "sub/x.yaml"):
        (folder / "t.yaml").write_text(with_node(DM, f"use: [{path}]\n"))
        with pytest.raises(TrialFileErrors, match="TV170"):
            load_trial(folder / "t.yaml")


def test_a_trial_is_loaded_with_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "brain.yaml").write_text(LIBRARY)
    (tmp_path / "t.yaml").write_text(with_node("{ref: brain.recent}", "use: [sets/brain.yaml]\n"))
    assert load_trial(tmp_path / "t.yaml").value_sets["brain.stroke"].prefixes


def test_errors_are_one_value_error_with_every_mistake(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(with_node("{conditon: {}}").replace("title: A", "titel: A"))
    with pytest.raises(TrialFileErrors) as caught:
        load_trial(tmp_path / "t.yaml")
    assert isinstance(caught.value, ValueError)
    assert exit_code_for(caught.value) is ExitCode.BAD_FILE
    assert [problem.code for problem in caught.value.problems if problem.severity == "error"] == [
        "TV104",
        "TV103",
        "TV112",
    ]
    assert "t.yaml:3:1: TV103" in str(caught.value)


PARENT = with_node('{age: {is: ">= 50"}}').replace("test-trial", "parent")


def _child(body: str) -> str:
    return f"trialveil: 1\nid: child\ntitle: t\nversion: v\nextends: parent\n{body}"


def _parents(name: str) -> bytes | None:
    return {"parent": PARENT.encode()}.get(name) or packaged(name)


def test_a_child_replaces_and_drops_criteria_of_its_parent() -> None:
    text = _child(
        'inclusion:\n  - {id: tested, text: t, source: s, where: {age: {is: ">= 60"}}}\ndrop: [use_dm]\n'
    )
    trial = read_trial(text, "t.yaml", Sources(files().read, _parents)).require()
    assert [criterion.id for criterion in trial.inclusion] == ["use_hba1c", "use_other", "tested"]
    assert (_low(trial), trial.id, trial.status) == (60, "child", "final")


def test_a_child_may_move_a_criterion_to_the_other_list() -> None:
    text = _child('exclusion:\n  - {id: tested, text: t, source: s, where: {age: {is: ">= 60"}}}\n')
    trial = read_trial(text, "t.yaml", Sources(files().read, _parents)).require()
    assert [criterion.id for criterion in trial.exclusion] == ["tested"]
    assert "tested" not in [criterion.id for criterion in trial.inclusion]


def test_dropping_what_is_not_there_is_an_error() -> None:
    checked = read_trial(_child("drop: [testd]\n"), "t.yaml", Sources(files().read, _parents))
    (problem,) = errors(checked)
    assert (problem.code, problem.line) == ("TV179", 6)
    assert 'Did you mean "tested"' in problem.message


def test_old_formats_are_upgraded_and_new_ones_refused() -> None:
    old = """trialveil: 0
id: old-trial
title: t
version: "1"
inclusion:
  - id: area
    text: t
    source: s
    metric: total_ga_area
    op: ">"
    value: 2.5
    unit: mm2
    eyes: all
    on_unknown: review
  - {id: cnv, text: t, source: s, metric: max_cnv_probability, op: between, value: [0, 0.5], unit: "1"}
"""
    new = """trialveil: 1
id: old-trial
title: t
version: "1"
inclusion:
  - id: area
    text: t
    source: s
    if_unknown: review
    where: {measurement: {metric: total_ga_area, is: "> 2.5", unit: mm2, eye: all}}
  - id: cnv
    text: t
    source: s
    where: {measurement: {metric: max_cnv_probability, is: {between: [0, 0.5]}, unit: "1"}}
"""
    assert read(old).require() == read(new).require()
    assert codes(new.replace("trialveil: 1", "trialveil: 2")) == ["TV109"]
    assert codes(new.replace("trialveil: 1", "trialveil: one")) == ["TV104"]


def test_a_todo_is_a_criterion_without_a_node() -> None:
    text = f"{HEAD}inclusion:\n  - {{id: a, text: t, source: s, todo: read the chart}}\n"
    (criterion,) = read(text).require().inclusion
    assert (criterion.where, criterion.todo) == (None, "read the chart")
