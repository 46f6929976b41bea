"""``overview.html``: several sites of one owner side by side, with a link to each report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from federated.reports import documents, federation_charts, wording, worklist
from federated.reports.federation import Federation
from federated.reports.html import asset, content_policy, environment
from federated.reports.run import Run
from federated.reports.wording import Mark
from federated.screening.funnel import Funnel, merged


@dataclass(frozen=True, slots=True)
class Column:
    """One site, or all of them."""

    name: str
    href: str
    input: int
    decisions: tuple[tuple[Mark, int], ...]
    views: Funnel
    unread: int


def page(runs: Sequence[Run], reports: Mapping[str, str], federation: Federation | None = None) -> str:
    """The page.

    Args:
        runs: one a site, all of one trial.
        reports: site pseudonym to its report, relative to the page; a site without one has no link.
        federation: what the sites found together, if anything.

    Raises:
        InvalidArgument: there is no run, or they are of different trials.
    """
    runs = documents.same_trial(runs)
    sites = sorted((_column(run, reports) for run in runs), key=lambda site: (site.name, site.href))
    shared = federation or Federation()
    model, server = shared.discrimination, shared.server
    return (
        environment()
        .get_template("overview.html.j2")
        .render(
            trial=runs[0].trial,
            version=runs[0].tool_version,
            dates=sorted({run.index_date for run in runs}),
            names={head.id: worklist.named(head) for head in runs[0].criteria},
            sites=sites,
            total=_total(runs, sites),
            digests=len({run.trial.plan_digest for run in runs}),
            style=asset("report.css"),
            policy=content_policy(""),
            shared=shared,
            decisions=[(decision.value, mark) for decision, mark in wording.DECISIONS.items()],
            rounds=federation_charts.rounds(model) if model else None,
            finals=federation_charts.finals(model) if model else None,
            seen=federation_charts.seen(server) if server else None,
        )
    )


def _column(run: Run, reports: Mapping[str, str]) -> Column:
    found = documents.counts(run)
    decisions = tuple((mark, found[decision.value]) for decision, mark in wording.DECISIONS.items())
    unread = sum(any(state not in wording.COMPLETE for state in p.fetched.values()) for p in run.patients)
    name = run.site.name or run.site.pseudonym
    href = reports.get(run.site.pseudonym, "")
    return Column(name, href, found["input"], decisions, documents.funnel_of(run), unread)


def _total(runs: Sequence[Run], sites: Sequence[Column]) -> Column:
    table = merged(documents.tables(run) for run in runs)
    marks = enumerate(wording.DECISIONS.values())
    decisions = tuple((mark, sum(site.decisions[place][1] for site in sites)) for place, mark in marks)
    everyone, unread = sum(site.input for site in sites), sum(site.unread for site in sites)
    return Column("All sites", "", everyone, decisions, documents.funnel_of(runs[0], table), unread)
