"""The JSON documents of the commands as models: what a reader of ``--json`` may rely on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from federated.screening.report.document_models import Closed


class ProbeStepModel(Closed):
    """One step of a probe."""

    name: str
    result: Literal["ok", "warning", "failed", "skipped"]
    detail: str
    advice: str | None


class ProbeDocument(Closed):
    """What ``trialveil ehr probe --json`` prints; it holds no patient data."""

    schema_: Annotated[Literal["trialveil/probe/1"], Field(alias="schema")]
    provider: str
    ok: bool
    checks: tuple[ProbeStepModel, ...]


class ContractCase(Closed):
    """What one contract case came to; ``reason`` says why it failed or does not apply."""

    number: Annotated[int, Field(ge=1)]
    name: str
    level: Literal["must", "should"]
    outcome: Literal["passed", "failed", "not_applicable"]
    reason: str | None
    backends: tuple[Literal["mocks", "socket"], ...]


class ContractSummary(Closed):
    """How many cases came to what."""

    passed: Annotated[int, Field(ge=0)]
    failed: Annotated[int, Field(ge=0)]
    not_applicable: Annotated[int, Field(ge=0)]


class ContractProvider(Closed):
    """The contract of one provider."""

    cases: tuple[ContractCase, ...]
    summary: ContractSummary


class ContractDocument(Closed):
    """What ``trialveil ehr contract --json`` prints, and what pytest's ``--ehr-contract-report`` writes."""

    schema_: Annotated[Literal["trialveil/contract/1"], Field(alias="schema")]
    providers: dict[str, ContractProvider]


class KindGranted(Closed):
    """One kind of record, and the resource types that were not granted for it."""

    kind: str
    granted: bool
    missing_types: tuple[str, ...]


class LoginDocument(Closed):
    """What ``trialveil ehr login --json`` prints; it holds no patient and no token.

    ``kept`` says whether the login outlives the command, ``renewable`` whether it goes on without a person;
    ``life_s`` is how long its first token lives.
    """

    schema_: Annotated[Literal["trialveil/login/1"], Field(alias="schema")]
    provider: str
    kinds: tuple[KindGranted, ...]
    one_patient: bool
    renewable: bool
    kept: bool
    life_s: Annotated[float, Field(gt=0)]


class Collection(Closed):
    """The records of one kind; ``items`` are complete only where ``complete`` is true."""

    state: Literal[
        "OK", "EMPTY", "PARTIAL", "UNSUPPORTED", "FORBIDDEN", "RESTRICTED", "QUOTA", "UNAVAILABLE", "ERROR"
    ]
    complete: bool
    quarantined: Annotated[int, Field(ge=0)]
    issues: tuple[str, ...]
    items: tuple[dict[str, Any], ...]


class QueryDocument(Closed):
    """What ``trialveil ehr query`` shows or writes: one patient's records."""

    schema_: Annotated[Literal["trialveil/query/1"], Field(alias="schema")]
    match: str
    match_detail: str
    kinds: dict[str, Collection]


class MistakeModel(Closed):
    """One mistake or warning, at its place in the file; column 0 where the file as a whole is meant."""

    file: str
    line: Annotated[int, Field(ge=1)]
    column: Annotated[int, Field(ge=0)]
    code: str
    severity: Literal["error", "warning"]
    message: str


class CheckDocument(Closed):
    """What ``… check FILE --json`` prints; ``ok`` is true where there is no mistake but warnings."""

    schema_: Annotated[Literal["trialveil/check/1"], Field(alias="schema")]
    ok: bool
    problems: tuple[MistakeModel, ...]


class KeyDocument(Closed):
    """What ``trialveil pod key --json`` and ``trialveil task key --json`` print; nothing secret.

    Args:
        file: where the secret half is.
        public: the public half, 64 hexadecimal digits.
    """

    schema_: Annotated[Literal["trialveil/key/1"], Field(alias="schema")]
    file: str
    public: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class EngineRow(Closed):
    """One engine of the screening benchmark; CPU seconds of evaluation, larger speed-ups are better."""

    engine: str
    patients: Annotated[int, Field(ge=1)]
    criteria: Annotated[int, Field(ge=1)]
    seconds: Annotated[float, Field(ge=0)]
    speedup_over_dicts: float | None
    peak_bytes: Annotated[int, Field(ge=0)]


