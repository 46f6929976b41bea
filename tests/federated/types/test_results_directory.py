"""Where results go: each level on its own, made when asked for, and never outside the base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federated.types import ProtocolContext, get_task_results_directory

VARIABLES = [
    f"{who}_{what}" for who in ("TRIALVEIL", "BITFOUNT") for what in ("OUTPUT_DIR", "TASK_RESULTS_DIR")
]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("project", "task", "below"),
    [(None, None, ""), ("p", None, "p"), (None, "t", "t"), ("p", "t", "p/t")],
)
def test_each_level_is_independent_and_made(
    project: str | None, task: str | None, below: str, tmp_path: Path
) -> None:
    folder = ProtocolContext(project_id=project, task_id=task).get_task_results_dir()
    assert folder == tmp_path / "task-results" / below
    assert folder.is_dir()


def test_without_a_context_results_go_to_the_output_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert get_task_results_directory(None) == tmp_path
    monkeypatch.setenv("BITFOUNT_OUTPUT_DIR", str(tmp_path / "a"))
    assert get_task_results_directory(None) == tmp_path / "a"
    assert (tmp_path / "a").is_dir()


def test_with_a_context_it_decides() -> None:
    context = ProtocolContext(task_id="t")
    assert get_task_results_directory(context) == context.get_task_results_dir()


def test_our_variables_come_before_the_reference_s_and_are_read_at_each_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    context = ProtocolContext(task_id="t")
    monkeypatch.setenv("BITFOUNT_OUTPUT_DIR", str(tmp_path / "b"))
    assert context.get_task_results_dir() == tmp_path / "b" / "task-results" / "t"
    monkeypatch.setenv("TRIALVEIL_OUTPUT_DIR", str(tmp_path / "o"))
    assert context.get_task_results_dir() == tmp_path / "o" / "task-results" / "t"
    monkeypatch.setenv("BITFOUNT_TASK_RESULTS_DIR", str(tmp_path / "c"))
    assert context.get_task_results_dir() == tmp_path / "c" / "t"
    monkeypatch.setenv("TRIALVEIL_TASK_RESULTS_DIR", str(tmp_path / "d"))
    assert context.get_task_results_dir() == tmp_path / "d" / "t"
    assert get_task_results_directory(None) == tmp_path / "o"


def test_an_empty_variable_is_as_if_it_were_not_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRIALVEIL_OUTPUT_DIR", "")
    monkeypatch.setenv("BITFOUNT_OUTPUT_DIR", str(tmp_path / "b"))
    assert get_task_results_directory(None) == tmp_path / "b"


HOSTILE: list[Any] = [
    "",
    " ",
    ".",
    "..",
    ".. ",
    "...",
    "/",
    "/etc",
    "a/b",
    "../a",
    "a\\b",
    "..\\a",
    "\\\\server\\share",
    "C:",
    "C:\\a",
    "c:a",
    "a:stream",
    "a\0b",
    7,
    b"a",
]


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("level", ["project_id", "task_id"])
def test_an_id_that_is_no_folder_name_is_refused_and_nothing_is_made(
    hostile: Any, level: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=level) as caught:
        ProtocolContext(**{level: hostile}).get_task_results_dir()
    assert list(tmp_path.iterdir()) == []
    assert "server" not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.sampled_from("a.\\/: \0é"), max_size=6))
def test_an_accepted_id_is_exactly_one_level_below_the_base(text: str, tmp_path: Path) -> None:
    try:
        folder = ProtocolContext(task_id=text).get_task_results_dir()
    except ValueError:
        return
    assert folder.resolve().parent == (tmp_path / "task-results").resolve()
