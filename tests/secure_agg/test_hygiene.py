"""Where secrets may not be: representations, exceptions, pickles, logs, and the server's transcript."""

from __future__ import annotations

import ast
import base64
import copy
import gc
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import secure_agg
from secure_agg import errors, messages, shamir
from secure_agg.client import Client
from secure_agg.errors import InputRefused, NonFiniteUpdateError, SecureAggError
from secure_agg.fixed_point import Encoded, encode
from secure_agg.keys import Agreement, Channel, Identity, Secret
from secure_agg.masks import LostPair
from secure_agg.messages import FORWARD, PROOFS, REVEAL, ROSTER, SURVIVORS, Envelope, Reveal
from secure_agg.pod_secrets import PodSecrets
from secure_agg.transitions import PodState
from tests.secure_agg.table import Setting, Table, entropy_from, sha

PACKAGE = Path(secure_agg.__file__).parent
WEIGHTS = {"bath": 1234.5678, "hull": 345.28125, "kent": 87.1875, "leeds": 991.0625, "york": 7654.53125}


class Recorded:
    """Entropy that remembers what it gave."""

    def __init__(self, seed: str) -> None:
        self.take, self.given = entropy_from(seed), list[bytes]()

    def __call__(self, size: int) -> bytes:
        self.given.append(self.take(size))
        return self.given[-1]


def observed(setting: Setting | None = None) -> tuple[Table, dict[str, Recorded]]:
    table = Table(setting)
    taps = {name: Recorded(name) for name in table.names}
    for name, client in table.clients.items():
        client._entropy = taps[name]
    return table, taps


def weighted() -> Setting:
    parameters = Table().parameters
    encoding = parameters.encoding(5, "weights_first", sum(WEIGHTS.values()))
    return Setting(encoding=encoding, weights=WEIGHTS)


def spellings(secret: bytes) -> Iterator[str]:
    """How bytes get into a text."""
    part = secret[:12]
    yield part.hex()
    yield repr(part)[2:-1]
    yield base64.b64encode(secret)[:12].decode()
    yield base64.urlsafe_b64encode(secret)[:12].decode()
    yield ", ".join(str(byte) for byte in part)
    yield str(int.from_bytes(secret[:8], "big"))
    yield str(int.from_bytes(secret[:8], "little"))


def assert_silent(text: str, secrets: list[bytes], numbers: list[float]) -> None:
    for secret in secrets:
        for spelling in spellings(secret):
            assert spelling not in text
    for number in numbers:
        assert f"{number:.6g}" not in text
        assert str(number) not in text


def secrets_of(table: Table, taps: dict[str, Recorded]) -> tuple[list[bytes], list[float]]:
    given = [data for tap in taps.values() for data in tap.given if len(data) >= 16]
    given += [sha(f"identity of {name}") for name in (*table.names, "modeller")]
    numbers = [float(value) for values in table.updates.values() for value in values]
    return given, [*numbers, *WEIGHTS.values()]


def reachable(root: object) -> list[object]:
    """Everything of ours that hangs on an object, the object included."""
    seen, found, waiting = set(), [], [root]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, type):
            continue
        seen.add(id(each))
        ours = type(each).__module__.startswith(("secure_agg", "cryptography"))
        if ours or isinstance(each, list | tuple | dict | set | frozenset):
            found.append(each)
            waiting += gc.get_referents(each)
    return [each for each in found if type(each).__module__.startswith("secure_agg")]


def at_each_state() -> Iterator[tuple[Table, dict[str, Recorded]]]:
    for kind in (ROSTER, FORWARD, SURVIVORS, PROOFS):
        table, taps = observed(weighted())
        table.up_to(kind, lost={"york": FORWARD})
        yield table, taps


def test_no_secret_or_weight_in_logs_exceptions_repr_pickle(caplog: pytest.LogCaptureFixture) -> None:
    """At every state, of every object that hangs on a pod or on the server."""
    kinds: set[str] = set()
    for table, taps in at_each_state():
        secrets, numbers = secrets_of(table, taps)
        for machine in (table.clients["bath"], table.server):
            for each in reachable(machine):
                kinds.add(type(each).__name__)
                assert_silent(f"{each!r} {each!s}", secrets, numbers)
                if isinstance(each, Client | Secret | PodSecrets | Agreement | Channel | Identity):
                    for dump in (pickle.dumps, copy.copy, copy.deepcopy):
                        with pytest.raises(TypeError, match="cannot be pickled"):
                            dump(each)
        assert_silent(caplog.text, secrets, numbers)
    assert {"Client", "Server", "PodSecrets", "Secret", "Channel", "Identity", "PodSetup", "Encoded"} <= kinds


