"""The contract kit itself: its list of cases, its report, its page, what it does with a case that fails."""

from __future__ import annotations

import pytest

from ehr.testing import __main__ as page_command
from ehr.testing.case import GROUPS
from ehr.testing.cases import CASES
from ehr.testing.harnesses import shipped_harness, shipped_harnesses
from ehr.testing.report import as_promised
from tests.repository.sources import ROOT

LISTED = """
1 disc_smart_configuration_used M
2 disc_relative_endpoint_resolved_against_base M
3 disc_missing_optional_members_tolerated M
4 disc_scopes_supported_not_treated_as_exhaustive M
5 disc_falls_back_to_capability_statement_oauth_uris S
6 disc_explicit_config_overrides_discovery M
7 disc_rejects_http_endpoints M
8 disc_html_or_404_gives_typed_error M
9 conf_base_and_enterprise_url_are_honoured M
10 conf_unknown_provider_or_missing_key_fails_early_naming_key M
11 conf_trailing_slash_and_case_equivalent M
12 caps_absent_type_is_unsupported_not_empty M
13 caps_server_claims_more_than_profile_is_safe S
14 probe_reports_scope_gaps_without_phi M
15 auth_backend_jwt_header_and_claims_exact M
16 auth_jwt_lifetime_within_300s M
17 auth_jwt_jti_unique_across_retries_and_refreshes M
18 auth_jwt_aud_equals_token_endpoint M
19 auth_rs384_and_es384_supported M
20 auth_clock_skew_tolerated_and_diagnosed M
21 auth_scope_omitted_when_profile_says_so M
22 auth_v1_and_v2_scopes_translated M
23 auth_granted_scope_narrower_marks_forbidden M
24 auth_pkce_s256_and_aud_sent M
25 auth_state_mismatch_or_reuse_rejected M
26 auth_ehr_launch_unknown_iss_refused_before_contact M
27 auth_expired_token_refreshed_before_use M
28 auth_no_expires_in_uses_profile_default M
29 auth_single_flight_100_concurrent_one_token_request M
30 auth_cross_process_refresh_serialised S
31 auth_rotated_refresh_token_persisted_before_use M
32 auth_401_one_reauth_then_error M
33 auth_401_storm_triggers_single_refresh M
34 auth_invalid_grant_is_terminal M
35 auth_reauth_bare_400_retried_once_with_fresh_jti S
36 auth_token_response_malformed_typed_error M
37 auth_token_store_permissions_and_encryption M
38 auth_secret_never_in_repr_log_exception_pickle M
39 auth_provider_header_present_and_only_when_allowed M
40 auth_nextgen_site_id_and_session_header_flow M
41 match_exact_name_dob_single M
42 match_single_hit_with_wrong_dob_rejected M
43 match_single_hit_with_wrong_given_rejected M
44 match_sends_family_and_given_not_name M
45 match_prefix_hits_filtered_locally M
46 match_two_same_name_dob_is_ambiguous M
47 match_twins_not_confused M
48 match_candidate_on_second_page_found M
49 match_zero_is_notfound_including_4101_warning M
50 match_over_100_is_ambiguous_not_error M
51 match_by_mrn_with_system_and_dob_agreement M
52 match_mrn_agrees_dob_conflicts_undetermined M
53 match_mrn_extracted_by_type_code_text_or_use M
54 match_operation_grade_used_but_verified M
55 match_accents_hyphens_apostrophes_suffixes M
56 match_multiple_given_and_initials M
57 match_maiden_and_other_name_entries M
58 match_mononym_or_missing_part_never_wildcards M
59 match_partial_birth_date_not_certain M
60 match_sentinel_dob_is_unknown M
61 match_merged_record_resolves_to_survivor M
62 match_inactive_or_deceased_flagged M
63 match_result_demographics_come_from_record M
64 match_server_failure_is_undetermined M
65 match_demographics_sent_by_post_when_supported S
66 page_all_pages_collected_in_order_without_duplicates M
67 page_relative_next_link M
68 page_empty_middle_page_continues M
69 page_loop_detected M
70 page_max_pages_gives_partial M
71 page_expired_session_restarts_once M
72 page_failure_midway_is_partial_not_ok M
73 page_next_link_to_internal_host_rewritten M
74 page_plus_and_percent_preserved M
75 page_size_within_provider_limit M
76 page_enterprise_second_page_every_route M
77 search_required_params_always_sent M
78 search_unsupported_sort_modifier_not_sent M
79 search_filters_reapplied_locally M
80 search_ignored_patient_param_detected_by_self_link_and_subject M
81 search_outcome_warning_entry_is_not_data_nor_error M
82 search_outcome_error_entry_makes_partial M
83 search_include_entries_not_counted_as_matches M
84 search_total_missing_or_wrong_ignored M
85 cond_all_codings_kept_and_system_aliases_normalised M
86 cond_entered_in_error_and_refuted_excluded M
87 cond_onset_variants_age_period_string_recorded M
88 cond_missing_optional_fields_accepted M
89 proc_performed_period_and_status_mapped M
90 med_request_statement_reference_and_contained M
91 allergy_no_known_allergies_vs_empty_vs_unknown M
92 obs_value_types_comparator_components_absent_reason M
93 obs_latest_by_effective_not_by_order M
94 enc_period_open_ended M
95 appt_today_included_once M
96 appt_cancelled_deleted_noshow_excluded_both_directions M
97 appt_timezone_and_midnight_boundary M
98 appt_full_history_requested M
99 appt_fallback_source_labelled M
100 pract_reference_case_insensitive_and_latest M
101 img_study_reference_mapped S
102 parse_bad_entry_quarantined_others_kept M
103 parse_vendor_empty_strings_and_object_for_list M
104 parse_unknown_contained_type_no_crash M
105 parse_two_choice_values_handled M
106 parse_r4_appointment_participant_required_accepted M
107 parse_strict_mode_rejects S
108 subject_other_patient_dropped_and_reported M
124 sec_token_not_sent_to_other_host_port_scheme M
125 sec_base_url_as_substring_in_foreign_url_blocked M
126 sec_userinfo_encoded_dot_backslash_urls_blocked M
127 sec_redirects_not_followed_headers_not_leaked M
128 sec_private_and_metadata_addresses_blocked_for_attachments M
129 sec_tls_verification_cannot_be_disabled M
130 sec_oversize_and_compression_bomb_stopped_streaming M
131 sec_deep_json_and_huge_entry_count_stopped M
132 rel_429_honours_retry_after_seconds_and_date M
133 rel_retry_after_absurd_is_clamped_or_deferred M
134 rel_429_pauses_whole_host M
135 rel_5xx_retried_then_unavailable M
136 rel_4xx_not_retried M
137 rel_non_idempotent_not_retried M
138 rel_timeouts_bound_every_call M
139 rel_rate_limit_respected_under_load M
140 rel_breaker_opens_and_recovers S
141 rel_empty_200_body_is_quota M
142 rel_malformed_json_html_200_typed M
143 rel_one_patient_failure_does_not_stop_run M
144 rel_errors_never_cached_never_empty M
145 rel_cache_key_by_server_and_principal M
146 rel_resume_after_crash_skips_done S
147 rel_cancellation_clean M
148 rel_duplicate_rows_queried_once_results_fanned_out M
149 priv_logs_exceptions_contain_no_phi_or_token M
150 priv_pseudonym_keyed M
151 priv_nothing_leaves_site_but_declared_outputs M
152 mean_outage_never_satisfies_exclusion M
153 mean_partial_proves_presence_not_absence M
154 mean_state_survives_to_table_columns M
155 mean_sync_facade_equals_async M
"""
LEVELS = {"M": "must", "S": "should"}


