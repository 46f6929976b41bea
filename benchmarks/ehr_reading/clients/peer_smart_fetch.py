"""smart-fetch: its crawl of a list of patients into compressed NDJSON, type after type.

It knows no appointments and reads as many encounters in their place.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import tempfile
from collections import Counter
from pathlib import Path

import cumulus_fhir_support
import measured
from smart_fetch.cli.main import main

TYPES = ("Patient", "Condition", "Procedure", "Observation", "Encounter")


def read(asked: measured.Asked) -> Counter[str]:
    """Read the cohort."""
    cumulus_fhir_support.FhirClient.MAX_CONNECTIONS = asked.in_flight
    with tempfile.TemporaryDirectory(prefix="trialveil-benchmark-") as name:
        folder = Path(name)
        (folder / "ids.txt").write_text("\n".join(asked.people))
        (folder / "token").write_text(measured.TOKEN)
        sized = [f"--type-filter={kind}?_count={asked.page_size}" for kind in TYPES]
        with contextlib.redirect_stdout(io.StringIO()):
            asyncio.run(main(["crawl", *_options(asked, folder), *sized, str(folder / "out")]))
        return _counted(folder / "out")


def _options(asked: measured.Asked, folder: Path) -> list[str]:
    return [
        f"--fhir-url={asked.base}",
        f"--id-file={folder / 'ids.txt'}",
        f"--bearer-token={folder / 'token'}",
        f"--type={','.join(TYPES)}",
    ]


def _counted(folder: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for file in folder.glob("*.ndjson.gz"):
        with gzip.open(file) as lines:
            found[file.name.split(".")[0]] += sum(1 for _ in lines)
    return found


if __name__ == "__main__":
    measured.run(read)
