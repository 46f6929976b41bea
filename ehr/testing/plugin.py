"""The pytest plugin of the contract kit: its options, and its report. Found by its entry point.

Light on purpose: it is loaded in every run of pytest in an environment that has this package.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

_RUNS = pytest.StashKey[list[list[Any]]]()
_PROPERTY = "ehr_contract"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--ehr-contract-level`` and ``--ehr-contract-report``."""
    group = parser.getgroup("trialveil", "the contract of EHR adapters")
    group.addoption(
        "--ehr-contract-level",
        choices=("must", "should"),
        default="should",
        help="which contract cases to run: those that must hold, or (default) those that should hold too",
    )
    group.addoption(
        "--ehr-contract-report",
        metavar="FILE",
        default=None,
        help="write what each contract case came to, as JSON",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin with no runs."""
    config.stash[_RUNS] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--ehr-contract-level=must``, leave out what an adapter need not hold."""
    if config.getoption("--ehr-contract-level") == "should":
        return
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        case = getattr(getattr(item, "callspec", None), "params", {}).get("case")
        (left_out if getattr(case, "level", "must") == "should" else kept).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


class _Keeper:
    """Collects what came of each case; in the main process, also with pytest-xdist."""

    def __init__(self, config: pytest.Config) -> None:
        self._runs = config.stash[_RUNS]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            found: Any = report.user_properties
            self._runs += [value for name, value in found if name == _PROPERTY]


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Keep results where a report is asked for."""
    if session.config.getoption("--ehr-contract-report") and not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(_Keeper(session.config), "ehr-contract-keeper")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report."""
    target = session.config.getoption("--ehr-contract-report")
    if not target or hasattr(session.config, "workerinput"):
        return
    from ehr.testing.cases import case_named
    from ehr.testing.report import document, merged

    providers: dict[str, list[Any]] = {}
    for provider, name, backend, outcome, reason in session.config.stash[_RUNS]:
        providers.setdefault(provider, []).append((case_named(name), backend, outcome, reason))
    found = {name: merged(runs) for name, runs in sorted(providers.items())}
    text = json.dumps(document(found), ensure_ascii=False, indent=2)
    Path(target).write_text(text + "\n", encoding="utf-8")
