"""The JSON documents of a run as plain values, and their bytes: keys sorted, UTF-8; equal runs give equal bytes.

Keys and order depend on the `Run` alone. Only `execution`, for ``run.json``, holds a clock.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from federated.errors import CheckFailed, InvalidArgument
from federated.screening.decide.evidence import Decision, Verdict, plain
from federated.screening.report import document_models as models
from federated.screening.report import results
from federated.screening.report.funnel import Funnel, MaskTable, funnel, mask_table, merged

COUNTS = tuple(models.Counts.model_fields)


def tables(run: results.Run) -> dict[tuple[int, int, int], int]:
    """The mask table of a run, from which every funnel is computed."""
    return mask_table(outcome.masks() for outcome in results.units(run))


def funnel_of(run: results.Run, table: MaskTable | None = None) -> Funnel:
    """Both funnels of a run."""
    ids = [head.id for head in run.criteria]
    off = {head.id for head in run.criteria if not head.enabled}
    return funnel(ids, tables(run) if table is None else table, off)


def counts(run: results.Run) -> dict[str, int]:
    """The five numbers and what they are made from, in patients (rows of the input).

    Raises:
        CheckFailed: they do not add up.
    """
    found = Counter(patient.decision.value for patient in run.patients)
    result = dict.fromkeys(COUNTS, 0) | {name: found[name] for name in COUNTS[3:]}
    result["input"] = len(run.patients)
    result["matched"] = sum(patient.match is results.MatchState.MATCHED for patient in run.patients)
    result["evaluated"] = result["input"] - result["not_evaluated"]
    _add_up("decisions", result["evaluated"], [result[name] for name in COUNTS[3:6]])
    if result["evaluated"] > result["matched"]:
        raise CheckFailed("counts: more patients were evaluated than matched; expected at most as many")
    return result


def _add_up(what: str, total: int, parts: Sequence[int]) -> None:
    if total != sum(parts):
        raise CheckFailed(f"counts: the {len(parts)} parts of {what} do not add up to their total")


def _head(run: results.Run) -> dict[str, Any]:
    """What every document of a run starts with, besides its schema: tool, trial, site, index date."""
    return {
        "tool": f"trialveil {run.tool_version}",
        "trial": models.TrialModel.of(run.trial),
        "site": models.Site.of(run.site),
        "index_date": run.index_date,
    }


def decisions(run: results.Run) -> dict[str, Any]:
    """``decisions.json``: every patient with criteria and evidence."""
    return models.DecisionsDocument.of(**_head(run), patients=list(patients(run)))


def patients(run: results.Run) -> Iterator[dict[str, Any]]:
    """One document a patient, in input order."""
    return (_patient(run, patient) for patient in run.patients)


def _patient(run: results.Run, patient: results.PatientResult) -> dict[str, Any]:
    outcome, states = patient.outcome, plain(patient.fetched)
    chosen = results.queue(run, results.DecisionRow(patient, outcome))
    if outcome is None:
        nothing: dict[str, Any] = {"criteria": [], "lookups": [], "eyes": None, "study_eye": None}
        return models.Patient.of(patient, queue=chosen, states=states, **nothing)
    return models.Patient.of(
        patient,
        queue=chosen,
        states=states,
        issues=sorted({*patient.issues, *outcome.notes}),
        eyes={eye: models.Eye.of(part) for eye, part in sorted(outcome.eyes.items())} or None,
        study_eye=models.StudyEye.of(eye=outcome.study_eye[0], rule=outcome.study_eye[1])
        if outcome.study_eye
        else None,
        **{key: value for key, value in models.Eye.of(outcome).items() if key != "decision"},
    )


def summary(run: results.Run) -> dict[str, Any]:
    """``summary.json``: counts only, with the mask table that every other view is computed from.

    Raises:
        CheckFailed: numbers that must add up do not.
    """
    table = tables(run)
    views = funnel_of(run, table)
    checked(run, views)
    return models.SummaryDocument.of(
        run.work,  # has the failures
        **_head(run),
        counts=counts(run),
        criteria=_criteria(run, views),
        funnel=funnel_document(run, views),
        masks=masks_document(table),
        value_sets={item.name: models.ValueSetModel.of(item) for item in run.value_sets},
        kinds=completeness(run),
        issues=dict(sorted(Counter(issue for p in run.patients for issue in p.issues).items())),
    )


def checked(run: results.Run, views: Funnel) -> None:
    """Assert what must hold between decisions, criteria and funnel.

    Raises:
        CheckFailed: one of them does not.
    """
    found = Counter(outcome.decision for outcome in results.units(run))
    expected = (found[Decision.ELIGIBLE], found[Decision.UNDECIDED], found[Decision.NOT_ELIGIBLE])
    if expected != (views.decided.eligible, views.decided.undecided, views.decided.not_eligible):
        raise CheckFailed("counts: the decisions are not those that the verdicts of the criteria give")
    for row in views.independent:
        parts = [row.passed, row.failed, row.unknown, row.not_applicable]
        _add_up("a criterion", views.evaluated, parts)
    if views.ordered:
        last = views.ordered[-1]
        _add_up("the funnel", last.possible, [views.decided.eligible, views.decided.undecided])
        _add_up("the sure end of the funnel", last.sure, [views.decided.eligible])


def _criteria(run: results.Run, views: Funnel) -> dict[str, Any]:
    reasons = unknown_reasons(run)
    return {
        row.criterion: models.CriterionCounts.of(
            row,
            pass_=row.passed,
            fail=row.failed,
            reasons=dict(sorted(reasons.get(row.criterion, Counter()).items())),
        )
        for row in views.independent
    }


def unknown_reasons(run: results.Run) -> dict[str, Counter[str]]:
    """Criterion to why it is unknown: the distinct reasons of each patient's unknown leaves, counted once."""
    found: dict[str, Counter[str]] = {}
    for outcome in results.units(run):
        for criterion in outcome.criteria:
            if criterion.verdict is Verdict.UNKNOWN:
                codes = {leaf.reason for leaf in criterion.evidence if leaf.verdict is Verdict.UNKNOWN}
                found.setdefault(criterion.id, Counter()).update(codes)
    return found


