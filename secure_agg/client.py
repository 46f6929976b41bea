"""One pod in one round: a message in, a message out.

The machine does no I/O and has no clock and no entropy of its own. It believes nothing that the server says
about other pods: keys are pinned, adverts and confirmations are signed by their authors, and shares are
opened only for a survivor set that enough pods have signed with exactly the same bytes.

Whatever is wrong ends the round for this pod: its state is ABORTED, its secrets are overwritten, and nothing
more is ever sent in this round. A refusal of the pod's own input happens before its first message.
"""

from __future__ import annotations

import hmac
from typing import NoReturn

from secure_agg.errors import (
    OutOfOrder,
    ParameterError,
    RosterRefused,
    SchemaMismatchError,
    SharesRefused,
    SurvivorsRefused,
)
from secure_agg.fixed_point import Encoded, Extras, encode
from secure_agg.journal import PodJournal, admit, noise_plan, release
from secure_agg.keys import Entropy, sign, verify
from secure_agg.layout import encoded_length
from secure_agg.masks import check_memory, needed_bytes, thread_count
from secure_agg.messages import (
    ADVERT,
    CONFIRM,
    FORWARD,
    INVITATION,
    PROOFS,
    REVEAL,
    SHARES,
    SURVIVORS,
    Advert,
    Data,
    Envelope,
    Invitation,
    Proofs,
    Reveal,
    Shares,
    decode,
    encode_body,
    kind_of,
    names_hash,
)
from secure_agg.messages import encode as frame
from secure_agg.name_lists import check_belongs, check_names, read_forward, read_survivors
from secure_agg.noise import Sampler
from secure_agg.parameters import COHORT_LIMIT
from secure_agg.pod_secrets import PodSecrets
from secure_agg.pod_setup import Contribution, PodSetup, Step
from secure_agg.roster import CheckedRoster, Round, check_pins, read_roster
from secure_agg.sparse_roster import read_sparse_roster
from secure_agg.specification import RoundSpec, read_spec, rotation_seed, spec_hash
from secure_agg.transitions import PodState, pod_move
from secure_agg.uploads import HEADER_SIZE, Seen, fill_upload, upload_header

MODELLER = "modeller"
CLIPPED = 2  # the place of the count of clipped coordinates in the header lane


