"""The JSON Schemas of what we write and of what users write; ``python -m federated.cli.schemas`` makes the files.

Every document that a command or a benchmark writes has ``"schema": "trialveil/<name>/<version>"``.
A model is named here as text and imported only when its schema is made, so this table may name any
module of the package.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from federated.errors import InvalidArgument

FOLDER = Path("docs") / "schemas"


@dataclass(frozen=True, slots=True)
class DocumentKind:
    """One kind of document.

    Args:
        model: ``module:attribute``; a pydantic model, a dataclass, or a function that returns the
            JSON Schema as a dictionary.
        version: grows when a reader of the old form could misread the new one.
        written_by_us: True for output, which names its schema; False for a file that users write.
    """

    model: str
    version: int = 1
    written_by_us: bool = True

    @property
    def exists(self) -> bool:
        """True if the module of the model is part of this installation."""
        return find_spec(self.model.partition(":")[0]) is not None


DOCUMENTS: Mapping[str, DocumentKind] = MappingProxyType(
    {
        "names": DocumentKind("federated.cli.names:NamesDocument"),
        "probe": DocumentKind("federated.cli.command_documents:ProbeDocument"),
        "login": DocumentKind("federated.cli.command_documents:LoginDocument"),
        "query": DocumentKind("federated.cli.command_documents:QueryDocument"),
        "contract": DocumentKind("federated.cli.command_documents:ContractDocument"),
        "check": DocumentKind("federated.cli.command_documents:CheckDocument"),
        "audit": DocumentKind("federated.cli.pod_audit:AuditDocument"),
        "key": DocumentKind("federated.cli.command_documents:KeyDocument"),
        "valueset": DocumentKind("federated.cli.trial:ImportDocument"),
        "decisions": DocumentKind("federated.screening.report.document_models:DecisionsDocument"),
        "summary": DocumentKind("federated.screening.report.document_models:SummaryDocument"),
        "run": DocumentKind("federated.screening.report.document_models:RunDocument"),
        "overview": DocumentKind("federated.screening.report.document_models:OverviewDocument"),
        "counts": DocumentKind("federated.counts.counts_document:CountsDocument"),
        "screening-benchmark": DocumentKind("federated.cli.command_documents:ScreeningBenchmark"),
        "secure-agg-benchmark": DocumentKind("federated.cli.command_documents:AggregationBenchmark"),
        "ehr-benchmark": DocumentKind("federated.cli.command_documents:ReadingBenchmark"),
        "faults-benchmark": DocumentKind("federated.cli.command_documents:FaultsBenchmark"),
        "task-result": DocumentKind("federated.modeller.task_run:TaskResultDocument"),
        "task-status": DocumentKind("federated.modeller.task_run:TaskStatusDocument"),
        "runtime-benchmark": DocumentKind("federated.cli.command_documents:RuntimeBenchmark"),
        "pod-status": DocumentKind("federated.pod.services:PodStatusDocument"),
        "pod": DocumentKind("federated.owner.config:PodFile", written_by_us=False),
        "task": DocumentKind("federated.task.file:TaskFile", written_by_us=False),
        "trial": DocumentKind("federated.screening.trial.schema:trial_schema", written_by_us=False),
    }
)


def schema_id(name: str) -> str:
    """What a document says in its key ``schema``.

    Raises:
        InvalidArgument: no document has this name.
    """
    if name not in DOCUMENTS:
        raise InvalidArgument(f"no document has this name; known are {', '.join(DOCUMENTS)}")
    return f"trialveil/{name}/{DOCUMENTS[name].version}"


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one document, made from its model."""
    module, _, attribute = DOCUMENTS[name].model.partition(":")
    model = getattr(import_module(module), attribute)
    is_function = callable(model) and not isinstance(model, type)
    made = model() if is_function else _from_model(model, DOCUMENTS[name].written_by_us)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": schema_id(name)}
    return {**head, **{key: value for key, value in made.items() if key not in head}}


def _from_model(model: type[Any], written_by_us: bool) -> dict[str, Any]:
    from pydantic import TypeAdapter
    from pydantic.json_schema import PydanticJsonSchemaWarning

    with warnings.catch_warnings():
        # A default without a form in JSON (an empty mapping proxy) is left out, and that is right.
        warnings.simplefilter("ignore", PydanticJsonSchemaWarning)
        # What we write always has the keys that have a default; what users write need not.
        return TypeAdapter(model).json_schema(mode="serialization" if written_by_us else "validation")


def text(name: str) -> str:
    """The file of one document's schema."""
    return json.dumps(json_schema(name), ensure_ascii=False, indent=2) + "\n"


def write(folder: Path = FOLDER) -> list[Path]:
    """Write all schemas and return their files; a file of a document that is gone is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {folder / f"{name}.json": name for name, document in DOCUMENTS.items() if document.exists}
    for stale in set(folder.glob("*.json")) - set(files):
        stale.unlink()
    for file, name in files.items():
        file.write_text(text(name), encoding="utf-8")
    return sorted(files)


if __name__ == "__main__":
    for written in write():
        sys.stdout.write(f"{written}\n")
