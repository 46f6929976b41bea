"""YAML with the place of each part, read as for a pod file: `ehr.yaml_nodes`."""

from __future__ import annotations

from ehr.yaml_nodes import MAX_BYTES, Hole, Items, Table, Text, Yaml, plain, read_yaml, shape

__all__ = ["MAX_BYTES", "Hole", "Items", "Table", "Text", "Yaml", "plain", "read_yaml", "shape"]
