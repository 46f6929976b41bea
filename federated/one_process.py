"""A lock on a folder that ends with the process that holds it, on every system."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from federated.errors import ConfigurationError


def one_process(file: Path, otherwise: str) -> sqlite3.Connection:
    """Hold the lock until the connection is closed, or the process ends in whatever way.

    Args:
        file: the lock; made if it is missing, and left behind.
        otherwise: the beginning of the sentence where somebody else holds it.

    Raises:
        ConfigurationError: another process, or another place in this one, holds it.
    """
    lock = sqlite3.connect(file, isolation_level=None, timeout=0, check_same_thread=False)
    try:
        lock.execute("begin exclusive")
    except sqlite3.DatabaseError:
        lock.close()
        raise ConfigurationError(f"{otherwise}; wait until it has ended, or stop it.") from None
    return lock
