"""``federation:`` of ``pod.yaml``: who this pod is to others, whose tasks it takes, and with whom it adds up."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, model_validator

from ehr.files.settings import Secret, Section
from federated.task.participants import Address, ParticipantName, PublicKey, split_address


class ModellerSection(Section):
    """Whose tasks this pod looks at.

    Args:
        name: as it stands in tasks.
        key: the modeller's public key.
        address: where its program listens; this pod dials out to it. None for a pod that runs in the modeller's own
            process.
        proxy: an HTTP proxy of the hospital through which ``address`` is reached, ``host:port``; it opens a tunnel
            (CONNECT) and sees TLS only. None dials directly; variables of the environment are not looked at.
    """

    name: ParticipantName
    key: PublicKey
    address: Address | None = None
    proxy: Address | None = None

    @model_validator(mode="after")
    def _leads_somewhere(self) -> ModellerSection:
        if self.proxy is not None and self.address is None:
            raise ValueError('"proxy" leads to "address", which is missing')
        return self

    @property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""
        return bytes.fromhex(self.key)

    @property
    def host_and_port(self) -> tuple[str, int] | None:
        """``address`` in its two parts."""
        return None if self.address is None else split_address(self.address)

    @property
    def proxy_host_and_port(self) -> tuple[str, int] | None:
        """``proxy`` in its two parts."""
        return None if self.proxy is None else split_address(self.proxy)


def clash(name: str | None, modeller: str | None, peers: Mapping[str, str]) -> str | None:
    """What is wrong with names and keys that are right one by one; None where they fit together.

    Args:
        name: of the pod; None where it is not known.
        modeller: its public key; None where it is not known.
        peers: names to public keys.
    """
    if name in peers:
        return '"peers" names this pod itself; name the others only'
    keys = [key for key in (modeller, *peers.values()) if key is not None]
    return "two of the peers and the modeller have the same key" if len(set(keys)) != len(keys) else None


class FederationSection(Section):
    """``federation:``.

    Args:
        name: what this pod is called in tasks.
        key: where its Ed25519 identity is: the 64 hexadecimal digits of the seed ("trialveil pod key").
        modeller: see `ModellerSection`.
        peers: the pods that this one agrees to add up with, by name, with their public keys. A task that invites
            another one, or one of these under another key, is refused.
        state: folder of what this pod must remember: tasks, rounds, budgets, audit log; beside the pod file.
    """

    name: ParticipantName
    key: Secret
    modeller: ModellerSection
    peers: dict[ParticipantName, PublicKey] = Field(default_factory=dict)
    state: str = Field(default="state", min_length=1)

    @model_validator(mode="after")
    def _different_keys(self) -> FederationSection:
        wrong = clash(self.name, self.modeller.key, self.peers)
        if wrong is not None:
            raise ValueError(wrong)
        return self

    @property
    def pinned(self) -> dict[str, bytes]:
        """The peers and their raw public keys."""
        return {name: bytes.fromhex(key) for name, key in self.peers.items()}
