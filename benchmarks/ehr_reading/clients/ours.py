"""Ours: a pod file, `ehr.open_site_async`, and the cohort's readings, as screening takes them."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path

if __name__ == "__main__":
    sys.path[:1] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[3])]

import measured

from ehr.people.identity import Person
from ehr.people.people_file import Row
from ehr.records.patient import Kind, State
from ehr.site import open_site_async

KINDS = {
    "Patient": Kind.PATIENT,
    "Condition": Kind.CONDITION,
    "Procedure": Kind.PROCEDURE,
    "Observation": Kind.OBSERVATION,
    "Appointment": Kind.APPOINTMENT,
}
POD = """\
name: benchmark
ehr:
  provider: benchmark
  base_url: {base}
  allow_http: loopback
  auth: {{external: {{callable: "ours:token"}}}}
site:
  time_zone: America/New_York
  key: {{file: site.key}}
"""
PROFILE = """\
version = 1
extends = "smarthealthit r4"
name = "benchmark"
title = "Benchmark"
page_size = {page_size}
page_size_max = 5000

[rate]
concurrency = {in_flight}
"""


def token() -> tuple[str, float]:
    """What a site's own callable gives."""
    return measured.TOKEN, 3600.0


def write(folder: Path, asked: measured.Asked) -> Path:
    """A pod file, its key, and a plug-in with the profile, as a user would install one."""
    plugin = folder / "trialveil_benchmark-1.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: trialveil-benchmark\nVersion: 1\n")
    (plugin / "entry_points.txt").write_text(
        "[trialveil.ehr_providers]\nbenchmark = trialveil_benchmark:PROFILE\n"
    )
    (folder / "profile.toml").write_text(PROFILE.format(page_size=asked.page_size, in_flight=asked.in_flight))
    (folder / "trialveil_benchmark.py").write_text(
        "from pathlib import Path\nPROFILE = Path(__file__).with_name('profile.toml')\n"
    )
    (folder / "site.key").write_bytes(b"k" * 32)
    (folder / "site.key").chmod(0o600)
    pod = folder / "pod.yaml"
    pod.write_text(POD.format(base=asked.base))
    return pod


def read(asked: measured.Asked) -> Counter[str]:
    """Read the cohort, one reading after the other, keeping none."""
    with tempfile.TemporaryDirectory(prefix="trialveil-benchmark-") as name:
        pod = write(Path(name), asked)
        sys.path.append(name)
        try:
            return asyncio.run(_read(pod, asked))
        finally:
            sys.path.remove(name)
            sys.modules.pop("trialveil_benchmark", None)


async def _read(pod: Path, asked: measured.Asked) -> Counter[str]:
    found: Counter[str] = Counter()
    rows = [Row(number, Person(id=person)) for number, person in enumerate(asked.people, start=1)]
    async with open_site_async(pod) as site:
        async for reading in site.readings(rows, list(KINDS.values())):
            if reading.record is None:
                raise SystemExit(f"a patient was not matched: {type(reading.match).__name__}")
            for word, kind in KINDS.items():
                fetched = reading.record.kinds[kind]
                if fetched.state is not State.OK:
                    raise SystemExit(f"{word} came back {fetched.state.name}")
                found[word] += len(fetched.items)
    return found


if __name__ == "__main__":
    measured.run(read)
