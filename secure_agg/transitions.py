"""The one table that both state machines obey, and from which the diagram in the documentation is made.

A pod goes strictly forward. What a state does not list ends the round for the pod: the state becomes
ABORTED, which is final for that specification. The server also goes forward, on messages or when a deadline
has passed; a bad message from one pod is rejected and changes nothing.

``python -m secure_agg.transitions`` prints the diagram.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum

from secure_agg.errors import OutOfOrder
from secure_agg.messages import (
    ADVERT,
    CONFIRM,
    FORWARD,
    INVITATION,
    KINDS,
    MASKED,
    PROOFS,
    REVEAL,
    ROSTER,
    SHARES,
    SURVIVORS,
)
from secure_agg.parameters import Mode


class PodState(Enum):
    """Where a pod is in its round."""

    IDLE = "idle"
    ADVERTISED = "advertised"
    SHARED = "shared"
    UPLOADED = "uploaded"
    CONFIRMED = "confirmed"
    REVEALED = "revealed"
    CLOSED = "closed"
    ABORTED = "aborted"


class ServerState(Enum):
    """What the server is waiting for."""

    NEW = "new"
    ADVERTS = "adverts"
    SHARES = "shares"
    UPLOADS = "uploads"
    CONFIRMATIONS = "confirmations"
    REVEALS = "reveals"
    DONE = "done"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class PodMove:
    """A pod in ``state`` that receives ``kind`` and finds it right sends ``sends`` and is in ``then``.

    ``journal`` says whether the pod's journal must be stored before that message may be sent.
    """

    state: PodState
    kind: bytes
    then: PodState
    sends: bytes
    modes: tuple[Mode, ...] = ("active", "semi_honest")
    journal: bool = False


@dataclass(frozen=True, slots=True)
class ServerMove:
    """The server in ``state`` collects ``kind``; with enough of them it sends ``sends`` and is in ``then``."""

    state: ServerState
    kind: bytes
    then: ServerState
    sends: bytes | None
    modes: tuple[Mode, ...] = ("active", "semi_honest")


POD: tuple[PodMove, ...] = (
    PodMove(PodState.IDLE, INVITATION, PodState.ADVERTISED, ADVERT, journal=True),
    PodMove(PodState.ADVERTISED, ROSTER, PodState.SHARED, SHARES),
    PodMove(PodState.SHARED, FORWARD, PodState.UPLOADED, MASKED),
    PodMove(PodState.UPLOADED, SURVIVORS, PodState.CONFIRMED, CONFIRM, ("active",)),
    PodMove(PodState.CONFIRMED, PROOFS, PodState.REVEALED, REVEAL, ("active",), journal=True),
    PodMove(PodState.UPLOADED, SURVIVORS, PodState.REVEALED, REVEAL, ("semi_honest",), journal=True),
)

SERVER: tuple[ServerMove, ...] = (
    ServerMove(ServerState.ADVERTS, ADVERT, ServerState.SHARES, ROSTER),
    ServerMove(ServerState.SHARES, SHARES, ServerState.UPLOADS, FORWARD),
    ServerMove(ServerState.UPLOADS, MASKED, ServerState.CONFIRMATIONS, SURVIVORS, ("active",)),
    ServerMove(ServerState.CONFIRMATIONS, CONFIRM, ServerState.REVEALS, PROOFS, ("active",)),
    ServerMove(ServerState.UPLOADS, MASKED, ServerState.REVEALS, SURVIVORS, ("semi_honest",)),
    ServerMove(ServerState.REVEALS, REVEAL, ServerState.DONE, None),
)


def kind_name(kind: bytes) -> str:
    """A kind of message in words."""
    return "masked update" if kind == MASKED else KINDS[kind].name


def pod_move(mode: Mode, state: PodState, kind: bytes) -> PodMove:
    """What a pod does with a message of ``kind``.

    Raises:
        OutOfOrder: this state expects another message, or none.
    """
    for move in POD:
        if move.state is state and move.kind == kind and mode in move.modes:
            return move
    raise OutOfOrder(
        f"A pod that is {state.value} does not expect a message of kind {kind_name(kind)!r}. "
        "The round is over for this pod; nothing was sent."
    )


def server_move(mode: Mode, state: ServerState) -> ServerMove:
    """What the server collects in ``state``.

    Raises:
        OutOfOrder: it collects nothing now.
    """
    for move in SERVER:
        if move.state is state and mode in move.modes:
            return move
    raise OutOfOrder(f"A server that is {state.value} expects no message.")


def diagram() -> str:
    """Both machines as Mermaid state diagrams, one after the other."""
    pod = ["stateDiagram-v2", "    [*] --> idle"]
    for each in POD:
        only = "" if len(each.modes) == 2 else f" ({each.modes[0].replace('_', '-')})"
        stored = ", journal first" if each.journal else ""
        label = f"{kind_name(each.kind)} / {kind_name(each.sends)}{stored}{only}"
        pod.append(f"    {each.state.value} --> {each.then.value} : {label}")
    pod.append("    revealed --> closed : secrets overwritten")
    pod += [
        f"    {each.value} --> aborted : anything else"
        for each in PodState
        if each not in {PodState.REVEALED, PodState.CLOSED, PodState.ABORTED}
    ]
    server = ["stateDiagram-v2", "    [*] --> adverts : invitation"]
    for move in SERVER:
        only = "" if len(move.modes) == 2 else f" ({move.modes[0].replace('_', '-')})"
        sent = f" / {kind_name(move.sends)}" if move.sends else " / the sum"
        server.append(f"    {move.state.value} --> {move.then.value} : {kind_name(move.kind)}{sent}{only}")
        server.append(f"    {move.state.value} --> aborted : too few pods{only}")
    fence = "`" * 3
    blocks = (f"{fence}mermaid\n{chr(10).join(lines)}\n{fence}" for lines in (pod, server))
    return "\n\n".join(blocks) + "\n"


if __name__ == "__main__":
    sys.stdout.write(diagram())
