"""Every static check, each with a bad file, its code and its exact place."""

from __future__ import annotations

import pytest

from federated.screening.trial.load import read_trial
from tests.federated.screening.trial_texts import HEAD, SETS, USES, errors, files, read, unmarked, with_node

SEEN = "  - {id: seen, text: t, source: s, where: {encounter: {within: 12 mo}}}\n"
DM = "{condition: {in: dm}}"
HEX = "0" * 64


def _file(head: str = "", criteria: str = SEEN, sets: str = "") -> str:
    return f"{HEAD}{head}{sets}inclusion:\n{criteria}"


def _set(body: str) -> str:
    criteria = "  - {id: x, text: t, source: s, where: {condition: {in: a}}}\n"
    return _file(criteria=criteria, sets=f"value_sets:\n  a: {body}\n")


def _icd(codes: str) -> str:
    return _set(f"{{include: [{{system: icd10cm, codes: [{codes}]}}]}}")


# name: (text with the place marked, code, severity, part of the message)
BAD: dict[str, tuple[str, str, str, str]] = {
    "tab": (f"{HEAD}inclusion:\n§\t- x: 1\n", "TV100", "error", "tabs cannot indent"),
    "not_closed": (f"{HEAD}inclusion: [{{id: a}}\n§exclusion: 1\n", "TV100", "error", "not closed"),
    "control_character": (HEAD + "provenance: a§\x00b\n", "TV100", "error", "control character"),
    "empty_file": ("§", "TV100", "error", "empty"),
    "anchor": (_file("provenance: §&a text\n"),
                      "TV101", "error", 'anchors are not used; repeat the text or use "ref"'),
    "alias": (_file("provenance: §*a\n"), "TV101", "error", "aliases are not used"),
    "tag": (_file("provenance: §!!str text\n"), "TV101", "error", "tags are not used"),
    "merge_key": (_file("§<<: {grain: eye}\n"), "TV101", "error", "merge keys"),
    "complex_key": (_file("? §[a, b]\n: 1\n"), "TV101", "error", "a key is a plain word"),
    "two_documents": (_file() + "§---\na: 1\n", "TV101", "error", "one file holds one document"),
    "duplicate_key": (with_node("{condition: {in: dm, onset: {within: 1 a}, §onset: {within: 2 a}}}"),
                      "TV102", "error",
                      '"onset" is given twice (first on line 17)'),
    "unknown_top_key": (_file("§gran: eye\n"), "TV103", "error", 'Did you mean "grain"?'),
    "unknown_predicate_key": (with_node('{age: {is: ">= 5", §at_lest: index}}'), "TV103", "error",
                              '"at_lest" is not a key of age. Known: at, is, unit. Did you mean "at"?'),
    "unknown_criterion_key": (with_node(DM) + "    §tag: x\n", "TV103", "error", 'Did you mean "tags"?'),
    "unknown_window_key": (with_node("{condition: {in: dm, onset: {§withn: 6 mo}}}"), "TV103", "error", "within"),
    "missing_key": (with_node("{medication: §{in: dm}}"), "TV104", "error", 'medication needs "status"'),
    "missing_format": (f"§id: abc\ntitle: t\nversion: v\ninclusion:\n{SEEN}", "TV104", "error", "trialveil: 1"),
    "missing_title": (f"§trialveil: 1\nid: abc\nversion: v\ninclusion:\n{SEEN}", "TV104", "error", '"title"'),
    "duplicate_id": (_file(criteria=SEEN) + "exclusion:\n" + SEEN.replace("seen", "§seen"), "TV105", "error",
                     'criterion id "seen" is used on line 7 too'),
    "reserved_id": (_file(criteria=SEEN.replace("seen", "§alive")), "TV105", "error", "every trial has"),
    "table_for_text": (_file("provenance: §{a: b}\n"), "TV106", "error", "found a table with 1 key"),
    "empty_value": (with_node("{condition: {in: §}}"), "TV106", "error", '"in" is empty'),
    "text_for_node": (with_node("§yes"), "TV106", "error", '"where" is a node'),
    "unknown_word": (with_node("{condition: {in: dm, clinical: [§activ]}}"),
                      "TV107", "error", 'Did you mean "active"?'),
    "yes_for_true": (with_node("{deceased: {is: §yes}}"), "TV107", "error", "true or false"),
    "newer_format": (_file().replace("trialveil: 1", "trialveil: §2"), "TV109", "error", "Use a newer release"),
    "two_predicates": (with_node("§{condition: {in: dm}, observation: {in: hba1c, take: any}}"), "TV110", "error",
                       'found "condition" and "observation". Put them under "all:" or "any:".'),
    "list_as_node": (with_node(f"[{DM}, {DM}, {DM}]").replace("    where: [", "    §where: ["), "TV111", "error",
                     '"where" is one node; found a list of 3. Write "all:" in front'),
    "unknown_node": (with_node("{§conditon: {in: dm}}"), "TV112", "error", 'Did you mean "condition"?'),
    "empty_list": (with_node("{any: §[]}"), "TV113", "error", '"any" is empty'),
    "too_many_wanted": (with_node(f"{{at_least: {{n: §3, of: [{DM}, {DM}]}}}}"), "TV114", "error", "can never hold"),
    "unknown_ref": (with_node("{ref: §nothing}"), "TV115", "error", '"nothing" is not defined'),
    "where_and_todo": (with_node(DM) + "    §todo: x\n", "TV116", "error", "not both"),
    "neither_where_nor_todo": (_file(criteria="  - §{id: a, text: t, source: s}\n"), "TV116", "error", "todo"),
    "no_criteria": ("§" + HEAD, "TV117", "error", "no criterion"),
    "all_switched_off": ("§" + _file(criteria=SEEN.replace("text: t", "enabled: false, text: t")), "TV117", "error",
                         "switched off"),
    "two_windows": (with_node("{condition: {in: dm, onset: {within: 1 a, §from: 2020-01-01}}}"), "TV118", "error",
                    'found "within" and "from"'),
    "ends_of_within": (with_node('{condition: {in: dm, onset: {within: 1 a, §ends: "[)"}}}'),
                      "TV118", "error", "ends"),
    "unknown_set": (with_node("{condition: {in: §dmm}}"), "TV120", "error",
                    'value set "dmm" is not defined. Did you mean "dm"?'),
    "unknown_system": (_set("{include: [{system: §icd11, codes: [a]}]}"), "TV121", "error", "not a known system"),
    "code_without_system": (_set("{include: [§E11.9]}"), "TV121", "error", "without its system"),
    "snomed_star": (_set('{include: [{system: snomed, codes: [§"22298*"]}]}'), "TV122", "error",
                    '"*" is not allowed for snomed: its codes are not a tree by prefix.'),
    "one_eye": (_icd('§"H34.811*"'), "TV123", "warning",
                '"H34.811*" covers the right eye only; left, both and unspecified are not in the set.'),
    "unknown_icd_code": (_icd("E11.9, §E11.999"), "TV124", "warning", "not a published ICD-10-CM code"),
    "unknown_icd_prefix": (_icd('E11.9, §"Q99.7*"'), "TV124", "warning", "not a published ICD-10-CM code"),
    "empty_set": (_set("§{include: [{system: cvx, codes: [E11.9]}], exclude: [{system: cvx, codes: [E11.9]}]}"),
                  "TV125", "error", "has no member"),
    "unused_set": (_file(sets="value_sets:\n  §a: {include: [{system: loinc, codes: [x]}]}\n"), "TV126", "warning",
                   'value set "a" is not used'),
    "unused_parameter": (_file("parameters: {§p: {value: 1, text: t}}\n"), "TV126", "warning", 'parameter "p"'),
    "unused_named": (_file("criteria: {§c: {encounter: {within: 1 a}}}\n"), "TV126", "warning", 'criterion "c"'),
    "code_twice": (_icd("E11.9, §E11.9"), "TV127", "warning", "listed twice"),
    "useless_exclude": (_set('{include: [{system: icd10cm, codes: ["E11*"]}], '
                             "exclude: [{system: icd10cm, codes: [§I10]}]}"), "TV128", "warning", "changes nothing"),
    "star_inside": (_icd('§"E1*1"'), "TV129", "error", "stands once, at the end"),
    "dimension": (with_node('{measurement: {metric: total_ga_area, is: ">= 2", unit: §mm}}'), "TV130", "error",
                  'total_ga_area is measured in mm2; "mm" is a length.'),
    "dimension_of_analyte": (with_node('{observation: {in: hba1c, take: latest, is: ">= 2", unit: §mm}}'), "TV130",
                             "error", "hba1c"),
    "scale": (with_node('{observation: {in: hba1c, take: latest, is: ">= 48", unit: §mmol/mol}}'), "TV131", "error",
              'hba1c in "mmol/mol" is the IFCC scale; write "method: ifcc" to convert by its equation.'),
    "unit_missing": (with_node('{observation: §{in: hba1c, take: latest, is: ">= 6"}}'), "TV132", "error", '"unit"'),
    "unit_missing_elsewhere": (with_node('{observation: {in: other, take: latest, §is: ">= 6"}}'), "TV132", "warning",
                               '"unit"'),
    "unit_unknown": (with_node('{observation: {in: other, take: latest, is: ">= 6", unit: §furlong}}'), "TV133",
                     "error", "not known"),
    "unit_for_nothing": (with_node("{observation: {in: other, take: any, §unit: mg/dL}}"),
                      "TV134", "warning", "unit"),
    "percent_in_threshold": (with_node('{observation: {in: hba1c, take: latest, is: §">= 6.5 %", unit: "%"}}'),
                             "TV135", "error", 'the unit "%" under "unit"'),
    "empty_range": (with_node("{age: {is: §{between: [17.5, 2.5]}}}"), "TV140", "error",
                    "between 17.5 and 2.5 is empty."),
    "empty_open_range": (with_node('{age: {is: §{between: [5, 5], ends: "[)"}}}'), "TV140", "error", "is empty"),
    "no_operator": (with_node("{age: {is: §18}}"), "TV141", "error", '">= 5.7"'),
    "not_a_number": (with_node('{age: {is: §">= 1_000"}}'), "TV141", "error", "not a number"),
    "exponent": (with_node('{age: {is: §">= 1e9"}}'), "TV141", "error", "not a number"),
    "huge_number": (with_node('{age: {is: §">= ' + "9" * 5000 + '"}}'), "TV141", "error", "not a number"),
    "negative_window": (with_node("{condition: {in: dm, onset: {within: §-6 mo}}}"), "TV142", "error", "negative"),
    "no_duration": (with_node("{condition: {in: dm, onset: {within: §6 moons}}}"), "TV142", "error", "6 moons"),
    "hours": (with_node("{encounter: {within: §24 h}}"), "TV142", "error", "pairing only"),
    "window_order": (with_node("{condition: {in: dm, onset: {§from: 2021-01-01, to: 2020-01-01}}}"), "TV143", "error",
                     "from 2021-01-01 to 2020-01-01 is empty"),
    "index_order": (with_node("{encounter: {§from: index - 6 mo, to: index - 12 mo}}"), "TV143", "error", "empty"),
    "no_point": (with_node("{encounter: {from: §last week}}"), "TV143", "error", "last week"),
    "bad_day": (with_node("{encounter: {from: §2023-02-30}}"), "TV143", "error", "2023-02-30"),
    "age_at_birth": (with_node('{age: {is: "> 1", at: §birth + 20 a}}'), "TV143", "error", "not from birth"),
    "count_form": (with_node('{encounter: {count: §"> 1"}}'), "TV144", "error", '">= n"'),
    "count_always": (with_node('{encounter: {count: §">= 0"}}'), "TV144", "error", "always holds"),
    "every_span": (with_node("{encounter: {every: {period: 12 mo, times: 2, over: §30 mo}}}"), "TV145", "error",
                   "not a whole number of periods"),
    "every_units": (with_node("{encounter: {every: {period: 30 d, times: 2, over: §1 a}}}"),
                      "TV145", "error", "30 d"),
    "every_and_count": (with_node('{encounter: {every: {period: 1 a, times: 2, over: 2 a}, §count: ">= 2"}}'),
                        "TV145", "error", 'remove "count"'),
    "next_of_a_record": (with_node("{encounter: {§next: 6 mo}}"), "TV146", "error", "later records never count"),
    "to_the_future": (with_node("{encounter: {from: index, §to: index + 6 mo}}"), "TV146", "error", "never count"),
    "no_take": (with_node('{observation: §{in: hba1c, is: ">= 6", unit: "%"}}'), "TV147", "error", '"take"'),
    "no_question": (with_node("{observation: §{in: hba1c, take: latest}}"), "TV148", "error", "question"),
    "two_questions": (with_node('{observation: {in: hba1c, take: latest, is: "> 6", §text_is: high, unit: "%"}}'),
                      "TV148", "error", "one question"),
    "mean_of_texts": (with_node("{observation: {in: hba1c, take: mean, §text_is: high}}"),
                      "TV148", "error", "number"),
    "units_as_nothing": (with_node('{observation: {in: other, take: count, is: ">= 2", §units_as: [mg]}}'),
                         "TV148", "error", 'give "unit" too'),
    "stale_of_any": (with_node('{observation: {in: hba1c, take: any, is: "> 6", unit: "%", §stale_after: 1 a}}'),
                     "TV148", "error", "stale_after"),
    "maybe_and_proof": (with_node("{condition: {in: dm, maybe: §[confirmed]}}"), "TV149", "error", "cannot prove"),
    "ages_that_do_not_meet": (_file(criteria='  - {id: a, text: t, source: s, where: {age: {is: ">= 65"}}}\n'
                              '  - {id: b, text: t, source: s, where: {age: {is: "< 720", unit: mo}}}\n'), "TV150",
                              "warning", "nobody meets age >= 65 (line 7) and age < 720 (line 8)."),
    "included_and_excluded": (_file() + "exclusion:\n" + SEEN.replace("seen", "again"), "TV150", "warning",
                              "nobody meets both lists"),
    "criterion_twice": (_file(criteria=SEEN + SEEN.replace("seen", "again")), "TV151", "warning", "line 7"),
    "node_twice": (with_node(f"{{any: [{DM}, §{DM}]}}"), "TV151", "warning", "the same node"),
    "not_at_the_head": (_file() + "exclusion:\n  - id: x\n    text: t\n    source: s\n"
                        "    where: §{not: {deceased: {is: true}}}\n", "TV152", "warning", "positively"),
    "split_range": (with_node('{all: [{observation: {in: hba1c, take: latest, is: ">= 5", unit: "%"}}, '
                              '§{observation: {in: hba1c, take: latest, is: "<= 9", unit: "%"}}]}'), "TV153",
                    "warning", "between"),
    "near_nothing": (_file(criteria=SEEN.replace("{id", "§{near: 10, id")), "TV154", "warning", "compares no number"),
    "not_not": (with_node("§{not: {not: {deceased: {is: true}}}}"), "TV155", "warning", "itself"),
    "index_date": (_file("index_date: §today\n"), "TV160", "error", '"run"'),
    "partial_index_date": (_file("index_date: §2024-05\n"), "TV160", "error", "YYYY-MM-DD"),
    "study_eye_without_eyes": (_file("§study_eye: [right]\n"), "TV161", "error", '"grain: eye"'),
    "study_eye_rule": (_file("grain: eye\nstudy_eye: §[better, right]\n"), "TV161", "error", '"better" is no rule'),
    "study_eye_end": (_file("grain: eye\nstudy_eye: §[worse_acuity]\n"), "TV161", "error", "last rule"),
    "this_eye_of_a_patient": (with_node("{condition: {in: dm, eye: §this}}"), "TV162", "error", '"grain: eye"'),
    "same_eye_of_an_eye": (with_node("{condition: {in: dm, eye: §same}}", "grain: eye\n"), "TV162", "error", "this"),
    "pairing_without_visits": (_file("§pairing: {within: 24 h}\n"), "TV163", "warning", "not used"),
    "lonely_same": (with_node("§{condition: {in: dm, eye: same}}"), "TV164", "warning", "only this one"),
    "bad_id": (_file().replace("test-trial", "§Test Trial"), "TV165", "error", '"id"'),
    "bad_nct": (_file("nct: §NCT123\n"), "TV165", "error", "8 digits"),
    "path_upwards": (_set("{from: §../secret.json}"), "TV170", "error", "refused"),
    "absolute_path": (_set("{from: §/etc/passwd}"), "TV170", "error", "refused"),
    "use_upwards": (_file("use: [§../other.yaml]\n"), "TV170", "error", "under this folder"),
    "missing_file": (_set(f"{{from: §none.json, sha256: {HEX}}}"), "TV171", "error", "cannot be read"),
    "wrong_digest": (_set(f"{{from: set.json, sha256: §{HEX}}}"), "TV174", "error", "another digest"),
    "unusable_file": (_set("{from: §bad.json}"), "TV175", "error", "cannot be used"),
    "unknown_parameter": (with_node('{age: {is: §">= $age"}}'), "TV177", "error", '"$age" is not defined'),
    "unit_of_a_parameter": (with_node('{age: {is: §">= $p", unit: mo}}',
                                      "parameters: {p: {value: 5, unit: a, text: t}}\n"), "TV178", "error", '"mo"'),
    "unknown_parent": (_file("extends: §nothing\n"), "TV178", "error", "not a packaged trial"),
    "drop_without_parent": (_file("§drop: [a]\n"), "TV179", "error", "extends"),
    "changed_lock": (_file(f"digest: §{HEX}\n"), "TV180", "error", "changed after it was locked"),
}  # fmt: skip
SOURCES = files(set__json='{"resourceType": "ValueSet", "compose": {"include": []}}', bad__json="[1]")


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_told_its_code_and_place(name: str) -> None:
    marked, code, severity, words = BAD[name]
    text, line, column = unmarked(marked)
    found = [p for p in read(text, SOURCES).problems if p.code == code]
    assert found, [str(p) for p in read(text, SOURCES).problems]
    (problem, *rest) = found
    assert not rest, [str(p) for p in found]
    assert problem.severity == severity
    assert words in problem.message
    if line:
        assert (problem.line, problem.column) == (line, column), str(problem)


