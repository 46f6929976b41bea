"""The words of FHIR R4's own code lists for statuses, intents, classes and categories.

A record whose word is in the list and is not asked for does not count. A word that is in no list is a vendor's, or
of another FHIR version: it may mean what is asked, so it gives unknown. Source: HL7 FHIR R4 value sets, US Core 6.1
categories, HL7 v3 ActEncounterCode.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ehr.fetched import Kind

CLINICAL: Final = frozenset({"active", "recurrence", "relapse", "inactive", "remission", "resolved"})
VERIFICATION: Final = frozenset(
    {"unconfirmed", "provisional", "differential", "presumed", "confirmed", "refuted", "entered-in-error"}
)
INTENTS: Final = frozenset(
    {"proposal", "plan", "directive", "order", "original-order", "reflex-order", "filler-order", "instance-order",
     "option"}
)  # fmt: skip
CLASSES: Final = frozenset(
    {"AMB", "EMER", "FLD", "HH", "IMP", "ACUTE", "NONAC", "OBSENC", "PRENC", "SS", "VR"}
)
STAYS: Final = frozenset({"IMP", "ACUTE", "NONAC", "OBSENC", "SS"})
"""Classes of encounters that end with a discharge."""
BROADER: Mapping[str, frozenset[str]] = MappingProxyType(
    dict.fromkeys(("recurrence", "relapse"), frozenset({"active"}))
    | dict.fromkeys(("remission", "resolved"), frozenset({"inactive"}))
    | dict.fromkeys(("original-order", "reflex-order", "filler-order"), frozenset({"order"}))
    | {"instance-order": frozenset({"order", "filler-order"})}
    | dict.fromkeys(("ACUTE", "NONAC"), frozenset({"IMP"}))
)
"""Words that are kinds of others: asked for the broader word alone, nobody can tell whether they were meant too."""

_EVENT = {"preparation", "in-progress", "not-done", "on-hold", "stopped", "completed"}
_REQUEST = {"draft", "active", "on-hold", "revoked", "completed"}
_DRUG = {"active", "on-hold", "cancelled", "completed", "stopped", "draft", "intended", "not-taken"}
_WORDS: Mapping[Kind, set[str]] = {
    Kind.PROCEDURE: _EVENT,
    Kind.IMMUNIZATION: {"completed", "not-done"},
    Kind.MEDICATION: _DRUG,
    Kind.ORDER: _REQUEST,
    Kind.OBSERVATION: {"registered", "preliminary", "final", "amended", "corrected", "cancelled"},
    Kind.ENCOUNTER: {"planned", "arrived", "triaged", "in-progress", "onleave", "finished", "cancelled"},
    Kind.APPOINTMENT: {
        "proposed", "pending", "booked", "arrived", "fulfilled", "cancelled", "noshow", "checked-in", "waitlist",
    },
    Kind.DOCUMENT: {"current", "superseded"},
}  # fmt: skip
STATUSES: Mapping[Kind, frozenset[str]] = MappingProxyType(
    {kind: frozenset(words | {"entered-in-error"}) for kind, words in _WORDS.items()}
)
CATEGORIES: Mapping[Kind, frozenset[str]] = MappingProxyType(
    {
        Kind.CONDITION: frozenset({"problem-list-item", "encounter-diagnosis", "health-concern"}),
        Kind.OBSERVATION: frozenset(
            {"social-history", "vital-signs", "imaging", "laboratory", "procedure", "survey", "exam", "therapy",
             "activity"}
        ),
    }
)  # fmt: skip
