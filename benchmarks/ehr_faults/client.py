"""One search by one client: ``python client.py CLIENT BASE`` prints how many entries came and what was said.

``said`` is null where the client was content; an error, or a state that says what is missing, is said by name. Each
peer's part runs in an environment of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:1] = [str(HERE.parents[1] / "ehr_reading" / "clients"), str(HERE.parents[2])]

import measured  # noqa: E402 - found by the path set above

PATIENT, SIZE = "p000001", 10
Told = tuple[int, str | None]


def trialveil(base: str) -> Told:
    """Ours: the public path of a pod file."""
    import ours

    from ehr.people.identity import Person
    from ehr.people.people_file import Row
    from ehr.records.patient import Kind
    from ehr.site import open_site_async

    async def work(pod: Path) -> Told:
        async with open_site_async(pod) as site:
            rows = [Row(1, Person(id=PATIENT))]
            (reading,) = [each async for each in site.readings(rows, [Kind.OBSERVATION])]
        assert reading.record is not None
        found = reading.record.kinds[Kind.OBSERVATION]
        return len(found.items), None if found.complete else found.state.name

    with tempfile.TemporaryDirectory(prefix="trialveil-benchmark-") as name:
        pod = ours.write(Path(name), measured.Asked(base, 1, 1, SIZE))
        sys.path.append(name)
        return asyncio.run(work(pod))


def fhirpy(base: str) -> Told:
    """Its asynchronous client."""
    from fhirpy import AsyncFHIRClient

    async def work() -> Told:
        client = AsyncFHIRClient(base, authorization=f"Bearer {measured.TOKEN}")
        search = client.resources("Observation").search(patient=PATIENT).limit(SIZE)
        return len([one async for one in search]), None

    return asyncio.run(work())


def fhirclient(base: str) -> Told:
    """Its search, page after page."""
    from fhirclient.auth import FHIRAuth
    from fhirclient.client import FHIRClient
    from fhirclient.models.observation import Observation

    server = FHIRClient({"app_id": "benchmark", "api_base": base}).server
    server.auth = FHIRAuth.create("oauth2", state={"access_token": measured.TOKEN})
    search = Observation.where({"patient": PATIENT, "_count": str(SIZE)})
    return len(list(search.perform_resources_iter(server))), None


def smart_fetch(base: str) -> Told:
    """Its crawl; what it keeps in its folder of errors is an error that was said."""
    from smart_fetch.cli.main import main

    with tempfile.TemporaryDirectory(prefix="trialveil-benchmark-") as name:
        folder = Path(name)
        (folder / "token").write_text(measured.TOKEN)
        asked = [f"--fhir-url={base}", f"--id-list={PATIENT}", f"--bearer-token={folder / 'token'}"]
        asked += ["--type=Observation", f"--type-filter=Observation?_count={SIZE}"]
        with contextlib.redirect_stdout(io.StringIO()):
            asyncio.run(main(["crawl", *asked, str(folder / "out")]))
        count = 0
        for file in (folder / "out").glob("Observation*.ndjson.gz"):
            with gzip.open(file) as lines:
                count += sum(1 for _ in lines)
        errors = (folder / "out" / "error").exists()
    return count, "errors in a folder" if errors else None


CLIENTS = {
    "trialveil": trialveil,
    "fhirpy": fhirpy,
    "fhirclient": fhirclient,
    "smart-fetch": smart_fetch,
}

if __name__ == "__main__":
    try:
        entries, said = CLIENTS[sys.argv[1]](sys.argv[2])
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a client raises is its answer
        entries, said = 0, type(error).__name__
    sys.stdout.write(json.dumps({"entries": entries, "said": said}) + "\n")
