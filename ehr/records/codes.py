"""Code systems: their canonical addresses, the short names that people write, and the other spellings in use.

A code means nothing without its system, so everything here works on pairs. The raw value stays on the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

URIS: Mapping[str, str] = {
    "icd10cm": "http://hl7.org/fhir/sid/icd-10-cm",
    "icd10": "http://hl7.org/fhir/sid/icd-10",  # Nextech's own example of a Condition has this one, for US codes
    "icd9cm": "http://hl7.org/fhir/sid/icd-9-cm",
    "snomed": "http://snomed.info/sct",
    "loinc": "http://loinc.org",
    "rxnorm": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "cpt": "http://www.ama-assn.org/go/cpt",
    "hcpcs": "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets",
    "ndc": "http://hl7.org/fhir/sid/ndc",
    "cvx": "http://hl7.org/fhir/sid/cvx",
    "atc": "http://www.whocc.no/atc",
    "ucum": "http://unitsofmeasure.org",
}
"""Short name to canonical URI, as HL7's terminology pages give them."""

ALIASES: Mapping[str, str] = {
    # OIDs of the HL7 registry.
    "2.16.840.1.113883.6.90": "icd10cm",
    "2.16.840.1.113883.6.3": "icd10",
    "2.16.840.1.113883.6.103": "icd9cm",
    "2.16.840.1.113883.6.96": "snomed",
    "2.16.840.1.113883.6.1": "loinc",
    "2.16.840.1.113883.6.88": "rxnorm",
    "2.16.840.1.113883.6.12": "cpt",
    "2.16.840.1.113883.6.285": "hcpcs",
    "2.16.840.1.113883.6.69": "ndc",
    "2.16.840.1.113883.12.292": "cvx",
    "2.16.840.1.113883.6.73": "atc",
    # Spellings seen in the field.
    "http://hl7.org/fhir/sid/icd-10-us": "icd10cm",
    "http://hl7.org/fhir/sid/icd-9-cm/diagnosis": "icd9cm",
    "https://snomed.info/sct": "snomed",
    "https://loinc.org": "loinc",
    "https://www.cms.gov/medicare/coding/hcpcsreleasecodesets": "hcpcs",
    "http://terminology.hl7.org/codesystem/hcpcs": "hcpcs",
    "https://www.ama-assn.org/go/cpt": "cpt",
    "http://www.ama-assn.org/go/cpt-4": "cpt",
}

PREFIX_TREES = frozenset({"icd10cm", "icd10", "icd9cm", "atc"})
"""Systems whose hierarchy is exactly the string prefix, so that a trailing ``*`` is meaningful."""

_DOTTED = frozenset({"icd10cm", "icd10", "icd9cm"})
_BY_ADDRESS = {uri.lower(): name for name, uri in URIS.items()} | {k.lower(): v for k, v in ALIASES.items()}


class Code(NamedTuple):
    """A code with its system.

    ``system`` is a short name of `URIS`, or ``uri:…`` for a system without one, or ``""`` where the source
    named none; ``code`` is normalised (case and dots), so that two spellings of one code are equal.
    """

    system: str
    code: str


def system_name(address: str | None, extra: Mapping[str, str] | None = None) -> str:
    """Short name of a code system.

    Args:
        address: what the source wrote: URI, OID (with or without ``urn:oid:``), or a vendor's word.
        extra: a vendor's own spellings (lower case) to URIs; used first (`ProviderProfile.code_systems`).

    Returns:
        A key of `URIS`; ``uri:<address>`` for an unknown system; ``""`` for none.
    """
    if address is None or not address.strip():
        return ""
    text = address.strip()
    if extra is not None:
        text = extra.get(text.lower(), text)
    # Some write a version behind a bar, and SNOMED CT's edition as a part of its address.
    lowered = text.lower().partition("|")[0].rstrip("/").removeprefix("urn:oid:")
    if lowered.startswith(f"{URIS['snomed']}/"):
        return "snomed"
    return _BY_ADDRESS.get(lowered) or f"uri:{text}"


def normal_code(system: str, code: str) -> str:
    """One spelling per code: no surrounding space; in known systems upper case; ICD with its dot.

    The dot of an ICD code stands after the third character. Codes of unknown systems keep their case,
    because FHIR code systems are case-sensitive unless they say otherwise.
    """
    text = code.strip()
    if system not in URIS:
        return text
    text = text.upper()
    if system not in _DOTTED:
        return text
    bare = text.replace(".", "")
    return bare if len(bare) <= 3 else f"{bare[:3]}.{bare[3:]}"


def code_of(system: str | None, code: str | None, extra: Mapping[str, str] | None = None) -> Code | None:
    """The pair as it is compared, or None where the source gave no code."""
    if code is None or not code.strip():
        return None
    name = system_name(system, extra)
    return Code(name, normal_code(name, code))
