"""The person at the keyboard: shown an address to log in at, asked for a passphrase."""

from __future__ import annotations

import os
import sys
import webbrowser
from dataclasses import replace
from getpass import getpass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ehr.connect.opening import AtKeyboard, ClockAndWire

WAIT_S = 300.0


def person(*, browser: bool = True, wait_s: float = WAIT_S) -> AtKeyboard:
    """Whoever started this command.

    Args:
        browser: open a browser where there is one; otherwise the address is only shown.
        wait_s: how long there is for a login.
    """
    from ehr.connect.opening import AtKeyboard

    def show(address: str) -> None:
        opened = browser and _opened(address)
        words = "A browser opens. If it does not, open" if opened else "Open"
        # The address is the command's one question, so it is shown with -q too.
        sys.stderr.write(f"{words} this address on this machine and log in:\n\n  {address}\n\n")
        sys.stderr.flush()

    return AtKeyboard(show, _asked, wait_s)


def present() -> ClockAndWire:
    """The real surroundings, with a person only where the command runs at a terminal."""
    from ehr.connect.opening import REAL

    return replace(REAL, person=person()) if sys.stdin.isatty() and sys.stderr.isatty() else REAL


def _opened(address: str) -> bool:
    seen = {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"} & os.environ.keys()
    if sys.platform.startswith("linux") and not seen:
        return False  # Python would start a text browser in this terminal
    try:
        return webbrowser.open(address)
    except (webbrowser.Error, OSError):
        return False


def _asked(question: str) -> str:
    from ehr.errors import ConfigurationError

    if not sys.stdin.isatty():
        raise ConfigurationError(
            "a passphrase is asked for at a terminal, and this is none. Take a key file."
        )
    return getpass(question, stream=sys.stderr)
