"""How long a round of a task takes over its links, against the bare masking of the same vectors.

Training costs nothing here: each pod gives an update that was made beforehand. Goals: at most 10 % over the bare
masking at 10^7 parameters in process; over sockets on loopback at most 50 ms an exchange at 10^4 parameters, and at
10^7 at most twice a bare TLS copy of the same bytes in the same run.

    python benchmarks/runtime.py [--json] [--full | --tiny]
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
    import_module("benchmarks.runtime_rounds.command").main(__doc__ or "")
