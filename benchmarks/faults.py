"""What comes of a search when page 3 of 5 fails: ten faults, ours and peers.

``python benchmarks/faults.py [--json] [--no-peers]``

Fifty observations of one patient, ten a page, from a server that has one fault on page 3. The right answer is 50, or
an error that says that it is not to be had. For each client and fault:

* ``right answer``: 50 entries, each once.
* ``typed error``: an error, or a state that says that entries are missing.
* ``silently short``: fewer, and nothing said. ``too many``: repeats or messages counted as data.
* ``followed for ever``: the server had to end it. ``token sent elsewhere``: the token went to another host; of this
  fault only our own row is printed, and how many of the others do it.

Peers run in environments of their own (see ``benchmarks/ehr.py``); null where they cannot be installed. About two
minutes, nearly all of them a peer's wait before it asks again.
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
    import_module("benchmarks.ehr_faults.command").main(__doc__ or "")
