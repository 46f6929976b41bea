"""What is marked as a proof is run by the proof, and a failure or a skip there does not pass for a success."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.proof import __main__ as command
from tests.proof import marked_tests

HEAD = "import pytest\n\n\ndef test_of_every_day():\n    raise AssertionError\n\n\n"
PROOF = "@pytest.mark.proof\n@pytest.mark.parametrize('place', range(3))\ndef test_whole(place):\n    {}\n"


@pytest.mark.parametrize(
    ("body", "held", "told"),
    [
        ("pass", True, "3 of 3 tests passed"),
        (
            "assert place != 1\n    if place == 2:\n        pytest.skip('no such program')",
            False,
            "1 of 3 tests",
        ),
    ],
)
def test_all_marked_tests_are_run_and_no_others(tmp_path: Path, body: str, held: bool, told: str) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = proof: full size\n", encoding="utf-8")
    (tmp_path / "test_shop.py").write_text(HEAD + PROOF.format(body), encoding="utf-8")
    assert marked_tests.run(tmp_path, tmp_path) is held
    assert told in (tmp_path / "marked-tests.md").read_text(encoding="utf-8")


def test_make_proof_runs_the_marked_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for held in (True, False):
        monkeypatch.setattr(marked_tests, "run", lambda held=held: held)
        assert command.main(["--only", "marked-tests"]) == (0 if held else 1)
    assert "marked-tests" in command.PARTS
