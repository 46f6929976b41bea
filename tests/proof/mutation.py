"""The mutation proof: are the tests of the deciding modules able to notice a wrong change?"""

from __future__ import annotations

import random
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from tests.proof import mutation_page, page, samples
from tests.proof.mutator import Key, Mutant, mutants
from tests.proof.trials_of_mutants import Verdict, baseline, load_libraries, run_all

ROOT = page.ROOT
ACCEPTED = Path(__file__).parent / "accepted_survivors.toml"
GOAL = 0.9
LIMIT_S = 120.0
_SCREENING = "tests/federated/screening/"
_DECIDING = (
    "decide/test_three_values.py",
    "decide/test_quantities.py",
    "decide/test_unknown.py",
    "decide/test_time*.py",
    "decide/test_evidence*.py",
    "decide/test_laterality.py",
    "trial/test_units.py",
    "decide/test_missing_data.py",
    "test_mutants_*.py",
    "test_golden_synthea.py",
    "test_properties*.py",
)


def _screening(*first: str) -> tuple[str, ...]:
    names = dict.fromkeys((*first, *_DECIDING, "test_review_*.py"))
    return tuple(_SCREENING + name for name in names)


_MASKING = "tests/secure_agg/"


def _masking(*first: str) -> tuple[str, ...]:
    """Tests of secure aggregation: a module's own first, then those of whole rounds."""
    rounds = (
        "test_mutants_machines.py",
        "test_mutants_rounds.py",
        "test_active_server.py",
        "test_replay.py",
        "test_server.py",
        "test_transcript.py",
        "test_sparse_roster.py",
        "test_simulation.py",
    )
    return tuple(_MASKING + name for name in dict.fromkeys((*first, *rounds)))


TARGETS: Mapping[str, tuple[str, ...]] = {
    "ehr.people.matching": (
        "tests/ehr/people/test_matching*.py",
        "tests/ehr/people/test_names*.py",
        "tests/ehr/test_mutants_*.py",
    ),
    "ehr.people.names": (
        "tests/ehr/people/test_names*.py",
        "tests/ehr/people/test_matching*.py",
        "tests/ehr/test_mutants_*.py",
    ),
    "ehr.dates": (
        "tests/ehr/test_dates*.py",
        "tests/ehr/test_mutants_*.py",
        _SCREENING + "decide/test_time.py",
    ),
    "federated.screening.decide.three_values": _screening("decide/test_three_values.py"),
    "federated.screening.trial.units": _screening("trial/test_units.py"),
    "federated.screening.decide.quantities": _screening("decide/test_quantities.py"),
    "federated.screening.decide.evaluate": _screening(
        "decide/test_three_values.py", "decide/test_evidence*.py"
    ),
    "federated.screening.decide.exists": _screening("decide/test_unknown.py"),
    "federated.screening.decide.fields": _screening("decide/test_unknown.py", "decide/test_time.py"),
    "federated.screening.decide.measurements": _screening("decide/test_quantities.py"),
    "federated.screening.decide.finding": _screening("decide/test_unknown.py"),
    "secure_agg.client": _masking("test_active_server.py", "test_hygiene.py", "test_round_privacy.py"),
    "secure_agg.server": _masking("test_server.py", "test_restart.py"),
    "secure_agg.simulation": _masking("test_simulation.py"),
    "secure_agg.fixed_point": _masking("test_fixed_point.py"),
    "secure_agg.gcm_start": (_MASKING + "test_gcm_start.py", _MASKING + "test_keystream.py"),
    "secure_agg.graph": _masking("test_graph.py"),
    "secure_agg.journal": _masking("test_replay.py", "test_active_server.py", "test_round_privacy.py"),
    "secure_agg.keys": _masking("test_keys.py", "test_hygiene.py"),
    "secure_agg.keystream": _masking("test_keystream.py", "test_masks.py"),
    "secure_agg.layout": _masking("test_fixed_point.py"),
    "secure_agg.masks": _masking("test_masks.py", "test_masks_statistics.py"),
    "secure_agg.messages": _masking("test_messages.py", "test_frames.py", "test_sparse_roster.py"),
    "secure_agg.name_lists": _masking("test_sparse_roster.py"),
    "secure_agg.noise": _masking("test_privacy.py", "test_round_privacy.py"),
    "secure_agg.outcome": _masking("test_server.py"),
    "secure_agg.paillier": (_MASKING + "test_paillier.py",),
    "secure_agg.parameters": _masking("test_parameters.py", "test_specification.py", "test_fixed_point.py"),
    "secure_agg.pod_secrets": _masking("test_hygiene.py"),
    "secure_agg.pod_setup": _masking("test_hygiene.py"),
    "secure_agg.privacy": _masking("test_privacy.py", "test_round_privacy.py"),
    "secure_agg.recovery": _masking("test_masks.py"),
    "secure_agg.roster": _masking("test_sparse_roster.py"),
    "secure_agg.rotation": _masking("test_fixed_point.py"),
    "secure_agg.shamir": _masking("test_shamir.py"),
    "secure_agg.sparse_roster": _masking("test_sparse_roster.py"),
    "secure_agg.specification": _masking(
        "test_specification.py", "test_parameters.py", "test_messages.py", "test_round_privacy.py"
    ),
    "secure_agg.transitions": _masking("test_transitions.py"),
    "secure_agg.uploads": _masking("test_frames.py", "test_messages.py"),
}
"""Module to the files of tests that must notice, the likeliest first."""


@dataclass(slots=True)
class Tally:
    """What was seen; ``set_aside``: files of tests that fail on the unchanged code and were not used."""

    all_there_are: int
    set_aside: tuple[str, ...] = ()
    verdicts: dict[Mutant, Verdict] = field(default_factory=dict)

    @property
    def survivors(self) -> list[Mutant]:
        """Those that no test noticed, in the order of the files."""
        found = [mutant for mutant, verdict in self.verdicts.items() if not verdict.killed]
        return sorted(found, key=lambda mutant: (mutant.module, mutant.index))


