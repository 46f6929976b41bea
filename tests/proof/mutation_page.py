"""The page of a mutation proof: each sample as it was drawn, and what has become of its survivors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.proof import page
from tests.proof.mutator import Key
from tests.proof.samples import Sample, Survivor, digest

BY_HAND = Path(__file__).with_name("by_hand.md")
"""What was tried besides the samples, and what was found: the end of the page that is about `PAGE_OF_IT`."""
PAGE_OF_IT = "mutation"
_KILLED = "a test notices it now"
_GONE = "its line is no longer there"
_OPEN = "**not yet judged**"
_SCOPE = (
    "A mutant is one small change to one module: a comparison or call swapped, a bound moved by one, a condition "
    "negated, a constant changed, a result dropped, a statement removed. It is killed when a test of the modules' "
    "own fails or does not end in time; of those that ended late some may only have met a busy machine. "
    "Messages of errors, docstrings, types and the `strict` of a zip are not changed. Tests know the samples that "
    "were drawn before them, so only a new sample tells of mutants that nobody has looked at."
)


def verdict(each: Survivor, reasons: Mapping[Key, str]) -> str:
    """What is said of a survivor."""
    if each.since == "killed":
        return _KILLED
    if each.since == "gone":
        return _GONE
    return reasons.get(each.key, _OPEN)


def counted(sample: Sample, reasons: Mapping[Key, str]) -> Counter[str]:
    """Survivors by what has become of them: killed, gone, reason, open."""
    words = {_KILLED: "killed", _GONE: "gone", _OPEN: "open"}
    return Counter(words.get(verdict(each, reasons), "reason") for each in sample.survivors)


def first_share(sample: Sample, reasons: Mapping[Key, str]) -> float:
    """Killed when the sample was drawn, of those that can change what is promised."""
    return sample.killed / max(1, sample.size - counted(sample, reasons)["reason"])


def _sentence(sample: Sample, reasons: Mapping[Key, str], goal: float) -> str:
    now = counted(sample, reasons)
    raw, share = sample.killed / max(1, sample.size), first_share(sample, reasons)
    return (
        f"**{raw:.1%} of the newest sample were killed when it was drawn, {share:.1%} of those "
        f"that can change what is promised**; the goal is {goal:.0%}. Of its {len(sample.survivors)} survivors tests "
        f"notice {now['killed']} since, {now['reason']} cannot or need not be noticed (with a reason below), "
        f"{now['gone']} are no longer there and {now['open']} are not yet judged."
    )


def _unmet(samples: Sequence[Sample]) -> list[str]:
    """What the newest sample says of mutants that no earlier one had tried."""
    *earlier, newest = samples
    met = {each for sample in earlier for each in sample.digests}
    fresh = sum(each not in met for each in newest.digests)
    if not earlier or not fresh:
        return []
    left = sum(digest(each.key) not in met for each in newest.survivors)
    return [
        f"Of its {newest.size} mutants no earlier sample had tried {fresh}; of these {fresh - left} were killed "
        f"({(fresh - left) / fresh:.1%})."
    ]


def _samples(samples: Sequence[Sample], reasons: Mapping[Key, str]) -> str:
    rows = []
    for each in samples:
        now = counted(each, reasons)
        rows.append((
            each.day, f"`{each.commit}`", each.seed, f"{each.size} of {each.all_there_are}", each.slow,
            f"{each.killed} ({each.killed / max(1, each.size):.1%})", f"{first_share(each, reasons):.1%}",
            now["killed"], now["reason"], now["gone"], now["open"],
        ))  # fmt: skip
    head = (
        "drawn", "commit", "seed", "tried", "ended late", "killed when drawn", "without those with a reason",
        "killed since", "survive, with a reason", "gone", "not yet judged",
    )  # fmt: skip
    return page.table(head, rows)


def _modules(samples: Sequence[Sample], reasons: Mapping[Key, str]) -> str:
    tried: Counter[str] = Counter()
    by_module: dict[str, Counter[str]] = {}
    for sample in samples:
        tried.update(sample.tried)
        for each in sample.survivors:
            told = {_KILLED: "killed", _GONE: "gone", _OPEN: "open"}.get(verdict(each, reasons), "reason")
            by_module.setdefault(each.module, Counter()).update([told])
    rows = []
    for module, count in sorted(tried.items()):
        now = by_module.get(module, Counter())
        rows.append(
            (
                f"`{module}`",
                count,
                count - now.total(),
                now["killed"] + now["gone"],
                now["reason"],
                now["open"],
            )
        )
    return page.table(
        (
            "module",
            "tried",
            "killed when drawn",
            "killed or gone since",
            "survive, with a reason",
            "not yet judged",
        ),
        rows,
    )


def _survivors(samples: Sequence[Sample], reasons: Mapping[Key, str]) -> str:
    rows = [
        (f"`{each.module}:{each.function}`", each.kind, f"`{each.before[:70]}`", f"`{each.after[:70]}`", sample.seed,
         verdict(each, reasons))
        for sample in samples for each in sample.survivors
    ]  # fmt: skip
    head = ("where", "change", "before", "after", "sample (seed)", "since then")
    return page.table(head, rows) if rows else "None."


def _aside(sample: Sample) -> list[str]:
    if not sample.set_aside:
        return []
    listed = ", ".join(f"`{name}`" for name in sample.set_aside)
    return [f"Not used in the newest sample, because it failed on the unchanged code: {listed}."]


def write(
    name: str,
    samples: Sequence[Sample],
    reasons: Mapping[Key, str],
    goal: float,
    folder: Path = page.FOLDER,
) -> float:
    """Write the page; gives the newest sample's share when it was drawn, survivors with a reason left out."""
    newest = samples[-1]
    page.write(
        name,
        "Mutation: do the tests notice a wrong change?",
        [
            _sentence(newest, reasons, goal),
            *_unmet(samples),
            "## Samples",
            _samples(samples, reasons),
            _SCOPE,
            *_aside(newest),
            "## Modules, over all samples",
            _modules(samples, reasons),
            "## Survivors",
            _survivors(samples, reasons),
            *([BY_HAND.read_text(encoding="utf-8").rstrip()] if name == PAGE_OF_IT else ()),
        ],
        folder,
    )
    return first_share(newest, reasons)
