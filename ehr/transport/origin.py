"""Where a request may go: one scheme, host, port and base path, compared after strict reading.

Pure. A URL is read by one strict grammar and refused when another reader could see something else in
it: userinfo, backslashes, control characters, encoded dots, dot segments, unusual authorities.
Requirements S10, S11, S12 and S14 of the EHR layer.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from ehr.errors import ConfigurationError, DestinationRefused

_DEFAULT_PORTS = {"https": 443, "http": 80}
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_REPAIRABLE = re.compile(r"[^\x00-\x1f\x7f\\]+")
# What a server may leave unescaped in a link; everything else is escaped as UTF-8, escapes stay as sent.
_LINK_SAFE = "%:/?#[]@!$&'()*+,;=|~-._"


@dataclass(frozen=True, slots=True)
class Origin:
    """One scheme, host, port and base path.

    Attributes:
        scheme: ``https``, or ``http`` for loopback where a flag allows it.
        host: lower case; IPv6 in brackets, compressed.
        port: 1 to 65535, the scheme's default filled in.
        base_path: begins with ``/``, has no trailing ``/``; empty for the whole host.
    """

    scheme: str
    host: str
    port: int
    base_path: str

    def __repr__(self) -> str:
        return f"Origin({self.scheme})"

    @property
    def base_url(self) -> str:
        """The base as a URL with a trailing slash, the default port left out."""
        return f"{self.root}{self.base_path}/"

    @property
    def root(self) -> str:
        """Scheme, host and port as a URL begins with them, the default port left out."""
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"

    @property
    def authority(self) -> tuple[str, str, int]:
        """Scheme, host and port: what rate limits and breakers are kept by."""
        return self.scheme, self.host, self.port


@dataclass(frozen=True, slots=True, repr=False)
class _Parts:
    scheme: str
    host: str
    port: int
    path: str
    query: str


def pin(base_url: str, *, allow_http_loopback: bool = False) -> Origin:
    """The origin that a configured base URL stands for.

    Raises:
        ConfigurationError: it is not a plain https URL, or http without the flag or not to loopback.
    """
    try:
        parts = _read(base_url)
    except DestinationRefused as refused:
        raise ConfigurationError(f"base URL: {refused}") from None
    if parts.query:
        raise ConfigurationError("The base URL has a query; expected scheme, host and path only.")
    if parts.scheme == "http" and not (allow_http_loopback and is_loopback(parts.host)):
        raise ConfigurationError(
            "The base URL is http; expected https. "
            "http is possible for this machine's loopback only, with allow_http: loopback."
        )
    return Origin(parts.scheme, parts.host, parts.port, parts.path.rstrip("/"))


def is_loopback(host: str) -> bool:
    """Whether a URL's host is this machine's loopback by its spelling: ``localhost`` or a literal."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_address(host: str) -> bool:
    """Whether a URL's host, without brackets, is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def authority(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an absolute URL.

    Raises:
        DestinationRefused: it cannot be read, or could be read in two ways.
    """
    parts = _read(url)
    return parts.scheme, parts.host, parts.port


def resolve(origin: Origin, url_or_path: str) -> str:
    """An absolute URL inside the origin.

    Args:
        origin: the pin.
        url_or_path: an absolute URL, or a path relative to the base (``Patient/1``, ``""`` is the base).
            A leading ``/`` means the root of the host, as in RFC 3986.

    Raises:
        DestinationRefused: the result lies outside the pin.
    """
    return resolve_link(origin, origin.base_url, url_or_path)


def resolve_link(origin: Origin, request_url: str, link: str) -> str:
    """A server's link (``next``, ``Content-Location``, a reference), made absolute and checked.

    Args:
        origin: the pin.
        request_url: the URL whose answer held the link; relative links start from it.
        link: absolute or relative.

    Raises:
        DestinationRefused: the link leaves the pin, or could be read in two ways.
    """
    if link and not _REPAIRABLE.fullmatch(link):
        raise DestinationRefused("A link has control characters or a backslash. Nothing was sent.")
    link = link if link.isascii() and " " not in link else quote(link, safe=_LINK_SAFE)
    if not _SCHEME.match(link):
        _refuse_encoded_steps(link.partition("?")[0])
        link = _joined(request_url, link)
    check(origin, link)
    return link


