"""Known-bad adapters: each violates one case, and shows that the case would catch it.

They test the kit, not an adapter. What a specimen does wrong has been done by some client that is in use.
"""

from __future__ import annotations

import json
from importlib.resources import files

from ehr.testing.harnesses import PLAINEST
from ehr.testing.specimens import login, matching, meaning, searching, sending
from ehr.testing.specimens.specimen import Specimen

CAUGHT = "caught.json"
"""Which further cases catch a specimen; made by ``python -m ehr.testing.specimens``."""


def _found() -> tuple[Specimen, ...]:
    also: dict[str, list[int]] = json.loads(files(__name__).joinpath(CAUGHT).read_text(encoding="utf-8"))
    spoilt = login.SPOILT | matching.SPOILT | searching.SPOILT | sending.SPOILT | meaning.SPOILT
    return tuple(
        Specimen(name, number, tuple(also.get(name, ())), spoil, PLAINEST)
        for name, (number, spoil) in spoilt.items()
    )


SPECIMENS = _found()
