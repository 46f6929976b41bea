"""The page of a mutation proof keeps the first figures and tells later ones apart from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.proof import mutation, mutation_page, page, samples
from tests.proof.mutator import mutants
from tests.proof.samples import Sample, Survivor

SOURCE = "def least(a, b):\n    return a if a < b else b\n\n\ndef next_one(a):\n    return a + 1\n"
KILLED = Survivor("shop", "next_one", "arithmetic swapped", "a + 1", "a - 1", "return a + 1", "killed")
ARGUED = Survivor("shop", "least", "comparison swapped", "a < b", "a <= b", "return a if a < b else b")
OPEN = Survivor("shop", "next_one", "constant changed", "1", "2", "return a + 1")
FIRST = Sample("2026-01-02", "abc1234", 1, 30, {"shop": 10}, 1, (KILLED, ARGUED, OPEN))
REASONS = {ARGUED.key: "Where both are equal it does not matter which one is given."}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SOURCE, encoding="utf-8")
    return tmp_path


def test_a_page_says_what_was_killed_when_a_sample_was_drawn_and_what_has_become_of_the_rest(
    tmp_path: Path,
) -> None:
    second = Sample("2026-02-03", "def5678", 2, 31, {"shop": 20}, 0, (replace(OPEN, since="gone"),))
    share = mutation_page.write("shop", [second, FIRST], REASONS, 0.9, tmp_path)
    text = (tmp_path / "shop.md").read_text(encoding="utf-8")
    assert share == 7 / 9
    assert (
        "**70.0% of the newest sample were killed when it was drawn, 77.8% of those that can change" in text
    )
    assert "Of its 3 survivors tests notice 1 since, 1 cannot or need not be noticed" in text
    assert "| 2026-01-02 | `abc1234` | 1 | 10 of 30 | 1 | 7 (70.0%) | 77.8% | 1 | 1 | 0 | 1 |" in text
    assert "| 2026-02-03 | `def5678` | 2 | 20 of 31 | 0 | 19 (95.0%) | 95.0% | 0 | 0 | 1 | 0 |" in text
    assert "| `shop` | 30 | 26 | 2 | 1 | 1 |" in text
    assert "| `shop:least` | comparison swapped | `a < b` | `a <= b` | 1 | Where both are equal" in text
    assert "| `1` | `2` | 1 | **not yet judged** |" in text
    assert "| `1` | `2` | 2 | its line is no longer there |" in text
    assert "| `a + 1` | `a - 1` | 1 | a test notices it now |" in text


def test_a_page_tells_mutants_that_no_sample_had_met_from_others(tmp_path: Path) -> None:
    old, new = (samples.digest(each.key) for each in (KILLED, OPEN))
    first = replace(FIRST, tried={"shop": 1}, survivors=(), digests=(old,))
    second = replace(FIRST, seed=2, tried={"shop": 4}, survivors=(OPEN,), digests=(old, new, "a", "b"))
    mutation_page.write("shop", [first, second], REASONS, 0.9, tmp_path)
    text = (tmp_path / "shop.md").read_text(encoding="utf-8")
    assert "Of its 4 mutants no earlier sample had tried 3; of these 2 were killed (66.7%)." in text
    mutation_page.write("shop", [second], REASONS, 0.9, tmp_path)
    assert "no earlier sample" not in (tmp_path / "shop.md").read_text(encoding="utf-8")


def test_what_was_tried_by_hand_stays_on_its_page(tmp_path: Path) -> None:
    words = mutation_page.BY_HAND.read_text(encoding="utf-8")
    for name in ("mutation", "shop"):
        mutation_page.write(name, [FIRST], REASONS, 0.9, tmp_path)
        assert (tmp_path / f"{name}.md").read_text(encoding="utf-8").endswith(words) is (name == "mutation")
    assert (page.FOLDER / "mutation.md").read_text(encoding="utf-8").endswith(words)


def test_samples_are_kept_and_only_the_same_one_is_replaced(tmp_path: Path) -> None:
    assert samples.read("shop", tmp_path) == ()
    samples.add("shop", FIRST, tmp_path)
    later = replace(FIRST, commit="fff0000", survivors=())
    assert samples.add("shop", later, tmp_path) == (FIRST, later)
    again = replace(FIRST, slow=0)
    assert samples.add("shop", again, tmp_path) == (later, again)
    assert samples.read("shop", tmp_path) == (later, again)


def test_survivors_are_found_again_by_their_line_and_their_change(shop: Path) -> None:
    found = samples.still_there([FIRST], shop)
    assert {mutant.key for mutant in found} == {KILLED.key, ARGUED.key, OPEN.key}
    (shop / "shop.py").write_text("\n\n" + SOURCE.replace("a + 1", "1 + a"), encoding="utf-8")
    found = samples.still_there([FIRST], shop)
    assert [mutant.key for mutant in found] == [ARGUED.key]
    (shop / "shop.py").unlink()
    assert samples.still_there([FIRST], shop) == []


def test_what_was_tried_again_is_killed_or_survives_and_the_rest_is_gone() -> None:
    (seen,) = samples.checked([FIRST], {KILLED.key: False, ARGUED.key: True})
    assert [each.since for each in seen.survivors] == ["survives", "killed", "gone"]
    assert replace(seen, survivors=FIRST.survivors) == FIRST


def test_of_two_changes_that_look_alike_both_must_be_killed() -> None:
    twins = [m for m in mutants("shop", "def f(a):\n    return a[1:1]\n") if m.after == "2"]
    assert [len(twins), len({m.key for m in twins})] == [2, 1]
    sample = replace(FIRST, survivors=(samples.survivor(twins[0]),))
    for killed, since in (((True, False), "survives"), ((False, True), "survives"), ((True, True), "killed")):
        found = mutation.noticed(dict(zip(twins, killed, strict=True)))
        assert found == {twins[0].key: all(killed)}
        (seen,) = samples.checked([sample], found)
        assert seen.survivors[0].since == since


def test_nothing_is_tried_again_where_no_sample_was_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mutation.samples, "read", lambda name: ())
    assert mutation.again("shop") is None
    assert "no sample is kept" in capsys.readouterr().err


def test_every_survivor_of_a_kept_sample_is_judged() -> None:
    reasons = mutation.accepted()
    kept = samples.read("mutation-secure-agg")
    assert kept
    for sample in kept:
        assert mutation_page.counted(sample, reasons)["open"] == 0
