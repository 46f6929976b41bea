"""The digest and the locked file: what changes them, and that a locked file decides alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.errors import ConfigurationError
from federated.screening.trial.load import check_trial, load_trial
from federated.screening.trial.lock import digest, lock
from tests.federated.screening.trial.test_load import LIBRARY
from tests.federated.screening.trial_texts import errors, files, read, with_node

EXAMPLES = sorted((Path(__file__).parents[4] / "examples" / "trials").glob("*.yaml"))
TEXT = EXAMPLES[2].read_text()
FHIR = (
    '{"resourceType": "ValueSet", "url": "http://x.example/vs", "version": "3", "expansion": {"contains": '
    '[{"system": "http://snomed.info/sct", "code": "22298006"}]}}'
)


def of(text: str) -> str:
    return digest(read(text).require())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("title: Geographic atrophy, recruitment", "title: Geographical atrophy, recruitment"),
        ("At least 49 years", "At least forty-nine years"),
        ("Age 50 or older", "Age fifty or older"),
        ("provenance: From", "provenance: Taken from"),
        ("title: Intermediate", "title: intermediate"),
        ("trialveil: 1\n", "trialveil: 1\n# a comment\n"),
        ("is: \">= 2.5\"", "is: \">= 2.50\""),
        ("[H35.3112, H35.3113,", "[H35.3113, h353112,"),
        ("wet_amd", "wet_macula"),
        ("$min_age", "49"),
    ],
)  # fmt: skip
def test_a_typo_does_not_change_the_digest(old: str, new: str) -> None:
    assert old in TEXT
    assert of(TEXT.replace(old, new)) == of(TEXT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("value: 49", "value: 50"),
        ("is: \">= 2.5\"", "is: \"> 2.5\""),
        ("within: 12 mo", "within: 13 mo"),
        ("within: 12 mo", "within: 1 a"),
        ("times: 2", "times: 3"),
        ("H35.3112, ", ""),
        ("[wet amd, neovascular]", "[wet amd]"),
        ("clinical: any", "clinical: [active]"),
        ("elsewhere: matters", "status: [completed]"),
        ("eye: any", "eye: all"),
        ("status: final", "status: draft"),
        ("- {id: wet, text", "- {id: wet, enabled: false, text"),
        ("- {id: wet,", "- {id: wet2,"),
    ],
)  # fmt: skip
def test_a_threshold_changes_the_digest(old: str, new: str) -> None:
    assert old in TEXT
    assert of(TEXT.replace(old, new, 1)) != of(TEXT)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_locked_and_unlocked_files_decide_alike(path: Path) -> None:
    trial = load_trial(path)
    again = read(lock(trial))
    assert again.problems == ()
    assert again.require() == trial
    assert digest(again.require()) == digest(trial)
    assert lock(again.require()) == lock(trial)


def test_a_locked_file_needs_no_other_file() -> None:
    text = with_node("{all: [{ref: brain.recent}, {condition: {in: mi}}]}", "use: [brain.yaml]\n").replace(
        "value_sets:\n", "value_sets:\n  mi: {from: mi.json, text_hints: [heart attack]}\n"
    )
    trial = read(text, files(brain__yaml=LIBRARY, mi__json=FHIR)).require()
    locked = read(lock(trial), files())
    assert not locked.problems
    assert locked.require() == trial
    assert locked.require().value_sets["mi"].origin == trial.value_sets["mi"].origin
    assert trial.value_sets["mi"].origin["version"] == "3"


def test_a_locked_file_that_nobody_could_read_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = read(TEXT).require()
    monkeypatch.setattr("federated.screening.trial.lock.MAX_BYTES", len(lock(trial)) - 1)
    with pytest.raises(ConfigurationError, match="1 MiB"):
        lock(trial)


def test_an_override_is_in_the_locked_file_and_in_the_digest() -> None:
    trial = read(TEXT, None, min_age="55").require()
    assert digest(trial) != of(TEXT)
    locked = read(lock(trial)).require()
    assert digest(locked) == digest(trial)
    assert locked.parameters["min_age"].value == "55"


def test_a_locked_file_that_was_changed_is_refused() -> None:
    text = lock(read(TEXT).require())
    changed = text.replace("value: '49'", "value: '18'")
    assert changed != text
    assert [problem.code for problem in errors(read(changed))] == ["TV180"]
    assert not errors(read(text.replace("At least 49", "From 49")))


def test_a_locked_file_may_still_be_overridden_by_a_site() -> None:
    text = lock(read(TEXT).require())
    assert read(text, None, min_age="60").require().parameters["min_age"].value == "60"


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1).filter(str.strip))
@settings(max_examples=60, deadline=None)
def test_any_text_survives_locking(text: str) -> None:
    quoted = "'" + text.replace("'", "''") + "'"
    checked = read(with_node("{deceased: {is: false}}", f"provenance: {quoted}\n"))
    if checked.trial is None:  # a byte order mark or a line separator that YAML treats in its own way
        return
    assert read(lock(checked.trial)).require().provenance == checked.trial.provenance


def test_the_digest_does_not_depend_on_where_a_file_lies(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(TEXT)
    trial = check_trial(tmp_path / "other.yaml").require()
    assert digest(trial) == of(TEXT)
