"""Predicates of the trial file as leaves of the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from functools import singledispatch
from typing import Literal, NamedTuple

from ehr.dates import day_start
from ehr.records.fetched import Kind
from federated.screening.plan import nodes
from federated.screening.plan import times as plan_times
from federated.screening.plan.bounds import PlanRefused, asked_of, asked_of_column, code_set
from federated.screening.trial import predicates as file
from federated.screening.trial import value_types

NEVER = frozenset({"refuted", "entered-in-error"})
"""Verification statuses that count as nothing, whatever an author lists."""

PlanEye = Literal["right", "left", "this", "fellow"]


Times = Sequence[tuple[str, value_types.Window | None]]


class Setting(NamedTuple):
    """What a leaf is planned in: the index date, what silence means, since when, and the grain."""

    day: date
    world: dict[str, nodes.World]
    care_since: date | None
    grain: str


@singledispatch
def leaf(predicate: file.Leaf, setting: Setting) -> nodes.PlanNode:
    """The plan's leaf (or, for both eyes, two leaves) of a predicate.

    Raises:
        PlanRefused: the predicate cannot be planned in this grain.
    """
    raise PlanRefused(f"{predicate.kind} cannot be planned")


@leaf.register
def _(predicate: file.AgeAt, setting: Setting) -> nodes.PlanNode:
    if predicate.when.anchor == "birth":
        raise PlanRefused('"at" of an age cannot be counted from birth')
    at = plan_times.day_of_point(predicate.when, setting.day)
    return plan_times.age(predicate.compare, predicate.unit, at, predicate.at.path)


@leaf.register
def _(predicate: file.Sex, setting: Setting) -> nodes.PlanNode:
    return _field(predicate, setting, ("sex", predicate.which), predicate.values)


@leaf.register
def _(predicate: file.Deceased, setting: Setting) -> nodes.PlanNode:
    return _field(predicate, setting, ("deceased", "deceased"), ("true" if predicate.value else "false",))


@leaf.register
def _(predicate: file.Column, setting: Setting) -> nodes.PlanNode:
    made = _field(predicate, setting, ("column", predicate.name), predicate.texts)
    asked = asked_of_column(predicate)
    return made if asked is None else replace(made, asked=asked, text=asked.text)


def _field(
    predicate: file.Leaf,
    setting: Setting,
    of: tuple[Literal["sex", "deceased", "column"], str],
    values: tuple[str, ...],
) -> nodes.Field:
    world: nodes.World = "open" if predicate.elsewhere_matters else setting.world[of[0]]
    end = plan_times.day_end(setting.day)
    return nodes.Field(predicate.at.path, *of, frozenset(values), " or ".join(values), world, end)


@leaf.register
def _(predicate: file.Measurement, setting: Setting) -> nodes.PlanNode:
    return nodes.Unread(predicate.at.path, "measurement", "NOT_MEASURED", predicate.metric)


@leaf.register
def _(predicate: file.Condition, setting: Setting) -> nodes.PlanNode:
    asked = (("onset", predicate.onset), ("recorded", predicate.recorded), ("active", predicate.active))
    given = [(of, window) for of, window in asked if window is not None]
    select = replace(_select(predicate, setting, given or [("known", None)]), statuses=_verified(predicate))
    return _eyes(predicate.eye, _number(predicate, select, predicate.count), setting)


@leaf.register
def _(predicate: file.Allergy, setting: Setting) -> nodes.PlanNode:
    select = _select(predicate, setting, [("onset", predicate.window)])
    return _number(predicate, replace(select, statuses=_verified(predicate)), predicate.count)


def _verified(predicate: file.Condition | file.Allergy) -> tuple[nodes.StatusRule, ...]:
    clinical, maybe = predicate.clinical, frozenset(predicate.maybe)
    return (
        nodes.StatusRule("clinical", None if clinical is None else frozenset(clinical)),
        nodes.StatusRule("verification", frozenset(predicate.verification) - NEVER, maybe - NEVER),
    )


@leaf.register
def _(predicate: file.Procedure, setting: Setting) -> nodes.PlanNode:
    select = _select(predicate, setting, [("performed", predicate.performed)])
    made = _number(predicate, select, predicate.count)
    if isinstance(made, nodes.Count):
        made = replace(made, distinct=predicate.distinct)
    return _eyes(predicate.eye, made, setting)


@leaf.register
def _(predicate: file.Medication, setting: Setting) -> nodes.PlanNode:
    return nodes.Exists(predicate.at.path, _requested(predicate, setting))


@leaf.register
def _(predicate: file.Order, setting: Setting) -> nodes.PlanNode:
    return _number(predicate, _requested(predicate, setting), predicate.count)


def _requested(predicate: file.Medication | file.Order, setting: Setting) -> nodes.Select:
    return replace(
        _select(predicate, setting, [("authored", predicate.authored)]),
        sources=frozenset(predicate.sources),
        intents=frozenset(predicate.intent),
    )


@leaf.register
def _(predicate: file.Immunization, setting: Setting) -> nodes.PlanNode:
    return _number(predicate, _select(predicate, setting, [("occurred", predicate.window)]), predicate.count)


@leaf.register
def _(predicate: file.Document, setting: Setting) -> nodes.PlanNode:
    return _number(predicate, _select(predicate, setting, [("when", predicate.window)]), predicate.count)


@leaf.register
def _(predicate: file.Appointment, setting: Setting) -> nodes.PlanNode:
    select = replace(
        _select(predicate, setting, [("when", predicate.window)]),
        types=frozenset(predicate.types),
        locations=frozenset(predicate.location),
    )
    return _number(predicate, select, predicate.count, predicate.every, setting.day)


@leaf.register
def _(predicate: file.Encounter, setting: Setting) -> nodes.PlanNode:
    select = replace(
        _select(predicate, setting, [("whole" if predicate.whole else "start", predicate.window)]),
        classes=frozenset(code.upper() for code in predicate.classes),
        discharge=None if predicate.discharge is None else code_set(predicate.discharge),
    )
    return _number(predicate, select, predicate.count, predicate.every, setting.day)


@leaf.register
def _(predicate: file.Observation, setting: Setting) -> nodes.PlanNode:
    select = replace(
        _select(predicate, setting, [("effective", predicate.window)]), specimen=predicate.specimen
    )
    return _eyes(predicate.eye, _taken(predicate, select, setting.day), setting)


def _taken(predicate: file.Observation, select: nodes.Select, index: date) -> nodes.PlanLeaf:
    path, take = predicate.at.path, predicate.take
    if take == "count":
        return _number(predicate, select, predicate.count)
    if predicate.compare is None and predicate.code_in is None and not predicate.texts:
        return nodes.Exists(path, select)
    asked = asked_of(predicate)
    if take in ("latest", "earliest"):
        stale = None if predicate.stale_after is None else plan_times.before(predicate.stale_after, index)
        return nodes.Latest(path, select, asked, take == "earliest", stale, predicate.same_day)
    if take == "mean":
        return nodes.Mean(path, select, asked)
    if take in ("min", "max"):
        return nodes.Extreme(path, select, asked, "min" if take == "min" else "max")
    return nodes.Each(path, select, asked, all=take == "all")


def _select(predicate: file.Leaf, setting: Setting, times: Times) -> nodes.Select:
    """The records of a predicate's kind, by all that most predicates say of them."""
    kind = Kind(predicate.kind)
    codes: value_types.ValueSet | None = getattr(predicate, "codes", None)
    status: tuple[str, ...] | None = getattr(predicate, "status", None)
    return nodes.Select(
        kind=kind,
        codes=None if codes is None else code_set(codes),
        world="open" if predicate.elsewhere_matters else setting.world[kind.value],
        index_end=plan_times.day_end(setting.day),
        statuses=() if status is None else _status(status),
        times=tuple(nodes.TimeRule(of, plan_times.span(window, setting.day)) for of, window in times),
        categories=frozenset(getattr(predicate, "category", ())),
        care_since=None if setting.care_since is None else day_start(setting.care_since),
    )


