"""``overview.html``: several sites of one owner side by side, with a link to each report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from federated.reports import federation_charts
from federated.reports.federation import Federation
from federated.reports.templates_over_sites import rendered
from federated.screening.report import files, json_documents, patient_list, wording
from federated.screening.report.funnel import Funnel, merged
from federated.screening.report.results import Run
from federated.screening.report.wording import Mark


@dataclass(frozen=True, slots=True)
class SiteColumn:
    """One site, or all of them."""

    name: str
    href: str
    input: int
    decisions: tuple[tuple[Mark, int], ...]
    views: Funnel
    not_fully_read: int


def page(runs: Sequence[Run], reports: Mapping[str, str], federation: Federation | None = None) -> str:
    """The page.

    Args:
        runs: one a site, all of one trial.
        reports: site pseudonym to its report, relative to the page; a site without one has no link.
        federation: what the sites found together, if anything.

    Raises:
        InvalidArgument: there is no run, or they are of different trials.
    """
    runs = json_documents.same_trial(runs)
    sites = sorted((_column(run, reports) for run in runs), key=lambda site: (site.name, site.href))
    shared = federation or Federation()
    model, server = shared.discrimination, shared.server
    return rendered(
        "overview.html.j2",
        trial=runs[0].trial,
        version=runs[0].tool_version,
        dates=sorted({run.index_date for run in runs}),
        names={head.id: patient_list.named(head) for head in runs[0].criteria},
        sites=sites,
        total=_total(runs, sites),
        digests=len({run.trial.plan_digest for run in runs}),
        shared=shared,
        rounds=federation_charts.rounds(model) if model else None,
        finals=federation_charts.finals(model) if model else None,
        seen=federation_charts.seen(server) if server else None,
    )


def _column(run: Run, reports: Mapping[str, str]) -> SiteColumn:
    found = json_documents.counts(run)
    decisions = tuple((mark, found[decision.value]) for decision, mark in wording.DECISIONS.items())
    not_fully_read = sum(
        any(state not in wording.COMPLETE for state in p.fetched.values()) for p in run.patients
    )
    name = run.site.name or run.site.pseudonym
    href = reports.get(run.site.pseudonym, "")
    return SiteColumn(name, href, found["input"], decisions, json_documents.funnel_of(run), not_fully_read)


def _total(runs: Sequence[Run], sites: Sequence[SiteColumn]) -> SiteColumn:
    table = merged(json_documents.tables(run) for run in runs)
    marks = enumerate(wording.DECISIONS.values())
    decisions = tuple((mark, sum(site.decisions[place][1] for site in sites)) for place, mark in marks)
    everyone, not_fully_read = sum(site.input for site in sites), sum(site.not_fully_read for site in sites)
    return SiteColumn(
        "All sites", "", everyone, decisions, json_documents.funnel_of(runs[0], table), not_fully_read
    )


def write_overview(
    runs: Sequence[Run], folder: Path, reports: Mapping[str, str], federation: Federation | None = None
) -> tuple[Path, ...]:
    """Write ``summary.json`` and ``overview.html`` over several sites of one owner.

    Args:
        runs: one a site, all of one trial.
        folder: made if absent.
        reports: site pseudonym to its report, as a path relative to ``folder``.
        federation: what the sites found together, shown on the page.

    Raises:
        InvalidArgument: there is no run, or they are of different trials.
        OutputError: as `write_site`.
    """
    document = json_documents.text(json_documents.overview(runs))
    shown = page(runs, reports, federation)
    folder = files.ready(Path(folder))
    return (
        files.write(folder / "summary.json", [document]),
        files.write(folder / "overview.html", [shown]),
    )
