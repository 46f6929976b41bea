"""Logins that outlive a command: in one sealed file, or in memory only (S1, S2).

The file is useless alone: its content is encrypted and authenticated (AES-256-GCM) under a key that scrypt makes
from a secret which never lies beside it. It is its owner's alone, written whole or not at all, and no link is
followed. RFC 7914; NIST SP 800-38D.
"""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ehr.auth.keys import write_owner_only
from ehr.auth.tokens import Silent, usable
from ehr.auth.turns import turn
from ehr.errors import ConfigurationError, LoginNotKept

MAGIC = b"trialveil logins 1\n"
SALT_BYTES, NONCE_BYTES = 16, 12
SCRYPT_N = 2**15
"""With r = 8 and p = 1: 32 MiB and about a tenth of a second for each guess at a passphrase."""
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True, repr=False)
class StoredLogin(Silent):
    """What one login left.

    Args:
        token_url: where it may be renewed; nowhere else.
        access_token: the newest.
        received_at: seconds since 1970 when it came.
        life_s: seconds from then to its expiry.
        scope: what was granted.
        refresh_token: for the next access token; good for one use. None where the server gave none.
        patient: id of the one patient the login is for; None for no such limit.
    """

    token_url: str
    access_token: str
    received_at: float
    life_s: float
    scope: str
    refresh_token: str | None = None
    patient: str | None = None
    called = "a login"

    def left_s(self, now: float) -> float:
        """Seconds for which the access token is still good; 0 where the clock went back since it came."""
        age = now - self.received_at
        return max(0.0, self.life_s - age) if age >= 0 else 0.0


class Keeper(Protocol):
    """Where the login of one client at one EHR is kept."""

    @property
    def lasts(self) -> bool:
        """Whether it outlives this process."""
        ...

    def read(self) -> StoredLogin | None:
        """The login, or None where there is none."""
        ...

    def write(self, login: StoredLogin | None) -> None:
        """Keep a login in place of the one before, durable before this returns; None forgets it."""
        ...

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Held while a login is renewed: everybody who shares it waits."""
        ...


@dataclass(slots=True, repr=False)
class InMemory(Silent):
    """A login that ends with this process."""

    login: StoredLogin | None = None
    called = "a login"
    lasts: ClassVar[bool] = False

    def read(self) -> StoredLogin | None:
        """See `Keeper.read`."""
        return self.login

    def write(self, login: StoredLogin | None) -> None:
        """See `Keeper.write`."""
        self.login = login

    def turn(self) -> AbstractAsyncContextManager[None]:
        """See `Keeper.turn`; nobody else has it."""
        return nullcontext()


@dataclass(slots=True, repr=False)
class SealedStore(Silent):
    """The login of one client at one EHR, in a sealed file that may hold others too.

    Args:
        path: the file; its folder exists.
        secret: what the key is made from.
        account: client and EHR, as one text.

    Raises:
        ConfigurationError: this system has no file modes and locks to rely on.
    """

    path: Path
    secret: bytes
    account: str
    _derived: tuple[bytes, bytes] | None = field(default=None, init=False)
    called = "a store of logins"
    lasts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if sys.platform == "win32":
            raise ConfigurationError(
                "auth.browser.store: needs the file modes and locks of a POSIX system. Leave it out; logins then end "
                "with each command."
            )

    def turn(self) -> AbstractAsyncContextManager[None]:
        """See `Keeper.turn`; other processes wait too."""
        return turn(self.path.with_name(self.path.name + ".lock"))

    def read(self) -> StoredLogin | None:
        """See `Keeper.read`.

        Raises:
            LoginNotKept: the file cannot be read, is not such a store, was changed, or has another key.
        """
        found = self._all().get(self.account)
        return None if found is None else _login(found)

    def write(self, login: StoredLogin | None) -> None:
        """See `Keeper.write`.

        Raises:
            LoginNotKept: as for `read`; or the file cannot be written.
        """
        kept = dict(self._all())
        if login is None:
            if kept.pop(self.account, None) is None:
                return
        else:
            kept[self.account] = asdict(login)
        salt = self._derived[0] if self._derived is not None else secrets.token_bytes(SALT_BYTES)
        nonce = secrets.token_bytes(NONCE_BYTES)
        head = MAGIC + salt + nonce
        sealed = AESGCM(self._key(salt)).encrypt(nonce, msgspec.json.encode(kept), head)
        try:
            write_owner_only(self.path, head + sealed)
        except OSError as error:
            raise LoginNotKept(
                f"auth.browser.store: the file cannot be written ({type(error).__name__}). The login was not kept."
            ) from None

    def _all(self) -> Mapping[str, Any]:
        content = _content(self.path)
        if content is None:
            return {}
        rest = content[len(MAGIC) :]
        salt, nonce = rest[:SALT_BYTES], rest[SALT_BYTES : SALT_BYTES + NONCE_BYTES]
        if not content.startswith(MAGIC) or len(nonce) < NONCE_BYTES:
            raise LoginNotKept(_FOREIGN)
        head_length = len(MAGIC) + SALT_BYTES + NONCE_BYTES
        try:
            opened = AESGCM(self._key(salt)).decrypt(nonce, content[head_length:], content[:head_length])
        except InvalidTag:
            raise LoginNotKept(_CLOSED) from None
        document = msgspec.json.decode(opened)  # we wrote it: nobody else can
        return document if isinstance(document, dict) else {}

    def _key(self, salt: bytes) -> bytes:
        if self._derived is None or self._derived[0] != salt:
            self._derived = (salt, Scrypt(salt=salt, length=32, n=SCRYPT_N, r=8, p=1).derive(self.secret))
        return self._derived[1]


_FOREIGN = (
    "auth.browser.store: the file is no store of logins, so nothing was changed in it. Name another file, or remove "
    "this one."
)
_CLOSED = (
    "auth.browser.store: the file does not open: its key is another one, or it was changed. Give the right key, or "
    "remove the file and log in again."
)


def _login(found: Any) -> StoredLogin:
    try:
        login = msgspec.convert(found, StoredLogin)
    except msgspec.ValidationError:
        raise LoginNotKept(
            "auth.browser.store: the login in it is of another release. Log in again."
        ) from None
    if not usable(login.access_token) or not (login.refresh_token is None or usable(login.refresh_token)):
        raise LoginNotKept("auth.browser.store: the login in it cannot be used. Log in again.")
    return login


def _content(path: Path) -> bytes | None:
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LoginNotKept(
            f"auth.browser.store: the file cannot be opened ({type(error).__name__}); a link there is not followed."
        ) from None
    try:
        _check(os.fstat(handle))
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(_LARGEST + 1)
    finally:
        os.close(handle)


def _check(about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode) or about.st_size > _LARGEST:
        raise LoginNotKept(_FOREIGN)
    if about.st_mode & 0o077 or about.st_uid != os.geteuid():
        raise LoginNotKept(
            "auth.browser.store: the file is not this user's alone. Run chmod 600 on it if it is yours; "
            "otherwise remove it and log in again."
        )
