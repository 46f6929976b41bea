"""Processes that share a login take turns: one of them renews it, the others wait and then use what it got (S2)."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ehr.errors import LoginNotKept

if sys.platform != "win32":
    import fcntl

_LOOK_S = 0.05
LONGEST_S = 180.0
"""A token request with its repetitions ends within this; who waits longer waits for a process that is stuck."""


@asynccontextmanager
async def turn(path: Path, longest_s: float = LONGEST_S) -> AsyncIterator[None]:
    """Hold a lock file; it stays where it is and is never read.

    The lock goes with the process: one that is killed holds nothing.

    Args:
        path: made if it is missing, for its owner alone; a link there is not followed.
        longest_s: how long to wait for another process.

    Raises:
        LoginNotKept: the file cannot be used, or another process does not let go.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except OSError as error:
        raise LoginNotKept(
            f"auth.browser.store: its lock file cannot be used ({type(error).__name__}); is a link there, or may "
            "this user not write?"
        ) from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise LoginNotKept("auth.browser.store: something else lies where its lock file goes.")
        await _locked(handle, time.monotonic() + longest_s)
        yield
    finally:
        os.close(handle)


async def _locked(handle: int, until: float) -> None:
    # Asked again and again, not waited for: the holder may be a task of this very process.
    while sys.platform != "win32":
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise LoginNotKept(
                    "another process holds the login and does not let go. End it, and start again."
                ) from None
            await asyncio.sleep(_LOOK_S)
        except OSError as error:  # some network file systems have no locks
            raise LoginNotKept(
                f"auth.browser.store: its lock file cannot be locked ({type(error).__name__}). Keep the store on a "
                "local disk."
            ) from None
        else:
            return