def groups(modules: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Page to the modules that it is about: secure aggregation has a page of its own."""
    found = {
        "mutation": tuple(name for name in modules if not name.startswith("secure_agg.")),
        "mutation-secure-agg": tuple(name for name in modules if name.startswith("secure_agg.")),
    }
    return {name: members for name, members in found.items() if members}


def tests_of(module: str, root: Path = ROOT) -> list[str]:
    """The files of tests that there are."""
    return [str(path.relative_to(root)) for pattern in TARGETS[module] for path in sorted(root.glob(pattern))]


def accepted() -> dict[Key, str]:
    """Survivors that are known, each with the reason why no test can or should notice."""
    if not ACCEPTED.exists():
        return {}
    entries = tomllib.loads(ACCEPTED.read_text(encoding="utf-8")).get("survivor", [])
    return {
        (entry["module"], entry["function"], entry["text"], entry["before"], entry["after"]): entry["reason"]
        for entry in entries
    }


def chosen(sample: int | None, seed: int, modules: Sequence[str]) -> tuple[list[Mutant], int]:
    """The mutants to try, and how many there are; a sample is drawn over all modules alike."""
    every: list[Mutant] = []
    for module in modules:
        path = ROOT / (module.replace(".", "/") + ".py")
        every += mutants(module, path.read_text(encoding="utf-8"))
    size = len(every) if sample is None else min(sample, len(every))
    return random.Random(seed).sample(every, size), len(every)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to try: ``sample`` mutants drawn with ``seed`` (None: all, in chance order), at most ``minutes``."""

    sample: int | None = None
    seed: int = 1
    workers: int = 2
    minutes: float = inf


def run(effort: Effort, modules: Sequence[str] = tuple(TARGETS)) -> Tally:
    """Try the mutants."""
    picked, count = chosen(effort.sample, effort.seed, modules)
    broken, verdicts = try_all(picked, effort.workers, effort.minutes, modules)
    return Tally(count, broken, verdicts)


def try_all(
    picked: Sequence[Mutant], workers: int, minutes: float, modules: Sequence[str] = ()
) -> tuple[tuple[str, ...], dict[Mutant, Verdict]]:
    """The files of tests that were set aside, and the verdict on each mutant."""
    load_libraries()
    modules = modules or sorted({mutant.module for mutant in picked})
    plain = _plain_runs(modules)
    broken = tuple(sorted(name for name, verdict in plain.items() if verdict.killed))
    tests = {module: [name for name in tests_of(module) if name not in broken] for module in modules}
    limits = {
        module: 20.0 + 4 * sum(plain[name].seconds for name in names) for module, names in tests.items()
    }
    work = [(mutant, tests[mutant.module], limits[mutant.module]) for mutant in picked]
    verdicts: dict[Mutant, Verdict] = {}
    for mutant, verdict in run_all(ROOT, work, workers, _tell, minutes):
        verdicts[mutant] = verdict
        if len(verdicts) % 25 == 0:
            survived = sum(not each.killed for each in verdicts.values())
            _say(f"{len(verdicts)} of {len(work)}: {survived} survived")
    return broken, verdicts


def _tell(mutant: Mutant, verdict: Verdict) -> None:
    if not verdict.killed:
        _say(f"  survived: {mutant.module}:{mutant.line} {mutant.kind}: {mutant.before} -> {mutant.after}")


def _plain_runs(modules: Sequence[str]) -> dict[str, Verdict]:
    """Each file of tests on the unchanged code."""
    names = sorted({name for module in modules for name in tests_of(module)})
    found = {name: baseline(ROOT, [name], LIMIT_S) for name in names}
    for name, verdict in found.items():
        _say(f"{name}: {verdict.seconds:.1f} s{', fails and is set aside' if verdict.killed else ''}")
    return found


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def drawn(tally: Tally, seed: int) -> samples.Sample:
    """What was seen, to be kept."""
    return samples.Sample(
        day=samples.today(),
        commit=samples.commit(),
        seed=seed,
        all_there_are=tally.all_there_are,
        tried=dict(sorted(Counter(mutant.module for mutant in tally.verdicts).items())),
        slow=sum(verdict.how == "timeout" for verdict in tally.verdicts.values()),
        survivors=tuple(map(samples.survivor, tally.survivors)),
        set_aside=tally.set_aside,
        digests=tuple(samples.digest(mutant.key) for mutant in tally.verdicts),
    )


def report(tally: Tally, seed: int, name: str = "mutation") -> float:
    """Keep the sample and write the page; gives the share that was killed, known survivors left out."""
    return mutation_page.write(name, samples.add(name, drawn(tally, seed)), accepted(), GOAL)


def noticed(killed: Mapping[Mutant, bool]) -> dict[Key, bool]:
    """Whether every change that has this name was killed: two of one line can look alike."""
    found: dict[Key, bool] = {}
    for mutant, each in killed.items():
        found[mutant.key] = each and found.get(mutant.key, True)
    return found


def again(name: str, workers: int = 2) -> float | None:
    """Try the survivors of all samples on the code and the tests of now; None where no sample was kept."""
    before = samples.read(name)
    if not before:
        _say(f"{name}: no sample is kept in {samples.FOLDER.name}; nothing was tried")
        return None
    tried = samples.still_there(before)
    verdicts = try_all(tried, workers, inf)[1] if tried else {}
    now = samples.checked(before, noticed({mutant: each.killed for mutant, each in verdicts.items()}))
    samples.write(name, now)
    return mutation_page.write(name, now, accepted(), GOAL)