def test_contributions_pairs_and_results_show_no_numbers() -> None:
    table, taps = observed(weighted())
    result = table.run(lost={"york": FORWARD})
    secrets, numbers = secrets_of(table, taps)
    encoded = encode(table.updates["bath"], 1234.5678, table.spec.encoding, sha("seed"))
    shown = [
        table.contribution("bath"),
        result,
        LostPair("a", "b", sha("pair")),
        encoded,
        table.journals["bath"],
    ]
    text = " ".join(repr(each) for each in shown)
    assert_silent(text, [*secrets, sha("pair"), bytes(encoded.vector.data)], numbers)


def raised(call: Callable[[], object]) -> SecureAggError:
    with pytest.raises(SecureAggError) as caught:
        call()
    return caught.value


def test_no_exception_of_a_round_holds_a_secret() -> None:
    for kind in (ROSTER, FORWARD, SURVIVORS, PROOFS):
        for place in (30, 100, -30, -1):
            table, taps = observed(weighted())
            sent = bytearray(table.up_to(kind)["bath"])
            sent[place] ^= 0x10
            error = raised(lambda table=table, sent=sent: table.ask("bath", bytes(sent)))  # type: ignore[misc]  # defaults
            text = f"{error!s} {error!r} {error.args} {vars(error)} {error.__cause__!r}"
            assert_silent(text, *secrets_of(table, taps))
            assert error.__cause__ is None


def test_every_error_can_be_pickled_with_its_words_only() -> None:
    samples: dict[type[SecureAggError], SecureAggError] = {
        errors.TooFewPods: errors.TooFewPods("uploads", 3, 4, 5),
        errors.BadMaskInput: errors.BadMaskInput("seed", "4 bytes", "32 bytes"),
        errors.SharesRefused: errors.SharesRefused("no", "hull"),
    }
    for each in vars(errors).values():
        if isinstance(each, type) and issubclass(each, SecureAggError):
            sample = samples.get(each) or each("words")
            again = pickle.loads(pickle.dumps(sample))
            assert (type(again), str(again)) == (each, str(sample))


# ---- the transcript ----


def test_the_transcript_of_the_server_holds_no_secret_share_or_plaintext() -> None:
    table, taps = observed()
    plain = {
        name: bytes(encode(values, 1.0, table.spec.encoding, sha("any")).vector[:4].data)
        for name, values in table.updates.items()
    }
    rows: list[bytes] = []
    original = shamir.share

    def recorded(*given: Any, **named: Any) -> Any:
        found = original(*given, **named)
        rows.extend(shamir.to_bytes(part) for row in found for part in row)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secure_agg.pod_secrets.shamir.share", recorded)
        table.run(lost={"york": FORWARD})
    seen = b"".join(data for _, data in table.transcript)
    for secret in secrets_of(table, taps)[0]:
        if len(secret) <= 64:
            assert secret[:16] not in seen
    for values in table.updates.values():
        assert values.tobytes()[:16] not in seen
        assert values.astype("<f4").tobytes()[:8] not in seen
    assert all(part not in seen for part in plain.values())
    before = b"".join(data for _, data in table.transcript if data[4:5] != REVEAL)
    assert len(rows) == 50
    assert all(row not in before for row in rows)


def test_of_each_pod_the_server_gets_shares_of_one_secret_only() -> None:
    table = Table()
    table.run(lost={"york": FORWARD})
    own, keys = set[str](), set[str]()
    for _, data in table.transcript:
        if data[4:5] == REVEAL:
            reveal = messages.decode_body(REVEAL, messages.decode(data, REVEAL, Envelope, 5).body, Reveal)
            own |= {name for name, _ in reveal.own_masks}
            keys |= {name for name, _ in reveal.mask_keys}
    assert (own, keys) == ({"bath", "hull", "kent", "leeds"}, {"york"})


def test_the_masked_words_of_one_pod_do_not_tell_its_update() -> None:
    """All zeros, the clip and the opposite: the words have the same mean and no word in common with the encoding."""
    means = []
    for value in (0.0, 8.0, -8.0):
        table = Table(Setting(length=4000, seed=f"value {value}"))
        table.updates["bath"] = np.full(4000, value)
        upload = table.ask_all(table.up_to(FORWARD))["bath"]
        words = np.frombuffer(upload[-4 * 4008 :], "<u4")
        means.append(words.mean() / 2**32)
        assert len(np.unique(words)) > 4000
    assert all(abs(mean - 0.5) < 6 * np.sqrt(1 / 12 / 4008) for mean in means)


def test_two_runs_same_input_unlinkable() -> None:
    one, other = (Table(Setting(seed=seed)).up_to(FORWARD) for seed in ("one", "other"))
    assert not set(one.values()) & set(other.values())