@pytest.mark.parametrize("name", [name for name in BAD if BAD[name][2] == "error"])
def test_one_mistake_makes_no_other_error(name: str) -> None:
    text, *_ = unmarked(BAD[name][0])
    codes = {problem.code for problem in errors(read(text, SOURCES))}
    assert codes == {BAD[name][1]}


@pytest.mark.parametrize("name", [name for name in BAD if BAD[name][2] == "warning"])
def test_a_warning_refuses_nothing(name: str) -> None:
    text, *_ = unmarked(BAD[name][0])
    checked = read(text, SOURCES)
    assert checked.trial is not None, [str(problem) for problem in checked.problems]
    assert checked.trial.warnings == checked.problems


def test_there_are_forty_checks_and_more() -> None:
    assert len({code for _, code, _, _ in BAD.values()}) >= 40


def test_the_base_of_the_bad_files_has_no_problem() -> None:
    assert read(with_node(DM)).problems == ()
    assert read(_file()).problems == ()


def test_a_message_is_written_as_editors_read_it() -> None:
    text, *_ = unmarked(BAD["list_as_node"][0])
    (problem,) = errors(read_trial(text, "ga.yaml"))
    assert str(problem).startswith('ga.yaml:17:5: TV111 "where" is one node')


def test_a_warning_says_so_and_a_whole_line_has_no_column() -> None:
    text, *_ = unmarked(BAD["ages_that_do_not_meet"][0])
    (problem,) = read(text).problems
    assert str(problem).startswith("warning t.yaml:8: TV150 ")


