"""What may be used up: predictions, tasks, privacy, and counts; kept in one file in the pod's state folder.

    BudgetLedger(folder, quotas)               opens it, or refuses everything
    .reserve(model, wanted, task) -> granted   before predictions are made; several processes never exceed the quota
    .admit_task(task, judge) -> bool           remembers a task's nonce, day and cohort, if the judge agrees
    .charge_privacy(...)                       before something with noise is released
    .admit_counts(source, counted, smallest)   before counts are released

Everything is on the disk before the call returns, so a kill can only lose predictions, never make them twice.
Nothing is ever taken back.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from federated.counts.differencing import MEMBER_BYTES, Counted, too_close
from federated.errors import BudgetSpent, InvalidArgument, PolicyRefused
from federated.owner.policy import MINIMUM_CHANGE, PolicySection
from federated.store import Store, StoreKind
from secure_agg import PodPolicy
from secure_agg.privacy import epsilon as epsilon_of

FILE = "budgets.db"
_TABLES = (
    "create table used (model text primary key, predictions integer not null check (predictions >= 0)) strict",
    "create table shares (model text not null, task blob not null, granted integer not null, "
    "refunded integer not null check (refunded between 0 and granted), primary key (model, task)) strict",
    "create table tasks (hash blob primary key, modeller blob not null, nonce text not null, day text not null, "
    "source text not null, cohort blob not null) strict",
    "create unique index nonces on tasks (modeller, nonce)",
    "create table privacy (release blob primary key, source text not null, rho real not null check (rho >= 0)) "
    "strict",
    "create table answers (id integer primary key, source text not null, plan text not null, cohort text not null, "
    "counts text not null) strict",
    "create table members (answer integer not null references answers (id), name text not null, who blob not null, "
    "primary key (answer, name)) strict",
)
_OPENED = (
    "create table if not exists opened (question blob not null, cohort blob not null, counts text not null, "
    "primary key (question, cohort, counts)) strict"
)
_UNUSABLE = (
    f"{FILE} in the pod's state folder {{how}}; every task is refused. Bring it back from a backup together "
    "with the files beside it; what was spent since the backup is then forgotten."
)
_KIND = StoreKind(
    application=0x7456_4201,
    version=1,
    tables=_TABLES,
    unusable=_UNUSABLE,
    unwritable=_UNUSABLE.format(how="cannot be written"),
)


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """A task as the ledger knows it.

    Attributes:
        hash: of its canonical bytes.
        modeller: raw public key of who signed it.
        nonce: as in the task.
        day: ISO date, UTC, on which it came.
        source: name of the data source, or "" for the EHR alone.
        cohort: raw public keys of the invited pods.
    """

    hash: bytes
    modeller: bytes = field(repr=False)
    nonce: str = field(repr=False)
    day: str
    source: str
    cohort: frozenset[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class History:
    """What the ledger says of a task before it is decided on; the task itself is not in it.

    Attributes:
        nonce_used: whether another task of the modeller had the same nonce.
        begun_today: other tasks of that day.
        cohorts: who was invited to the modeller's other tasks over the same data.
        used: predictions made so far, by model.
    """

    nonce_used: bool
    begun_today: int
    cohorts: tuple[frozenset[bytes], ...] = field(repr=False)
    used: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Charge:
    """The privacy that one release costs.

    Attributes:
        release: what it is known by; the same one is charged once.
        source: name of the data source.
        rho: zCDP.
    """

    release: bytes
    source: str
    rho: float


@dataclass(frozen=True, slots=True)
class Opened:
    """A sum of counts that this pod helps to open.

    Attributes:
        question: what was counted, 32 bytes.
        cohort: raw public keys of the pods in the sum.
        counts: this pod's part, by name.
    """

    question: bytes
    cohort: frozenset[bytes] = field(repr=False)
    counts: Mapping[str, int] = field(repr=False)


class BudgetLedger:
    """The ledger of one pod; for several threads and processes.

    Args:
        folder: the pod's state folder; made if it is missing.
        quotas: predictions by model, over all tasks; a model without one has no limit.
        read_only: only look, also while the pod runs.

    Raises:
        ConfigurationError: the file is damaged, foreign, or gone. Every task must then be refused.
    """

    def __init__(
        self, folder: Path, quotas: Mapping[str, int] | None = None, *, read_only: bool = False
    ) -> None:
        self.quotas = dict(quotas or {})
        self._ledger = Store(folder / FILE, _KIND, read_only=read_only)
        if not read_only:
            with self._ledger.transaction() as db:
                db.execute(_OPENED)  # a ledger of an earlier release lacks it

    def close(self) -> None:
        """Let go of the file; may be called again."""
        self._ledger.close()

    def reserve(self, model: str, wanted: int, task: bytes = b"") -> int:
        """Predictions that may be made now; they are spent from here on, made or not.

        Args:
            model: as in ``quotas``.
            wanted: how many; 1 or more.
            task: hash of the task.

        Returns:
            ``wanted``, or less where less is left; 0 where the quota is spent.
        """
        if wanted < 1:
            raise InvalidArgument(f"wanted is {wanted}; expected 1 or more")
        with self._ledger.transaction() as db:
            used = _used(db, model)
            limit = self.quotas.get(model)
            granted = wanted if limit is None else max(0, min(wanted, limit - used))
            if granted:
                db.execute("insert or replace into used values (?, ?)", (model, used + granted))
                db.execute(
                    "insert into shares values (?, ?, ?, 0) "
                    "on conflict do update set granted = granted + excluded.granted",
                    (model, task, granted),
                )
        return granted

    def used(self, model: str) -> int:
        """Predictions that were reserved so far, over all tasks."""
        with self._ledger.transaction() as db:
            return _used(db, model)

    def admit_task(self, task: TaskEntry, judge: Callable[[History], bool]) -> bool:
        """Ask the judge, and remember the task if it agrees; both as one step.

        The same task may come again, after a crash of either side: it is judged again and counted once.
        """
        with self._ledger.transaction() as db:
            admitted = judge(self._history(db, task))
            if admitted:
                cohort = b"".join(sorted(task.cohort))
                row = (task.hash, task.modeller, task.nonce, task.day, task.source, cohort)
                db.execute("insert into tasks values (?, ?, ?, ?, ?, ?) on conflict (hash) do nothing", row)
        return admitted

    def _history(self, db: sqlite3.Connection, task: TaskEntry) -> History:
        others = "from tasks where hash <> ? and "
        nonce = f"select count(*) {others} modeller = ? and nonce = ?"
        # A clock that went back does not give the day's tasks out again.
        today = f"select count(*) {others} day >= ?"
        earlier = f"select distinct cohort {others} modeller = ? and source = ?"
        cohorts = db.execute(earlier, (task.hash, task.modeller, task.source)).fetchall()
        return History(
            nonce_used=db.execute(nonce, (task.hash, task.modeller, task.nonce)).fetchone()[0] > 0,
            begun_today=int(db.execute(today, (task.hash, task.day)).fetchone()[0]),
            cohorts=tuple(frozenset(_pieces(cohort, 32)) for (cohort,) in cohorts),
            used=dict(db.execute("select model, predictions from used").fetchall()),
        )

    def charge_privacy(self, charge: Charge, epsilon: float, delta: float, masked_rho: float = 0.0) -> float:
        """Spend privacy before a release; for releases outside masked rounds, which `secure_agg`'s journal counts.

        One budget holds for the whole pod, whatever the data source: people may stand in several.

        Args:
            charge: see `Charge`.
            epsilon, delta: the owner's budget.
            masked_rho: what the masked rounds have cost: the sum of ``rho`` over the journal's records.

        Returns:
            The epsilon of everything so far, this release included.

        Raises:
            BudgetSpent: it would go over; nothing may be released.
        """
        with self._ledger.transaction() as db:
            if not charge.rho > 0:
                raise InvalidArgument("rho of a release is not above 0; a release without noise has no price")
            known = db.execute("select 1 from privacy where release = ?", (charge.release,)).fetchone()
            spent = _rho(db) + masked_rho + (0.0 if known else charge.rho)
            total = epsilon_of(spent, delta)
            if not total <= epsilon:
                raise BudgetSpent(
                    "The release would go over this pod's privacy budget. Nothing was released."
                )
            if not known:
                db.execute(
                    "insert into privacy values (?, ?, ?)", (charge.release, charge.source, charge.rho)
                )
        return total

    def rho(self) -> float:
        """zCDP spent outside masked rounds, over all data sources; see `pod_policy`."""
        with self._ledger.transaction() as db:
            return _rho(db)

    def admit_counts(self, source: str, counted: Counted, smallest: int) -> None:
        """Remember counts that are about to leave, unless subtraction from earlier ones would show few people.

        The same answer to the same question over the same people may leave again. People are compared over all data
        sources: the same ones may stand in several.

        Args:
            source: name of the data source, or "" for the EHR.
            counted: see `Counted`; with ``members`` far fewer requests are refused.
            smallest: the smallest number that may be seen.

        Raises:
            PolicyRefused: a difference to an earlier answer is 1 to ``smallest - 1``. Nothing may leave.
        """
        with self._ledger.transaction() as db:
            for earlier in _answers(db, source):
                if (earlier.plan, earlier.cohort, earlier.counts) == (
                    counted.plan,
                    counted.cohort,
                    counted.counts,
                ):
                    return
                if too_close(counted, earlier, smallest) is not None:
                    raise PolicyRefused(
                        "A count differs from an earlier answer by fewer people than may be seen. Nothing was sent."
                    )
            _remember(db, source, counted)

    def admit_opening(self, opened: Opened, change: int) -> None:
        """Remember a sum that is about to be opened, unless an earlier one would give another pod's counts away.

        The same question over nearly the same pods: where this pod's number has not changed, the difference of the
        two sums is the number of the pods that are in one of them only.

        Args:
            opened: see `Opened`.
            change: pods by which two sums must differ, if they differ.

        Raises:
            PolicyRefused: they differ by fewer. Nothing may be sent.
        """
        cohort = b"".join(sorted(opened.cohort))
        with self._ledger.transaction() as db:
            earlier = "select cohort, counts from opened where question = ?"
            for pods, counts in db.execute(earlier, (opened.question,)).fetchall():
                changed = len(opened.cohort ^ frozenset(_pieces(pods, 32)))
                if 0 < changed < change and _shared(json.loads(counts), opened.counts):
                    raise PolicyRefused(
                        f"The same was counted before over pods that differ by {changed}; the difference would be "
                        "theirs. Nothing was sent."
                    )
            row = (opened.question, cohort, json.dumps(dict(opened.counts), sort_keys=True))
            db.execute("insert into opened values (?, ?, ?) on conflict do nothing", row)


def _shared(old: Mapping[str, int], new: Mapping[str, int]) -> bool:
    return any(count and old.get(name) == count for name, count in new.items())


def _used(db: sqlite3.Connection, model: str) -> int:
    row = db.execute("select predictions from used where model = ?", (model,)).fetchone()
    return 0 if row is None else int(row[0])


def _rho(db: sqlite3.Connection) -> float:
    return float(db.execute("select coalesce(sum(rho), 0.0) from privacy").fetchone()[0])


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def _answers(db: sqlite3.Connection, source: str) -> list[Counted]:
    """All earlier answers; a cohort of another source is another one, unless it is known who was counted."""
    found = []
    rows = db.execute("select id, source, plan, cohort, counts from answers").fetchall()
    for number, of, plan, cohort, counts in rows:
        who = db.execute("select name, who from members where answer = ?", (number,)).fetchall()
        members = {name: frozenset(_pieces(data, MEMBER_BYTES)) for name, data in who}
        found.append(Counted(plan, cohort if of == source else f"{of}/{cohort}", json.loads(counts), members))
    return found


def _remember(db: sqlite3.Connection, source: str, counted: Counted) -> None:
    counts = json.dumps(dict(counted.counts), sort_keys=True)
    answer = db.execute(
        "insert into answers (source, plan, cohort, counts) values (?, ?, ?, ?)",
        (source, counted.plan, counted.cohort, counts),
    ).lastrowid
    for name, who in counted.members.items():
        if counted.counts.get(name):
            db.execute("insert into members values (?, ?, ?)", (answer, name, b"".join(sorted(who))))


def pod_policy(policy: PolicySection, rho_elsewhere: float = 0.0) -> PodPolicy:
    """The rules of masked rounds, for `secure_agg`.

    Args:
        policy: the owner's.
        rho_elsewhere: zCDP that this pod has spent outside masked rounds; see `federated.owner.budgets`.
    """
    budget, delta = policy.budgets.epsilon, policy.budgets.delta
    if budget is not None:
        budget = epsilon_of(max(0.0, largest_rho(budget, delta) - rho_elsewhere), delta)
    return PodPolicy(
        minimum_survivors=policy.minimum_survivors,
        minimum_change=MINIMUM_CHANGE,
        maximum_rounds=policy.maximum_rounds,
        epsilon_budget=budget,
    )


def largest_rho(epsilon: float, delta: float) -> float:
    """The most zCDP that stays within (epsilon, delta)-DP, from below."""
    low, high = 0.0, epsilon + 1.0
    while epsilon_of(high, delta) < epsilon:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon_of(middle, delta) <= epsilon else (low, middle)
    return low if math.isfinite(low) else 0.0