def reanchor(origin: Origin, prefix: str, link: str) -> str:
    """Move a link that names a server's inner host onto the pinned base.

    Only for profiles that declare the rule: the link's path after ``prefix`` and its query are kept,
    its scheme, host and port are thrown away.

    Raises:
        DestinationRefused: the link cannot be read, or its path does not begin with ``prefix``.
    """
    parts = _read(link)
    stem = prefix.rstrip("/")
    if not (parts.path == stem or parts.path.startswith(stem + "/")):
        raise DestinationRefused("A link to be re-anchored has another path prefix. Nothing was sent.")
    return resolve(origin, parts.path[len(stem) :].lstrip("/") + parts.query)


def check(origin: Origin, url: str) -> None:
    """Refuse a URL outside the origin or its base path.

    Raises:
        DestinationRefused: scheme, host, port or path differ, or the URL could be read in two ways.
    """
    parts = _read(url)
    if (parts.scheme, parts.host, parts.port) != origin.authority:
        raise DestinationRefused("A URL names another scheme, host or port than the base. Nothing was sent.")
    base = origin.base_path
    if not (parts.path == base or parts.path.startswith(base + "/")):
        raise DestinationRefused("A URL lies outside the base path. Nothing was sent.")


def _read(url: str) -> _Parts:
    if not url.isascii() or not url.isprintable() or "\\" in url or " " in url:
        raise DestinationRefused(
            "A URL has spaces, backslashes, control or non-ASCII characters. Nothing was sent."
        )
    found = _URL.fullmatch(url)
    if found is None:
        raise DestinationRefused(
            "A URL is not of the form https://host[:port]/path[?query] "
            "(user names, other schemes and fragments are refused). Nothing was sent."
        )
    scheme = found["scheme"].lower()
    port = int(found["port"] or _DEFAULT_PORTS[scheme])
    if not 0 < port < 65536:
        raise DestinationRefused("A URL has a port outside 1 to 65535. Nothing was sent.")
    path = found["path"] or ""
    _refuse_dot_segments(path)
    return _Parts(scheme, _host(found["host"]), port, path, found["query"] or "")


def _joined(base: str, link: str) -> str:
    """A relative reference made absolute, by RFC 3986 section 5.2, its bytes kept.

    ``urllib.parse.urljoin`` is not used: it drops empty segments and stray characters.
    """
    found = _URL.fullmatch(base)
    if found is None:
        raise DestinationRefused("A link starts from a URL that cannot be read. Nothing was sent.")
    path = found["path"] or "/"
    root = base[: max(found.end("host"), found.end("port"))]
    if link.startswith("//"):
        return f"{found['scheme']}:{link}"
    steps, mark, query = link.partition("?")
    if not steps:
        return f"{root}{path}{mark}{query}" if mark else base
    merged = steps if steps.startswith("/") else path[: path.rindex("/") + 1] + steps
    return f"{root}{_walked(merged)}{mark}{query}"


def _walked(path: str) -> str:
    """Dot segments carried out."""
    done: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del done[-1:]
        elif segment != ".":
            done.append(segment)
    if segments[-1] in {".", ".."}:
        done.append("")
    return "/" + "/".join(done)


def _host(text: str) -> str:
    if not text.startswith("["):
        return text.lower()
    try:
        return f"[{ipaddress.IPv6Address(text[1:-1]).compressed}]"
    except ValueError:
        raise DestinationRefused("A URL has a malformed IPv6 host. Nothing was sent.") from None


def _refuse_dot_segments(path: str) -> None:
    if "." in path and any(segment.partition(";")[0] in {".", ".."} for segment in path.split("/")):
        raise DestinationRefused("A URL has dot segments in its path. Nothing was sent.")
    _refuse_encoded_steps(path)


def _refuse_encoded_steps(path: str) -> None:
    """Refuse what a server or proxy may decode into dots, backslashes, controls or another escape."""
    if "%" not in path:
        return
    if _BROKEN_ESCAPE.search(path):
        raise DestinationRefused("A URL has a broken percent escape in its path. Nothing was sent.")
    decoded = unquote_to_bytes(path)
    added = len(decoded) > 0 and (
        b"%" in decoded or decoded.count(b".") > path.count(".") or b"\\" in decoded or _controls(decoded)
    )
    if added or any(part.partition(b";")[0] in {b".", b".."} for part in decoded.split(b"/")):
        raise DestinationRefused(
            "A URL has encoded dots, backslashes, escapes or control characters in its path. Nothing was sent."
        )


def _controls(decoded: bytes) -> bool:
    return any(byte < 0x20 or byte == 0x7F for byte in decoded)
