"""The types page: every name that a task's code may refer to. Importing it loads nothing heavy."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from ehr.config import EHRConfig, EHRProvider
from federated.errors import InvalidArgument
from federated.names import AggregatorType, AlgorithmType, ProtocolType, TaskContext, _PodResponseType
from federated.types.access import (
    AccessCheckResult,
    InferenceLimits,
    ModelURLs,
    ResourceLimit,
    read_access_check,
)
from federated.types.datasources import (
    BaseSource,
    BitfountSchema,
    DatasourceContainer,
    DatasourceContainerConfig,
    DataSplitConfig,
    FileSystemFilterConfig,
    MinimalDatasourceConfig,
    MinimalSchemaGenerationConfig,
    MinimalSchemaUploadConfig,
    PodDataConfig,
    PodDetailsConfig,
    PodPublicMetadata,
)
from federated.types.hub import APIKeys, BitfountSession, ExternallyManagedJWT, HubConfig
from federated.types.serialized import (
    HuggingFaceImageClassificationInferenceDictionary,
    SerializedAggregator,
    SerializedAlgorithm,
    SerializedDataStructure,
    SerializedModel,
    SerializedProtocol,
    TextGenerationDefaultReturnType,
    TextGenerationDictionary,
)

__all__ = [
    "APIKeys",
    "AccessCheckResult",
    "AggregatorType",
    "AlgorithmType",
    "BaseSource",
    "BitfountSchema",
    "BitfountSession",
    "DataSplitConfig",
    "DatasourceContainer",
    "DatasourceContainerConfig",
    "EHRConfig",
    "EHRProvider",
    "ExternallyManagedJWT",
    "FileSystemFilterConfig",
    "HubConfig",
    "HuggingFaceImageClassificationInferenceDictionary",
    "InferenceLimits",
    "MinimalDatasourceConfig",
    "MinimalSchemaGenerationConfig",
    "MinimalSchemaUploadConfig",
    "ModelURLs",
    "PodDataConfig",
    "PodDetailsConfig",
    "PodPublicMetadata",
    "ProtocolContext",
    "ProtocolType",
    "ResourceLimit",
    "SerializedAggregator",
    "SerializedAlgorithm",
    "SerializedDataStructure",
    "SerializedModel",
    "SerializedProtocol",
    "TaskContext",
    "TextGenerationDefaultReturnType",
    "TextGenerationDictionary",
    "_PodResponseType",
    "get_task_results_directory",
    "read_access_check",
]


@dataclass(kw_only=True)
class ProtocolContext:
    """What a protocol knows about the task that it runs in."""

    inference_limits: dict[str, InferenceLimits] = field(default_factory=dict)
    model_urls: dict[str, ModelURLs] = field(default_factory=dict)
    task_context: TaskContext | None = None
    project_id: str | None = None
    task_id: str | None = None

    def get_task_results_dir(self) -> Path:
        """The folder for this task's results, made if it is missing.

        It is the base folder, then the project, then the task, each level only where its id is known.
        The base is ``TRIALVEIL_TASK_RESULTS_DIR`` (or ``BITFOUNT_TASK_RESULTS_DIR``), else the folder
        ``task-results`` in the output folder. The environment is read at each call.

        Raises:
            InvalidArgument: an id cannot be the name of one folder.
        """
        base = _folder_from_environment("TASK_RESULTS_DIR") or _output_dir() / "task-results"
        ids = {"project_id": self.project_id, "task_id": self.task_id}
        levels = [_folder_name(name, value) for name, value in ids.items() if value is not None]
        return _made(base.joinpath(*levels))


def get_task_results_directory(context: ProtocolContext | None) -> Path:
    """The context's folder for results; without a context the output folder."""
    return _made(_output_dir()) if context is None else context.get_task_results_dir()


def _output_dir() -> Path:
    return _folder_from_environment("OUTPUT_DIR") or Path.cwd()


def _folder_from_environment(name: str) -> Path | None:
    text = os.environ.get(f"TRIALVEIL_{name}") or os.environ.get(f"BITFOUNT_{name}")
    return Path(text) if text else None


def _folder_name(field_name: str, value: object) -> str:
    # A pod's folder may be on another system than the modeller who chose the id, so the separators
    # of every system count. Windows also drops dots and spaces at the end, which makes ".. " a "..".
    if not isinstance(value, str) or not value.strip(" .") or any(mark in value for mark in "/\\:\0"):
        raise InvalidArgument(
            f"{field_name} cannot be the name of a folder; expected text that is not empty, '.' or '..' "
            "and has no separator, drive or NUL. Nothing was written."
        )
    return value


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
