"""The server in one round: a message in, messages out, and one sum at the end or a typed error.

It holds one accumulator, never the vectors of single pods. A bad message of one pod is refused with an
error and changes nothing; a pod that is missing when a deadline passes is outside the next step. Too few
pods at any step end the round without a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from secure_agg import shamir
from secure_agg.errors import (
    BadShare,
    MalformedMessage,
    OutOfOrder,
    SecureAggError,
    SharesRefused,
    SurvivorsRefused,
    TooFewPods,
)
from secure_agg.journal import noise_plan
from secure_agg.keys import Signer, sign, verify
from secure_agg.layout import encoded_length
from secure_agg.messages import (
    ADVERT,
    CONFIRM,
    INVITATION,
    MASKED,
    PROOFS,
    REVEAL,
    SHARES,
    Advert,
    Data,
    Envelope,
    Invitation,
    Proofs,
    Reveal,
    Shares,
    Survivors,
    decode_body,
    encode_body,
    kind_of,
    names_hash,
)
from secure_agg.messages import decode as read
from secure_agg.messages import encode as frame
from secure_agg.name_lists import write_forward, write_survivors
from secure_agg.outcome import Traffic, read_sum
from secure_agg.recovery import Given, MaskedSum, unmask
from secure_agg.reports import RoundResult
from secure_agg.roster import CheckedRoster, Round, check_pins, check_roster, make_roster, read_advert
from secure_agg.sparse_roster import make_sparse_rosters
from secure_agg.specification import RoundSpec, check_spec, spec_hash
from secure_agg.transitions import ServerState, kind_name, server_move
from secure_agg.uploads import LANE_WORDS, decode_upload

_PHASES = (
    ServerState.ADVERTS,
    ServerState.SHARES,
    ServerState.UPLOADS,
    ServerState.CONFIRMATIONS,
    ServerState.REVEALS,
)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message for one pod."""

    to: str
    data: bytes = field(repr=False)


