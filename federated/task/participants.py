"""What pods and modellers are called in a task, with their keys and addresses."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from federated.task.spec import POD_NAME

_KEY = re.compile(r"[0-9a-f]{64}")
_ADDRESS = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?):(?P<port>\d{1,5})"
)


def _public(text: str) -> str:
    if not _KEY.fullmatch(text.lower()):
        raise ValueError("is not 64 hexadecimal digits (a public key, as trialveil pod key prints it)")
    return text.lower()


def _pod_name(text: str) -> str:
    if not POD_NAME.fullmatch(text):
        raise ValueError(
            "is not a name in a task: 1 to 64 of a-z, 0-9, '.', '_', '-'; begins with a letter or digit"
        )
    return text


def _address(text: str) -> str:
    found = _ADDRESS.fullmatch(text)
    if found is None or not 1 <= int(found["port"]) <= 65_535:
        raise ValueError("is not HOST:PORT, such as tasks.example.org:7443")
    return text


PublicKey = Annotated[str, AfterValidator(_public)]
"""A raw Ed25519 public key, 64 hexadecimal digits."""

ParticipantName = Annotated[str, AfterValidator(_pod_name)]
"""What a pod or modeller is called in tasks."""

Address = Annotated[str, AfterValidator(_address)]
"""``host:port``; an IPv6 address stands in brackets."""


def split_address(address: str) -> tuple[str, int]:
    """Host and port of an `Address`."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
