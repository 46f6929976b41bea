"""The page as text: nothing in it runs, loads or names what it should not. How it behaves: `tests.browser`."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from federated.reports import overview
from federated.reports.overview import write_overview
from federated.screening.decide import missing_data
from federated.screening.decide.evidence import LookUp, RecordUsed
from federated.screening.report import html, patient_list, wording
from federated.screening.report.results import CriterionHead, Explained, PatientResult, Run
from federated.screening.report.write import write_site
from tests.fakes import runs

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}</details>\u202egnp.exe\x07"
LOADING = {"src", "srcset", "action", "formaction", "poster", "background", "data", "manifest", "ping"}


class Seen(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page(run: Run) -> str:
    return "".join(html.report(run)["report.html"])


def hostile() -> Run:
    base = runs.run(6)
    head = CriterionHead("evil", "exclusion", EVIL, EVIL, codes=(EVIL,))
    trial = replace(base.trial, title=EVIL, version=EVIL, provenance=EVIL, criteria=(head,))
    outcome = runs.outcome("f", heads=(head,))
    leaf = replace(outcome.criteria[0].evidence[0], text=EVIL, value=EVIL, unit=EVIL)
    leaf = replace(
        leaf, threshold=EVIL, records=(RecordUsed("condition", EVIL, "ab", EVIL, EVIL, EVIL, EVIL),)
    )
    outcome = replace(outcome, criteria=(replace(outcome.criteria[0], evidence=(leaf,)), outcome.criteria[1]))
    patients = (
        PatientResult(1, EVIL, outcome=outcome, next_appointment=EVIL, issues=(EVIL,), states={EVIL: EVIL}),
    )
    return replace(base, trial=trial, patients=patients, site=replace(base.site, name=EVIL))


@pytest.mark.parametrize(
    "make", [page, lambda run: overview.page([run], {run.site.pseudonym: "north/report.html"})]
)
def test_hostile_texts_stay_text(make: object) -> None:
    text = make(hostile())  # type: ignore[operator]  # one of the two above
    seen = Seen(text)
    assert "img" not in {tag for tag, _ in seen.tags}
    assert not [name for _, attributes in seen.tags for name in attributes if name.startswith("on")]
    scripts = [attributes for tag, attributes in seen.tags if tag == "script"]
    assert all(one.get("type") == "application/json" or not one for one in scripts)
    assert "alert(1)" in text
    assert not re.search("[\u202a-\u202e\x00-\x08]", text)


def test_the_policy_names_the_only_script_and_allows_nothing_else() -> None:
    seen = Seen(page(runs.run(5)))
    (policy,) = [a["content"] for tag, a in seen.tags if a.get("http-equiv") == "Content-Security-Policy"]
    script = max((text for text in seen.text if '"use strict"' in text), key=len)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


def test_nothing_is_loaded_and_title_and_links_hold_nothing() -> None:
    text = page(runs.run(30))
    seen = Seen(text)
    assert re.findall("<title>(.*?)</title>", text.split("<body>")[0]) == ["Screening report"]
    for tag, attributes in seen.tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "form", "audio", "video", "base"}
        assert not LOADING & set(attributes), tag
        href = attributes.get("href") or "#"
        assert re.fullmatch(r"#[a-z-]+|#", href), href
    assert not re.search(r"url\((?!#)|@import|https?://(?!www\.w3\.org/2000/svg)", text)


def test_everything_is_there_without_script() -> None:
    """Each patient, criterion and sentence of evidence stands in the page itself."""
    run = runs.run(40)
    text = page(run)
    assert text.count('<details class="p"') == 40
    for patient in run.patients:
        assert patient.ref[:10] in text
    assert text.count("HbA1c 6.1 % on 2026-03-02") > 10
    for sentence in (head.source for head in run.criteria):
        assert sentence in text
    assert "One of" in text
    assert text.count("<em>Not</em>") > 100
    assert "confirmed by the investigator" in text
    assert "Nothing recorded counts as “no” for: conditions, procedures." in text


def test_the_evidence_of_one_question_in_two_eyes_stands_together() -> None:
    """As does the condition under which a criterion is asked."""
    leaf = Explained("leaf", "where.all[1]", "latest acuity in any eye")
    tree = Explained("all", "where", children=(Explained("leaf", "where.all[0]", "a diagnosis"), leaf))
    head = CriterionHead("acuity", "inclusion", "20 to 80 letters", explained=tree)
    base = runs.outcome("p", heads=(replace(head, explained=None),))
    said = base.criteria[0].evidence[0]
    paths = ("where.all[0]", "where.all[1][left]", "where.all[1][right]", "applies_if")
    found = tuple(replace(said, path=path, text=f"said at {path}", records=()) for path in paths)
    outcome = replace(base, criteria=(replace(base.criteria[0], evidence=found), base.criteria[1]))
    run = runs.run(
        0,
        patients=(PatientResult(1, "ab", outcome=outcome),),
        trial=replace(runs.run(0).trial, criteria=(head,)),
    )
    words = re.sub("<[^>]+>|\\s+", " ", page(run).split("<summary><b")[1])
    words = re.sub(" +", " ", words)
    order = (
        "Required",
        "said at where.all[0]",
        "By eye",
        "Right eye: said at",
        "Left eye: said at",
        "Asked only if",
    )
    places = [words.index(text) for text in (*order, "said at applies_if")]
    assert places == sorted(places)
    assert "the others decide" not in words


def test_codes_are_listed_by_system_and_cut_after_a_dozen() -> None:
    codes = (*(f"icd10cm E11.{number}" for number in range(11)), "loinc 4548-4", "loinc 1", "loinc 2")
    run = runs.run(0)
    text = page(
        replace(run, trial=replace(run.trial, criteria=(CriterionHead("a", "inclusion", "A", codes=codes),)))
    )
    assert "icd10cm E11.0, E11.1," in text
    assert "E11.10; loinc 4548-4 and 2 more" in text


def test_units_are_written_as_people_write_them_and_notes_in_words() -> None:
    outcome = runs.outcome("p" * 11)
    leaf = replace(outcome.criteria[0].evidence[0], text="64 {letters}, 120 mm[Hg]", notes=("AS_OF_FETCH",))
    outcome = replace(
        outcome, criteria=(replace(outcome.criteria[0], evidence=(leaf,)), *outcome.criteria[1:])
    )
    text = page(runs.run(0, patients=(PatientResult(1, "ab", outcome=outcome),)))
    assert "64 letters, 120 mmHg" in text
    assert "its status is that of the day it was read" in text


def test_a_draft_says_so() -> None:
    run = runs.run(2)
    assert "<b>Draft.</b>" in page(replace(run, trial=replace(run.trial, status="draft")))
    assert "<b>Draft.</b>" not in page(run)


def test_a_failed_source_is_said_with_whom_it_touches() -> None:
    """Patient 5 of the fake has a part of the observations only."""
    text = page(runs.run(40))
    assert "Observations: in part for 1 patient" in text
    assert "it made nobody eligible and nobody not eligible" in text


def test_the_worklist_starts_with_the_next_appointment_of_an_eligible_patient() -> None:
    text = page(runs.run(80))
    appointments = re.findall(r'data-d="y"[^>]*?data-a="([0-9-]+)"', text)
    assert len(appointments) > 3
    assert appointments == sorted(appointments)
    order = re.findall(r'<details class="p" data-d="(.)"', text)
    assert order == sorted(order, key="yubn".index)


def test_every_action_and_reason_of_the_engine_has_words() -> None:
    for reason, (do, _) in missing_data.ACTIONS.items():
        assert reason in wording.REASONS
        assert do in wording.ACTIONS
    assert missing_data.TEST[0] in wording.ACTIONS


def test_undecided_patients_stand_in_the_order_of_what_it_costs_to_decide_them() -> None:
    def undecided(row: int, *look: tuple[str, str]) -> PatientResult:
        found = tuple(
            LookUp(do, "observation", "hba1c:where", why, ("hba1c",), "exclude") for do, why in look
        )
        return PatientResult(row, str(row), outcome=replace(runs.outcome("ppupppppppp"), lookups=found))

    run = runs.run(
        0,
        patients=(
            undecided(1, ("order_test", "NOT_RECORDED")),
            undecided(2, ("read_chart", "NOT_RECORDED"), ("ask_clinician", "NOT_CONFIRMED")),
            undecided(3, ("run_again", "SOURCE_PARTIAL")),
        ),
    )
    assert [patient.input_row for patient in patient_list.ordered(run)] == [3, 2, 1]


def test_each_eye_has_its_own_criteria_and_the_study_eye_is_named() -> None:
    eyes = {"right": runs.outcome("p" * 11), "left": runs.outcome("fpppppppppp")}
    outcome = runs.outcome("p" * 11, eyes=eyes, study_eye=("right", "worse_acuity"))
    base = runs.run(0, patients=(PatientResult(1, "ab" * 32, outcome=outcome),))
    text = page(replace(base, trial=replace(base.trial, grain="eye")))
    assert "Right eye: ✓ eligible" in text
    assert "Left eye: ✗ not eligible" in text
    assert "every criterion met, study eye right" in text
    assert "Study eye: right (rule worse_acuity)" in text
    assert 'data-v="yyyyyyyyyyyy nyyyyyyyyyyy"' in text
    assert "2 eyes evaluated" in text
    assert 'id="f-eye"' in text


def test_many_patients_are_split_into_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index with the numbers, and each patient on exactly one page; fewer pages leave no old one behind."""
    monkeypatch.setattr(html, "ONE_PAGE", 20)
    monkeypatch.setattr(html, "PER_PAGE", 10)
    names = [path.name for path in write_site(runs.run(25), tmp_path)]
    assert names[-4:] == ["report-001.html", "report-002.html", "report-003.html", "report.html"]
    pages = [(tmp_path / name).read_text("utf-8") for name in names[-4:]]
    assert [text.count('<details class="p"') for text in pages] == [10, 10, 5, 0]
    assert all(f'href="{name}"' in pages[-1] for name in names[-4:-1])
    assert 'href="report-002.html">Next page' in pages[0]
    write_site(runs.run(15), tmp_path)
    assert not list(tmp_path.glob("report-*.html"))


def test_the_overview_links_each_report_and_adds_the_sites(tmp_path: Path) -> None:
    north, south = runs.run(20), runs.run(30, seed=2, site="south")
    links = {run.site.pseudonym: f"{run.site.name.split()[0].lower()}/report.html" for run in (north, south)}
    write_overview([north, south], tmp_path, links)
    text = (tmp_path / "overview.html").read_text("utf-8")
    assert 'href="north/report.html">North clinic' in text
    assert 'href="south/report.html">South clinic' in text
    assert "<b>50</b><strong>Patients</strong>" in text
    assert "<script" not in text
    assert "script-src 'none'" in unescape(text)


def test_one_thousand_patients_fit_into_three_megabytes() -> None:
    """Eleven criteria and the implicit one."""
    assert len(page(runs.run(1000)).encode()) <= 3_000_000
