"""When it was: windows, partial dates, zones, ages, death. Index 2024-06-30."""

from __future__ import annotations

from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from tests.federated.screening.fhir_cases import (
    Row,
    booking,
    check,
    coded,
    cond,
    obs,
    proc,
    row,
    table,
    visit,
)

RECENT = "{procedure: {in: injection, performed: {within: 6 mo}}}"
FEBRUARY = "{procedure: {in: injection, performed: {from: 2024-02-01, to: 2024-02-29%s}}}"
NEW_YORK, KOLKATA = ZoneInfo("America/New_York"), ZoneInfo("Asia/Kolkata")


def at(text: str | None, **more: object) -> list[dict[str, object]]:
    return [proc(performedDateTime=text, **more)]


def over(start: str | None, end: str | None) -> list[dict[str, object]]:
    period = {name: text for name, text in (("start", start), ("end", end)) if text}
    return [proc(performedDateTime=None, performedPeriod=period)]


@table(
    row("2.4", "both days are in: the first", RECENT, at("2023-12-30"), 2),
    row("2.4", "both days are in: the day before", RECENT, at("2023-12-29"), 0),
    row("2.4", "both days are in: the last second", RECENT, at("2024-06-30T23:59:59+02:00"), 2),
    row("2.4", "both days are in: a second later", RECENT, at("2024-07-01T00:00:00+02:00"), 0),
    row("3.5", "a year that holds the window's end", RECENT, at("2024"), 1),
    row("3.5", "a month inside", RECENT, at("2024-05"), 2),
    row("3.5", "the index date's month", RECENT, at("2024-06"), 2),
    row("3.5", "a year before", RECENT, at("2022"), 0),
    row("3.5", "undated with a window", RECENT, at(None), 1),
    row("3.5", "undated without a window", "{procedure: {in: injection}}", at(None), 2),
    row("3.5", "words for a date", RECENT, [proc(performedDateTime=None, performedString="last spring")], 1),
    row("3.5", "a date that is none", RECENT, at("30/05/2024"), 1),
    row("3.5", "a day that the calendar lacks", RECENT, at("2024-02-30"), 1),
    row("3.5", "a sentinel is missing", RECENT, at("1900-01-01"), 1),
    row("3.5", "a sentinel with a time is missing", RECENT, at("1900-01-01T00:00:00Z"), 1),
    row("3.5", "records after the index date do not count", "{procedure: {in: injection}}", at("2024-07-01"),
        0),
    row("3.5", "later than the day of reading is a mistake, not an absence", "{procedure: {in: injection}}",
        at("2204-06-01"), 1),
    row("3.5", "later than the day of reading, with a window", RECENT, at("2204-06-01"), 1),
    row("3.5", "later than the day of reading, as a period", RECENT, over("2204-06-01", "2204-06-02"), 1),
    row("3.5", "a month after the index date, perhaps", "{procedure: {in: injection}}", at("2024"), 1),
    row("3.5", "the site's zone decides the day: west", RECENT, at("2023-12-30T03:00:00Z"), 0, zone=NEW_YORK),
    row("3.5", "the site's zone decides the day: east", RECENT, at("2023-12-29T19:00:00Z"), 2, zone=KOLKATA),
    row("3.5", "a time without a zone is the site's", RECENT, at("2023-12-30T00:00:00"), 2, zone=NEW_YORK),
    row("3.5", "midnight written as 24:00", RECENT, at("2024-06-30T24:00:00+02:00"), 0),
    row("3.5", "midnight written as 24:00 opens the window", RECENT, at("2023-12-29T24:00:00+01:00"), 2),
    row("3.5", "a leap second is in its day", FEBRUARY % "", at("2024-02-29T23:59:60+01:00"), 2),
    row("3.5", "the day of a clock change is a day",
        "{procedure: {in: injection, performed: {from: 2024-03-31, to: 2024-03-31}}}",
        at("2024-03-31T23:30:00+02:00"), 2),
    row("2.4", "an open end leaves its day out", FEBRUARY % ", ends: '()'", at("2024-02-29T00:00:00+01:00"),
        0),
    row("2.4", "an open beginning leaves its day out", FEBRUARY % ", ends: '(]'",
        at("2024-02-01T23:59:59+01:00"), 0),
    row("2.4", "an open beginning begins the next day", FEBRUARY % ", ends: '(]'", at("2024-02-02"), 2),
    row("3.5", "a stay that straddles the beginning", RECENT, over("2023-12-01", "2024-01-05"), 1),
    row("3.5", "a stay inside", RECENT, over("2024-01-01", "2024-01-05"), 2),
    row("3.5", "only an end, inside", RECENT, over(None, "2024-01-05"), 1),
    row("3.5", "only an end, before", RECENT, over(None, "2023-01-05"), 0),
    row("2.4", "no end of the window is the index date",
        "{procedure: {in: injection, performed: {from: index - 1 mo}}}",
        at("2024-07-02"), 0),
    row("2.4", "a window from birth", "{procedure: {in: injection, performed: {from: birth + 64 a}}}",
        at("2024-06-01"), 2),
    row("2.4", "a window from birth, too young",
        "{procedure: {in: injection, performed: {from: birth + 64 a}}}",
        at("2024-05-04"), 0),
    row("2.4", "a window from an unknown birth",
        "{procedure: {in: injection, performed: {from: birth + 64 a}}}",
        at("2024-06-01"), 1, patient={"birthDate": None}),
    row("2.4", "a window to an uncertain birth",
        "{procedure: {in: injection, performed: {to: birth + 64 a}}}",
        at("2024-06-01"), 1, patient={"birthDate": "1960"}),
)  # fmt: skip
def test_windows(case: Row) -> None:
    check(case)


