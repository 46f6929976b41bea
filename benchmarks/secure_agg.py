"""How fast a sum is masked: against raw AES, a plain sum and a peer, on this machine and in one run.

``python benchmarks/secure_agg.py [--json] [--full | --tiny] [--no-flower]``

* ``mask``: own and pairwise masks of one pod, expanded and added to one vector, one thread, nothing else of the
  client. ``share_of_limit`` is the time that raw AES-256-CTR takes for as many bytes, alternating with it, over ours.
  A pod of a cohort of n adds n masks. The result is checked by taking the masks off again before a time is shown.
* ``client``: one pod through a whole round, one thread: keys, signatures, shares, encoding, masks.
* ``server``: a whole round: signatures, the sum, recovered secrets, masks off, the mean. The mean is checked.

Seconds are medians; CPU seconds count all threads. ``peak_bytes`` is the largest resident size of a process that did
nothing else, imports included (``bytes_of_imports``). ``speedup_over_flower`` compares CPU seconds with the SecAgg+
functions of flwr 1.41.0, which is installed once into an environment of its own in the cache folder of the user;
null where that is not possible. The default takes about ten minutes, nearly all of them the peer's.
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
    import_module("benchmarks.secure_aggregation.command").main(__doc__ or "")
