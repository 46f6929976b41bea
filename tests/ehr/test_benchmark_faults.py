"""The benchmark of faults: its server spoils page 3 and nothing else, and each outcome is called what it is."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.ehr_faults import command
from benchmarks.ehr_faults.command import OURS, Row, Told, outcome_of
from benchmarks.ehr_faults.server import ENDLESS, FAULTS, FAULTY, LEAK, PAGES, RIGHT, Seen, faulty
from federated.cli.command_documents import FaultsBenchmark


def _page(base: str, number: int) -> tuple[int, bytes]:
    url = f"{base}/Observation?patient=p000001&page={number}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_spoils_the_third_page_and_no_other(fault: str) -> None:
    with faulty(None) as (base, _):
        good = [_page(base, number)[1].replace(base.encode(), b"") for number in range(1, PAGES + 1)]
    with faulty(FAULTS[fault]) as (base, _):
        bad = [_page(base, number)[1].replace(base.encode(), b"") for number in range(1, PAGES + 1)]
    differing = [number for number in range(1, PAGES + 1) if good[number - 1] != bad[number - 1]]
    assert differing == [FAULTY]


def test_without_a_fault_there_are_fifty_entries_on_five_pages() -> None:
    ids: list[str] = []
    with faulty(None) as (base, _):
        url: str | None = f"{base}/Observation?patient=p000001"
        while url is not None:
            page = json.load(urllib.request.urlopen(url, timeout=30))
            ids += [entry["resource"]["id"] for entry in page["entry"]]
            url = {link["relation"]: link["url"] for link in page["link"]}.get("next")
    assert len(ids) == len(set(ids)) == RIGHT


def test_the_other_server_notices_a_token() -> None:
    with faulty(FAULTS[LEAK]) as (base, seen):
        page = json.loads(_page(base, FAULTY)[1])
        url = next(link["url"] for link in page["link"] if link["relation"] == "next")
        urllib.request.urlopen(url, timeout=30).close()
        assert (seen.elsewhere, seen.token_elsewhere) == (1, False)
        told = urllib.request.Request(url, headers={"authorization": "Bearer t"})
        urllib.request.urlopen(told, timeout=30).close()
        assert (seen.elsewhere, seen.token_elsewhere) == (2, True)


@pytest.mark.parametrize(
    ("told", "seen", "outcome"),
    [
        (Told(RIGHT, None), Seen(), "right answer"),
        (Told(RIGHT, "PARTIAL"), Seen(), "right answer"),
        (Told(20, "PARTIAL"), Seen(), "typed error"),
        (Told(0, "OperationOutcome"), Seen(), "typed error"),
        (Told(20, None), Seen(), "silently short"),
        (Told(0, None), Seen(), "silently short"),
        (Told(55, None), Seen(), "too many"),
        (Told(RIGHT, None), Seen(asked=Counter({FAULTY: ENDLESS})), "followed for ever"),
        (Told(RIGHT, None), Seen(token_elsewhere=True), "token sent elsewhere"),
    ],
)
def test_what_the_servers_saw_counts_before_what_a_client_says(told: Told, seen: Seen, outcome: str) -> None:
    assert outcome_of(told, seen) == outcome


@pytest.mark.parametrize("fault", ["JSON cut short", LEAK, "five entries come twice"])
def test_ours_has_the_right_answer_or_says_what_is_missing(fault: str) -> None:
    row = command.tried(OURS, Path(sys.executable), fault)
    assert row.outcome == ("right answer" if fault == "five entries come twice" else "typed error")


def test_who_leaks_a_token_is_not_told() -> None:
    rows = [
        Row(LEAK, OURS, "typed error", 30),
        Row(LEAK, "one", "token sent elsewhere", 50),
        Row(LEAK, "two", "typed error", 0),
        Row(LEAK, "three", None, None),
        Row("503 once", "one", "typed error", 0),
    ]
    made = command.document(rows)
    FaultsBenchmark.model_validate_json(json.dumps(made))
    assert made["token_elsewhere"] == {"peers": 2, "sent": 1}
    assert [(row["fault"], row["client"]) for row in made["rows"]] == [(LEAK, OURS), ("503 once", "one")]
    text = command.text_of(made)
    assert "1 of 2 peers" in text
    assert f"{OURS}: 1 of 1" in text


def test_a_peer_that_is_not_installed_gives_null_and_ours_must_end_well(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert command.tried("fhirpy", None, "503 once") == Row("503 once", "fhirpy", None, None)
    monkeypatch.setattr(command, "PROGRAM", tmp_path / "none.py")
    assert command.tried("fhirpy", Path(sys.executable), "503 once").outcome is None
    with pytest.raises(SystemExit, match="did not end well"):
        command.tried(OURS, Path(sys.executable), "503 once")
