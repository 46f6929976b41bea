"""What a run says of its trial, its site and its work, out of the plan and the readings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from ehr.reading.cohort import Reading
from ehr.reading.query import pseudonym
from ehr.site import Site
from federated.screening.plan.trial_plan import Plan
from federated.screening.report import results
from federated.screening.trial import criteria
from federated.screening.trial.explain import sentence


def trial_head(trial: criteria.Trial, plan: Plan) -> results.TrialHead:
    """The trial as every output names it."""
    return results.TrialHead(
        id=trial.id,
        version=trial.version,
        title=trial.title,
        plan_digest=plan.digest,
        criteria=tuple(_criterion_head(criterion) for criterion in trial.criteria),
        status=trial.status,
        nct=trial.nct,
        parameters={name: _parameter(p.value, p.unit) for name, p in sorted(trial.parameters.items())},
        overridden=tuple(sorted(name for name, p in trial.parameters.items() if p.overridden)),
        provenance=trial.provenance or "",
        grain=trial.grain,
    )


def _parameter(value: str, unit: str | None) -> str:
    return value if unit is None else f"{value} {unit}"


def _criterion_head(criterion: criteria.Criterion) -> results.CriterionHead:
    return results.CriterionHead(
        id=criterion.id,
        side=criterion.side,
        text=criterion.text,
        source=criterion.source,
        explained=None if criterion.where is None else _explained(criterion.where),
        codes=_codes(criterion),
        if_unknown=criterion.if_unknown,
        enabled=criterion.enabled,
    )


_KINDS: Mapping[type, str] = {
    criteria.AllOf: "all",
    criteria.AnyOf: "any",
    criteria.AtLeastOf: "at_least",
    criteria.NotOf: "not",
}


def _explained(node: criteria.Node) -> results.Explained:
    if isinstance(node, criteria.Leaf):
        return results.Explained("leaf", node.at.path, sentence(node))
    text = str(node.n) if isinstance(node, criteria.AtLeastOf) else ""
    inside = tuple(_explained(child) for child in criteria.children(node))
    return results.Explained(_KINDS[type(node)], node.at.path, text, inside)


def _codes(criterion: criteria.Criterion) -> tuple[str, ...]:
    parts = (getattr(leaf, part.name) for leaf in criteria.leaves(criterion) for part in fields(leaf))
    members = (member for part in parts if isinstance(part, criteria.ValueSet) for member in part.members())
    return tuple(dict.fromkeys(f"{system} {pattern}" for system, pattern in members))


def value_set_heads(trial: criteria.Trial) -> tuple[results.ValueSetHead, ...]:
    """Digest and size of every code list."""
    return tuple(
        results.ValueSetHead(name, values.digest, len(tuple(values.members())))
        for name, values in sorted(trial.value_sets.items())
    )


def site_head(site: Site, plan: Plan) -> results.SiteHead:
    """The site: its pseudonym in every document, its name in its own report only."""
    return results.SiteHead(
        pseudonym=f"site-{pseudonym(site.key, 'site')[:8]}",
        zone=site.file.site.time_zone,
        world={str(kind): str(world) for kind, world in sorted(plan.world.items())},
        name=site.file.name,
    )


def work_of(reading: Reading) -> results.Work:
    """What was done to one patient's data on the way in; counts only."""
    repairs: Counter[str] = Counter()
    set_aside: Counter[str] = Counter()
    text_only: Counter[str] = Counter()
    for kind, fetched in () if reading.record is None else sorted(reading.record.kinds.items()):
        if fetched.quarantined:
            set_aside[str(kind)] += fetched.quarantined
        for issue in fetched.issues:
            if issue.code.startswith("repair:"):
                repairs[issue.code.removeprefix("repair:")] += issue.count
        without_code = sum(1 for record in fetched.items if _is_text_only(record))
        if without_code:
            text_only[str(kind)] += without_code
    return results.Work(failures=reading.failures, repairs=repairs, set_aside=set_aside, text_only=text_only)


def _is_text_only(record: Any) -> bool:
    concepts = getattr(record, "concepts", ())
    return bool(concepts) and not any(coding.code for concept in concepts for coding in concept.coding)


def added_up(parts: Iterable[results.Work]) -> results.Work:
    """The work of a run out of that of its patients."""
    sums: dict[str, Counter[str]] = {part.name: Counter() for part in fields(results.Work)}
    for work in parts:
        for name, counter in sums.items():
            counter.update(getattr(work, name))
    return results.Work(**{name: dict(sorted(counter.items())) for name, counter in sums.items()})