# ---- refusals before anything is sent ----


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_inf_refused_before_any_send(bad: float) -> None:
    table = Table()
    invitation = table.start()["bath"]
    table.updates["bath"] = np.array([0.0, bad, 0, 0, 0, 0, 0])
    with pytest.raises(NonFiniteUpdateError, match="Nothing was sent"):
        table.ask("bath", invitation)
    assert table.clients["bath"].state is PodState.ABORTED
    assert table.journals == {}
    result = table.finish({name: invitation for name in table.names if name != "bath"})
    assert "bath" not in result.survivors


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(6),
        np.zeros((7, 1)),
        np.zeros(7, np.complex64),
        np.zeros(7, object),
        np.zeros(7, np.int64),
        np.zeros(()),
    ],
)
def test_wrong_shape_dtype_order_refused(values: Any) -> None:
    table = Table()
    table.updates["bath"] = values
    with pytest.raises(InputRefused, match="Nothing was sent"):
        table.ask("bath", table.start()["bath"])
    assert table.clients["bath"].state is PodState.ABORTED


def test_clip_policy_error_and_count() -> None:
    refusing = Table(Setting(parameters={"on_clip": "error"}))
    refusing.updates["bath"] = np.array([9.0, 0, 0, 0, 0, 0, -20.0])
    with pytest.raises(errors.RangeError, match="clip"):
        refusing.ask("bath", refusing.start()["bath"])
    clipping = Table()
    clipping.updates["bath"] = refusing.updates["bath"]
    result = clipping.run()
    assert result.report.clipped_fraction == pytest.approx(2 / 35)


def test_an_update_that_does_not_fit_into_memory_is_refused_before_any_send() -> None:
    table = Table(Setting(length=100_000))
    setup = table.clients["bath"]._setup
    table.clients["bath"]._setup = replace(setup, memory_bytes=1_000_000)
    with pytest.raises(errors.MemoryRefused, match="Nothing was sent"):
        table.ask("bath", table.start()["bath"])
    fitting = Table(Setting(length=100_000))
    fitting.clients["bath"]._setup = replace(setup, memory_bytes=3_000_000)
    assert fitting.run().survivors == fitting.names


# ---- overwriting ----


def held(client: Client) -> list[Secret]:
    return [each for each in reachable(client._secrets) if isinstance(each, Secret)]


@pytest.mark.parametrize("ending", ["close", "abort", "reveal"])
def test_secret_buffers_overwritten_on_close_and_abort(ending: str) -> None:
    """Best effort: the buffers that we hold are zero; CPython gives no guarantee about copies."""
    table = Table()
    proofs = table.up_to(PROOFS)
    client = table.clients["bath"]
    secrets = held(client)
    assert len(secrets) >= 10
    buffers = [secret._data for secret in secrets]
    if ending == "close":
        client.close()
    elif ending == "abort":
        with pytest.raises(SecureAggError):
            client.receive(b"nonsense", 0.0)
    else:
        table.ask("bath", proofs["bath"])
    assert all(not any(buffer) for buffer in buffers)
    assert client._secrets is None
    for secret in secrets:
        with pytest.raises(errors.ParameterError, match="overwritten"):
            secret.open()


@pytest.mark.parametrize("first", ["own_mask_share", "mask_key_share"])
def test_with_one_share_of_a_pod_given_the_other_is_gone(first: str) -> None:
    """Whatever is asked for later, even by a caller of ours: the second secret's share is overwritten."""
    table = Table()
    table.up_to(SURVIVORS)
    secrets = table.clients["bath"]._secrets
    assert secrets is not None
    other = {"own_mask_share": "mask_key_share", "mask_key_share": "own_mask_share"}[first]
    assert len(getattr(secrets, first)("hull")) == 64
    with pytest.raises(errors.ParameterError, match="overwritten"):
        getattr(secrets, other)("hull")
    with pytest.raises(errors.OutOfOrder, match="holds no share"):
        secrets.own_mask_share("nobody")


def test_an_update_that_waits_is_overwritten_when_the_round_ends_early() -> None:
    table = Table()
    table.up_to(ROSTER)
    encoded = table.clients["bath"]._encoded
    assert isinstance(encoded, Encoded)
    assert encoded.vector.any()
    table.clients["bath"].close()
    assert not encoded.vector.any()
    assert not encoded.lane.any()


# ---- the source ----


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for file in sorted(PACKAGE.glob("*.py")):
        yield file, ast.parse(file.read_text(encoding="utf-8"))


def test_no_numpy_or_random_generator_in_mask_path() -> None:
    for file, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) not in {"np.random", "numpy.random"}, file
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
                assert not names & {"random", "numpy.random", "logging", "pickle", "uuid"}, file


def test_entropy_comes_in_as_an_argument_and_so_does_time() -> None:
    """The two machines have no clock and no source of randomness; only the simulation has."""
    allowed = {"simulation.py", "keystream.py", "masks.py", "paillier.py"}
    for file, tree in sources():
        named = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        if file.name not in allowed:
            assert not named & {"os.urandom", "time.time", "time.perf_counter", "time.monotonic"}, file
            assert "secrets" not in {
                alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
            }, file


def test_client_and_server_do_not_import_each_other() -> None:
    for one, other in (("client", "server"), ("server", "client"), ("pod_secrets", "recovery")):
        text = (PACKAGE / f"{one}.py").read_text(encoding="utf-8")
        assert f"secure_agg.{other}" not in text
