"""A trial as a person reads it: every criterion, window, unit and code set, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from federated.screening.trial import criteria as model
from federated.screening.trial.lock import digest

WIDTH = 100
_SHOWN_CODES = 200
_EYES = {
    "any": "in any eye",
    "all": "in both eyes",
    "right": "in the right eye",
    "left": "in the left eye",
    "same": "in the same eye as the others",
    "this": "in this eye",
    "fellow": "in the other eye",
}
_AGE_UNITS = {"a": "years", "mo": "months", "d": "days"}


def explain(trial: model.Trial) -> str:
    """The whole trial as text: head, parameters, both lists, value sets. It ends with a line break."""
    parts = [_head(trial), _parameters(trial), _side("Inclusion: all of these must hold", trial.inclusion),
             _side("Exclusion: none of these may hold", trial.exclusion), _implicit(trial),
             _value_sets(trial)]  # fmt: skip
    return "\n\n".join("\n".join(lines) for part in parts if (lines := list(part))) + "\n"


def _head(trial: model.Trial) -> Iterator[str]:
    yield f"{trial.title} ({trial.id}, version {trial.version}, {trial.status})"
    if trial.nct:
        yield f"Registered as {', '.join(trial.nct)}."
    if trial.provenance:
        yield from wrap(f"From: {trial.provenance}", WIDTH)
    yield f"Index date: {_index_date(trial)}."
    yield f"One decision for each {trial.grain}.{_grain(trial)}"
    if trial.assume_complete:
        yield f"The author calls complete, if the site agrees: {', '.join(sorted(trial.assume_complete))}."
    if trial.compat != "strict":
        yield f"Compatible with {trial.compat}."
    yield f"Digest: {digest(trial)}"


def _index_date(trial: model.Trial) -> str:
    index = trial.index_date
    if index.kind == "date":
        return str(index.day)
    return (
        "the day of the run, fixed once"
        if index.kind == "run"
        else f'column "{index.column}" of the patients'
    )


def _grain(trial: model.Trial) -> str:
    words = f" Study eye by: {', then '.join(trial.study_eye)}." if trial.study_eye else ""
    if trial.pairing is not None:
        words += f" Images within {trial.pairing} are one visit."
    return words + (f" Of several visits: {trial.reduce}." if trial.grain == "visit" else "")


def _parameters(trial: model.Trial) -> Iterator[str]:
    if trial.parameters:
        yield "Parameters"
    for name, parameter in trial.parameters.items():
        unit = f" {parameter.unit}" if parameter.unit else ""
        words = f"  ${name} = {parameter.value}{unit}: {parameter.text}"
        words += " (set by the site)" if parameter.overridden else ""
        yield words + (" (a site may change it)" if parameter.site and not parameter.overridden else "")


def _side(title: str, criteria: Sequence[model.Criterion]) -> Iterator[str]:
    if criteria:
        yield title
    for criterion in criteria:
        yield from _criterion(criterion)


def _criterion(criterion: model.Criterion) -> Iterator[str]:
    switched_off = "" if criterion.enabled else " (switched off: not evaluated)"
    yield from _indented(f"{criterion.id}: {criterion.text}{switched_off}", 2)
    yield from _indented(f'Source: "{criterion.source}"', 6)
    if criterion.why:
        yield from _indented(f"Why: {criterion.why}", 6)
    if criterion.applies_if is not None:
        yield "      Asked only if"
        yield from _node(criterion.applies_if, 8)
    if criterion.todo is not None:
        yield from _indented(f"Not coded, always unknown; a person decides: {criterion.todo}", 6)
    if criterion.where is not None:
        yield from _node(criterion.where, 6)
    if criterion.if_unknown:
        yield f"      If unknown: {criterion.if_unknown}."
    if criterion.near is not None:
        yield f"      Near miss: within {criterion.near} percent of the threshold."


def _implicit(trial: model.Trial) -> Iterator[str]:
    if not trial.allow_deceased:
        yield "Every trial also asks that the patient is alive."


def _indented(text: str, indent: int) -> list[str]:
    pad = " " * indent
    return wrap(text, WIDTH, initial_indent=pad, subsequent_indent=pad + "  ", break_long_words=False)


def _node(node: model.Node, indent: int) -> Iterator[str]:
    pad = " " * indent
    if isinstance(node, model.AllOf | model.AnyOf | model.AtLeastOf):
        title = {model.AllOf: "Required, every one:", model.AnyOf: "One of:"}.get(type(node))
        yield pad + (title or f"At least {node.n if isinstance(node, model.AtLeastOf) else 1} of:")
        for child in node.of:
            yield from _node(child, indent + 2)
    elif isinstance(node, model.NotOf):
        yield f"{pad}Not:"
        yield from _node(node.of, indent + 2)
    else:
        yield from _indented(f"- {sentence(node)}", indent)


def sentence(leaf: model.Predicate) -> str:
    """One predicate in words, with every key that has a say."""
    words = "; ".join(part for part in _words(leaf) if part)
    return words + (
        "; may have happened elsewhere (silence proves nothing)" if leaf.elsewhere_matters else ""
    )


def _words(leaf: model.Predicate) -> list[str]:
    match leaf:
        case model.AgeAt():
            at = "" if str(leaf.when) == "index" else f" at {leaf.when}"
            return [f"age {leaf.compare} {_AGE_UNITS[leaf.unit]} completed{at}"]
        case model.Sex():
            return [f"{leaf.which} sex is {_or(leaf.values)}"]
        case model.Deceased():
            return ["has died" if leaf.value else "has not died"]
        case model.Column():
            return [_column(leaf)]
        case model.Measurement():
            return _measurement(leaf)
        case model.Observation():
            return _observation(leaf)
        case model.Appointment() | model.Encounter():
            return _visit(leaf)
        case _:
            return _record(leaf)


def _column(leaf: model.Column) -> str:
    unit = f" {leaf.unit}" if leaf.unit else ""
    asked = f"{leaf.compare}{unit}" if leaf.compare else f"is {_or(leaf.texts)}"
    return f'column "{leaf.name}" ({leaf.dtype}) {asked}'


def _measurement(leaf: model.Measurement) -> list[str]:
    return [
        f"image measurement {leaf.metric} {leaf.compare} {_unit(leaf.unit)}",
        _eye(leaf.eye),
        _window("scan", leaf.window),
        f"of several scans: {leaf.reduce}",
        f"model {leaf.model}" if leaf.model else "",
        f"coverage at least {leaf.min_coverage}" if leaf.min_coverage is not None else "",
    ]


def _observation(leaf: model.Observation) -> list[str]:
    unit = f" {_unit(leaf.unit)}" if leaf.unit else ""
    asked = f" {leaf.compare}{unit}" if leaf.compare else ""
    if leaf.code_in is not None:
        asked = f" has a code of [{leaf.code_in.name}]"
    if leaf.texts:
        asked = f" is {_or(leaf.texts)}"
    if leaf.count is not None:
        asked = f" of results {leaf.count}"
    return [
        f"{leaf.take} [{leaf.codes.name}]{asked}",
        f"component [{leaf.component.name}]" if leaf.component else "",
        f"method {leaf.method}" if leaf.method else "",
        f"{_or(leaf.units_as)} is read as {leaf.unit}" if leaf.units_as else "",
        _window("dated", leaf.window),
        f"unknown if older than {leaf.stale_after}" if leaf.stale_after else "",
        f"of one day, the {leaf.same_day}" if leaf.same_day != "time" else "",
        f"category {_or(leaf.category)}" if leaf.category else "",
        f"specimen {leaf.specimen}" if leaf.specimen else "",
        f"status {_or(leaf.status)}",
        _eye(leaf.eye),
    ]


def _visit(leaf: model.Appointment | model.Encounter) -> list[str]:
    words = [f"{leaf.kind}{f' {leaf.count}' if leaf.count else ''}", f"status {_or(leaf.status)}"]
    if isinstance(leaf, model.Encounter):
        words += [
            f"type in [{leaf.codes.name}]" if leaf.codes else "",
            f"class {_or(leaf.classes)}" if leaf.classes else "",
            f"discharged to [{leaf.discharge.name}]" if leaf.discharge else "",
        ]
        verb = "wholly" if leaf.whole else "begins"
    else:
        words += [
            f"type {_or(leaf.types)}" if leaf.types else "",
            f"at {_or(leaf.location)}" if leaf.location else "",
        ]
        verb = "begins"
    return [*words, str(leaf.every) if leaf.every else _window(verb, leaf.window)]


def _record(
    leaf: model.Condition
    | model.Procedure
    | model.Medication
    | model.Allergy
    | model.Immunization
    | model.Document
    | model.Order,
) -> list[str]:
    words = [f"{leaf.kind} in [{leaf.codes.name}]"]
    if isinstance(leaf, model.Condition | model.Allergy):
        words += [
            "any clinical status" if leaf.clinical is None else f"clinically {_or(leaf.clinical)}",
            f"verification {_or(leaf.verification)} (only perhaps: {_or(leaf.maybe)})",
        ]
    else:
        words.append(f"status {_or(leaf.status)}")
    if isinstance(leaf, model.Medication | model.Order):
        words += [f"as {_or(leaf.sources)}", f"intent {_or(leaf.intent)}" if leaf.intent else ""]
    if isinstance(leaf, model.Condition):
        words.append(f"category {_or(leaf.category)}" if leaf.category else "")
    for name in ("onset", "recorded", "active", "performed", "authored"):
        words.append(_window(name, getattr(leaf, name, None)))
    words.append(_window("dated", getattr(leaf, "window", None)))
    words.append(_eye(getattr(leaf, "eye", None)))
    count = getattr(leaf, "count", None)
    counted = f", counting {leaf.distinct}" if isinstance(leaf, model.Procedure) else ""
    return [*words, f"count {count}{counted}" if count else ""]


def _window(verb: str, window: model.Window | None) -> str:
    return "" if window is None else f"{verb} {window}"


def _eye(eye: str | None) -> str:
    return "" if eye is None else _EYES[eye]


def _unit(unit: str) -> str:
    return "(no unit, 1)" if unit == "1" else unit


def _or(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}" if words else "none"


def _value_sets(trial: model.Trial) -> Iterator[str]:
    if trial.value_sets:
        yield "Value sets"
    for name, found in trial.value_sets.items():
        title = f": {found.title}" if found.title else ""
        yield from _indented(f"[{name}]{title} ({_members(len(found))}, digest {found.digest[:12]})", 2)
        for system in found.systems:
            yield from _indented(f"{system}: {_codes(found, system)}", 6)
        if found.text_hints:
            yield from _indented(
                f"Words that make a text-only entry unknown: {', '.join(found.text_hints)}", 6
            )
        if found.origin:
            yield from _indented("From: " + ", ".join(f"{k} {v}" for k, v in sorted(found.origin.items())), 6)


def _members(count: int) -> str:
    return "1 member" if count == 1 else f"{count} members"


def _codes(found: model.ValueSet, system: str) -> str:
    patterns = [pattern for of, pattern in found.members() if of == system]
    inside = [pattern for pattern in patterns if not pattern.startswith("-")]
    outside = [pattern[1:] for pattern in patterns if pattern.startswith("-")]
    words = ", ".join(inside[:_SHOWN_CODES])
    if len(inside) > _SHOWN_CODES:
        words += f" and {len(inside) - _SHOWN_CODES} more"
    return words + (f"; without {', '.join(outside[:_SHOWN_CODES])}" if outside else "")