class Server:
    """The state machine of the server in one round.

    Args:
        spec: the round, made by `make_spec`.
        signer: the modeller's identity, which the pods have pinned.
        pinned: the pods' names to raw Ed25519 public keys.
    """

    def __init__(self, spec: RoundSpec, signer: Signer, pinned: Mapping[str, bytes]) -> None:
        check_spec(spec)
        check_pins(spec, pinned)
        self._spec_bytes = spec.to_bytes()
        self._round = Round(spec, spec_hash(self._spec_bytes), pinned)
        self._signer = signer
        self._plan = noise_plan(spec)
        self._state = ServerState.NEW
        self._started_at = self._deadline = 0.0
        self._expected: set[str] = set(spec.names)
        self._frames: dict[str, bytes] = {}
        self._adverts: dict[str, Advert] = {}
        self._roster: CheckedRoster | None = None
        self._mail: dict[str, dict[str, bytes]] = {}
        self._shared: tuple[str, ...] = ()
        self._total: MaskedSum | None = None
        self._statement = b""
        self._signatures: dict[str, bytes] = {}
        self._reveals: dict[str, Reveal] = {}
        self._bytes_up = self._bytes_down = 0
        self._result: RoundResult | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state.value}>"

    @property
    def state(self) -> ServerState:
        """What the server is waiting for."""
        return self._state

    @property
    def waiting_for(self) -> frozenset[str]:
        """Pods whose next message has not come."""
        return frozenset(self._expected)

    @property
    def deadline(self) -> float:
        """When `tick` goes on without the missing pods, by the caller's clock."""
        return self._deadline

    @property
    def result(self) -> RoundResult | None:
        """The sum, once the state is DONE; None before."""
        return self._result

    def start(self, now: float) -> tuple[Outgoing, ...]:
        """Invite every pod of the cohort.

        Args:
            now: seconds, of a clock that does not go back.
        """
        if self._state is not ServerState.NEW:
            raise OutOfOrder("This round was started before.")
        signature = sign(self._signer, INVITATION, self._spec_bytes)
        self._started_at = now
        self._enter(ServerState.ADVERTS, set(self._spec.names), now)
        message = frame(INVITATION, Invitation(self._spec_bytes, signature))
        return self._sent(dict.fromkeys(self._spec.names, message))

    def receive(self, data: Data, now: float) -> tuple[Outgoing, ...]:
        """Take one pod's message.

        Returns:
            The messages of the next step, if this was the last message that was waited for.

        Raises:
            ProtocolError: the message is refused, and nothing has changed.
            TooFewPods, BadShare, UnmaskIntegrityError: the round is over without a sum.
        """
        move = server_move(self._spec.mode, self._state)
        kind = kind_of(data)
        if kind != move.kind:
            raise OutOfOrder(f"A {kind_name(kind)} came where a {kind_name(move.kind)} was expected.")
        if now > self._deadline:
            raise OutOfOrder(f"A {kind_name(kind)} came after its deadline.")
        sender = self._take_upload(data) if kind == MASKED else self._take(kind, data)
        self._expected.discard(sender)
        self._bytes_up += len(data)
        return () if self._expected else self._advance(now)

    def tick(self, now: float) -> tuple[Outgoing, ...]:
        """Go on without the missing pods if the deadline of this step has passed.

        Raises:
            TooFewPods, BadShare, UnmaskIntegrityError: the round is over without a sum.
        """
        waiting = self._state in _PHASES
        return self._advance(now) if waiting and now >= self._deadline else ()

    def give_up(self, name: str, now: float) -> tuple[Outgoing, ...]:
        """Wait no longer for a pod that has said, or surely shown, that its next message will not come.

        Returns:
            The messages of the next step, if nobody else was waited for.

        Raises:
            TooFewPods, BadShare, UnmaskIntegrityError: the round is over without a sum.
        """
        if name in self._expected and self._state in _PHASES:
            self._expected.discard(name)
            return () if self._expected else self._advance(now)
        return ()

    def masked_sum(self) -> MaskedSum | None:
        """What was uploaded, added up and still masked, once it is complete; None before and after.

        Stored with the messages of the other steps, it can be put back with `take_sum` after a crash.
        """
        return self._total if self._state in (ServerState.CONFIRMATIONS, ServerState.REVEALS) else None

    def take_sum(self, stored: MaskedSum, now: float) -> tuple[Outgoing, ...]:
        """In place of the uploads, what `masked_sum` gave before a restart.

        Raises:
            OutOfOrder: uploads are not what is collected now, or one has come already.
            MalformedMessage: it is of another length, or names pods that have not shared.
            TooFewPods: the round is over without a sum.
        """
        if self._state is not ServerState.UPLOADS or self._sum.survivors:
            raise OutOfOrder(
                "A stored sum is put back before any upload, and only where uploads are collected."
            )
        fits = stored.words.shape == self._sum.words.shape and stored.words.dtype == self._sum.words.dtype
        if not fits or stored.lane.shape != (LANE_WORDS,) or not set(stored.survivors) <= set(self._shared):
            raise MalformedMessage("The stored sum does not belong to this round.")
        self._total = stored
        self._expected.clear()
        return self._advance(now)

    @property
    def _spec(self) -> RoundSpec:
        return self._round.spec

    @property
    def _seen(self) -> CheckedRoster:
        if self._roster is None:
            raise OutOfOrder("There is no roster yet.")
        return self._roster

    @property
    def _sum(self) -> MaskedSum:
        if self._total is None:
            raise OutOfOrder("There is no sum yet.")
        return self._total

    def _enter(self, state: ServerState, expected: set[str], now: float) -> None:
        self._state, self._expected = state, expected
        if state in _PHASES:
            self._deadline = now + self._spec.deadlines_s[_PHASES.index(state)]

    def _sent(self, messages: Mapping[str, bytes]) -> tuple[Outgoing, ...]:
        self._bytes_down += sum(len(data) for data in messages.values())
        return tuple(Outgoing(name, data) for name, data in sorted(messages.items()))

    def _take(self, kind: bytes, data: Data) -> str:
        envelope = read(data, kind, Envelope, len(self._spec.cohort))
        sender = self._expected_sender(envelope.sender)
        if kind == ADVERT:
            self._adverts[sender] = read_advert(bytes(data), self._round)
            self._frames[sender] = bytes(data)  # only now: what was refused must leave no trace
            return sender
        verify(self._round.pinned, sender, kind, envelope.body, envelope.signature)
        if kind == SHARES:
            self._take_shares(sender, decode_body(SHARES, envelope.body, Shares))
        elif kind == CONFIRM:
            if envelope.body != self._statement:
                raise SurvivorsRefused("A confirmation is of other survivors than were sent.")
            self._signatures[sender] = envelope.signature
        else:
            self._take_reveal(sender, decode_body(REVEAL, envelope.body, Reveal))
        return sender

    def _expected_sender(self, sender: str) -> str:
        if sender not in self._expected:
            raise OutOfOrder("A message came from a pod that is not waited for, or for a second time.")
        return sender

    def _take_shares(self, sender: str, shares: Shares) -> None:
        self._check_round(sender, shares)
        if tuple(name for name, _ in shares.sealed) != self._seen.neighbours[sender]:
            raise SharesRefused("Shares are not for exactly the neighbours of their sender.", sender)
        self._mail[sender] = dict(shares.sealed)

    def _take_upload(self, data: Data) -> str:
        bits = self._spec.encoding.bits
        upload = decode_upload(data, encoded_length(self._spec.length, bits), bits)
        sender = self._expected_sender(upload.sender)
        verify(self._round.pinned, sender, MASKED, upload.signed, upload.signature)
        seen = names_hash(self._round.hash, self._shared)
        if (upload.spec_hash, upload.roster_hash, upload.shared_hash) != (
            self._round.hash,
            self._seen.hash,
            seen,
        ):
            raise OutOfOrder("A masked update was made for another round, roster or set of pods.")
        self._sum.add(sender, upload.words, upload.lane)
        return sender

    def _take_reveal(self, sender: str, reveal: Reveal) -> None:
        self._check_round(sender, reveal)
        here = {sender, *self._seen.neighbours[sender]}
        alive = set(self._sum.survivors)
        live = [name for name in self._shared if name in here and name in alive]
        lost = [name for name in self._shared if name in here and name not in alive]
        owners = [name for name, _ in reveal.own_masks], [name for name, _ in reveal.mask_keys]
        if owners != (live, lost):
            raise SharesRefused("A pod revealed shares of other pods than it was asked for.", sender)
        try:
            rows = [shamir.from_bytes(share, 1) for _, share in (*reveal.own_masks, *reveal.mask_keys)]
        except BadShare:
            rows = []
        if any(row.shape != (1, 16) for row in rows) or not rows:
            raise SharesRefused("A pod revealed a share that is none.", sender)
        self._reveals[sender] = reveal

    def _check_round(self, sender: str, message: Shares | Reveal) -> None:
        if message.sender != sender:
            raise MalformedMessage("A body names another pod than its envelope.")
        if message.spec_hash != self._round.hash or message.roster_hash != self._seen.hash:
            raise OutOfOrder("A message belongs to another round or another roster.")

    def _advance(self, now: float) -> tuple[Outgoing, ...]:
        steps = {
            ServerState.ADVERTS: self._send_roster,
            ServerState.SHARES: self._send_forwards,
            ServerState.UPLOADS: self._send_survivors,
            ServerState.CONFIRMATIONS: self._send_proofs,
            ServerState.REVEALS: self._finish,
        }
        try:
            messages = steps[self._state]()
        except (SecureAggError, ValueError, ArithmeticError):
            self._forget()
            self._state = ServerState.ABORTED
            raise
        then = server_move(self._spec.mode, self._state).then
        self._enter(then, set(messages), now)
        return self._finished(now) if then is ServerState.DONE else self._sent(messages)

    def _need(self, answered: int, needed: int, invited: int) -> None:
        if answered < needed:
            raise TooFewPods(self._state.value, answered, needed, invited)

    def _send_roster(self) -> dict[str, bytes]:
        self._need(len(self._frames), self._spec.floor, len(self._spec.cohort))
        names = sorted(self._frames)
        if self._spec.graph == "sparse":
            self._roster, messages = make_sparse_rosters(self._adverts, self._frames, self._round)
            return messages
        frames = tuple(self._frames[name] for name in names)
        self._roster = check_roster([self._adverts[name] for name in names], frames, self._round)
        return dict.fromkeys(names, make_roster(self._frames, self._round))

    def _send_forwards(self) -> dict[str, bytes]:
        self._need(len(self._mail), self._spec.floor, len(self._seen.names))
        self._shared = tuple(sorted(self._mail))
        bits = self._spec.encoding.bits
        words = np.zeros(encoded_length(self._spec.length, bits), f"<u{bits // 8}")
        self._total = MaskedSum(words, np.zeros(LANE_WORDS, "<u8"))
        return {name: self._forward(name) for name in self._shared}

    def _forward(self, name: str) -> bytes:
        senders = (peer for peer in self._seen.neighbours[name] if peer in self._mail)
        sealed = tuple((peer, self._mail[peer][name]) for peer in senders)
        return write_forward(self._shared, sealed, self._round, self._seen)

    def _send_survivors(self) -> dict[str, bytes]:
        self._mail.clear()
        survivors = tuple(sorted(self._sum.survivors))
        self._need(len(survivors), self._spec.floor, len(self._shared))
        body = Survivors(self._round.hash, self._seen.hash, survivors)
        self._statement = encode_body(body)
        return dict.fromkeys(survivors, write_survivors(body, self._shared, self._round))

    def _send_proofs(self) -> dict[str, bytes]:
        self._need(len(self._signatures), self._spec.threshold, len(self._sum.survivors))
        confirmations = tuple(sorted(self._signatures.items()))
        message = frame(PROOFS, Proofs(self._round.hash, self._seen.hash, confirmations))
        return dict.fromkeys(self._signatures, message)

    def _finish(self) -> dict[str, bytes]:
        self._need(len(self._reveals), 1, len(self._sum.survivors))
        alive = set(self._sum.survivors)
        own: Given = {name: {} for name in self._shared if name in alive}
        lost: Given = {name: {} for name in self._shared if name not in alive}
        for holder, reveal in self._reveals.items():
            for owner, share in reveal.own_masks:
                own[owner][holder] = share
            for owner, share in reveal.mask_keys:
                lost[owner][holder] = share
        unmask(self._sum, own, lost, self._round, self._seen)
        return {}

    def _finished(self, now: float) -> tuple[Outgoing, ...]:
        try:
            self._result = self._read_sum(now)
        except SecureAggError:
            self._state = ServerState.ABORTED
            raise
        finally:
            self._forget()
        return ()

    def _read_sum(self, now: float) -> RoundResult:
        traffic = Traffic(now - self._started_at, self._bytes_up, self._bytes_down)
        return read_sum(self._sum, self._round, traffic, self._plan.epsilon if self._plan else None)

    def _forget(self) -> None:
        """Drop what only this round needed; the sum itself is in the result, or nowhere."""
        if self._total is not None:
            self._total.words[:] = 0
        self._total = None
        self._mail.clear()
        self._reveals.clear()