STROKE = "{condition: {in: amd, clinical: any, onset: {within: 6 mo}}}"
DURING = "{condition: {in: amd, clinical: any, active: {from: 2023-01-01, to: 2023-12-31}}}"
RESOLVED = coded("resolved", "clinical")
AMD, WAS = "{condition: {in: amd}}", "{condition: {in: amd, clinical: [resolved]}}"


@table(
    row("3.5", "an onset as a period is its start", STROKE,
        [cond(onsetDateTime=None, onsetPeriod={"start": "2023-01-01", "end": "2024-02-01"})], 0),
    row("3.5", "an onset as an age", STROKE,
        [cond(onsetDateTime=None, onsetAge={"value": 40, "unit": "years", "code": "a"})], 0),
    row("3.5", "an onset as this age", STROKE,
        [cond(onsetDateTime=None, onsetAge={"value": 63, "unit": "years", "code": "a"})], 1),
    row("3.5", "an onset as an age of an unknown unit", STROKE,
        [cond(onsetDateTime=None, onsetAge={"value": 40, "unit": "moons"})], 1),
    row("3.5", "an onset in words", STROKE, [cond(onsetDateTime=None, onsetString="childhood")], 1),
    row("2.4", "an onset after the index date", "{condition: {in: amd}}", [cond(onsetDateTime="2024-07-02")],
        0),
    row("3.5", "an onset later than the day of reading", "{condition: {in: amd}}",
        [cond(onsetDateTime="2204-07-02")], 1),
    row("3.5", "a stretch that begins later than the day of reading", DURING,
        [cond(onsetDateTime="2204-07-02")], 1),
    row("2.4", "active in the window", DURING, [cond(onsetDateTime="2022-05-01")], 2),
    row("2.4", "ended before the window", DURING,
        [cond(onsetDateTime="2021-05-01", abatementDateTime="2022-12-31", clinicalStatus=RESOLVED)], 0),
    row("2.4", "ended in the first second of the window", DURING,
        [cond(onsetDateTime="2021-05-01", abatementDateTime="2023-01-01", clinicalStatus=RESOLVED)], 2),
    row("2.4", "ended, nobody wrote when", DURING, [cond(onsetDateTime="2021-05-01",
        clinicalStatus=RESOLVED)], 1),
    row("2.4", "ended, in words", DURING,
        [cond(onsetDateTime="2021-05-01", clinicalStatus=RESOLVED, abatementString="years ago")], 1),
    row("2.4", "ended before it began proves nothing", DURING,
        [cond(onsetDateTime="2023-06-01", abatementDateTime="2020-01-01", clinicalStatus=RESOLVED)], 1),
    row("2.4", "ended before it began, around the window", DURING,
        [cond(onsetDateTime="2024-02-01", abatementDateTime="2020-01-01", clinicalStatus=RESOLVED)], 1),
    row("2.4", "a stretch against years of age: before",
        "{condition: {in: amd, clinical: any, active: {from: birth + 64 a}}}",
        [cond(onsetDateTime="2020-01-01", abatementDateTime="2021-01-01", clinicalStatus=RESOLVED)], 0),
    row("2.4", "a stretch against years of age: after",
        "{condition: {in: amd, clinical: any, active: {to: birth + 18 a}}}",
        [cond(onsetDateTime="2020-01-01", abatementDateTime="2021-01-01", clinicalStatus=RESOLVED)], 0),
    row("2.4", "a stretch against years of age: inside",
        "{condition: {in: amd, clinical: any, active: {from: birth + 18 a}}}",
        [cond(onsetDateTime="2020-01-01", abatementDateTime="2021-01-01", clinicalStatus=RESOLVED)], 2),
    row("2.4", "a stretch against an unknown birth",
        "{condition: {in: amd, clinical: any, active: {from: birth + 18 a}}}",
        [cond(onsetDateTime="2020-01-01")], 1, patient={"birthDate": None}),
    row("3.5", "resolved after the index date was active on it", AMD,
        [cond(clinicalStatus=RESOLVED, abatementDateTime="2024-08-01")], 2),
    row("3.5", "resolved in the index year, perhaps after", AMD,
        [cond(clinicalStatus=RESOLVED, abatementDateTime="2024")], 1),
    row("3.5", "resolved after the index date was not resolved on it", WAS,
        [cond(clinicalStatus=RESOLVED, abatementDateTime="2024-08-01")], 0),
    row("3.5", "resolved, perhaps after the index date", WAS,
        [cond(clinicalStatus=RESOLVED, abatementDateTime="2024")], 1),
    row("3.5", "resolved before the index date", WAS, [cond(clinicalStatus=RESOLVED,
        abatementDateTime="2024-03")], 2),
    row("3.5", "active and ended contradict", AMD, [cond(abatementDateTime="2024-03-01")], 1),
    row("3.5", "active and ended contradict, asked the other way", WAS,
        [cond(abatementDateTime="2024-03-01")], 1),
)  # fmt: skip
def test_conditions_in_time(case: Row) -> None:
    check(case)


