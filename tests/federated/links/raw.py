"""A pod written with plain blocking sockets, which can be made to misbehave."""

from __future__ import annotations

import os
import socket
import ssl

from federated.links.frames import HEADER_SIZE, FrameHeader, FrameKind, Sizes, frame, read_header
from federated.links.handshake import NONCE_SIZE
from federated.links.pinned_tls import certificate_hash, pod_context
from federated.task.envelope import Envelope
from secure_agg import Identity
from tests.federated.links.cast import LEEDS, MODELLER

POD_DOMAIN = b"trialveil/link/pod\0"


class RawPod:
    """One connection; every step is a call."""

    def __init__(self, address: tuple[str, int]) -> None:
        plain = socket.create_connection(address, 3)  # shorter than the hub's signs of life are apart
        self.tls: ssl.SSLSocket = pod_context().wrap_socket(plain)

    def __enter__(self) -> RawPod:
        return self

    def __exit__(self, *_: object) -> None:
        self.tls.close()

    def send(self, kind: FrameKind, head: bytes = b"", body: bytes = b"", request: int = 0) -> None:
        for piece in frame(kind, Envelope(head, body), request).pieces:
            self.tls.sendall(piece)

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.tls.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def receive(self) -> tuple[FrameHeader, bytes, bytes]:
        """The next frame that is no sign of life."""
        while True:
            header = read_header(self.exactly(HEADER_SIZE), Sizes())
            head, body = self.exactly(header.head), self.exactly(header.body)
            if header.kind is not FrameKind.PING:
                return header, head, body

    def is_closed(self) -> bool:
        try:
            self.receive()
        except (EOFError, ssl.SSLError, ConnectionError):
            return True
        return False

    def bound(self, nonce: bytes | None = None) -> bytes:
        """Ask for a challenge; what both signatures cover."""
        nonce = nonce or os.urandom(NONCE_SIZE)
        self.send(FrameKind.HELLO, nonce)
        _, challenge, _ = self.receive()
        shown = certificate_hash(self.tls.getpeercert(binary_form=True) or b"")
        return shown + nonce + challenge[:NONCE_SIZE] + MODELLER.public

    def proof(self, name: str = "leeds", key: Identity = LEEDS, nonce: bytes | None = None) -> bytes:
        return key.sign(POD_DOMAIN + self.bound(nonce) + name.encode()) + name.encode()

    def prove(self, name: str = "leeds", key: Identity = LEEDS) -> FrameKind:
        """Greet; what the hub said."""
        self.send(FrameKind.PROOF, self.proof(name, key))
        return self.receive()[0].kind
