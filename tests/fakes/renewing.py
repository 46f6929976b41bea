"""``python -m tests.fakes.renewing POD SECONDS``: a process that needs a fresh token at the moment it is told to.

Its clock is SECONDS ahead. It says that it is ready, waits for a line, reads one patient, and says how that ended.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from ehr.connect.opening import ClockAndWire
from ehr.errors import EHRError
from ehr.records.patient import Kind, PatientRef
from ehr.site import open_site_async
from ehr.transport.settings import SYSTEM_CLOCK


def _ahead(seconds: float) -> ClockAndWire:
    now = SYSTEM_CLOCK.now
    return ClockAndWire(clock=replace(SYSTEM_CLOCK, now=lambda: now() + timedelta(seconds=seconds)))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def _read(config: Path, seconds: float, reads: int) -> str:
    async with open_site_async(config, _ahead(seconds)) as site:
        _say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        found = await asyncio.gather(*(site.read(Kind.PATIENT, PatientRef("ana")) for _ in range(reads)))
        site.adapter._parts.authenticator.check()  # type: ignore[attr-defined]  # what the login itself ended with
        return " ".join(sorted({one.state.name for one in found}))


def main() -> None:
    """See the module."""
    try:
        _say(asyncio.run(_read(Path(sys.argv[1]), float(sys.argv[2]), 5)))
    except EHRError as error:
        _say(f"{type(error).__name__}: {error}")


@contextmanager
def racers(config: Path, seconds: float, count: int = 2) -> Iterator[Sequence[subprocess.Popen[str]]]:
    """Processes that are ready and wait."""
    command = [sys.executable, "-m", "tests.fakes.renewing", str(config), str(seconds)]
    root = Path(__file__).parents[2]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)
        for _ in range(count)
    ]
    try:
        for one in started:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        yield started
    finally:
        for one in started:
            one.kill()
            one.communicate()


def finished(started: Sequence[subprocess.Popen[str]]) -> list[str]:
    """Let all of them go at once, and say how each ended."""
    for one in started:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    return [one.communicate(timeout=60)[0].strip() for one in started]


if __name__ == "__main__":
    main()