def test_a_star_that_covers_one_eye_warns_unless_the_other_eye_is_listed() -> None:
    assert not read(_icd('"H34.811*", "H34.812*"')).problems
    assert {p.code for p in read(_icd('"H34.812*"')).problems} == {"TV123"}


def test_an_ifcc_threshold_with_its_method_is_fine() -> None:
    node = '{observation: {in: hba1c, take: latest, is: ">= 48", unit: mmol/mol, method: ifcc}}'
    assert not read(with_node(node)).problems


def test_all_problems_are_reported_in_one_run() -> None:
    text = f"{HEAD}gran: eye\nindex_date: today\n{SETS}inclusion:\n{USES}" + (
        "  - {id: use_dm, text: t, source: s, where: {conditon: {in: dm}}}\n"
        "  - {id: b, text: t, source: s, where: {age: {is: {between: [9, 1]}, at_lest: 1}}}\n"
        "  - {id: c, text: t, source: s, where: {any: [{condition: {in: dmm}}, {deceased: {is: NO}}]}}\n"
    )
    found = [(problem.line, problem.code) for problem in errors(read(text))]
    assert found == [(6, "TV103"), (7, "TV160"), (16, "TV105"), (16, "TV112"), (17, "TV140"), (17, "TV103"),
                     (18, "TV120"), (18, "TV107")]  # fmt: skip
