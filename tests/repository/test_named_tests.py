"""The design names tests; each name that this release promises exists, so that none is lost in a rename."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

NAMES = """
1 a_word_like_no_stays_text
2 duplicate_keys_name_both_lines
3 anchors_and_tags_are_refused
4 the_reported_line_is_the_mutated_line
5 all_problems_are_reported_in_one_run
6 a_star_is_refused_for_snomed
7 prefix_expansion_equals_the_published_tree
8 a_star_that_covers_one_eye_warns
9 a_threshold_changes_the_digest
9 a_typo_does_not_change_the_digest
10 locked_and_unlocked_files_decide_alike
11 use_cannot_leave_the_folder
12 a_draft_is_not_screened
13 explain_mentions_every_criterion_window_and_unit
14 old_formats_are_upgraded_and_new_ones_refused
15 kleene_tables
16 de_morgan_and_double_negation
17 a_fact_never_flips_a_decided_outcome
18 order_of_records_and_criteria_is_irrelevant
19 records_twice_are_records_once
20 irrelevant_records_change_nothing
21 a_wider_window_never_loses_a_match
22 not_applicable_is_neutral_and_visible
23 if_unknown_changes_the_queue_only
24 an_outage_never_excludes_and_never_admits
25 partial_data_proves_presence_not_absence
26 no_lab_is_unknown_and_not_a_failure
27 closed_world_needs_declaration_and_completeness
28 a_trial_cannot_close_what_the_site_left_open
29 refuted_and_entered_in_error_never_count
30 provisional_is_unknown
31 a_text_hint_gives_unknown_never_yes
32 latest_is_unknown_when_labs_are_incomplete
33 two_values_of_one_day_that_disagree_are_unknown
34 partial_dates_equal_brute_force
35 a_birthday_on_the_index_date_counts
36 leap_day_birthdays
37 six_months_before_the_last_of_august
38 both_ends_of_a_window_are_in
39 the_site_zone_decides_the_day
40 records_after_the_index_date_do_not_count
41 hba1c_scales_agree_and_ucum_does_not
42 glucose_needs_its_molar_mass
43 an_unknown_unit_is_unknown
44 comparators_are_intervals
45 the_eye_of_a_record
46 same_eye_means_one_eye
47 counting_fingers_is_below_every_letter_score
49 the_golden_synthea_result
58 counts_add_up
59 outputs_are_identical_for_any_concurrency
60 evidence_alone_rederives_every_outcome
61 following_the_lookups_decides_every_patient
62 all_funnel_views_come_from_one_mask_table
65 csv_cells_cannot_be_formulas
66 the_report_makes_no_request_and_works_without_script
67 no_name_birth_date_or_mrn_in_any_default_output
"""
TESTS = Path(__file__).parents[1]
_FOUND = {
    name
    for path in TESTS.rglob("test_*.py")
    for name in re.findall(r"def test_(\w+)", path.read_text(encoding="utf-8"))
}


@pytest.mark.parametrize("line", [line for line in NAMES.splitlines() if line])
def test_a_named_test_exists(line: str) -> None:
    name = line.split()[1]
    assert any(found.startswith(name) for found in _FOUND), f"test {line} is missing"
