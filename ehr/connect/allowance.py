"""How hard this site may ask its EHR: the provider's profile and the pod file together, the stricter of both.

An EHR on this very machine, reached over plain http, is nobody's hospital: it is asked as often as the pod file says.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

from ehr.config import ProviderProfile
from ehr.files.settings import EHRSection, SiteFile
from ehr.reading.cohort import Bounds
from ehr.transport.quota import DailyQuota
from ehr.transport.settings import Clock, Limits

PATIENT_REQUESTS = 50
"""What one patient may cost, generously: their search, and a page or two of each kind."""


def bounds(section: EHRSection, profile: ProviderProfile) -> Bounds:
    """How many patients at once, and how long for each.

    Of a small daily budget few patients are begun at a time: what is spent on those who are not finished when it ends
    is lost.
    """
    patients = _concurrency(section, profile)
    daily = _least(section.rate.daily_requests, profile.rate.daily_requests)
    if daily is not None:
        patients = min(patients, max(1, int(daily) // PATIENT_REQUESTS))
    return Bounds(patients=patients, ahead=4 * patients, patient_s=section.patient_seconds)


def limits(section: EHRSection, profile: ProviderProfile, usual: Limits) -> Limits:
    """The transport's limits; ``usual`` is what nobody says otherwise."""
    return replace(
        usual,
        concurrency=_concurrency(section, profile),
        requests_per_s=_requests_per_s(section, profile),
        class_requests_per_s=profile.rate.endpoint_requests_per_s,
    )


def quota(
    file: SiteFile, profile: ProviderProfile, clock: Clock, counted_in: Path | None
) -> DailyQuota | None:
    """The day's budget, by the site's calendar; None where neither site nor vendor has one."""
    limit = _least(file.ehr.rate.daily_requests, profile.rate.daily_requests)
    if limit is None and not profile.empty_body_is_quota:
        return None
    zone = ZoneInfo(file.site.time_zone)
    return DailyQuota(
        lambda: clock.now().astimezone(zone).date(),
        None if limit is None else int(limit),
        file.ehr.base_url,
        counted_in,
        profile.empty_body_is_quota,
    )


def _concurrency(section: EHRSection, profile: ProviderProfile) -> int:
    return min(section.rate.concurrency or profile.rate.concurrency, profile.rate.concurrency)


def _requests_per_s(section: EHRSection, profile: ProviderProfile) -> float | None:
    own = section.rate.requests_per_s
    plain = section.base_url.lower().startswith("http:")  # which no address but a loopback one may be
    return own if plain and own is not None else _least(own, profile.rate.requests_per_s)


def _least(*values: float | None) -> float | None:
    return min((value for value in values if value is not None), default=None)
