"""``python -m tests.proof``: the long proofs; each writes a page to ``docs/proof``.

python -m tests.proof                            everything at full size
python -m tests.proof --only mutation --sample 200
python -m tests.proof --only mutation --again    the survivors of earlier samples
python -m tests.proof --only independent-server
python -m tests.proof --only authorization-server
python -m tests.proof --only dropouts --minutes 10
python -m tests.proof --only thousand-pods
python -m tests.proof --only kills
python -m tests.proof --only task-kills
python -m tests.proof --only marked-tests        every test with the marker ``proof``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from math import inf
from pathlib import Path

from platformdirs import user_cache_path

from tests.proof import mutation

PARTS = (
    "independent-server",
    "authorization-server",
    "mutation",
    "dropouts",
    "thousand-pods",
    "kills",
    "task-kills",
    "marked-tests",
)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="run this part; may be given twice")
    parser.add_argument(
        "--sample", type=int, metavar="N", help="try N mutants, drawn by chance, instead of all"
    )
    parser.add_argument(
        "--again", action="store_true", help="mutation: try the survivors of earlier samples, draw none"
    )
    parser.add_argument("--minutes", type=float, default=inf, help="begin no mutant or dropout after so many")
    parser.add_argument("--seed", type=int, default=1, help="for the sample")
    parser.add_argument("--workers", type=int, default=2, help="processes at once")
    parser.add_argument(
        "--module",
        action="append",
        choices=tuple(mutation.TARGETS),
        help="mutate this module; may be given twice",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=user_cache_path("trialveil") / "proof",
        help="where foreign programs are installed",
    )
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Run the parts; 0 when each holds."""
    chosen = _arguments(given)
    parts = chosen.only or PARTS
    held: dict[str, bool] = {}
    if "mutation" in parts:
        modules = tuple(chosen.module or mutation.TARGETS)
        effort = mutation.Effort(chosen.sample, chosen.seed, chosen.workers, chosen.minutes)
        for name, members in mutation.groups(modules).items():
            if chosen.again:
                share = mutation.again(name, chosen.workers)
                held |= {} if share is None else {name: share >= mutation.GOAL}
                continue
            tally = mutation.run(effort, members)
            held[name] = mutation.report(tally, chosen.seed, name=name) >= mutation.GOAL
    if "independent-server" in parts:
        from tests.proof import independent_server  # loads the project, which mutants must not find loaded

        held["independent-server"] = independent_server.run(chosen.cache)
    if "authorization-server" in parts:
        from tests.proof import authorization_server

        held["authorization-server"] = authorization_server.run(chosen.cache)
    if "dropouts" in parts:
        from tests.proof import dropouts

        held["dropouts"] = dropouts.report(dropouts.run(chosen.workers, chosen.minutes))
    if "thousand-pods" in parts:
        from tests.proof import thousand_pods

        held["thousand-pods"] = thousand_pods.run()
    if "kills" in parts:
        from tests.proof import kills

        held["kills"] = kills.run(chosen.seed)
    if "task-kills" in parts:
        from tests.proof import task_kills

        held["task-kills"] = task_kills.run(chosen.seed)
    if "marked-tests" in parts:
        from tests.proof import marked_tests

        held["marked-tests"] = marked_tests.run()
    for part, holds in held.items():
        sys.stderr.write(f"{part}: {'holds' if holds else 'DOES NOT HOLD'}; see docs/proof/{part}.md\n")
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
