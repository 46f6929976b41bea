"""Where the secret of a store of logins comes from: never from beside the store (S1)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from ehr.errors import ConfigurationError
from ehr.files.pod_file import secret_bytes
from ehr.files.settings import Secret, StoreKey

KEY_BYTES = 32
PASSPHRASE_CHARACTERS = 12
_SERVICE = "trialveil"
_NAME = "auth.browser.store.key"


def store_secret(key: StoreKey, store: Path, folder: Path, ask: Callable[[str], str] | None) -> bytes:
    """The secret that a store's key is made from.

    Args:
        key: the setting.
        store: the store's file.
        folder: of the pod file.
        ask: asks the person at the keyboard; None where nobody is there.

    Raises:
        ConfigurationError: it is missing, too short, lies beside the store, or nobody can be asked.
    """
    if key.passphrase is not None:
        return _passphrase(store, ask)
    if key.keyring is not None:
        return _from_keyring(key.keyring)
    if key.file is not None:
        _elsewhere(folder / key.file, store)
    secret = secret_bytes(Secret(file=key.file, env=key.env), folder, _NAME)
    if len(secret) < KEY_BYTES:
        raise ConfigurationError(
            f"{_NAME}: holds {len(secret)} bytes; at least {KEY_BYTES} are needed. "
            'Make one with "trialveil ehr keys store".'
        )
    return secret


def new_store_key(path: Path) -> None:
    """Write a fresh key, for its owner alone.

    Raises:
        FileExistsError: something is there already, be it a link.
        OSError: it cannot be written.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, 0o600)
        file.write(secrets.token_urlsafe(KEY_BYTES).encode() + b"\n")


def _elsewhere(key: Path, store: Path) -> None:
    """Who copies the store's folder must not have the key with it."""
    if key.resolve().is_relative_to(store.parent.resolve()):
        raise ConfigurationError(
            f"{_NAME}: the key file lies in the store's folder, so whoever copies the folder has both. Move it to "
            "another place."
        )


def _passphrase(store: Path, ask: Callable[[str], str] | None) -> bytes:
    if ask is None:
        raise ConfigurationError(
            f"{_NAME}: a passphrase is asked for at a terminal, and nobody is there. Take a key file or an "
            "environment variable for unattended runs."
        )
    if store.exists():
        return ask("Passphrase of the store of logins: ").encode()
    chosen = ask(f"New passphrase for the store of logins ({PASSPHRASE_CHARACTERS} characters or more): ")
    if len(chosen) < PASSPHRASE_CHARACTERS:
        raise ConfigurationError(
            f"{_NAME}: the passphrase has fewer than {PASSPHRASE_CHARACTERS} characters. Nothing was stored."
        )
    if ask("The same again: ") != chosen:
        raise ConfigurationError(f"{_NAME}: the two passphrases differ. Nothing was stored.")
    return chosen.encode()


def _from_keyring(name: str) -> bytes:
    try:
        keyring: Any = import_module("keyring")
    except ImportError:
        raise ConfigurationError(
            f"{_NAME}: the package keyring is not installed. Run: pip install keyring"
        ) from None
    try:
        held = keyring.get_password(_SERVICE, name)
        if held is None:
            held = secrets.token_urlsafe(KEY_BYTES)
            keyring.set_password(_SERVICE, name, held)
    except Exception as error:  # noqa: BLE001 - each backend has errors of its own
        raise ConfigurationError(
            f"{_NAME}: the operating system's keyring cannot be used ({type(error).__name__})."
        ) from None
    if len(held) < KEY_BYTES:
        raise ConfigurationError(f"{_NAME}: the keyring's entry is shorter than {KEY_BYTES} characters.")
    return str(held).encode()
