"""Which IP addresses a foreign host may stand for.

Pure. Requirement S13 of the EHR layer: a public host must not lead into the hospital's own network, a
private one only to what was declared for it, and nobody to a cloud's metadata service.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Literal

from ehr.errors import ConfigurationError

Network = Literal["public", "private"]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Block = ipaddress.IPv4Network | ipaddress.IPv6Network

# Services that hand out a machine's own credentials: AWS, Google, Azure and Oracle share the
# link-local one; then AWS for containers and IPv6, Azure's wire server, Oracle's old one, Alibaba.
_METADATA = tuple(
    ipaddress.ip_network(text)
    for text in (
        "169.254.0.0/16",
        "fd00:ec2::/64",
        "fe80::a9fe:a9fe/128",
        "168.63.129.16/32",
        "192.0.0.192/32",
        "100.100.100.200/32",
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def blocks(texts: Iterable[str]) -> tuple[Block, ...]:
    """Declared addresses and networks.

    Raises:
        ConfigurationError: one of them is neither.
    """
    try:
        return tuple(ipaddress.ip_network(text, strict=True) for text in texts)
    except ValueError:
        raise ConfigurationError(
            "An address of a foreign host is not an IP address or network; expected 10.1.2.3 or 10.1.2.0/24."
        ) from None


def allowed(text: str, network: Network, declared: tuple[Block, ...]) -> bool:
    """Whether a connection to an address may be opened.

    Args:
        text: an IP address as the resolver gave it; a zone index is not accepted.
        network: ``public``: every globally reachable address; ``private``: those in ``declared`` only.
        declared: addresses and networks of a private host.
    """
    try:
        address = _innermost(ipaddress.ip_address(text))
    except ValueError:
        return False
    if _within(address, _METADATA) or address.is_multicast or address.is_unspecified:
        return False
    return address.is_global if network == "public" else _within(address, declared)


def _innermost(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for: mapped, 6to4, NAT64, Teredo."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)


def _within(address: Address, networks: tuple[Block, ...]) -> bool:
    return any(address.version == block.version and address in block for block in networks)
