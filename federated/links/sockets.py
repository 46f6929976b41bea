"""Pods in other processes and on other machines, over TLS sockets with pinned keys.

The modeller's program listens (`listen` gives a `Hub`), pods dial out (`dial`) and never listen. `greeting` says
how both prove who they are and why nobody can sit between them, `frames` what travels, `wire` how.

At least once: a request is sent again after each new connection until it is answered. No bytes that arrive are
ever taken for the name of a file.
"""

from federated.links.dial import Backoff, Modeller, dial
from federated.links.hub import Hub, listen
from federated.links.wire import LinkSettings

__all__ = ["Backoff", "Hub", "Modeller", "LinkSettings", "dial", "listen"]
