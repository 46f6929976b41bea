"""FHIR's XML form, for servers that answer in it unless JSON is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

_NAMESPACE = "http://hl7.org/fhir"


def as_xml(resource: Mapping[str, Any]) -> bytes:
    """A resource whose elements are in the order of its definition."""
    root = ElementTree.Element(str(resource["resourceType"]), xmlns=_NAMESPACE)
    _fill(root, {name: value for name, value in resource.items() if name != "resourceType"})
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _fill(parent: ElementTree.Element, content: Mapping[str, Any]) -> None:
    for name, value in content.items():
        if name == "url" and parent.tag == "extension":
            parent.set("url", str(value))
            continue
        for one in value if isinstance(value, list) else [value]:
            child = ElementTree.SubElement(parent, name)
            if isinstance(one, Mapping):
                _fill(child, one)
            else:
                child.set("value", str(one).lower() if isinstance(one, bool) else str(one))
