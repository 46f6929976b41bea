"""One patient's records as tables, for the person at the keyboard."""

from __future__ import annotations

from typing import Any

from federated.cli import terminal


def show(document: dict[str, Any]) -> None:
    """Print what was found about the patient, one table for each kind.

    Args:
        document: of the form `documents.QueryDocument`.
    """
    terminal.out(document["match_detail"])
    for kind, part in document["kinds"].items():
        rows = [(_label(item), _date(item), _result(item), _status(item)) for item in part["items"]]
        values = any(row[2] for row in rows)
        terminal.out_table(
            ("What", "When", "Value", "Status") if values else ("What", "When", "Status"),
            rows if values else [(what, when, status) for what, when, _, status in rows],
            title=f"{kind}: {part['state']}, {len(rows)} {'entry' if len(rows) == 1 else 'entries'}",
        )
        for issue in part["issues"]:
            terminal.say(f"  {issue}")


def _label(item: dict[str, Any]) -> str:
    if item.get("resourceType") == "Patient":
        name: dict[str, Any] = next(iter(item.get("name", [])), {})
        return " ".join([*name.get("given", []), name.get("family", "")])
    for key in (
        "code",
        "medicationCodeableConcept",
        "vaccineCode",
        "type",
        "appointmentType",
        "codeCodeableConcept",
    ):
        concepts = item.get(key)
        for concept in concepts if isinstance(concepts, list) else [concepts] if concepts else []:
            coding: dict[str, Any] = next(iter(concept.get("coding", [])), {})
            words = concept.get("text") or coding.get("display") or ""
            return f"{coding.get('code', '')} {words}".strip()
    return str(item.get("description") or item.get("resourceType", ""))


def _result(item: dict[str, Any]) -> str:
    """The value of a result as it was recorded; of one with parts, the parts."""
    if "component" in item:
        return "; ".join(filter(None, map(_result, item["component"])))
    amount: dict[str, Any] = item.get("valueQuantity") or {}
    if "value" in amount:
        unit = amount.get("unit") or amount.get("code") or ""
        return f"{amount.get('comparator', '')}{amount['value']} {unit}".strip()
    concept: dict[str, Any] = item.get("valueCodeableConcept") or {}
    coding: dict[str, Any] = next(iter(concept.get("coding", [])), {})
    return str(
        concept.get("text") or coding.get("display") or coding.get("code") or item.get("valueString", "")
    )


def _status(item: dict[str, Any]) -> str:
    """The record's own status; of a diagnosis the clinical one, and the verification where it is in doubt."""
    words = [str(item["status"])] if "status" in item else []
    for key in ("clinicalStatus", "verificationStatus"):
        coding: dict[str, Any] = next(iter((item.get(key) or {}).get("coding", [])), {})
        words += [str(coding["code"])] if coding.get("code") not in (None, "confirmed") else []
    return ", ".join(words)


def _date(item: dict[str, Any]) -> str:
    for key in (
        "birthDate",
        "onsetDateTime",
        "performedDateTime",
        "effectiveDateTime",
        "start",
        "authoredOn",
        "recordedDate",
        "date",
    ):
        if key in item:
            return str(item[key])
    period = item.get("period") or item.get("performedPeriod") or item.get("effectivePeriod") or {}
    return str(period.get("start", ""))
