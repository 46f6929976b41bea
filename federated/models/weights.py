"""The numbers of a model that a task brings or names, always pinned by the SHA-256 of their file."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from federated.errors import InvalidArgument, TaskRefused
from federated.models import files
from federated.models.interface import Tensors
from federated.types.access import ModelURLs

LARGEST_INSIDE = 2 * 1024 * 1024
"""Bytes of a file that travels inside a task."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Weights:
    """A safetensors file.

    Args:
        sha256: of the file, 64 hexadecimal digits; what a pod's policy allows it by.
        data: the file itself, in base64; None where the pod fetches it, by the address that the access check gave.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    sha256: str
    data: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.sha256):
            raise ValueError("sha256 must be 64 hexadecimal digits, in lower case")


def inside(file: bytes) -> dict[str, str]:
    """A model file as the argument ``weights`` of a task.

    Raises:
        InvalidArgument: it is no model file, or too large to travel inside a task.
    """
    if len(file) > LARGEST_INSIDE:
        raise InvalidArgument(
            f"the model file has {len(file)} bytes; at most {LARGEST_INSIDE} travel inside a task. Let pods fetch it"
        )
    files.from_bytes(file)
    return {"sha256": hashlib.sha256(file).hexdigest(), "data": base64.b64encode(file).decode()}


def brought(weights: Weights, like: Tensors) -> dict[str, NDArray[Any]]:
    """The arrays of weights that travel inside the task.

    Raises:
        TaskRefused: they do not, or are not the pinned ones, or do not fit the model.
    """
    if weights.data is None:
        raise _refused(
            "its weights do not travel inside the task, and are needed before any pod can fetch them"
        )
    try:
        file = base64.b64decode(weights.data, validate=True)
    except (binascii.Error, ValueError):
        raise _refused("its weights are no base64") from None
    try:
        return files.from_bytes(file, like=like, sha256=weights.sha256).tensors
    except InvalidArgument as error:
        raise _refused(str(error)) from None


def found(
    weights: Weights, like: Tensors, urls: Mapping[str, ModelURLs], folder: Path
) -> dict[str, NDArray[Any]]:
    """The arrays in a pod: those inside the task, else fetched; blocks while it fetches.

    Args:
        weights: see `Weights`.
        like: the model's own arrays.
        urls: addresses by model, from the access check; the weights are looked up by their SHA-256.
        folder: of what was fetched.

    Raises:
        TaskRefused: they cannot be had, are not the pinned ones, or do not fit the model.
    """
    if weights.data is not None:
        return brought(weights, like)
    if weights.sha256 not in urls:
        raise _refused("its weights are not inside the task, and the access check gave no address for them")
    from federated.models.download import Fetching, fetch

    file = fetch(urls[weights.sha256], weights.sha256, Fetching(folder))
    try:
        return files.load(file, like=like, sha256=weights.sha256).tensors
    except InvalidArgument as error:
        raise _refused(str(error)) from None


def _refused(why: str) -> TaskRefused:
    return TaskRefused("TASK_SETUP_ERROR", f"The task's model: {why}. Nothing was run.")