def funnel_document(run: results.Run, views: Funnel) -> dict[str, Any]:
    """Both funnels as JSON; bit *i* of a mask stands for the *i*-th id of ``criteria``."""
    return models.FunnelView.of(
        views,
        unit=run.trial.grain,
        criteria=[criterion.id for criterion in run.criteria],
        not_evaluated=[criterion.id for criterion in run.criteria if not criterion.enabled],
        ordered=[models.StepModel.of(step) for step in views.ordered],
        independent=[models.IndependentModel.of(row) for row in views.independent],
    )


def masks_document(table: MaskTable) -> list[dict[str, int]]:
    """The mask table, sorted by its masks."""
    return [
        models.Mask.of(failed=failed, unknown=unknown, not_applicable=skipped, count=count)
        for (failed, unknown, skipped), count in sorted(table.items())
    ]


def completeness(run: results.Run) -> dict[str, dict[str, int]]:
    """Kind to fetch state to number of patients."""
    found: dict[str, Counter[str]] = {}
    for patient in run.patients:
        for kind, state in patient.fetched.items():
            found.setdefault(kind, Counter())[state] += 1
    return {kind: dict(sorted(states.items())) for kind, states in sorted(found.items())}


def execution(run: results.Run) -> dict[str, Any]:
    """``run.json``: times, versions, host; the only document that differs between two equal runs."""
    return models.RunDocument.of(run.execution, **_head(run), work=models.WorkDone.of(run.work))


def overview(runs: Sequence[results.Run]) -> dict[str, Any]:
    """``summary.json`` over several sites of one owner, such as the demo's; nothing that may leave a pod.

    Raises:
        InvalidArgument: there is no run, or the runs asked different trials or criteria.
    """
    runs = same_trial(runs)
    table = merged(tables(run) for run in runs)
    views = funnel_of(runs[0], table)
    documents = [summary(run) for run in runs]
    return models.OverviewDocument.of(
        tool=documents[0]["tool"],
        trial=models.TrialName.of(runs[0].trial),
        counts={name: sum(document["counts"][name] for document in documents) for name in COUNTS},
        criteria=_added([document["criteria"] for document in documents]),
        funnel=funnel_document(runs[0], views),
        masks=masks_document(table),
        sites=[_site(run, document) for run, document in zip(runs, documents, strict=True)],
    )


def same_trial(runs: Sequence[results.Run]) -> tuple[results.Run, ...]:
    """The runs by site, if their numbers may be put side by side.

    Raises:
        InvalidArgument: there is none, or they asked different trials or criteria.
    """
    asked = {(run.trial.id, run.trial.version, tuple(item.id for item in run.criteria)) for run in runs}
    if len(asked) != 1:
        raise InvalidArgument(
            f"runs: {len(runs)} of {len(asked)} trials; expected at least one, all of one trial"
        )
    return tuple(sorted(runs, key=lambda run: run.site.pseudonym))


def _site(run: results.Run, document: Mapping[str, Any]) -> dict[str, Any]:
    same = document.keys() & models.SiteSummary.model_fields.keys()
    return models.SiteSummary.of(run.trial, **{key: document[key] for key in same})


def _added(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for name in parts[0]:
        numbers = [key for key in parts[0][name] if key != "reasons"]
        total[name] = {key: sum(part[name][key] for part in parts) for key in numbers}
        reasons: Counter[str] = Counter()
        for part in parts:
            reasons.update(part[name]["reasons"])
        total[name]["reasons"] = dict(sorted(reasons.items()))
    return total


LINES_ABOVE = 10_000
"""More patients than this are written one a line."""


def text(document: Mapping[str, Any]) -> str:
    """One document, indented, with a newline at its end.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def decisions_name(run: results.Run) -> str:
    """``decisions.json``, or ``decisions.jsonl`` for more patients than `LINES_ABOVE`."""
    return "decisions.jsonl" if len(run.patients) > LINES_ABOVE else "decisions.json"


def decisions_file(run: results.Run) -> Iterable[str]:
    """The file in pieces, one patient a line in both forms: one document, or the head object and then patients.

    Only one patient is held as JSON at a time.
    """
    return _document(run) if len(run.patients) <= LINES_ABOVE else _lines(run)


def _document(run: results.Run) -> Iterator[str]:
    first = models.DecisionsDocument.of(**_head(run), patients=())
    lead = "{"
    for key in sorted(first):
        yield f"{lead}{_compact(key)}:"
        if key == "patients":
            yield from _array(patients(run))
        else:
            yield _compact(first[key])
        lead = ",\n"
    yield "}\n"


def _array(items: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    lead = "[\n"
    for item in items:
        yield lead + _compact(item)
        lead = ",\n"
    yield "[]" if lead == "[\n" else "\n]"


def _lines(run: results.Run) -> Iterator[str]:
    first = models.DecisionsDocument.of(**_head(run), patients=())
    yield _compact({key: value for key, value in first.items() if key != "patients"}) + "\n"
    for patient in patients(run):
        yield _compact(patient) + "\n"
