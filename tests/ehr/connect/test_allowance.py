"""How hard an EHR may be asked: the stricter of profile and pod file."""

from __future__ import annotations

from typing import Any

import pytest

from ehr.config import ProviderProfile, RateRule
from ehr.connect import allowance
from ehr.files.settings import EHRSection
from ehr.transport.settings import Limits


def section(base_url: str = "https://ehr.example/r4", **rate: Any) -> EHRSection:
    return EHRSection.model_validate({"provider": "x", "base_url": base_url, "auth": "none", "rate": rate})


def profile(**rate: Any) -> ProviderProfile:
    return ProviderProfile("x", "X", rate=RateRule(**rate))


@pytest.mark.parametrize(("own", "theirs", "expected"), [(None, 8, 8), (3, 8, 3), (20, 8, 8), (8, 4, 4)])
def test_the_stricter_number_of_requests_in_flight_holds(own: int | None, theirs: int, expected: int) -> None:
    ours, vendor = section(concurrency=own), profile(concurrency=theirs)
    assert allowance.limits(ours, vendor, Limits()).concurrency == expected
    assert allowance.bounds(ours, vendor).patients == expected
    assert allowance.bounds(ours, vendor).ahead == 4 * expected


@pytest.mark.parametrize(
    ("own", "theirs", "expected"), [(None, None, None), (3, None, 3), (None, 5, 5), (7, 5, 5), (2, 5, 2)]
)
def test_the_stricter_rate_holds(own: float | None, theirs: float | None, expected: float | None) -> None:
    ours = section(requests_per_s=own)
    assert allowance.limits(ours, profile(requests_per_s=theirs), Limits()).requests_per_s == expected


@pytest.mark.parametrize(("own", "expected"), [(None, 5), (2, 2), (2000, 2000)])
def test_an_ehr_on_this_machine_is_asked_as_often_as_its_pod_file_says(
    own: float | None, expected: float
) -> None:
    here = section("http://127.0.0.1:8090/r4", requests_per_s=own)
    assert allowance.limits(here, profile(requests_per_s=5), Limits()).requests_per_s == expected
    secure = section("https://127.0.0.1:8090/r4", requests_per_s=own)
    assert allowance.limits(secure, profile(requests_per_s=5), Limits()).requests_per_s == min(own or 5, 5)


def test_a_vendor_s_rate_for_each_endpoint_is_passed_on() -> None:
    vendor = profile(endpoint_requests_per_s=15.0)
    assert allowance.limits(section(), vendor, Limits()).class_requests_per_s == 15


def test_what_is_not_about_rates_stays_as_it_was() -> None:
    usual = Limits(read_s=7, attempts=2)
    made = allowance.limits(section(), profile(), usual)
    assert (made.read_s, made.attempts) == (7, 2)


@pytest.mark.parametrize(
    ("daily", "patients"), [(None, 8), (10, 1), (50, 1), (100, 2), (399, 7), (400, 8), (100_000, 8)]
)
def test_of_a_small_daily_budget_few_patients_are_begun_at_a_time(daily: int | None, patients: int) -> None:
    assert allowance.bounds(section(daily_requests=daily), profile()).patients == patients
    assert allowance.bounds(section(), profile(daily_requests=daily)).patients == patients
