"""The templates of pages over several sites: their own and those of one site's report."""

from __future__ import annotations

from functools import cache

from jinja2 import ChoiceLoader, Environment, PackageLoader

from federated.reports import federation_charts as charts
from federated.screening.report import html, wording


@cache
def environment() -> Environment:
    """The environment of the report's own pages, with our templates and the words of our charts."""
    base = html.environment()
    assert base.loader is not None
    made = base.overlay(loader=ChoiceLoader([PackageLoader("federated.reports"), base.loader]))
    drawn = (charts.interval, charts.number, charts.signed, charts.share, charts.short)
    made.filters = base.filters | {made_of.__name__: made_of for made_of in drawn}
    return made


def rendered(template: str, **parts: object) -> str:
    """A page without script, with the styles and the decisions that all of them show."""
    style, policy = html.asset("report.css"), html.content_policy("")
    decisions = [(decision.value, mark) for decision, mark in wording.DECISIONS.items()]
    return (
        environment().get_template(template).render(style=style, policy=policy, decisions=decisions, **parts)
    )
