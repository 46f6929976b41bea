"""Models on the disk: safetensors and nothing else, with where they come from.

A safetensors file is numbers behind a table of names; reading it runs nothing. Pickles, which do, are refused
unread. The same arrays and facts give the same bytes: what we write about a model is one line of JSON, because the
format leaves the order of several lines open.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.errors import InvalidArgument
from federated.models.arrays import same_form
from federated.models.interface import Tensors

KEY = "trialveil"
LARGEST = 8 * 1024**3
LONGEST_HEADER = 16 * 1024**2
_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A model that was read.

    Attributes:
        tensors: in the order of the model that was saved; by name where the file does not tell one.
        facts: where it comes from: what was given to `save`. Written by whoever wrote the file, so proof of nothing.
        sha256: of the file, hexadecimal.
    """

    tensors: dict[str, NDArray[Any]] = field(repr=False)
    facts: Mapping[str, str]
    sha256: str


def to_bytes(tensors: Tensors, facts: Mapping[str, str] | None = None) -> bytes:
    """A model as a safetensors file.

    Args:
        tensors: names to arrays of a type that the format has.
        facts: where it comes from; texts.

    Raises:
        InvalidArgument: there is no array, or one of a type that cannot be saved.
    """
    from safetensors.numpy import save as encode

    if not tensors:
        raise InvalidArgument("the model has no array; nothing was saved")
    for name, array in tensors.items():
        if str(np.asarray(array).dtype) not in _TYPES.values():
            raise InvalidArgument(
                f"array {name!r} has a type that a model file cannot hold; nothing was saved"
            )
    note = {"order": list(tensors), "facts": dict(facts or {})}
    # The encoder takes memory as it lies, so every array must lie in rows.
    plain = {name: np.array(array, order="C") for name, array in tensors.items()}
    return bytes(encode(plain, {KEY: json.dumps(note, sort_keys=True, ensure_ascii=False)}))


def save(path: Path, tensors: Tensors, facts: Mapping[str, str] | None = None) -> str:
    """Write a model for its owner alone, whole or not at all.

    Returns:
        The SHA-256 of the file, hexadecimal.

    Raises:
        InvalidArgument: see `to_bytes`.
    """
    data = to_bytes(tensors, facts)
    waiting = path.with_name(f".{path.name}.part")
    waiting.unlink(missing_ok=True)  # of a run that was killed; its rights do not count
    with open(waiting, "wb", opener=_owners) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    waiting.replace(path)
    return hashlib.sha256(data).hexdigest()


def _owners(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def load(path: Path, *, like: Tensors | None = None, sha256: str | None = None) -> SavedModel:
    """Read a model file; see `from_bytes`.

    Raises:
        InvalidArgument: it cannot be read, or see `from_bytes`.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise InvalidArgument(f"the model file has more than {LARGEST} bytes; it was not read")
        data = path.read_bytes()
    except OSError as error:
        raise InvalidArgument(f"the model file cannot be read ({type(error).__name__})") from None
    return from_bytes(data, like=like, sha256=sha256)


def from_bytes(data: bytes, *, like: Tensors | None = None, sha256: str | None = None) -> SavedModel:
    """A model out of the bytes of a safetensors file.

    Args:
        data: the file.
        like: the arrays that are expected; their order is taken.
        sha256: what the file must have, hexadecimal.

    Raises:
        InvalidArgument: another file than was pinned, no safetensors file, or other arrays than ``like``.
    """
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise InvalidArgument("the model file has another SHA-256 than the task names; it was not opened")
    order, facts = _note(_header(data))
    tensors = _decoded(data)
    if like is not None:
        tensors = same_form(tensors, like)
    elif sorted(order) == sorted(tensors):
        tensors = {name: tensors[name] for name in order}
    return SavedModel(tensors, facts, found)


def _header(data: bytes) -> Mapping[str, Any]:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 10 or not 2 <= length <= min(LONGEST_HEADER, len(data) - 8):
        raise _no_model()
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):
        raise _no_model() from None
    if not isinstance(header, dict):
        raise _no_model()
    for name, entry in header.items():
        if name != "__metadata__" and (not isinstance(entry, dict) or entry.get("dtype") not in _TYPES):
            raise InvalidArgument("the model file has an array of a type that is not read; it was not opened")
    return header


def _decoded(data: bytes) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as decode

    try:
        return dict(decode(data))
    except (SafetensorError, ValueError, KeyError, TypeError):
        raise _no_model() from None


def _note(header: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """What `to_bytes` wrote beside the arrays; empty for a file of others."""
    metadata = header.get("__metadata__")
    try:
        note = json.loads(metadata[KEY]) if isinstance(metadata, dict) else {}
        order, facts = note["order"], note["facts"]
        return [str(name) for name in order], {str(key): str(value) for key, value in facts.items()}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return [], {}


def _no_model() -> InvalidArgument:
    return InvalidArgument(
        "the model file is no safetensors file; other forms, such as pickles, can run code and are never opened"
    )