class Client:
    """The state machine of one pod in one round.

    Args:
        setup: who this pod is, and whom it trusts.
        journal: everything this pod has entered before.
        entropy: gives bytes that nobody can predict; `os.urandom` outside tests.
    """

    def __init__(self, setup: PodSetup, journal: PodJournal, entropy: Entropy) -> None:
        self._setup = setup
        self._journal = journal
        self._entropy = entropy
        self._state = PodState.IDLE
        self._ends_at = float("inf")
        self._round: Round | None = None
        self._roster: CheckedRoster | None = None
        self._secrets: PodSecrets | None = None
        self._encoded: Encoded | None = None
        self._advert = b""
        self._shared: tuple[str, ...] = ()
        self._statement = b""
        self._survivors: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._setup.name} {self._state.value}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Client holds secrets and cannot be pickled or copied")

    @property
    def state(self) -> PodState:
        """Where this pod is."""
        return self._state

    @property
    def opened(self) -> tuple[str, ...]:
        """The pods in the sum that this one has made ready to open; empty before."""
        return self._survivors if self._state in (PodState.REVEALED, PodState.CLOSED) else ()

    def start(self, invitation: Data, contribution: Contribution, now: float) -> Step:
        """Enter a round with an update, or refuse it before anything was sent.

        Args:
            invitation: the server's first message.
            contribution: this pod's update; not changed.
            now: seconds, of a clock that does not go back.

        Raises:
            ProtocolError: the invitation is not what was agreed.
            PolicyRefused: this pod's rules forbid the round.
            InputRefused: the update cannot be masked.
        """
        with _Guard(self):
            move = pod_move("active", self._state, kind_of(invitation))
            spec = self._read_invitation(invitation)
            self._journal = admit(self._journal, spec, self._this.hash, self._setup.policy)
            self._encoded = self._encode(contribution)
            advert = self._make_advert(contribution.graph_nonce)
            self._ends_at = now + sum(spec.deadlines_s)
            self._state = move.then
            return Step(self._journal, (advert,))

    def receive(self, data: Data, now: float) -> Step:
        """Take the server's next message.

        Args:
            data: the message.
            now: seconds, of the clock that was used for `start`.

        Raises:
            ProtocolError: the message breaks the protocol, came twice, or too late. The round is over
                for this pod, its secrets are overwritten, and nothing was sent.
        """
        with _Guard(self):
            if now > self._ends_at:
                raise OutOfOrder("A message came after the deadlines of its round. Nothing was sent.")
            kind = kind_of(data)
            move = pod_move(self._round.spec.mode if self._round else "active", self._state, kind)
            if kind == INVITATION:
                raise OutOfOrder("An invitation is given to start(), with the update. Nothing was sent.")
            message = self._answer(kind, data)
            self._state = move.then
            if move.journal:
                self._wipe()
            return Step(self._journal if move.journal else None, (message,))

    def close(self) -> None:
        """Overwrite all secrets; the pod says nothing more in this round."""
        self._wipe()
        if self._state is not PodState.ABORTED:
            self._state = PodState.CLOSED

    def _abort(self) -> None:
        self._wipe()
        self._state = PodState.ABORTED

    def _wipe(self) -> None:
        if self._secrets is not None:
            self._secrets.wipe()
        if self._encoded is not None:
            self._encoded.vector[:] = 0
            self._encoded.lane[:] = 0
        self._secrets, self._encoded = None, None

    @property
    def _this(self) -> Round:
        if self._round is None:
            raise OutOfOrder("No round was started.")
        return self._round

    @property
    def _seen(self) -> CheckedRoster:
        if self._roster is None:
            raise OutOfOrder("No roster was seen.")
        return self._roster

    @property
    def _kept(self) -> PodSecrets:
        if self._secrets is None:
            raise OutOfOrder("The secrets of this round were overwritten.")
        return self._secrets

    def _answer(self, kind: bytes, data: Data) -> Data:
        if kind == FORWARD:
            return self._on_forward(data)
        if kind == SURVIVORS:
            return self._on_survivors(data)
        return self._on_proofs(data) if kind == PROOFS else self._on_roster(data)

    def _read_invitation(self, data: Data) -> RoundSpec:
        invitation = decode(data, INVITATION, Invitation, COHORT_LIMIT)
        keys = {MODELLER: self._setup.modeller}
        verify(keys, MODELLER, INVITATION, invitation.spec, invitation.signature)
        spec = read_spec(invitation.spec)
        check_pins(spec, self._setup.pinned)
        me = self._setup.name
        this = Round(spec, spec_hash(invitation.spec), self._setup.pinned)
        if me not in this.members or self._setup.pinned[me] != self._setup.signer.public:
            raise RosterRefused("This pod is not in the cohort under its own key. Nothing was sent.")
        self._round = this
        return spec

    def _encode(self, contribution: Contribution) -> Encoded:
        spec = self._this.spec
        for what in ("model_hash", "schema_hash"):
            if not hmac.compare_digest(getattr(contribution, what), getattr(spec, what)):
                raise SchemaMismatchError(f"The update has another {what} than the round. Nothing was sent.")
        if contribution.values.shape != (spec.length,):
            raise SchemaMismatchError(
                f"The update has shape {contribution.values.shape}; expected ({spec.length},). Nothing was sent."
            )
        self._check_memory(contribution)
        planned = noise_plan(spec)
        noise = Sampler(planned.pod_sigma, self._entropy(32)) if planned else None
        extras = Extras(rotation_seed(self._this.hash), noise, contribution.tensors, HEADER_SIZE)
        seed = contribution.rounding_seed or self._entropy(32)
        if len(seed) != 32:
            raise ParameterError(f"rounding_seed is {len(seed)} bytes; expected 32 bytes. Nothing was sent.")
        encoded = encode(contribution.values, contribution.weight, spec.encoding, seed, extras)
        if planned:
            encoded.lane[CLIPPED] = 0  # an exact count beside noise would be a leak of its own
        return encoded

    def _check_memory(self, contribution: Contribution) -> None:
        spec, allowed = self._this.spec, self._setup.memory_bytes
        if allowed is None:
            return
        bits, width = spec.encoding.bits, contribution.values.itemsize
        threads = thread_count(encoded_length(spec.length, bits) * bits // 8, self._setup.threads)
        needed = needed_bytes(spec.length, bits, threads, input_bytes=width, masks=spec.degree + 1)
        check_memory(needed, allowed)

    def _make_advert(self, nonce: bytes) -> bytes:
        if (self._this.spec.graph == "sparse") != bool(nonce):
            raise ParameterError("graph_nonce belongs to a sparse graph, and only to one. Nothing was sent.")
        self._secrets = PodSecrets(self._setup.name, self._entropy)
        advert = Advert(
            sender=self._setup.name,
            spec_hash=self._this.hash,
            mask_key=self._secrets.mask_public,
            channel_key=self._secrets.channel_public,
            own_mask_commitment=self._secrets.commitment(self._this.hash),
            graph_nonce=nonce,
        )
        self._advert = self._signed(ADVERT, encode_body(advert))
        return self._advert

    def _signed(self, kind: bytes, body: bytes) -> bytes:
        return frame(kind, Envelope(self._setup.name, body, sign(self._setup.signer, kind, body)))

    def _on_roster(self, data: Data) -> bytes:
        if self._this.spec.graph == "sparse":
            roster = read_sparse_roster(data, self._this, self._setup.name, self._advert)
        else:
            roster = read_roster(data, self._this, self._advert)
        self._roster = roster
        sealed = self._kept.seal_shares(self._this, roster, self._entropy)
        return self._signed(
            SHARES, encode_body(Shares(self._setup.name, self._this.hash, roster.hash, sealed))
        )

    def _on_forward(self, data: Data) -> memoryview:
        me, roster = self._setup.name, self._seen
        forward = read_forward(data, self._this, roster)
        if me not in forward.shared or len(forward.shared) < self._floor:
            raise SharesRefused(
                f"{len(forward.shared)} pods have shared, and the round needs {self._floor} with this one. "
                "Nothing was sent."
            )
        self._shared = forward.shared
        shared = set(forward.shared)
        expected = [name for name in roster.neighbours[me] if name in shared]
        if [sender for sender, _ in forward.sealed] != expected:
            raise SharesRefused("The shares are not those of exactly the neighbours that have shared.")
        self._kept.open_shares(dict(forward.sealed), roster)
        return self._upload()

    def _upload(self) -> memoryview:
        encoded, roster = self._encoded, self._seen
        if encoded is None:
            raise OutOfOrder("The update of this round was overwritten.")
        self._kept.mask(encoded, self._shared, self._setup.threads)
        seen = Seen(self._this.hash, roster.hash, names_hash(self._this.hash, self._shared))
        header = upload_header(seen, self._setup.name, encoded.lane, encoded.vector)
        signature = sign(self._setup.signer, header[4:5], header)
        message = fill_upload(encoded.buffer, header, signature)
        self._encoded = None
        return message

    def _on_survivors(self, data: Data) -> bytes:
        survivors = read_survivors(data, self._this, self._seen, self._shared)
        if self._setup.name not in survivors.survivors:
            raise SurvivorsRefused(
                "The survivor set leaves out this pod, which has uploaded. Nothing was sent."
            )
        if len(survivors.survivors) < self._floor:
            raise SurvivorsRefused(
                f"The survivor set has {len(survivors.survivors)} pods; this pod opens a sum over at least "
                f"{self._floor}. Nothing was sent."
            )
        self._survivors = survivors.survivors
        if self._this.spec.mode == "semi_honest":
            return self._reveal()
        self._statement = encode_body(survivors)
        return self._signed(CONFIRM, self._statement)

    def _on_proofs(self, data: Data) -> bytes:
        proofs = decode(data, PROOFS, Proofs, len(self._this.spec.cohort))
        check_belongs(proofs, self._this, self._seen)
        signers = tuple(name for name, _ in proofs.confirmations)
        check_names(signers, self._survivors, "pods that have confirmed")
        if len(signers) < self._this.spec.threshold:
            raise SurvivorsRefused(
                f"{len(signers)} pods have confirmed the survivors; {self._this.spec.threshold} must. "
                "Nothing was sent."
            )
        for name, signature in proofs.confirmations:
            verify(self._setup.pinned, name, CONFIRM, self._statement, signature)
        return self._reveal()

    def _reveal(self) -> bytes:
        me, here = self._setup.name, {self._setup.name, *self._seen.neighbours[self._setup.name]}
        survivors = set(self._survivors)
        live = [name for name in self._survivors if name in here]
        lost = [name for name in self._shared if name in here and name not in survivors]
        self._journal = release(self._journal, self._this.hash)
        reveal = Reveal(
            sender=me,
            spec_hash=self._this.hash,
            roster_hash=self._seen.hash,
            own_masks=tuple((name, self._kept.own_mask_share(name)) for name in live),
            mask_keys=tuple((name, self._kept.mask_key_share(name)) for name in lost),
        )
        return self._signed(REVEAL, encode_body(reveal))

    @property
    def _floor(self) -> int:
        return self._this.spec.floor  # `admit` has refused a round whose floor is below this pod's own


class _Guard:
    """Whatever goes wrong inside is the end of the round for the pod."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._client._abort()
