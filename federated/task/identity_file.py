"""Ed25519 identities in files: 64 hexadecimal digits that only their owner can read."""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from ehr.errors import ConfigurationError
from ehr.files.pod_file import secret_bytes
from ehr.files.settings import Secret
from federated.errors import UsageError
from secure_agg import Identity


def read_identity(secret: Secret, folder: Path, name: str) -> Identity:
    """The Ed25519 identity that a pod or task file names.

    Args:
        secret: where it is.
        folder: of the file that names it.
        name: the setting's name, for messages.

    Raises:
        ConfigurationError: it is missing, others can read its file, or it is no identity.
    """
    text = secret_bytes(secret, folder, name).lower()
    if not re.fullmatch(rb"[0-9a-f]{64}", text):
        raise ConfigurationError(
            f"{name}: holds {len(text)} bytes; expected the 64 hexadecimal digits of an identity. "
            'Make one with "trialveil task key".'
        )
    return Identity(bytes.fromhex(text.decode()))


def new_identity(path: Path) -> bytes:
    """Make an Ed25519 identity in a file that only its owner can read.

    Returns:
        The raw public key, 32 bytes.

    Raises:
        UsageError: the file exists or cannot be written; nothing was changed.
    """
    seed = secrets.token_bytes(32)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(seed.hex().encode() + b"\n")
            file.flush()
            os.fsync(handle)
    except FileExistsError:
        raise UsageError(f"{path.name} exists and is not overwritten; nothing was changed") from None
    except OSError as error:
        raise UsageError(
            f"{path.name} cannot be written ({type(error).__name__}); choose another place"
        ) from None
    return Identity(seed).public


def identity_at(path: Path) -> tuple[bytes, tuple[Path, ...]]:
    """The raw public key of an identity, which is made where there is none, and the file that was made.

    Raises:
        UsageError: it cannot be written.
        ConfigurationError: what lies there cannot be read.
    """
    if path.exists():
        return read_identity(Secret(file=path.name), path.parent, path.name).public, ()
    return new_identity(path), (path,)


@dataclass(frozen=True, slots=True)
class Made:
    """What was written.

    Args:
        file: the pod file.
        keys: files of secrets that were made; those that were there already are left as they are.
        public: the pod's public key, 64 hexadecimal digits.
    """

    file: Path
    keys: tuple[Path, ...]
    public: str
