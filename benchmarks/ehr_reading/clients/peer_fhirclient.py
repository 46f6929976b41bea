"""fhirclient: one request after the other; it has no other way."""

from __future__ import annotations

from collections import Counter
from importlib import import_module

import measured
from fhirclient.auth import FHIRAuth
from fhirclient.client import FHIRClient


def read(asked: measured.Asked) -> Counter[str]:
    """Read the cohort."""
    server = FHIRClient({"app_id": "benchmark", "api_base": asked.base}).server
    server.auth = FHIRAuth.create("oauth2", state={"access_token": measured.TOKEN})
    found: Counter[str] = Counter()
    for person in asked.people:
        for name in ("Patient", *measured.KINDS):
            model = getattr(import_module(f"fhirclient.models.{name.lower()}"), name)
            key = "_id" if name == "Patient" else "patient"
            search = model.where({key: person, "_count": str(asked.page_size)})
            found[name] += sum(1 for _ in search.perform_resources_iter(server))
    return found


if __name__ == "__main__":
    measured.run(read)
