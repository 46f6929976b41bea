"""A lock on a folder that ends with the process that holds it, on every system."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from federated.errors import ConfigurationError


def one_process(file: Path, otherwise: str) -> sqlite3.Connection:
    """Hold the lock until the connection is closed, or the process ends in whatever way.

    Args:
        file: the lock; made if it is missing, and left behind.
        otherwise: the beginning of the sentence where somebody else holds it.

    Raises:
        ConfigurationError: another process, or another place in this one, holds it; or the folder cannot be made or
            written.
    """
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner_only(file)
        lock = sqlite3.connect(file, isolation_level=None, timeout=0, check_same_thread=False)
    except (OSError, sqlite3.Error):
        raise _unusable(file) from None
    try:
        lock.execute("begin exclusive")
    except sqlite3.DatabaseError as error:
        lock.close()
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise ConfigurationError(f"{otherwise}; wait until it has ended, or stop it.") from None
        raise _unusable(file) from None
    return lock


def owner_only(file: Path) -> None:
    """Make a file that is not there yet, empty, for its owner alone; SQLite gives its companions the same rights."""
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))


def _unusable(file: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{file.name} cannot be locked, for its folder cannot be made or written; nothing was run. Give another "
        "folder, or the right to write in it."
    )