def test_the_kit_has_the_listed_cases_with_their_numbers_names_and_levels() -> None:
    listed = [line.split() for line in LISTED.split("\n") if line]
    wanted = {(int(number), name, LEVELS[level]) for number, name, level in listed}
    assert {(case.number, case.name, case.level) for case in CASES} == wanted


def test_numbers_and_names_stand_for_one_case() -> None:
    assert len({case.number for case in CASES}) == len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_says_what_holds_in_one_sentence_and_runs_somewhere(case) -> None:  # type: ignore[no-untyped-def]  # a Case
    assert case.holds.endswith(".") and len(case.holds) > 20
    assert case.backends and case.group in GROUPS


def test_most_cases_run_on_both_back_ends() -> None:
    both = [case for case in CASES if len(case.backends) == 2]
    assert len(both) > 0.8 * len(CASES)


def test_the_page_is_what_the_cases_promise() -> None:
    """What is not passed fails in the tests of its provider; here the page is compared with what they promise."""
    found = {harness.provider: as_promised(harness, CASES) for harness in shipped_harnesses()}
    text = (ROOT / page_command.FILE).read_text(encoding="utf-8")
    assert text == page_command.whole_page(found), "run: python -m ehr.testing"


def test_every_provider_of_this_release_has_a_harness() -> None:
    from ehr.providers.registry import _SHIPPED

    assert {harness.provider for harness in shipped_harnesses()} == set(_SHIPPED)
    assert shipped_harness("smarthealthit r4").profile.name == "smarthealthit r4"