class ScreeningBenchmark(Closed):
    """What ``python benchmarks/screening.py --json`` prints."""

    schema_: Annotated[Literal["trialveil/screening-benchmark/1"], Field(alias="schema")]
    rows: tuple[EngineRow, ...]


class AggregationRow(Closed):
    """One row of the benchmark of secure aggregation; larger shares and speed-ups are better, and 1 is the limit."""

    part: Literal["mask", "client", "server"]
    parameters: Annotated[int, Field(ge=1)]
    pods: Annotated[int, Field(ge=2)]
    dropped: Annotated[float, Field(ge=0, lt=1)]
    cpu_seconds: Annotated[float, Field(ge=0)]
    wall_seconds: Annotated[float, Field(ge=0)]
    speedup_over_flower: float | None
    share_of_limit: float | None
    bytes_up: Annotated[int, Field(ge=0)]
    peak_bytes: Annotated[int, Field(ge=0)]


class AggregationBenchmark(Closed):
    """What ``python benchmarks/secure_agg.py --json`` prints; ``machine`` says what was measured on."""

    schema_: Annotated[Literal["trialveil/secure-agg-benchmark/1"], Field(alias="schema")]
    machine: dict[str, Any]
    rows: tuple[AggregationRow, ...]


class ReadingRow(Closed):
    """One client of the benchmark of reading; larger shares and speed-ups are better, and 1 is the limit.

    All figures are null for a peer that is not installed or was not measured.
    """

    client: str
    patients: Annotated[int, Field(ge=1)]
    latency_ms: Annotated[int, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0)] | None
    share_of_limit: float | None
    speedup_over_fhirpy: float | None
    requests: Annotated[int, Field(ge=0)] | None
    resources: Annotated[int, Field(ge=0)] | None
    peak_bytes: Annotated[int, Field(ge=0)] | None


class ReadingBenchmark(Closed):
    """What ``python benchmarks/ehr.py --json`` prints; ``machine`` says what was measured on."""

    schema_: Annotated[Literal["trialveil/ehr-benchmark/1"], Field(alias="schema")]
    machine: dict[str, Any]
    rows: tuple[ReadingRow, ...]


class TokenElsewhere(Closed):
    """How many of the peers that ran sent their token to another host; which ones is not told."""

    peers: Annotated[int, Field(ge=0)]
    sent: Annotated[int, Field(ge=0)]


class FaultRow(Closed):
    """One client at one fault; null for a peer that is not installed."""

    fault: str
    client: str
    outcome: (
        Literal[
            "right answer",
            "typed error",
            "silently short",
            "too many",
            "followed for ever",
            "token sent elsewhere",
        ]
        | None
    )
    entries: Annotated[int, Field(ge=0)] | None


class FaultsBenchmark(Closed):
    """What ``python benchmarks/faults.py --json`` prints."""

    schema_: Annotated[Literal["trialveil/faults-benchmark/1"], Field(alias="schema")]
    token_elsewhere: TokenElsewhere
    rows: tuple[FaultRow, ...]


class RuntimeRow(Closed):
    """Rounds over one kind of link; ``overhead`` is their time over that of the bare masking, less 1.

    ``cpu_overhead`` is the same in CPU seconds of all threads: pods of one process work side by side where there are
    cores, and the bare masking takes them one after the other.
    """

    link: Literal["in process", "sockets"]
    pods: Annotated[int, Field(ge=3)]
    parameters: Annotated[int, Field(ge=1)]
    seconds_per_round: Annotated[float, Field(gt=0)]
    masking_seconds: Annotated[float, Field(gt=0)]
    overhead: float
    cpu_overhead: float


class RuntimeExchange(Closed):
    """One request and its answer over sockets, each as large as a float32 model of so many parameters."""

    parameters: Annotated[int, Field(ge=1)]
    milliseconds: Annotated[float, Field(gt=0)]
    times_a_bare_tls_copy: Annotated[float, Field(gt=0)]


class RuntimeBenchmark(Closed):
    """What ``python benchmarks/runtime.py --json`` prints; ``machine`` says what was measured on."""

    schema_: Annotated[Literal["trialveil/runtime-benchmark/1"], Field(alias="schema")]
    machine: dict[str, Any]
    rows: tuple[RuntimeRow, ...]
    exchanges: tuple[RuntimeExchange, ...]
