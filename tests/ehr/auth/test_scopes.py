"""What SMART scopes cover, in both styles."""

from __future__ import annotations

import pytest

from ehr.auth.scopes import Style, covers, missing_types, parse_scopes, translated, wanted_scopes
from ehr.errors import ConfigurationError


@pytest.mark.parametrize(
    ("granted", "resource", "covered"),
    [
        ("system/Patient.read", "Patient", True),
        ("system/Patient.rs", "Patient", True),
        ("system/*.*", "Condition", True),
        ("system/*.cruds", "Condition", True),
        ("patient/*.rs launch openid", "Condition", True),
        ("system/Patient.r system/Patient.s", "Patient", True),
        ("system/Patient.write", "Patient", False),
        ("system/Patient.cud", "Patient", False),
        ("system/Patient.r", "Patient", False),
        ("system/Patient.s", "Patient", False),
        ("system/Patient.rs", "Condition", False),
        ("system/Observation.rs?category=laboratory", "Observation", False),
        ("system/Observation.rs?category=laboratory system/Observation.rs", "Observation", True),
        ("system/PatientX.rs", "Patient", False),
        ("launch openid fhirUser offline_access", "Patient", False),
        ("system/Patient.sr", "Patient", False),
        ("", "Patient", False),
    ],
)
def test_a_type_is_covered_by_read_and_search_rights_over_all_of_it(
    granted: str, resource: str, covered: bool
) -> None:
    assert covers(parse_scopes(granted), resource) is covered


def test_no_scope_text_covers_nothing() -> None:
    assert parse_scopes(None) == frozenset()


def test_v1_words_mean_the_letters_of_v2() -> None:
    (read,), (write,), (both,) = (parse_scopes(f"system/Patient.{word}") for word in ("read", "write", "*"))
    assert (read.rights, write.rights, both.rights) == (set("rs"), set("cud"), set("cruds"))


def test_only_what_is_needed_is_asked_for_in_the_server_s_style() -> None:
    types = ["Patient", "Condition", "Patient"]
    assert wanted_scopes(types, "v1") == "system/Condition.read system/Patient.read"
    assert wanted_scopes(types, "v2") == "system/Condition.rs system/Patient.rs"


def test_gaps_are_the_wanted_types_that_were_not_granted() -> None:
    granted = parse_scopes("system/Patient.rs system/Condition.rs?category=x")
    assert missing_types(granted, ["Patient", "Condition", "Appointment"]) == ("Appointment", "Condition")


@pytest.mark.parametrize(
    ("text", "style", "said"),
    [
        ("user/Patient.read", "v2", "user/Patient.rs"),
        ("patient/*.*", "v2", "patient/*.cruds"),
        ("user/Patient.write", "v2", "user/Patient.cud"),
        ("user/Patient.rs", "v2", "user/Patient.rs"),
        ("user/Patient.rs", "v1", "user/Patient.read"),
        ("patient/*.cruds", "v1", "patient/*.*"),
        ("user/Patient.cud", "v1", "user/Patient.write"),
        ("user/Patient.read", "v1", "user/Patient.read"),
        ("launch/patient openid  offline_access", "v1", "launch/patient openid offline_access"),
        ("launch/patient openid", "v2", "launch/patient openid"),
        ("", "v1", ""),
    ],
)
def test_a_scope_is_said_in_the_servers_words(text: str, style: Style, said: str) -> None:
    assert translated(text, style) == said
    assert {(s.context, s.resource, s.rights) for s in parse_scopes(text)} == {
        (s.context, s.resource, s.rights) for s in parse_scopes(said)
    }


@pytest.mark.parametrize(
    "text", ["user/Patient.r", "user/Patient.cr", "user/Observation.rs?category=laboratory"]
)
def test_v1_words_never_ask_for_more_than_was_written(text: str) -> None:
    assert translated(text, "v2") == text
    with pytest.raises(ConfigurationError, match="v1 scopes only"):
        translated(text, "v1")
