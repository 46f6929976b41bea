"""A whole round of SA-1 once more: every message of every pod and of the server, and the sum, by plain integers.

Written from the description of the protocol and of its bytes (docs/protocol.md), RFC 5869, 7748, 8032 and 8439,
NIST SP 800-38A and the MessagePack specification. It shares no line with the package and uses the standard library
only. Active server, complete graph, 32-bit words, stochastic rounding, weights first; one pod may be lost after its
shares.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from tests.oracles.curves import chacha20_poly1305, ed25519_public, ed25519_sign, x25519, x25519_public
from tests.oracles.masking import at_zero, hkdf_sha256, masked, rounded, shares, stream, words

SUITE = "x25519-ed25519-hkdf-sha256-aes256ctr-chacha20poly1305"
CANARIES = 8
LANE_SCALE = 2**40
Plain = str | int | float | bytes | list["Plain"]
Row = list[int]


def packed(value: Plain) -> bytes:
    """MessagePack, each value in its shortest form; a float is always 64 bits wide."""
    if isinstance(value, list):
        head = bytes([0x90 | len(value)]) if len(value) < 16 else b"\xdc" + struct.pack(">H", len(value))
        return head + b"".join(packed(each) for each in value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, bytes):
        size = len(value)
        return (b"\xc4" + bytes([size]) if size < 256 else b"\xc5" + struct.pack(">H", size)) + value
    text = value.encode()
    return (bytes([0xA0 | len(text)]) if len(text) < 32 else b"\xd9" + bytes([len(text)])) + text


def _integer(value: int) -> bytes:
    if value < 128:
        return bytes([value])
    code, size = next((c, s) for c, s in ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8)) if value < 256**s)
    return bytes([code]) + value.to_bytes(size, "big")


@dataclass(frozen=True)
class Pod:
    """What one pod brings: its identity, its update and weight, and the bytes that its machine draws."""

    identity: bytes
    update: list[Fraction]
    weight: int
    rounding: bytes
    mask_key: bytes
    channel_key: bytes
    own_seed: bytes
    coefficients: bytes


@dataclass(frozen=True)
class Plan:
    """A round: the modeller, the pods by name, what is agreed, and who is lost after its shares."""

    modeller: bytes
    pods: Mapping[str, Pod]
    task: bytes
    model_hash: bytes
    schema_hash: bytes
    clip: float
    deadlines: list[float]
    lost: str

    @property
    def names(self) -> list[str]:
        return sorted(self.pods)

    @property
    def survivors(self) -> list[str]:
        return [name for name in self.names if name != self.lost]

    @property
    def threshold(self) -> int:
        return 2 * len(self.pods) // 3 + 1

    @property
    def total_weight(self) -> int:
        return sum(pod.weight for pod in self.pods.values())

    @property
    def scale(self) -> int:
        """The largest power of two with clip * scale + n < 2^31."""
        return max(1 << k for k in range(31) if Fraction(self.clip) * (1 << k) + len(self.pods) < 1 << 31)


@dataclass
class Transcript:
    """Every message, and what lies behind it."""

    messages: list[tuple[str, str, bytes]] = field(default_factory=list)
    encoded: dict[str, Row] = field(default_factory=dict)
    lanes: dict[str, Row] = field(default_factory=dict)
    masked: dict[str, Row] = field(default_factory=dict)
    pair_seeds: dict[tuple[str, str], bytes] = field(default_factory=dict)
    shares: dict[str, dict[str, bytes]] = field(default_factory=dict)
    total: Row = field(default_factory=list)
    lane: Row = field(default_factory=list)
    mean: list[Fraction] = field(default_factory=list)


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def named(*names: str) -> bytes:
    return b"".join(len(name).to_bytes(2, "big") + name.encode() for name in names)


def run(plan: Plan) -> Transcript:
    """The round from the invitation to the sum."""
    return _Round(plan).run()


class _Round:
    def __init__(self, plan: Plan) -> None:
        self.plan, self.found = plan, Transcript()
        self.spec = packed(self._spec())
        self.spec_hash = sha(b"sa1/spec", self.spec)
        self.roster_hash = b""

    def run(self) -> Transcript:
        self._invitation_and_adverts()
        self._shares()
        self._masked()
        self._survivors()
        self._reveals()
        self._sum()
        return self.found

    def _spec(self) -> list[Plain]:
        plan, pods = self.plan, len(self.plan.pods)
        keys = {name: ed25519_public(pod.identity) for name, pod in plan.pods.items()}
        cohort: list[Plain] = [[name, sha(keys[name]), b""] for name in plan.names]
        encoding: list[Plain] = [32, plan.clip, float(plan.scale), "weights_first"]
        encoding += [float(plan.total_weight), "stochastic", "error", 0.0]
        length = len(plan.pods[plan.names[0]].update)
        spec: list[Plain] = ["SA-1", SUITE, plan.task, 0, cohort, "active", "complete", pods - 1]
        spec += [plan.threshold, 3, encoding, length, plan.schema_hash, plan.model_hash, bytes(32)]
        return [*spec, ["none", 0.0, 1e-5, 0.0], [*plan.deadlines]]

    def _say(self, author: str, kind: int, name: str, message: bytes) -> bytes:
        data = b"SA1\x01" + bytes([kind]) + message
        self.found.messages.append((author, name, data))
        return data

    def _signed(self, author: str, kind: int, name: str, body: bytes) -> bytes:
        signature = ed25519_sign(self.plan.pods[author].identity, b"sa1/sign/" + bytes([kind]) + body)
        return self._say(author, kind, name, packed([author, body, signature]))

    def _invitation_and_adverts(self) -> None:
        signature = ed25519_sign(self.plan.modeller, b"sa1/sign/\x00" + self.spec)
        self._say("server", 0, "invitation", packed([self.spec, signature]))
        adverts: list[Plain] = []
        for name in self.plan.names:
            pod = self.plan.pods[name]
            keys = x25519_public(pod.mask_key), x25519_public(pod.channel_key)
            commitment = sha(b"sa1/b", self.spec_hash, named(name), pod.own_seed)
            body = packed([name, self.spec_hash, *keys, commitment, b""])
            adverts.append(self._signed(name, 1, "advert", body))
        self._say("server", 2, "roster", packed([self.spec_hash, adverts]))
        framed = (len(a).to_bytes(4, "big") + a for a in adverts if isinstance(a, bytes))
        self.roster_hash = sha(b"sa1/roster", self.spec_hash, len(adverts).to_bytes(4, "big"), *framed)

    def _shares(self) -> None:
        names, sealed = self.plan.names, {}
        for me in names:
            self.found.shares[me] = self._shared(self.plan.pods[me])
            peers = [peer for peer in names if peer != me]
            sealed[me] = {peer: self._sealed(me, peer) for peer in peers}
            body = packed(
                [me, self.spec_hash, self.roster_hash, [[peer, sealed[me][peer]] for peer in peers]]
            )
            self._signed(me, 3, "shares", body)
        for me in names:
            mail: list[Plain] = [[peer, sealed[peer][me]] for peer in names if peer != me]
            self._say("server", 4, "forward", packed([self.spec_hash, self.roster_hash, [*names], mail]))

    def _shared(self, pod: Pod) -> dict[str, bytes]:
        """Each holder's share of the seed and of the mask key; coefficients are drawn degree by degree."""
        drawn = [x % 65537 for (x,) in struct.iter_unpack("<I", pod.coefficients)]
        degrees = [drawn[i : i + 32] for i in range(0, len(drawn), 32)]
        columns = [[degree[limb] for degree in degrees] for limb in range(32)]
        rows = shares(pod.own_seed + pod.mask_key, columns, len(self.plan.pods))
        return {name: struct.pack("<32I", *row) for name, row in zip(self.plan.names, rows, strict=True)}

    def _sealed(self, me: str, peer: str) -> bytes:
        pods = self.plan.pods
        secret = x25519(pods[me].channel_key, x25519_public(pods[peer].channel_key))
        info = b"sa1/channel" + self.roster_hash + named(me, peer)
        key = hkdf_sha256(secret, self.spec_hash, info, 32)
        context = self.spec_hash + self.roster_hash + named(me, peer)
        return chacha20_poly1305(key, bytes(12), self.found.shares[me][peer], context)

    def _pair_seed(self, me: str, peer: str) -> bytes:
        pods = self.plan.pods
        secret = x25519(pods[me].mask_key, x25519_public(pods[peer].mask_key))
        info = b"sa1/mask" + self.roster_hash + named(*sorted((me, peer)))
        return hkdf_sha256(secret, self.spec_hash, info, 32)

    def _relative(self, name: str) -> int:
        return round(Fraction(self.plan.pods[name].weight, self.plan.total_weight) * LANE_SCALE)

    def _encoded(self, name: str) -> Row:
        pod, relative = self.plan.pods[name], self._relative(name)
        drawn = words(pod.rounding, b"rounding", len(pod.update), 4)
        pairs = zip(pod.update, drawn, strict=True)
        return [rounded(x, relative, self.plan.scale, word, 32) for x, word in pairs] + [0] * CANARIES

    def _masked(self) -> None:
        names = self.plan.names
        for a in names:
            self.found.pair_seeds |= {(a, b): self._pair_seed(a, b) for b in names if a < b}
        seen = sha(b"sa1/names", self.spec_hash, packed([*names]))
        for me in self.plan.survivors:
            pod = self.plan.pods[me]
            pairs = {
                b if a == me else a: seed for (a, b), seed in self.found.pair_seeds.items() if me in (a, b)
            }
            plain, lane = self._encoded(me), [1, self._relative(me), 0, 0]
            self.found.encoded[me], self.found.lanes[me] = plain, lane
            self.found.masked[me] = masked(plain, me, pod.own_seed, pairs, 4)
            hidden = struct.pack("<4Q", *masked(lane, me, pod.own_seed, pairs, 8, b"lane"))
            vector = struct.pack(f"<{len(plain)}I", *self.found.masked[me])
            header = b"SA1\x01\x05\x20" + struct.pack("<Q", len(plain))
            header += self.spec_hash + self.roster_hash + seen
            header += bytes([len(me)]) + me.encode().ljust(64, b"\0") + hidden + sha(vector) + b"\0"
            signature = ed25519_sign(pod.identity, b"sa1/sign/\x05" + header)
            self.found.messages.append((me, "masked update", header + signature + vector))

    def _survivors(self) -> None:
        body = packed([self.spec_hash, self.roster_hash, [*self.plan.survivors]])
        self._say("server", 6, "survivors", body)
        confirmations: list[Plain] = []
        for me in self.plan.survivors:
            self._signed(me, 7, "confirm", body)
            signature = ed25519_sign(self.plan.pods[me].identity, b"sa1/sign/\x07" + body)
            confirmations.append([me, signature])
        self._say("server", 8, "proofs", packed([self.spec_hash, self.roster_hash, confirmations]))

    def _reveals(self) -> None:
        for me in self.plan.survivors:
            own: list[Plain] = [[each, self.found.shares[each][me][:64]] for each in self.plan.survivors]
            lost: list[Plain] = [[self.plan.lost, self.found.shares[self.plan.lost][me][64:]]]
            self._signed(me, 9, "reveal", packed([me, self.spec_hash, self.roster_hash, own, lost]))

    def _recovered(self, owner: str, half: slice) -> bytes:
        """A secret from the shares that the survivors hold."""
        points = {
            self.plan.names.index(holder) + 1: struct.unpack("<16I", self.found.shares[owner][holder][half])
            for holder in self.plan.survivors
        }
        limbs = (at_zero({x: values[limb] for x, values in points.items()}) for limb in range(16))
        return struct.pack("<16H", *limbs)

    def _sum(self) -> None:
        """What the server finds: masked vectors added up, and every mask taken off again."""
        lost = self.plan.lost
        assert self._recovered(lost, slice(64, 128)) == self.plan.pods[lost].mask_key
        size = len(self.found.masked[self.plan.survivors[0]])
        total = [sum(row[i] for row in self.found.masked.values()) for i in range(size)]
        for me in self.plan.survivors:
            own = stream(self._recovered(me, slice(0, 64)), b"vector", 0, 4 * size)
            pair = stream(self.found.pair_seeds[min(me, lost), max(me, lost)], b"vector", 0, 4 * size)
            sign = 1 if lost < me else -1
            for i, (a, b) in enumerate(zip(_numbers(own), _numbers(pair), strict=True)):
                total[i] -= a + sign * b
        self.found.total = [each % 2**32 for each in total]
        self.found.lane = [sum(column) for column in zip(*self.found.lanes.values(), strict=True)]
        signed = [each - 2**32 if each >= 2**31 else each for each in self.found.total[:-CANARIES]]
        steps = Fraction(self.plan.scale * self.found.lane[1], LANE_SCALE)
        self.found.mean = [each / steps for each in signed]


def _numbers(data: bytes) -> list[int]:
    return [x for (x,) in struct.iter_unpack("<I", data)]
