"""One task as it is signed: everything that is fixed before it begins, in one canonical form.

The modeller signs the bytes, every pod checks them against the key that it has pinned, and their hash is bound
into every later message and into every round of secure aggregation. Nothing about a task stands outside: what is
not here cannot change it.
"""

from __future__ import annotations

import hashlib
import math
import re
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Literal

import msgspec

from federated.errors import InvalidArgument, TaskRefused

FORMAT = "trialveil-task 1"
SIZE_LIMIT = 4 * 1024 * 1024
LONGEST_LIFE = timedelta(days=90)
POD_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
TASK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}")
PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

Weighting = Literal["equal", "rows"]
OnClip = Literal["error", "clip"]


class Participant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One pod, or the modeller.

    Attributes:
        name: lower case letters, digits, ``.``, ``_`` and ``-``, at most 64.
        key: raw Ed25519 public key, 64 hexadecimal digits.
        data: the pod's data source for this task; None where the task needs none.
    """

    name: str
    key: str
    data: str | None = None

    @property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""
        return bytes.fromhex(self.key)


class Unit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A protocol or an algorithm with its arguments.

    Attributes:
        name: as the registry knows it; ``bitfount.…`` for what is built in.
        arguments: plain JSON values; what they mean is the component's `Parameters`.
        label: what later steps call its result; "" for the name.
    """

    name: str
    arguments: dict[str, Any] = {}
    label: str = ""


class Aggregation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the pods' vectors become one.

    Attributes:
        name: ``bitfount.Aggregator`` or ``bitfount.SecureAggregator``.
        weights: "equal", or "rows": each pod counts by its number of training rows.
        maximum_weight: the largest weight that one pod may have; a pod with more takes no part.
        clip: largest absolute value of a coordinate of an update.
        on_clip: "error" refuses an update beyond the clip in its pod, "clip" clips and counts.
        minimum_survivors: fewest pods in a sum; never below 3 for the secure one.
        mode: "active" or "semi_honest", see `secure_agg`.
        bits: width of a word for updates: 32, or 16, where ``clip`` bounds the rotated update.
        noise: standard deviation of noise on the sum, in units of the update; 0 for none.
        l2_clip: bound on the L2 norm of an update; needed with noise.
        delta: at which the epsilon of the noise is reported.
    """

    name: str
    weights: Weighting = "equal"
    maximum_weight: float = 1_000_000.0
    clip: float = 4.0
    on_clip: OnClip = "error"
    minimum_survivors: int = 5
    mode: Literal["active", "semi_honest"] = "active"
    bits: Literal[16, 32] = 32
    noise: float = 0.0
    l2_clip: float = 0.0
    delta: float = 1e-5


class Deadlines(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Seconds that the modeller waits; whoever has not answered then is outside that step.

    Attributes:
        accept: for the pods' answers to the task.
        compute: for a pod's work of one round (training, or reading the EHR) and its first message of the sum.
        step: for each other message.
    """

    accept: float = 300.0
    compute: float = 3600.0
    step: float = 120.0


class TaskDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A file that travels inside the task, such as a trial file.

    Attributes:
        kind: "trial" or "steps".
        digest: what a pod's policy allows it by: for a trial `federated.screening.trial.lock.digest`, else the
        SHA-256
            of the text, hexadecimal.
        text: the file.
    """

    kind: Literal["trial", "steps"]
    digest: str
    text: str


class TaskSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True):
    """A task.

    Attributes:
        format: `FORMAT`.
        name: what a person calls it.
        nonce: 32 hexadecimal digits, fresh for each task.
        created, expires: aware, UTC, ISO 8601 to the second. After ``expires`` no pod begins a round of it.
        modeller: who signs.
        participants: the invited pods, sorted by name. A pod that is not in it under its own key refuses.
        protocol: which steps are run.
        algorithms: in order.
        aggregation: how results are added up; None where each pod's own result is returned or nothing is.
        quorum: fewest pods that must accept, and answer in each round.
        cohort_minimum: fewest pods that may be invited.
        deadlines: see `Deadlines`.
        documents: files by the name that arguments refer to.
        project: groups tasks, for the folder of results; None for none.
    """

    format: str
    name: str
    nonce: str
    created: str
    expires: str
    modeller: Participant
    participants: tuple[Participant, ...]
    protocol: Unit
    algorithms: tuple[Unit, ...]
    aggregation: Aggregation | None = None
    quorum: int = 1
    cohort_minimum: int = 1
    deadlines: Deadlines = Deadlines()
    documents: dict[str, TaskDocument] = {}
    project: str | None = None

    def to_bytes(self) -> bytes:
        """The canonical bytes: JSON with sorted keys, as they are signed and hashed."""
        # A whole number where a float is meant would be written otherwise than it is read.
        exact = msgspec.convert(msgspec.to_builtins(self), TaskSpec)
        return msgspec.json.encode(exact, order="deterministic")

    @cached_property
    def hash(self) -> bytes:
        """The task's identity, 32 bytes."""
        return task_hash(self.to_bytes())

    @property
    def names(self) -> tuple[str, ...]:
        """The invited pods, sorted."""
        return tuple(pod.name for pod in self.participants)

    @property
    def pinned(self) -> dict[str, bytes]:
        """The invited pods and their raw public keys."""
        return {pod.name: pod.public for pod in self.participants}

    @property
    def secure(self) -> bool:
        """Whether what is added up is masked."""
        return self.aggregation is not None and self.aggregation.name.endswith("SecureAggregator")

    def participant(self, name: str) -> Participant:
        """The pod of that name.

        Raises:
            TaskRefused: it is not invited.
        """
        for pod in self.participants:
            if pod.name == name:
                return pod
        raise TaskRefused("NO_ACCESS", "This pod is not among the participants of the task.")


