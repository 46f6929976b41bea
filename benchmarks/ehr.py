"""How fast a cohort is read from an EHR: ours, the least that reading can cost, and peers.

``python benchmarks/ehr.py [--json] [--full] [--patients N] [--many N] [--rounds N] [--latency MS] [--no-peers]``

500 patients, each with their own record, conditions, procedures, observations and appointments: about 125,000
resources in 2,725 pages of at most 100 entries. The server hands out bytes that it made before and is a process of
its own; it adds 0 or 50 ms to each answer. All clients that can have 16 requests in flight.

* ``bare``: the limit. aiohttp downloads the same pages and msgspec decodes them into our records; nothing is checked.
* ``trialveil``: a pod file, `ehr.open_site_async` and the readings of the cohort, with a login, every check and every
  state, as screening reads them. ``trialveil, 500 a page`` asks for larger pages, so less often.
* ``fhirpy``, ``smart-fetch``, ``fhirclient``: peers, each installed once into an environment of its own in the cache
  folder of the user; null where that is not possible. smart-fetch knows no appointments and reads as many encounters.
  fhirclient asks one thing after the other.

Each run is a process of its own and warms up with a few patients. The clients run in turn, round after round; seconds
are medians, ratios are medians of the ratios within a round, ``peak_bytes`` is the largest resident size, imports
included (``bytes_before_reading``). What each client read is compared with what there is before a time is shown. The
rows of 5,000 patients show whether memory grows. The default takes about seven minutes.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

if __name__ == "__main__":
    # Child processes are given this path, too. With this folder in it, `ehr.py` and `secure_agg.py` beside this file
    # would be found as the packages of these names.
    place = Path(__file__).resolve().parent
    sys.path[:] = [str(place.parent), *(other for other in sys.path if Path(other).resolve() != place)]
    import_module("benchmarks.ehr_reading.command").main(__doc__ or "")
