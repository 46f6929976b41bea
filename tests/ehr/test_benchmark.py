"""The benchmark of reading: the server hands out what the fixtures hold, and nobody's time is shown unchecked."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.ehr_reading import arms, command, pages, picture
from benchmarks.ehr_reading.arms import ARMS, Run
from benchmarks.ehr_reading.server import TOKEN, Pages
from federated.cli.command_documents import ReadingBenchmark
from tests.repository.sources import ROOT

FEW = 3
OURS = tuple(arm for arm in ARMS if arm.version is None)


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with arms.serving(FEW, 0) as base:
        yield base


def _got(url: str, token: str = TOKEN) -> dict[str, object]:
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        made: dict[str, object] = json.load(answer)
        return made


def test_the_pages_of_a_search_hold_every_resource_of_the_patient_once(base: str) -> None:
    for name in pages.TYPES:
        url: str | None = f"{base}/{name}?{'_id' if name == 'Patient' else 'patient'}=p000002&_count=100"
        ids: list[str] = []
        while url is not None:
            page = _got(url)
            ids += [entry["resource"]["id"] for entry in page["entry"]]  # type: ignore[attr-defined]  # JSON
            assert all("p000002" in one for one in ids)
            links = {link["relation"]: link["url"] for link in page["link"]}  # type: ignore[attr-defined]  # JSON
            url = links.get("next")
        assert len(ids) == len(set(ids)) == len(pages.people()[1][name]) == page["total"]


def test_a_request_without_the_token_is_refused(base: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        _got(f"{base}/Patient?_id=p000001", "another")


@pytest.mark.parametrize("arm", OURS, ids=lambda arm: arm.client)
def test_each_of_our_programs_reads_what_there_is(base: str, arm: arms.Arm) -> None:
    found = arms.run(arm, Path(sys.executable), base, FEW, 4)
    assert found is not None
    assert found.resources == sum(pages.expected(FEW).values()) - pages.expected(FEW)["Encounter"]
    assert found.requests == len(list(pages.rendered("", FEW, arm.page_size))) - sum(
        key[0] == "Encounter" for key, _ in pages.rendered("", FEW, arm.page_size)
    )
    assert 0 < found.idle_bytes <= found.peak_bytes


def test_pages_beyond_those_that_are_kept_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Pages("http://x/fhir", 50, (100,))
    monkeypatch.setattr("benchmarks.ehr_reading.server.KEPT", 0)
    made = Pages("http://x/fhir", 50, (100,))
    for key, _ in pages.rendered("http://x/fhir", 50, 100):
        assert kept.page(key) == made.page(key) is not None
    assert made.page(("Condition", "p000051", 100, 0)) is None
    assert made.page(("Condition", "p000050", 100, 9)) is None


def test_no_time_is_shown_of_a_client_that_read_something_else() -> None:
    there = pages.expected(FEW)
    right = {name: there[name] for name in ("Patient", *pages.KINDS)}
    arms.check("peer", right, FEW)
    arms.check("peer", {**{n: right[n] for n in list(right)[:4]}, "Encounter": there["Encounter"]}, FEW)
    with pytest.raises(SystemExit, match="no time is shown"):
        arms.check("peer", {**right, "Observation": right["Observation"] - 1}, FEW)
    with pytest.raises(SystemExit, match="no time is shown"):
        arms.check("peer", {name: right[name] for name in list(right)[:4]}, FEW)


def _run(seconds: float, peak: int = 100) -> Run:
    return Run(seconds, seconds, 10, {"Patient": 1, "Condition": 9}, 50, peak)


def test_ratios_are_of_runs_in_the_same_round_and_the_document_is_as_promised() -> None:
    runs = {
        "bare": [_run(1.0), _run(4.0), _run(1.0)],
        "trialveil": [_run(2.0), _run(8.0, 300), _run(1.0)],
        "fhirpy": [None, _run(24.0), None],
        "fhirclient": [None, None, None],
    }
    rows = command.rows_of(runs, 500, 50)
    made = json.loads(json.dumps(command.document(rows, {"bare": 50})))
    ReadingBenchmark.model_validate_json(json.dumps(made))
    bare, ours, fhirpy, missing = made["rows"]
    assert (bare["share_of_limit"], bare["seconds"]) == (1.0, 1.0)
    assert (ours["share_of_limit"], ours["speedup_over_fhirpy"], ours["peak_bytes"]) == (0.5, 3.0, 300)
    assert (fhirpy["speedup_over_fhirpy"], fhirpy["resources"]) == (1.0, 10)
    assert {missing[name] for name in missing if name not in ("client", "patients", "latency_ms")} == {None}
    assert "not measured" in command.shown(rows[3])
    assert "50% of the limit, 3.00 × fhirpy" in command.shown(rows[1])


def test_the_picture_has_a_bar_for_every_client_that_was_measured() -> None:
    runs = {
        "bare": [_run(1.0)],
        "trialveil": [_run(2.0)],
        "fhirpy": [_run(8.0)],
        "fhirclient": [None],
    }
    rows = [asdict(row) for latency in (0, 50) for row in command.rows_of(runs, 500, latency)]
    many = [asdict(row) for row in command.rows_of({"trialveil": [_run(20.0)]}, 5000, 0)]
    root = ElementTree.fromstring(picture.drawn([*rows, *many]))
    bars = [bar for bar in root.findall("{http://www.w3.org/2000/svg}rect") if bar.get("fill") != "#fff"]
    assert len(bars) == 6
    widths = [float(bar.get("width", "0")) for bar in bars[:3]]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2)
    assert widths[2] == pytest.approx(8 * widths[0], abs=0.5)
    assert root.get("role") == "img"


def test_a_peers_program_that_fails_gives_nulls_and_ours_ends_the_run(base: str) -> None:
    peer = arms.Arm("peer", "none.py", version="1")
    assert arms.run(peer, Path(sys.executable), base, 1, 1) is None
    with pytest.raises(SystemExit, match="no time is shown"):
        arms.run(arms.Arm("ours", "none.py"), Path(sys.executable), base, 1, 1)


def test_the_command_prints_one_document_without_peers() -> None:
    file = ROOT / "benchmarks" / "ehr.py"
    small = ["--json", "--no-peers", "--patients", "2", "--many", "0", "--rounds", "1", "--latency", "1"]
    done = subprocess.run([sys.executable, str(file), *small], capture_output=True, check=True, timeout=120)
    made = ReadingBenchmark.model_validate_json(done.stdout)
    assert [row.client for row in made.rows] == [arm.client for arm in OURS]
    assert {(row.patients, row.latency_ms) for row in made.rows} == {(2, 1)}
