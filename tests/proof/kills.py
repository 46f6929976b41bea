"""The proof of kills: over 1,000 patients, twenty times ``SIGKILL``, and the results of an undisturbed run."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.end_to_end.killed_runs import AT_WORK, Seen, killed_runs
from tests.proof import page

PATIENTS, KILLS = 1100, 20


def run(seed: int, patients: int = PATIENTS, kills: int = KILLS, folder: Path = page.FOLDER) -> bool:
    """Kill, go on, compare, and write the page; True when everything holds."""
    with tempfile.TemporaryDirectory() as place:
        seen = killed_runs(Path(place), patients, kills, seed)
    _write(seen, seed, folder)
    for fault in seen.faults:
        sys.stderr.write(f"kills: {fault}\n")
    return not seen.faults


def _write(seen: Seen, seed: int, folder: Path) -> None:
    faults = "\n".join(f"* {fault}" for fault in seen.faults)
    result = (
        "No patient who was stored was asked about again, no row was lost or doubled, and the files of the last "
        "start are, byte for byte, those of a run that nobody disturbed."
        if not seen.faults
        else f"**Something did not hold:**\n\n{faults}"
    )
    rows = [
        (place, kill.when, f"{kill.after:,}", f"{len(kill.stored):,}", len(kill.asked_again))
        for place, kill in enumerate(seen.kills, start=1)
    ]
    once = seen.asked_in_starts.get(1, 0)
    several = sum(seen.asked_in_starts.values()) - once
    page.write(
        "kills",
        "Kills: a screening of thousands that is ended at any moment",
        [
            f"{result} {seen.seconds / 60:.1f} minutes.",
            f"{seen.patients:,} rows of invented people (seed {seed}): by id, by record number, or by name and birth "
            "date; some of them twins, strangers, or the person of an earlier row. `trialveil screen` runs in a "
            f"process of its own and is ended by `SIGKILL` {len(seen.kills)} times: when as many requests for data "
            "as chance drew are answered, in all starts together, and up to 50 ms later, in which the EHR holds "
            "every further request; and once while it writes its results. The EHR, a sandbox with a login, lives on "
            "in another process and keeps every request. The same command is given again after each kill.",
            f"Undisturbed, the run takes {seen.whole_requests:,} requests; with the kills all starts together took "
            f"{seen.requests:,}: discovery and login anew at each start, and whoever was in the middle. At most "
            f"{AT_WORK} patients are in work at a time, so no kill may cost more than {AT_WORK} of them a second "
            f"reading. Clinical requests about {once:,} patients came from one start alone, about {several:,} from "
            "more than one: those in the middle at a kill, and those who stand in two rows under two descriptions, "
            "which are two questions also for a run that nobody disturbs.",
            page.table(("kill", "moment", "requests so far", "rows stored", "patients in the middle"), rows),
            "Compared are `decisions.csv`, `decisions.json`, `summary.json` and `report.html`; `run.json` holds "
            "times. Who is stored is read from the file by other code than the program's own. The index date "
            "is that of the first start. No token reached another origin than the EHR's.",
        ],
        folder,
    )