def _status(accepted: tuple[str, ...]) -> tuple[nodes.StatusRule, ...]:
    # "unknown" is what FHIR writes where the status itself is not known.
    return (
        nodes.StatusRule("status", frozenset(accepted) - NEVER, frozenset({"unknown"}) - frozenset(accepted)),
    )


def _number(
    predicate: file.Leaf,
    select: nodes.Select,
    count: value_types.CountBound | None,
    every: value_types.EveryPeriod | None = None,
    index: date = date.min,
) -> nodes.Exists | nodes.Count | nodes.Every:
    path = predicate.at.path
    if every is not None:
        spans = plan_times.periods(every, index)
        whole = replace(spans[0], lo=spans[-1].lo)
        times = tuple(nodes.TimeRule(rule.of, whole) for rule in select.times)
        return nodes.Every(path, replace(select, times=times), spans, every.times)
    if count is None or (count.op, count.n) == (">=", 1):
        return nodes.Exists(path, select)
    return nodes.Count(path, select, count.op, count.n)


def _eyes(eye: file.Eye | None, made: nodes.PlanLeaf, setting: Setting) -> nodes.PlanNode:
    """The leaf for the eye that is asked; both eyes make two leaves."""
    if eye is None or isinstance(made, nodes.Age | nodes.Field | nodes.Unread):
        return made
    if eye == "any" and isinstance(made, nodes.Exists):
        return made  # a record of an unknown eye is still in an eye
    if eye in ("any", "all"):
        sides = tuple(
            replace(made, path=f"{made.path}[{side}]", select=replace(made.select, eye=side))
            for side in ("right", "left")
        )
        return nodes.Any(sides) if eye == "any" else nodes.All(sides)
    if eye in ("this", "fellow") and setting.grain != "eye":
        raise PlanRefused(f'"eye: {eye}" needs "grain: eye"')
    wanted: PlanEye = "this" if eye in ("same", "this") else eye  # type: ignore[assignment]  # "any" and "all" ended above
    return replace(made, select=replace(made.select, eye=wanted))
