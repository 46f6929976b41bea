"""What the pages show works as they show it, and what they link to is there."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ehr.files import settings
from ehr.records.fetched import State
from federated.cli import error_page
from federated.datasources.settings import SourceSettings, SplitSettings
from federated.modeller.check import MODEL_FIELDS
from federated.models.catalogue import BUILT_IN, ModelChoice
from federated.models.linear import Settings
from federated.models.selection import Selection
from federated.models.weights import Weights
from federated.owner.config import PodFile
from federated.owner.federation_section import FederationSection, ModellerSection
from federated.owner.policy import Budgets, PolicySection
from federated.screening.plan.trial_plan import DEFAULTS
from federated.screening.report.wording import REASONS
from federated.screening.trial.grammar import PREDICATES
from federated.screening.trial.head import CRITERIA_KEYS, TOP
from federated.task.file import (
    AggregatorSection,
    DeadlinesSection,
    DocumentSection,
    PodSection,
    TaskFile,
    UnitSection,
)
from federated.task.file import SenderSection as TaskModeller
from federated.task.reference_task import FIELDS
from tests.repository.fences import anchors, fences, links, pages
from tests.repository.scenes import Scene
from tests.repository.sources import ROOT

DOCS = ROOT / "docs"
FURTHER = (ROOT / "CONTRIBUTING.md", *sorted((ROOT / "examples").rglob("*.md")))
FIRST = DOCS / "quickstart.md"
"""Other pages go on with its files."""


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in (
        "TRIALVEIL_OUTPUT_DIR",
        "TRIALVEIL_TASK_RESULTS_DIR",
        "BITFOUNT_OUTPUT_DIR",
        "BITFOUNT_TASK_RESULTS_DIR",
    ):
        monkeypatch.delenv(name, raising=False)
    with ExitStack() as held:
        yield Scene(tmp_path, held)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_the_examples_of_a_page_work_as_shown(page: Path, scene: Scene) -> None:
    if page != FIRST:
        for fence in fences(FIRST):
            if fence.language in ("yaml", "csv") or "ehr sandbox" in fence.text or "pod new" in fence.text:
                scene.play(fence)
    for fence in fences(page):
        scene.play(fence)


@pytest.mark.parametrize("page", [*pages(), *FURTHER], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in links(page):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(file), f"{page.name} links to {target}; there is no such heading"


def test_every_page_can_be_reached_from_the_first() -> None:
    seen: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        ahead += [
            (page.parent / target.partition("#")[0]).resolve()
            for target in links(page)
            if not re.match(r"https?:|#", target)
        ]
    assert set(DOCS.glob("*.md")) <= seen


def test_a_table_of_keys_names_every_key_of_every_predicate() -> None:
    page = (DOCS / "write-a-trial.md").read_text(encoding="utf-8")
    for predicate, shape in PREDICATES.items():
        rows = [line for line in page.splitlines() if line.startswith(f"| `{predicate}`")]
        assert len(rows) == 1, f"{predicate} has {len(rows)} rows"
        windows = {"within", "next", "from", "to", "ends"}
        for key in set(shape.keys) - windows:
            assert f"`{key}`" in rows[0], f"{predicate} takes {key}, and its row does not say so"


def test_the_page_about_trials_explains_every_reason_and_every_key_of_the_top_level() -> None:
    page = (DOCS / "write-a-trial.md").read_text(encoding="utf-8")
    for word in (*REASONS, *TOP, *CRITERIA_KEYS):
        assert f"`{word}`" in page or word == "digest", f"{word} is not explained"


def test_the_pod_page_explains_every_key_of_the_file() -> None:
    page = (DOCS / "run-a-pod.md").read_text(encoding="utf-8")
    sections = (PodFile, settings.EHRSection, settings.SiteSection, settings.CohortSection, settings.Rate)
    sections = (*sections, settings.Backend, settings.External, settings.Auth)
    sections = (*sections, PolicySection, Budgets, FederationSection, ModellerSection)
    sections = (*sections, SourceSettings, SplitSettings)
    for section in sections:
        for key in section.model_fields:
            assert f"`{key}`" in page, f"{section.__name__}.{key} is not explained"
    for kind, word in DEFAULTS.items():
        assert re.search(rf"\| `{kind}` \| {word} \|", page), (
            f"the default of {kind} is not {word} on the page"
        )


def test_the_task_page_explains_every_key_and_every_field_of_the_reference() -> None:
    page = (DOCS / "write-a-task.md").read_text(encoding="utf-8")
    sections = (TaskFile, AggregatorSection, PodSection, TaskModeller, DeadlinesSection, DocumentSection)
    for section in (*sections, UnitSection):
        for key in section.model_fields:
            assert f"`{key}`" in page, f"{section.__name__}.{key} is not explained"
    for field in FIELDS:
        assert f"| `{field.path}` | " in page
        assert field.says in page
    for name, says in MODEL_FIELDS.items():
        assert f"| `model.{name}` | refused: {says} |" in page


def test_the_page_of_models_explains_every_key() -> None:
    page = (DOCS / "models-and-data.md").read_text(encoding="utf-8")
    keys = [*SourceSettings.model_fields, *SplitSettings.model_fields]
    keys += [
        field.name
        for kind in (Selection, ModelChoice, Settings, Weights)
        for field in dataclasses.fields(kind)
    ]
    for key in keys:
        assert re.search(rf"[`{{ ]{key}[`:]", page), f"{key} is not explained"
    assert all(f"| `{name}`" in page for name in BUILT_IN)


def test_the_page_of_errors_says_what_the_classes_say() -> None:
    shown = (ROOT / error_page.FILE).read_text(encoding="utf-8")
    assert shown == error_page.page(), "run: python -m federated.cli.error_page"


def test_every_error_class_says_in_words_what_it_means() -> None:
    for kind, _ in error_page.classes():
        assert kind.__doc__, f"{kind.__name__} has no docstring"


def test_the_python_page_explains_every_state() -> None:
    page = (DOCS / "python.md").read_text(encoding="utf-8")
    assert all(f"`{state.name}`" in page for state in State)


def test_the_picture_is_small_enough_for_a_slow_line() -> None:
    assert (DOCS / "images" / "report.png").stat().st_size <= 250_000


def test_a_page_that_says_something_wrong_is_noticed(tmp_path: Path, scene: Scene) -> None:
    page = tmp_path / "page.md"
    for wrong in (
        "```console\n$ trialveil --version\ntrialveil 9.9.9\n```\n",
        "```python\nprint(1 + 1)  # → 3\n```\n",
        "```yaml pod.yaml\nname: x\nehr: {}\n```\n",
        "```yaml criteria\n- age: {is: '>= 50', unitt: a}\n```\n",
        "```console\n$ rm -r everything\n```\n",
        "```perl\nprint 1\n```\n",
    ):
        page.write_text(wrong, encoding="utf-8")
        fence = next(fences(page))
        with pytest.raises((AssertionError, ValueError)):
            scene.play(fence)
        assert dataclasses.is_dataclass(fence)
