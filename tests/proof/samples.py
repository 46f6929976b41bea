"""Samples of mutants as they were seen when they were drawn, and what has become of their survivors since.

The share that was killed when a sample was drawn is an estimate for all mutants. Once tests were written for its
survivors the same sample flatters: so the first figures are kept, and later ones are told apart from them.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from tests.proof import page
from tests.proof.mutator import Key, Mutant, mutants

FOLDER = Path(__file__).parent / "samples"
Since = Literal["survives", "killed", "gone"]


@dataclass(frozen=True, slots=True)
class Survivor:
    """A mutant that no test noticed when its sample was drawn.

    Args:
        module, function, kind, before, after, text: see `Mutant`.
        since: what was seen of it last: it survives, is killed now, or its line is no longer there.
    """

    module: str
    function: str
    kind: str
    before: str
    after: str
    text: str
    since: Since = "survives"

    @property
    def key(self) -> Key:
        """As of `Mutant`."""
        return (self.module, self.function, self.text, self.before, self.after)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen when a sample was drawn.

    Args:
        day: ISO date.
        commit: of the code and the tests, short.
        seed: of the sample.
        all_there_are: mutants that it was drawn from.
        tried: module to how many.
        slow: how many were killed because their tests did not end in time.
        survivors: in the order of the files.
        set_aside: files of tests that were not used.
        digests: of every mutant that was tried, see `digest`.
    """

    day: str
    commit: str
    seed: int
    all_there_are: int
    tried: Mapping[str, int]
    slow: int
    survivors: tuple[Survivor, ...]
    set_aside: tuple[str, ...] = field(default=())
    digests: tuple[str, ...] = field(default=())

    @property
    def size(self) -> int:
        """How many were tried."""
        return sum(self.tried.values())

    @property
    def killed(self) -> int:
        """How many were killed when it was drawn."""
        return self.size - len(self.survivors)


def digest(key: Key) -> str:
    """Ten hexadecimal digits that tell a mutant from others, to know which samples have met it."""
    return hashlib.sha256("\0".join(key).encode()).hexdigest()[:10]


def survivor(mutant: Mutant) -> Survivor:
    """To be kept."""
    return Survivor(mutant.module, mutant.function, mutant.kind, mutant.before, mutant.after, mutant.text)


def read(name: str, folder: Path = FOLDER) -> tuple[Sample, ...]:
    """The samples of a page, oldest first."""
    path = folder / f"{name}.json"
    return msgspec.json.decode(path.read_bytes(), type=tuple[Sample, ...]) if path.exists() else ()


def write(name: str, samples: Iterable[Sample], folder: Path = FOLDER) -> None:
    """Keep them."""
    folder.mkdir(parents=True, exist_ok=True)
    data = msgspec.json.format(msgspec.json.encode(tuple(samples)), indent=2)
    (folder / f"{name}.json").write_bytes(data + b"\n")


def add(name: str, sample: Sample, folder: Path = FOLDER) -> tuple[Sample, ...]:
    """The samples with a new one last; one of the same seed is replaced only where the code was the same."""
    older = [each for each in read(name, folder) if (each.seed, each.commit) != (sample.seed, sample.commit)]
    write(name, [*older, sample], folder)
    return (*older, sample)


def checked(samples: Iterable[Sample], killed: Mapping[Key, bool]) -> tuple[Sample, ...]:
    """The samples with what was seen of their survivors now; one that was not tried is gone."""

    def seen(each: Survivor) -> Survivor:
        state: Since = "gone"
        if each.key in killed:
            state = "killed" if killed[each.key] else "survives"
        return replace(each, since=state)

    return tuple(replace(sample, survivors=tuple(map(seen, sample.survivors))) for sample in samples)


def still_there(samples: Iterable[Sample], root: Path = page.ROOT) -> list[Mutant]:
    """The changes of earlier survivors that can be made to the code as it is now; all that share a key."""
    keys = {each.key for sample in samples for each in sample.survivors}
    found: list[Mutant] = []
    for module in sorted({key[0] for key in keys}):
        path = root / (module.replace(".", "/") + ".py")
        if path.exists():
            made = mutants(module, path.read_text(encoding="utf-8"))
            found += [mutant for mutant in made if mutant.key in keys]
    return found


def today() -> str:
    """ISO date."""
    return datetime.now(UTC).date().isoformat()


def commit(root: Path = page.ROOT) -> str:
    """The short name of the commit that is checked out, with a plus where files were changed since."""
    try:
        name = _git(root, "rev-parse", "--short", "HEAD")
        return name + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()
