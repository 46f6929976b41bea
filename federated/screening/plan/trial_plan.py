"""A trial with every constant computed, for one site and one index date.

All calendar arithmetic, unit conversion and expansion of code sets happens here, once; what decides (`evaluate`
for one patient, SQL for a hospital) only compares the constants of `nodes`.

What silence means is the absence policy, per kind of record. *Closed*: complete and nothing there means no.
*Recorded*: nothing there is unknown, but what is there is taken as all there is. *Open*: silence and shortness are
both unknown. The site knows its data and may change the table in ``pod.yaml``; a trial may only open a kind, or close
it where the site agrees.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date, tzinfo
from types import MappingProxyType
from typing import Any, cast

from ehr.dates import BadDate
from ehr.records.codes import Code
from ehr.records.fetched import Kind
from federated.errors import InvalidArgument
from federated.screening.plan import nodes, times
from federated.screening.plan.bounds import PlanRefused
from federated.screening.plan.leaves import Setting, leaf
from federated.screening.plan.nodes import leaves
from federated.screening.trial import criteria
from federated.screening.trial.units import convertible, line

__all__ = ["Plan", "PlanRefused", "SiteFacts", "make_plan"]

KEY_BYTES = 16
ALIVE = "alive"


@dataclass(frozen=True, slots=True)
class SiteFacts:
    """What the site knows and the trial does not.

    Args:
        zone: the site's time zone; days are its days.
        world: what silence means per kind, where it differs from `plan.DEFAULTS`.
        care_since: first day from which silence is meaningful; None: always. It touches leaves whose window
            begins before it.
        key: at least 16 secret bytes; references to records in evidence are HMACs under it.
        code_systems: the site's own spellings of code systems (lower case) to URIs.
        assume_complete: kinds that a trial may call complete here.
    """

    zone: tzinfo
    world: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    care_since: date | None = None
    key: bytes = field(repr=False, kw_only=True)
    code_systems: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    assume_complete: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if len(self.key) < KEY_BYTES:
            raise InvalidArgument(f"key is {len(self.key)} bytes; expected at least {KEY_BYTES}")


@dataclass(frozen=True, slots=True)
class Plan:
    """A trial, ready to be decided.

    Args:
        rules: inclusion, exclusion, then the implicit ones.
        digest: SHA-256 over everything that can change a decision: the trial's constants, the world, the index
            date, the zone, the site's spellings of code systems. Titles and sentences are no part of it.
        acuity: how to read an eye's acuity for ``study_eye: [worse_acuity]``; None where it is not asked.
    """

    trial_id: str
    trial_version: str
    index_date: date
    zone: tzinfo
    grain: str
    rules: tuple[nodes.Rule, ...]
    world: Mapping[str, nodes.World]
    digest: str
    code_systems: Mapping[str, str]
    key: bytes = field(repr=False)
    study_eye: tuple[str, ...] = ()
    acuity: nodes.Latest | None = None

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds of record that decide something."""
        found = {Kind.PATIENT} if self.acuity is None else {Kind.PATIENT, self.acuity.select.kind}
        for rule in self.rules:
            for node in (*leaves(rule.applies_if), *leaves(rule.where)):
                select = getattr(node, "select", None)
                if rule.enabled and select is not None:
                    found.add(select.kind)
        return frozenset(found)


def make_plan(trial: criteria.Trial, facts: SiteFacts, index_date: date) -> Plan:
    """Compute every constant of a trial for one site.

    Args:
        trial: a checked trial, with the site's parameters already put in.
        facts: what the site knows.
        index_date: what "now" means; the caller fixes it once per task.

    Raises:
        PlanRefused: the trial asks for what this release cannot decide (``grain: visit`` needs imaging), or a
            window leads out of the calendar.
        InvalidArgument: the site's ``world`` is wrong.
    """
    if trial.grain == "visit":
        raise PlanRefused(
            '"grain: visit" decides imaging visits, which are not read yet; use "grain: patient". Nothing was read.'
        )
    world = world_of(facts.world, trial.assume_complete, facts.assume_complete)
    setting = Setting(index_date, world, facts.care_since, trial.grain)
    rules = _rules(trial, setting)
    acuity = _acuity(setting) if "worse_acuity" in trial.study_eye else None
    place = [trial.id, trial.grain, trial.study_eye, index_date.isoformat(), str(facts.zone)]
    return Plan(
        trial_id=trial.id,
        trial_version=trial.version,
        index_date=index_date,
        zone=facts.zone,
        grain=trial.grain,
        rules=rules,
        world=MappingProxyType(world),
        digest=_digest([*place, facts.code_systems, world, rules, acuity]),
        code_systems=facts.code_systems,
        key=facts.key,
        study_eye=trial.study_eye,
        acuity=acuity,
    )


def _rules(trial: criteria.Trial, setting: Setting) -> tuple[nodes.Rule, ...]:
    try:
        rules = [_rule(criterion, setting) for criterion in trial.criteria]
    except BadDate:
        raise PlanRefused("a window or age of the trial leads out of the calendar") from None
    return (*rules,) if trial.allow_deceased else (*rules, _alive(setting))