def task_hash(data: bytes) -> bytes:
    """SHA-256 over the canonical bytes of a task, 32 bytes."""
    return hashlib.sha256(b"trialveil/task" + data).digest()


def read_task_spec(data: bytes) -> TaskSpec:
    """A task from the bytes that were signed, checked.

    Raises:
        TaskRefused: it is none, is not in its canonical form, or does not hold together.
    """
    if len(data) > SIZE_LIMIT:
        raise _refused(f"the task has {len(data)} bytes; expected at most {SIZE_LIMIT}")
    try:
        spec = msgspec.json.decode(data, type=TaskSpec)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise _refused(f"the task ({len(data)} bytes) cannot be read") from None
    if spec.to_bytes() != data:
        raise _refused("the task is not in its one canonical form")
    check_task_spec(spec)
    return spec


def check_task_spec(spec: TaskSpec) -> None:
    """Refuse a task that does not hold together.

    Raises:
        TaskRefused: names the field and what was expected.
    """
    for _, refusal in broken_rules(spec):
        raise refusal


def broken_rules(spec: TaskSpec) -> list[tuple[str, TaskRefused]]:
    """Every rule of a task that does not hold: the field that it is about, with dots, and the refusal.

    Raises:
        TaskRefused: a time cannot be read.
    """
    names, keys = list(spec.names), [pod.key for pod in spec.participants]
    created, expires = _instant("created", spec.created), _instant("expires", spec.expires)
    rules: tuple[tuple[str, bool, str], ...] = (
        ("format", spec.format == FORMAT, f"format must be {FORMAT}"),
        (
            "name",
            TASK_NAME.fullmatch(spec.name) is not None
            and (spec.project is None or PROJECT.fullmatch(spec.project) is not None),
            "name and project are 1 to 63 of A-Z, a-z, 0-9, '.', '_', '-' (and spaces in the name)",
        ),
        ("nonce", _is_hex(spec.nonce, 32), "nonce must be 32 hexadecimal digits"),
        (
            "expires",
            created < expires <= created + LONGEST_LIFE,
            f"expires must lie within {LONGEST_LIFE.days} days after created",
        ),
        (
            "participants",
            bool(names) and names == sorted(set(names)),
            "participants must be sorted by name, each once",
        ),
        (
            "participants",
            all(POD_NAME.fullmatch(name) for name in [*names, spec.modeller.name]),
            "a name is 1 to 64 of a-z, 0-9, '.', '_', '-'",
        ),
        (
            "participants",
            all(_is_hex(key, 64) for key in [*keys, spec.modeller.key]),
            "a key is 64 hexadecimal digits (an Ed25519 public key)",
        ),
        (
            "participants",
            len({*keys, spec.modeller.key}) == len(keys) + 1,
            "two of the pods and the modeller have the same key",
        ),
        ("quorum", 1 <= spec.quorum <= len(names), "quorum must be 1 to the number of pods"),
        (
            "cohort_minimum",
            1 <= spec.cohort_minimum <= len(names),
            "cohort_minimum must be 1 to the number of pods",
        ),
        ("algorithms", bool(spec.algorithms), "there is no algorithm"),
        (
            "deadlines",
            all(0 < each < math.inf for each in msgspec.structs.astuple(spec.deadlines)),
            "deadlines are seconds above 0",
        ),
    )
    if spec.aggregation is not None:
        rules += _aggregation_rules(spec.aggregation, len(names))
    return [(field, _refused(expected)) for field, holds, expected in rules if not holds]


def _aggregation_rules(chosen: Aggregation, pods: int) -> tuple[tuple[str, bool, str], ...]:
    secure = chosen.name.endswith("SecureAggregator")
    least = 3 if secure else 1
    rules = (
        ("clip", 0 < chosen.clip < math.inf, "aggregation.clip must be a finite number above 0"),
        (
            "maximum_weight",
            0 < chosen.maximum_weight < math.inf,
            "aggregation.maximum_weight must be a finite number above 0",
        ),
        (
            "minimum_survivors",
            least <= chosen.minimum_survivors <= pods,
            f"aggregation.minimum_survivors must be {least} to the number of pods ({pods})",
        ),
        ("noise", 0 <= chosen.noise < math.inf, "aggregation.noise must be 0 or more"),
        ("l2_clip", 0 <= chosen.l2_clip < math.inf, "aggregation.l2_clip must be 0 or more"),
        (
            "noise",
            not chosen.noise or (secure and chosen.l2_clip > 0),
            "noise needs SecureAggregator and l2_clip",
        ),
        ("delta", 0 < chosen.delta < 1, "aggregation.delta must lie between 0 and 1"),
    )
    return tuple((f"aggregation.{field}", holds, expected) for field, holds, expected in rules)


def _refused(expected: str) -> TaskRefused:
    return TaskRefused("TASK_SETUP_ERROR", f"The task was refused: {expected}. Nothing was run.")


def _is_hex(text: str, digits: int) -> bool:
    return re.fullmatch(rf"[0-9a-f]{{{digits}}}", text) is not None


def _instant(field: str, text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise _no_instant(field) from None
    if found.tzinfo is None or found.utcoffset() != timedelta(0) or moment(found) != text:
        raise _no_instant(field)
    return found


def _no_instant(field: str) -> TaskRefused:
    return _refused(f"{field} must be a UTC time of the form 2026-06-01T12:00:00+00:00")


def moment(now: datetime) -> str:
    """An aware time as a task writes it.

    Raises:
        InvalidArgument: it has no time zone.
    """
    if now.tzinfo is None:
        raise InvalidArgument("now has no time zone; expected an aware time")
    return now.astimezone(UTC).isoformat(timespec="seconds")
