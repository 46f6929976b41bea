"""The contract of Quiet Valley's adapter: "pytest" in this folder runs every case as a test of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ehr.sandbox import Skin, skin_named
from ehr.testing import AdapterContract, ProviderHarness

PLAIN = skin_named("smarthealthit")
SKIN: Skin = replace(
    PLAIN,
    name="quiet-valley",
    title="Quiet Valley",
    paging=replace(PLAIN.paging, default_count=10, max_count=50),
    searching=replace(PLAIN.searching, post="none"),
)
"""How the invented server behaves: as plain FHIR R4, with small pages and no search by POST."""


def dressed(resource: dict[str, Any]) -> dict[str, Any]:
    """A resource as this server sends it: with its own word for ICD-10-CM."""
    if resource["resourceType"] != "Condition":
        return resource
    codings = [
        {**coding, "system": "http://quiet-valley.example/icd"}
        if coding.get("system") == "http://hl7.org/fhir/sid/icd-10-cm"
        else coding
        for coding in resource.get("code", {}).get("coding", [])
    ]
    return {**resource, "code": {**resource["code"], "coding": codings}} if codings else resource


class TestQuietValley(AdapterContract):
    harness = ProviderHarness(provider="quiet valley r4", skin=SKIN, dress=dressed)