def _rule(criterion: criteria.Criterion, setting: Setting) -> nodes.Rule:
    if criterion.where is None:
        where: nodes.PlanNode = nodes.Unread("todo", "todo", "NOT_CODED", criterion.todo or criterion.text)
    else:
        where = _node(criterion.where, setting)
    applies = None if criterion.applies_if is None else _node(criterion.applies_if, setting)
    same = any(getattr(predicate, "eye", None) == "same" for predicate in criteria.leaves(criterion))
    return nodes.Rule(criterion.id, criterion.side, where, applies, criterion.near, criterion.enabled, same)


def _node(node: criteria.Node, setting: Setting) -> nodes.PlanNode:
    if isinstance(node, criteria.AllOf):
        return nodes.All(tuple(_node(child, setting) for child in node.of))
    if isinstance(node, criteria.AnyOf):
        return nodes.Any(tuple(_node(child, setting) for child in node.of))
    if isinstance(node, criteria.AtLeastOf):
        return nodes.AtLeast(node.n, tuple(_node(child, setting) for child in node.of))
    if isinstance(node, criteria.NotOf):
        return nodes.Not(_node(node.of, setting))
    return leaf(node, setting)


def _alive(setting: Setting) -> nodes.Rule:
    end = times.day_end(setting.day)
    alive = nodes.Field(
        "alive", "deceased", "deceased", frozenset({"false"}), "false", setting.world["deceased"], end
    )
    return nodes.Rule(ALIVE, "implicit", alive)


_ACUITY = frozenset(
    {Code("loinc", code) for code in (
        "98498-9", "98499-7", "65897-1", "65893-0", "79877-7", "79876-9", "79881-9", "79880-1", "98511-9",
        "98512-7", "98508-5", "98509-3",
    )}
    | {Code("snomed", code) for code in ("363983007", "397536007", "419775003", "397534005", "397535006")}
)  # fmt: skip


def _acuity(setting: Setting) -> nodes.Latest:
    """The newest acuity of the eye at hand, in letters."""
    unit = "{letters}"
    codes = nodes.CodeSet(
        "acuity", "", frozenset({"loinc", "snomed"}), _ACUITY, {}, frozenset(), {}, (), "visual acuity"
    )
    scales = {}
    for other in convertible(unit):
        back = line(other, unit)
        if back is not None:
            slope, offset = float(back.slope), float(back.offset)
            scales[other] = nodes.Scale(float("-inf"), float("inf"), True, True, slope, offset)
    select = nodes.Select(
        kind=Kind.OBSERVATION,
        codes=codes,
        world=setting.world["observation"],
        index_end=times.day_end(setting.day),
        statuses=(nodes.StatusRule("status", frozenset({"final", "amended", "corrected"})),),
        times=(nodes.TimeRule("effective", times.until(setting.day)),),
        eye="this",
    )
    return nodes.Latest("study_eye", select, nodes.Asked(text="any", unit=unit, scales=scales, acuity=True))


_WORDS = frozenset({"label", "text", "name", "path"})
"""Fields that people read or that only say where something stands."""


def _digest(constants: Any) -> str:
    return hashlib.sha256(json.dumps(_plain(constants), sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, nodes.CodeSet):
        return [value.digest, list(value.hints)]
    if is_dataclass(value) and not isinstance(value, type):
        pairs = {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
        kept = {
            name: item for name, item in pairs.items() if name not in _WORDS or isinstance(value, nodes.Field)
        }
        return {"node": type(value).__name__, **kept}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(map(str, value))
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value if isinstance(value, int | float | bool | None) else str(value)


DEFAULTS: Mapping[str, nodes.World] = MappingProxyType(
    {
        "birth_date": "open",
        "sex": "open",
        "deceased": "closed",
        "condition": "closed",
        "procedure": "closed",
        "medication": "closed",
        "order": "closed",
        "allergy": "open",
        "observation": "recorded",
        "appointment": "closed",
        "encounter": "closed",
        "immunization": "recorded",
        "document": "recorded",
        "image": "recorded",
        "column": "open",
    }
)


def world_of(
    site: Mapping[str, str], closed: Iterable[str] = (), agreed: Iterable[str] = ()
) -> dict[str, nodes.World]:
    """The table of one plan.

    Args:
        site: ``world:`` of ``pod.yaml``: kind (singular or plural) to closed, recorded or open.
        closed: kinds that the trial calls complete (``assume_complete``).
        agreed: kinds for which the site lets a trial say so; others stay as they are.

    Raises:
        InvalidArgument: an unknown kind or word.
    """
    table = dict(DEFAULTS)
    for name, word in site.items():
        if word not in ("closed", "recorded", "open"):
            raise InvalidArgument('a kind\'s world is none of "closed", "recorded", "open"')
        table[_kind(name)] = cast(nodes.World, word)
    table.update(dict.fromkeys({_kind(name) for name in closed} & {_kind(name) for name in agreed}, "closed"))
    return table


def _kind(name: str) -> str:
    if name in DEFAULTS:
        return name
    try:
        kind = Kind.parse(name).value
    except ValueError:
        kind = ""
    if kind not in DEFAULTS:
        raise InvalidArgument(f"world names a kind that is not known. Known: {', '.join(DEFAULTS)}")
    return kind
