"""The dropouts proof: every pattern of dropouts over every stage, by name, for cohorts of 3 to 6 pods."""

from __future__ import annotations

import itertools
import multiprocessing
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from math import inf

from tests.proof import page
from tests.secure_agg.test_simulation import POINTS, check, names, outcome

COHORTS = (3, 4, 5, 6)
_CHUNK = 16
Pattern = tuple[str | None, ...]


@dataclass(slots=True)
class Tally:
    """What was seen: cohort size to patterns by outcome, and how many there are."""

    seen: dict[int, Counter[str]] = field(default_factory=dict)
    there_are: dict[int, int] = field(default_factory=dict)
    failures: list[Pattern] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        return not self.failures and bool(self.seen)


def patterns(pods: int) -> list[Pattern]:
    """All of them, in an order drawn by chance, so that those tried in a cut run are a fair sample."""
    every: list[Pattern] = list(itertools.product(POINTS, repeat=pods))
    random.Random(pods).shuffle(every)
    return every


def tried(pattern: Pattern) -> tuple[Pattern, str]:
    """One round: ``sum``, ``no sum`` (as there must be), or ``failed``."""
    by_name = dict(zip(names(len(pattern)), pattern, strict=True))
    threshold = 2 * len(pattern) // 3 + 1
    try:
        check(by_name)
    except BaseException:  # pytest's own failures are no Exception
        return pattern, "failed"
    return pattern, "sum" if outcome(by_name, max(3, threshold), threshold) else "no sum"


def run(workers: int, minutes: float = inf) -> Tally:
    """Try the patterns, small cohorts first, until all are done or the time is up."""
    tally, began = Tally(), time.monotonic()
    until = began + 60 * minutes
    with multiprocessing.get_context("spawn").Pool(workers) as processes:
        for pods in COHORTS:
            every = patterns(pods)
            tally.there_are[pods], tally.seen[pods] = len(every), Counter()
            if time.monotonic() > until:
                continue
            for pattern, how in processes.imap_unordered(tried, every, _CHUNK):
                tally.seen[pods][how] += 1
                if how == "failed":
                    tally.failures.append(pattern)
                if time.monotonic() > until:
                    break
            sys.stderr.write(f"{pods} pods: {sum(tally.seen[pods].values())} of {len(every)} patterns\n")
        processes.terminate()
    tally.seconds = time.monotonic() - began
    return tally


def report(tally: Tally) -> bool:
    """Write the page; True when every pattern that was tried came out as counted."""
    rows = [
        (pods, f"{tally.there_are[pods]:,}", f"{sum(seen.values()):,}", f"{seen['sum']:,}", f"{seen['no sum']:,}",
         seen["failed"])
        for pods, seen in tally.seen.items()
    ]  # fmt: skip
    total = sum(sum(seen.values()) for seen in tally.seen.values())
    whole = total == sum(tally.there_are.values())
    scope = "Every pattern was tried." if whole else (
        "**Not every pattern of the largest cohorts was tried in this run**: it was cut after its time; those "
        "that were tried were drawn by chance. A run without `--minutes` tries all."
    )  # fmt: skip
    result = (
        f"All {total:,} rounds ended as they must." if tally.holds else
        f"**{len(tally.failures)} of {total:,} rounds ended otherwise**, the first with {tally.failures[:1]}."
    )  # fmt: skip
    page.write(
        "dropouts",
        "Dropouts: every pod lost at every stage",
        [
            f"{result} {scope} {tally.seconds / 60:.1f} minutes.",
            "A pattern gives each pod by name one of six fates: it stays, or it is lost before its advert, after it, "
            "after its shares, after its upload, or after its confirmation. (A pod that is lost after its last "
            "message is one that stays.) Each pattern is a whole round with real keys, shares, masks and signatures "
            "against the active-server protocol, three coordinates a pod. Who must be in the sum, and whether there "
            "may be one, is found by counting alone. A round with enough pods must give exactly that set and a mean "
            "within the stated bound; any other must end in `TooFewPods` without a number.",
            page.table(
                ("pods", "patterns", "tried", "gave the sum", "ended without one, as they must", "otherwise"), rows
            ),
        ],
    )  # fmt: skip
    return tally.holds
