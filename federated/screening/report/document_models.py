"""The JSON documents as models: what a reader may rely on, and where the keys of what is written stand.

`Closed.of` makes a document's plain values, and the published JSON Schemas are made from the same fields.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from federated.screening.decide.evidence import Evidence, LookUp, plain

Count = Annotated[int, Field(ge=0)]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
DecisionName = Literal["eligible", "undecided", "not_eligible", "not_evaluated"]


class Closed(BaseModel):
    """A part of a document; a reader meets no other keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def of(cls, source: object = None, /, **made: Any) -> dict[str, Any]:
        """The part as plain values, ready for JSON.

        Nothing is validated, because a run has thousands of parts; a key that is not a field fails at once.

        Args:
            source: has an attribute for every field that is not made.
            made: plain values by field. ``schema_`` is what its annotation says.

        Returns:
            Keys as a reader sees them; a field with a default is left out where it is None.
        """
        fields = cls.model_fields
        if not made.keys() <= fields.keys():
            raise TypeError(f"{cls.__name__} has no field {', '.join(made.keys() - fields.keys())}")
        found: dict[str, Any] = {}
        for name, field in fields.items():
            if name in made:
                value = made[name]
            elif name == "schema_":
                (value,) = get_args(field.annotation)
            else:
                value = plain(getattr(source, name))
            if value is not None or field.is_required():
                found[field.alias or name] = value
        # A reader sees first what it is, also where the head's fields are inherited.
        return {"schema": found.pop("schema"), **found} if "schema" in found else found


class TrialModel(Closed):
    """Which criteria were asked."""

    id: str
    version: str
    nct: tuple[str, ...]
    plan_digest: str
    parameters: dict[str, str]


class Site(Closed):
    """Where, and what silence means there."""

    pseudonym: str
    zone: str
    world: dict[str, Literal["closed", "recorded", "open"]]


class _Head(Closed):
    tool: str
    trial: TrialModel
    site: Site
    index_date: Day


class CriterionModel(Closed):
    """One criterion of one patient or eye, with its evidence."""

    id: str
    side: Literal["inclusion", "exclusion", "implicit"]
    verdict: Literal["pass", "fail", "unknown", "not_applicable", "not_evaluated"]
    near_miss: bool
    evidence: tuple[Evidence, ...]


class Eye(Closed):
    """What was decided about one eye."""

    decision: DecisionName
    criteria: tuple[CriterionModel, ...]
    lookups: tuple[LookUp, ...]


class StudyEye(Closed):
    """The eye that was chosen, and by which rule."""

    eye: Literal["right", "left"]
    rule: str


class Patient(Closed):
    """One row of the input."""

    input_row: int
    ref: str
    match: Literal["matched", "ambiguous", "not_found", "undetermined", "duplicate", "bad_row"]
    decision: DecisionName
    queue: Literal["contact", "review", "deferred", "none"]
    criteria: tuple[CriterionModel, ...]
    lookups: tuple[LookUp, ...]
    states: dict[str, str]
    issues: tuple[str, ...]
    eyes: dict[Literal["right", "left"], Eye] | None = None
    study_eye: StudyEye | None = None


class DecisionsDocument(_Head):
    """``decisions.json``; in ``decisions.jsonl`` the first line is this without ``patients``."""

    schema_: Annotated[Literal["trialveil/decisions/1"], Field(alias="schema")]
    patients: tuple[Patient, ...]


class Counts(Closed):
    """Rows of the input. eligible + undecided + not_eligible = evaluated; with not_evaluated = input."""

    input: Count
    matched: Count
    evaluated: Count
    eligible: Count
    undecided: Count
    not_eligible: Count
    not_evaluated: Count


class CriterionCounts(Closed):
    """One criterion over everyone evaluated; ``reasons`` says why it is unknown."""

    pass_: Annotated[Count, Field(alias="pass")]
    fail: Count
    unknown: Count
    not_applicable: Count
    fails_alone: Count
    unknown_alone: Count
    reasons: dict[str, Count]


class StepModel(Closed):
    """One step of the ordered funnel."""

    criterion: str
    entering: Count
    possible: Count
    sure: Count
    lost: Count
    unsure: Count


class IndependentModel(Closed):
    """One criterion, whatever the others say."""

    criterion: str
    passed: Count
    failed: Count
    unknown: Count
    not_applicable: Count
    gained_eligible: Count
    gained_undecided: Count
    unknown_alone: Count
    fails_alone: Count


class FunnelView(Closed):
    """Both funnels; ``criteria`` gives the criterion of each bit of the masks."""

    unit: Literal["patient", "eye", "visit"]
    evaluated: Count
    criteria: tuple[str, ...]
    not_evaluated: tuple[str, ...]
    ordered: tuple[StepModel, ...]
    independent: tuple[IndependentModel, ...]


class Mask(Closed):
    """How many share these bit masks; bit *i* is the *i*-th of the funnel's ``criteria``."""

    failed: Count
    unknown: Count
    not_applicable: Count
    count: Count


class ValueSetModel(Closed):
    """One code list of the plan."""

    digest: str
    size: Count


class SummaryDocument(_Head):
    """``summary.json`` of one site."""

    schema_: Annotated[Literal["trialveil/summary/1"], Field(alias="schema")]
    counts: Counts
    criteria: dict[str, CriterionCounts]
    funnel: FunnelView
    masks: tuple[Mask, ...]
    failures: dict[str, Count]
    value_sets: dict[str, ValueSetModel]
    kinds: dict[str, dict[str, Count]]
    issues: dict[str, Count]


class WorkDone(Closed):
    """What was done to the data on the way in; counts."""

    failures: dict[str, Count]
    conversions: dict[str, Count]
    repairs: dict[str, Count]
    set_aside: dict[str, Count]
    text_only: dict[str, Count]


class RunDocument(_Head):
    """``run.json``: times, versions, host."""

    schema_: Annotated[Literal["trialveil/run/1"], Field(alias="schema")]
    started: str | None = None
    ended: str | None = None
    seconds: dict[str, float]
    versions: dict[str, str]
    host: dict[str, str]
    requests: dict[str, Count]
    work: WorkDone


class TrialName(Closed):
    """The trial that every site asked."""

    id: str
    version: str
    nct: tuple[str, ...]


class SiteSummary(Closed):
    """One site's numbers."""

    site: Site
    index_date: Day
    plan_digest: str
    counts: Counts
    criteria: dict[str, CriterionCounts]
    funnel: FunnelView
    failures: dict[str, Count]
    kinds: dict[str, dict[str, Count]]


class OverviewDocument(Closed):
    """``summary.json`` over several sites of one owner."""

    schema_: Annotated[Literal["trialveil/overview/1"], Field(alias="schema")]
    tool: str
    trial: TrialName
    counts: Counts
    criteria: dict[str, CriterionCounts]
    funnel: FunnelView
    masks: tuple[Mask, ...]
    sites: tuple[SiteSummary, ...]