NEXT, KEPT = "{appointment: {next: 1 mo}}", "{appointment: {within: 1 mo}}"
WHOLE = "{encounter: {from: 2024-01-01, to: 2024-01-31, whole: true, count: '>= 1'}}"
STARTS = "{encounter: {from: 2024-01-01, to: 2024-01-31, count: '>= 1'}}"
REGULAR = "{encounter: {every: {period: 12 mo, times: 2, over: 24 mo}}}"
FOUR = ["2024-06-30", "2023-06-30", "2023-06-29", "2022-06-30"]


@table(
    row("2.4", "next leaves the index date out", NEXT, [booking("2024-06-30T16:00:00+02:00")], 0),
    row("2.4", "next holds its last day", NEXT, [booking("2024-07-30T16:00:00+02:00")], 2),
    row("2.4", "next, a booking for years ahead", NEXT, [booking("2026-07-31")], 0),
    row("2.4", "next ends there", NEXT, [booking("2024-07-31T00:00:00+02:00")], 0),
    row("2.4", "a cancelled appointment is none", NEXT, [booking("2024-07-03", "cancelled")], 0),
    row("2.4", "a proposed appointment is not booked", NEXT, [booking("2024-07-03", "proposed")], 0),
    row("2.4", "an appointment without a status", NEXT, [booking("2024-07-03", None)], 1),
    row("2.4", "an appointment without a time", NEXT, [booking(None)], 1),
    row("2.4", "a booked appointment of the past was not kept", KEPT, [booking("2024-06-15")], 0),
    row("2.4", "a kept appointment of today", KEPT, [booking("2024-06-30", "arrived")], 2),
    row("2.4", "a visit belongs to its start", STARTS, [visit("2024-01-31", "2024-03-01")], 2),
    row("2.4", "a whole stay", WHOLE, [visit("2024-01-02", "2024-01-31T23:00:00+01:00")], 2),
    row("2.4", "a stay that goes on past the window", WHOLE, [visit("2024-01-31", "2024-03-01")], 0),
    row("2.4", "a stay that began before", WHOLE, [visit("2023-12-31", "2024-01-05")], 0),
    row("2.4", "a stay of which the end is not known", WHOLE, [visit("2024-01-02")], 1),
    row("2.4", "a stay without an end that began after", WHOLE, [visit("2024-02-02")], 0),
    row("2.4", "a visit without a start", STARTS, [visit(None, "2024-01-05")], 1),
    row("2.4", "every year twice, on the borders", REGULAR, [visit(day) for day in FOUR], 2),
    row("2.4", "every year twice, a day too early", REGULAR, [visit(day) for day in (*FOUR[:3],
        "2022-06-29")], 0),
    row("2.4", "every year twice, three and one", REGULAR,
        [visit(day) for day in ("2024-05-01", "2024-04-01", "2024-03-01", "2023-01-01")], 0),
    row("2.4", "every year twice, a month on the border", REGULAR,
        [visit(day) for day in ("2024-05-01", "2023-06", "2023-01-01", "2023-02-01")], 1),
    row("2.4", "every year twice, one without a date", REGULAR,
        [visit(day) for day in ("2024-05-01", None, "2023-01-01", "2023-02-01")], 1),
    row("2.4", "every year twice, partly read", REGULAR,
        [visit(day) for day in ("2024-05-01", "2024-04-01", "2023-01-01")], 1, states={"encounter": "PARTIAL"}),
    row("2.4", "every year twice, partly read and found", REGULAR, [visit(day) for day in FOUR], 2,
        states={"encounter": "PARTIAL"}),
)  # fmt: skip
def test_visits(case: Row) -> None:
    check(case)


