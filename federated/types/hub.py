"""Who a pod or modeller is towards a hub, and with what it proves it."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class APIKeys:
    """A pair of keys that a hub has issued. Its ``repr`` shows its class only."""

    access_key_id: str
    access_key: str

    def __repr__(self) -> str:
        return "APIKeys(...)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, APIKeys):
            return NotImplemented
        same_id = hmac.compare_digest(self.access_key_id.encode(), other.access_key_id.encode())
        return hmac.compare_digest(self.access_key.encode(), other.access_key.encode()) and same_id

    __hash__ = None  # type: ignore[assignment]  # a secret is no key of a dictionary


@dataclass(slots=True, repr=False, eq=False)
class ExternallyManagedJWT:
    """A token that somebody else renews. Its ``repr`` shows its class only.

    Args:
        jwt: the token at hand.
        expires: when it ends, with a time zone.
        get_token: gives the next token and when that ends.

    Raises:
        ValueError: ``expires`` has no time zone.
    """

    jwt: str
    expires: datetime
    get_token: Callable[[], tuple[str, datetime]]

    def __post_init__(self) -> None:
        if self.expires.tzinfo is None:
            raise ValueError("expires has no time zone; give one, for example datetime.UTC")

    def __repr__(self) -> str:
        return "ExternallyManagedJWT(...)"

    def token(self, now: datetime) -> str:
        """The token, renewed if it has ended by ``now``."""
        if now >= self.expires:
            jwt, expires = self.get_token()
            self.jwt, self.expires = jwt, expires.astimezone(UTC)
        return self.jwt


@dataclass(slots=True)
class BitfountSession:
    """A login at a hub: who it is for, and the secrets that it was made with."""

    username: str
    secrets: APIKeys | ExternallyManagedJWT = field(repr=False)


@dataclass
class HubConfig:
    """How to reach a hub from another process; not the section ``hub`` of a task file (one ``url``)."""

    username: str | None
    secrets: APIKeys | ExternallyManagedJWT | None
    session: BitfountSession | None = None
    session_info: dict[str, Any] | None = field(default=None, repr=False)