ADULT, UNDER = "{age: {is: '>= 18'}}", "{age: {is: '< 18'}}"


def born(day: str | None) -> dict[str, object]:
    return {"patient": {"birthDate": day}}


@table(
    row("3.5", "a birthday on the index date counts", ADULT, [], 2, **born("2006-06-30")),
    row("3.5", "the day after does not", ADULT, [], 0, **born("2006-07-01")),
    row("3.5", "a year that tells", ADULT, [], 2, **born("2005")),
    row("3.5", "a year that does not tell", ADULT, [], 1, **born("2006")),
    row("3.5", "no birth date", ADULT, [], 1, **born(None)),
    row("3.5", "a sentinel for a birth date", ADULT, [], 1, **born("1900-01-01")),
    row("3.5", "a birth in the future is a mistake", UNDER, [], 1, **born("2204-05-05")),
    row("3.5", "a birth in the future is a mistake for adults too", ADULT, [], 1, **born("2204-05-05")),
    row("3.5", "a birth in the future is not another age", "{age: {is: '!= 40'}}", [], 1,
        **born("2025-01-01")),
    row("3.5", "born on 29 February, a day early", ADULT, [], 0, index=date(2022, 2, 28),
        **born("2004-02-29")),
    row("3.5", "born on 29 February", ADULT, [], 2, index=date(2022, 3, 1), **born("2004-02-29")),
    row("3.5", "at most 85 lasts a year", "{age: {is: '<= 85'}}", [], 2, **born("1938-07-01")),
    row("3.5", "at most 85 ends", "{age: {is: '<= 85'}}", [], 0, **born("1938-06-30")),
    row("2.4", "between without its ends", "{age: {is: {between: [18, 20], ends: '()'}}}", [], 0,
        **born("2006-06-30")),
    row("2.4", "in months", "{age: {is: '>= 6', unit: mo}}", [], 2, index=date(2024, 2, 29),
        **born("2023-08-29")),
    row("2.4", "in months, on a day that is not there", "{age: {is: '>= 6', unit: mo}}", [], 0,
        index=date(2023, 2, 28), **born("2022-08-31")),
    row("2.4", "at a day", "{age: {is: '>= 18', at: 2020-01-01}}", [], 0, **born("2002-01-02")),
)  # fmt: skip
def test_ages(case: Row) -> None:
    check(case)


ALIVE = "{not: {deceased: {is: true}}}"


def died(**more: object) -> dict[str, object]:
    return {"patient": more}


@table(
    row("3.4", "missing is alive", ALIVE, [], 2),
    row("3.4", "missing is unknown in an open world", ALIVE, [], 1, world={"deceased": "open"}),
    row("3.4", "said to be alive", ALIVE, [], 2, world={"deceased": "open"}, **died(deceasedBoolean=False)),
    row("3.4", "dead", ALIVE, [], 0, **died(deceasedBoolean=True)),
    row("3.5", "dead on the index date", ALIVE, [], 0, **died(deceasedDateTime="2024-06-30")),
    row("3.5", "alive on the index date", ALIVE, [], 2, **died(deceasedDateTime="2024-07-01")),
    row("3.5", "dead in the index year", ALIVE, [], 1, **died(deceasedDateTime="2024")),
    row("3.5", "dead, nobody knows when", ALIVE, [], 0, **died(deceasedDateTime="1900-01-01")),
)  # fmt: skip
def test_death(case: Row) -> None:
    check(case)


FEMALE = "{sex: {is: female}}"
BIRTH_SEX = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex"


@table(
    row("3.4", "as recorded", FEMALE, [], 2),
    row("3.4", "another", FEMALE, [], 0, patient={"gender": "male"}),
    row("3.4", "in another case", FEMALE, [], 2, patient={"gender": "Female"}),
    row("3.4", "not recorded", FEMALE, [], 1, patient={"gender": None}),
    row("3.4", "unknown", FEMALE, [], 1, patient={"gender": "unknown"}),
    row("3.4", "a letter that is no code of FHIR", FEMALE, [], 1, patient={"gender": "W"}),
    row("3.4", "at birth, by the extension", "{sex: {is: female, which: birth}}", [], 2,
        patient={"gender": "male", "extension": [{"url": BIRTH_SEX, "valueCode": "F"}]}),
    row("3.4", "at birth, unknown", "{sex: {is: female, which: birth}}", [], 1,
        patient={"extension": [{"url": BIRTH_SEX, "valueCode": "UNK"}]}),
    row("3.4", "at birth, no extension", "{sex: {is: female, which: birth}}", [], 1),
)  # fmt: skip
def test_sex(case: Row) -> None:
    check(case)


LATEST = "{observation: {in: a1c, take: latest, is: '>= 6', unit: '%%'%s}}"


def lab(value: float | None, day: str | None, **more: Any) -> dict[str, object]:
    return obs(value, effectiveDateTime=day, **more)


@table(
    row("3.2", "the newest", LATEST % "", [lab(7, "2024-05-01"), lab(5, "2024-04-01")], 2),
    row("3.2", "the newest after the index date is not read", LATEST % "", [lab(7, "2024-07-01"), lab(5,
        "2024-04-01")], 0),
    row("3.2", "the newest has no value", LATEST % "", [lab(None, "2024-05-01"), lab(7, "2024-04-01")], 1),
    row("3.2", "the newest may be another", LATEST % "", [lab(5, "2024-05"), lab(7, "2024-05-10")], 1),
    row("3.2", "an undated one may be the newest", LATEST % "", [lab(5, None), lab(7, "2024-05-10")], 1),
    row("3.2", "an undated one that says the same", LATEST % "", [lab(8, None), lab(7, "2024-05-10")], 2),
    row("3.2", "two of one day that disagree", LATEST % "", [lab(5, "2024-05-10"), lab(7, "2024-05-10")], 1),
    row("3.5", "a day overlaps its instants", LATEST % "", [lab(5, "2024-05-10"), lab(7,
        "2024-05-10T10:00:00Z")], 1),
    row("3.5", "instants of one day are ordered", LATEST % "",
        [lab(5, "2024-05-10T08:00:00Z"), lab(7, "2024-05-10T10:00:00Z")], 2),
    row("3.5", "instants are compared as moments", LATEST % "",
        [lab(5, "2024-05-10T11:00:00+02:00"), lab(7, "2024-05-10T10:00:00Z")], 2),
    row("3.2", "the lowest of the day, by the author's word", LATEST % ", same_day: lowest",
        [lab(5, "2024-05-10T08:00:00Z"), lab(7, "2024-05-10T10:00:00Z")], 0),
    row("3.2", "a status that is not known may be the newest", LATEST % "",
        [lab(5, "2024-06-10", status="unknown"), lab(7, "2024-05-10")], 1),
    row("3.2", "stale counts as unknown", LATEST % ", stale_after: 3 mo", [lab(7, "2024-03-01")], 1),
    row("3.2", "outside the window does not count", LATEST % ", within: 3 mo", [lab(7, "2024-03-01")], 1),
    row("3.2", "a newer one may be missing", LATEST % "", [lab(7, "2024-05-01")], 1,
        states={"observation": "PARTIAL"}),
    row("3.5", "a date later than the day of reading may be any: the newest", LATEST % "",
        [lab(5, "2204-05-01"), lab(7, "2024-05-10")], 1),
    row("3.5", "a date later than the day of reading may be any: the earliest",
        "{observation: {in: a1c, take: earliest, is: '>= 6', unit: '%'}}",
        [lab(5, "2204-05-01"), lab(7, "2024-05-10")], 1),
    row("3.2", "earliest", "{observation: {in: a1c, take: earliest, is: '>= 6', unit: '%'}}",
        [lab(7, "2020-05-01"), lab(5, "2024-05-01")], 2),
    row("3.5", "a period is all of it", LATEST % "",
        [obs(5, effectiveDateTime=None, effectivePeriod={"start": "2024-05-01", "end": "2024-05-20"}), lab(7,
        "2024-05-10")], 1),
)  # fmt: skip
def test_the_newest(case: Row) -> None:
    check(case)
