"""The origin pin (S10, S11, S12, S14)."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.errors import ConfigurationError, DestinationRefused
from ehr.transport.origin import check, pin, reanchor, resolve, resolve_link

BASE = pin("https://fhir.example.org/api/r4")
ASKED = "https://fhir.example.org/api/r4/Patient?_count=2"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", "https://fhir.example.org/api/r4/"),
        ("Patient/1", "https://fhir.example.org/api/r4/Patient/1"),
        (
            "Patient?code=http://loinc.org|1-8",
            "https://fhir.example.org/api/r4/Patient?code=http://loinc.org|1-8",
        ),
        ("https://FHIR.example.org:443/api/r4/x", "https://FHIR.example.org:443/api/r4/x"),
        ("/api/r4/metadata", "https://fhir.example.org/api/r4/metadata"),
        ("https://fhir.example.org/api/r4", "https://fhir.example.org/api/r4"),
        ("Patient?sig=a%2Fb%2C%3A", "https://fhir.example.org/api/r4/Patient?sig=a%2Fb%2C%3A"),
    ],
)
def test_paths_and_urls_inside_the_pin_keep_their_bytes(given: str, expected: str) -> None:
    assert resolve(BASE, given) == expected


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/api/r4/Patient",
        "https://evil.example/?x=https://fhir.example.org/api/r4",
        "https://fhir.example.org.evil.example/api/r4/",
        "https://fhir.example.org:8443/api/r4/Patient",
        "http://fhir.example.org/api/r4/Patient",
        "http://fhir.example.org:443/api/r4/Patient",
        "https://user@fhir.example.org/api/r4/",
        "https://fhir.example.org@evil.example/api/r4/",
        "https://fhir.example.org:443@evil.example/api/r4/",
        "https://fhir.example.org\\@evil.example/api/r4/",
        "https://fhir.example.org/api/r4/../admin",
        "https://fhir.example.org/api/r4/./x",
        "https://fhir.example.org/api/r4/%2e%2e/admin",
        "https://fhir.example.org/api/r4/%2E%2E%2Fadmin",
        "https://fhir.example.org/api/r4/a%2Eb",
        "https://fhir.example.org/api/r4/%252e%252e/admin",
        "https://fhir.example.org/api/r4/..;/admin",
        "https://fhir.example.org/api/r4/..%3B/admin",
        "https://fhir.example.org/api/r4/..%2fadmin",
        "https://fhir.example.org/api/r4/%5c..%5cadmin",
        "https://fhir.example.org/api/r4/a%00b",
        "https://fhir.example.org/api/r4/a%zz",
        "https://fhir.example.org/api/r4x/Patient",
        "https://fhir.example.org/api/R4/Patient",
        "https://fhir.example.org/",
        "https://fhir.example.org./api/r4/",
        "https://fhir.example.org/api/r4/x#fragment",
        "https:/fhir.example.org/api/r4/",
        "https:fhir.example.org/api/r4/",
        "https:///api/r4/",
        "//evil.example/api/r4/",
        "/\\evil.example/api/r4/",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "https://fhir.example.org/api/r4/\r\nX-Evil: 1",
        "\thttps://fhir.example.org/api/r4/",
        "https://fhir.example.org\t/api/r4/",
        "https://fhir.example.org:/api/r4/",
        "https://fhir.example.org:0/api/r4/",
        "https://fhir.example.org:99999/api/r4/",
        "https://[::1]/api/r4/",
        "https://[fe80::1%25eth0]/api/r4/",
        "https://fhir.example.org%2eevil.example/api/r4/",
        "https://ｆhir.example.org/api/r4/",
        "/Patient",
        "../../admin",
        "%2e%2e/admin",
    ],
)
def test_what_leaves_the_pin_or_reads_two_ways_is_refused(url: str) -> None:
    """S11: userinfo, encoded dots, backslashes, control characters; the base inside a query (fhirpy's hole)."""
    with pytest.raises(DestinationRefused) as refused:
        resolve(BASE, url)
    assert "evil" not in str(refused.value) and "example" not in str(refused.value)


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("?page=2", "https://fhir.example.org/api/r4/Patient?page=2"),
        ("../r4/Patient?page=2", "https://fhir.example.org/api/r4/Patient?page=2"),
        ("Patient?page=2", "https://fhir.example.org/api/r4/Patient?page=2"),
        ("https://fhir.example.org/api/r4?next=a%2Fb", "https://fhir.example.org/api/r4?next=a%2Fb"),
        ("?name=Müller Ä", "https://fhir.example.org/api/r4/Patient?name=M%C3%BCller%20%C3%84"),
        ("?name=%C3%BC é", "https://fhir.example.org/api/r4/Patient?name=%C3%BC%20%C3%A9"),
    ],
)
def test_next_links_are_followed_relative_and_absolute(link: str, expected: str) -> None:
    """S12."""
    assert resolve_link(BASE, ASKED, link) == expected


@pytest.mark.parametrize(
    ("base", "link", "expected"),
    [
        ("https://h:8443", "x?y", "https://h:8443/x?y"),
        ("https://h:8443", "?y", "https://h:8443/?y"),
        ("https://h:8443/a/b?c", "", "https://h:8443/a/b?c"),
        ("https://h:8443/a/b?c", ".", "https://h:8443/a/"),
        ("https://h:8443/a/b?c", "..", "https://h:8443/"),
        ("https://h:8443/a/b?c", "../../../x", "https://h:8443/x"),
        ("https://h:8443/a/b?c", "x//y", "https://h:8443/a/x//y"),
        ("https://h:8443/a/b?c", "//h:8443/x", "https://h:8443/x"),
        ("https://h:8443/a/b?c", "./x/./y/../z?q=../r", "https://h:8443/a/x/z?q=../r"),
    ],
)
def test_relative_links_are_resolved_as_in_rfc_3986(base: str, link: str, expected: str) -> None:
    assert resolve_link(pin("https://h:8443"), base, link) == expected


def test_a_link_that_climbs_out_of_the_base_is_refused() -> None:
    with pytest.raises(DestinationRefused):
        resolve_link(BASE, ASKED, "../../admin")


@pytest.mark.parametrize(
    "base",
    [
        "http://fhir.example.org/r4",
        "http://127.0.0.1:8080/r4",
        "ftp://fhir.example.org",
        "https://u:p@fhir.example.org",
        "https://fhir.example.org/r4?x=1",
        "https://fhir.example.org/a/../b",
        "fhir.example.org/r4",
        "",
    ],
)
def test_a_base_that_is_not_plain_https_is_a_configuration_error(base: str) -> None:
    """S10."""
    with pytest.raises(ConfigurationError) as refused:
        pin(base)
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:9", "127.9.9.9"])
def test_http_is_for_loopback_with_the_flag_only(host: str) -> None:
    """S10."""
    assert pin(f"http://{host}/r4", allow_http_loopback=True).scheme == "http"
    with pytest.raises(ConfigurationError):
        pin(f"http://{host}/r4")


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "example.org", "localhost.example.org", "127.0.0.1.example.org"]
)
def test_the_loopback_flag_opens_no_other_host(host: str) -> None:
    with pytest.raises(ConfigurationError):
        pin(f"http://{host}/r4", allow_http_loopback=True)


def test_a_base_path_is_compared_by_whole_segments_and_slashes_at_its_end_do_not_matter() -> None:
    assert pin("https://h/r4/") == pin("https://H:443/r4")
    check(pin("https://h/"), "https://h/anything")


def test_ipv6_hosts_are_compared_by_value() -> None:
    check(pin("https://[2001:db8::1]/r4"), "https://[2001:0DB8:0::1]:443/r4/Patient")


def test_a_rewrite_rule_keeps_path_suffix_and_query_only() -> None:
    """S12a."""
    moved = reanchor(BASE, "/inner/fhir", "http://inner.local:8080/inner/fhir/Patient?page=2")
    assert moved == "https://fhir.example.org/api/r4/Patient?page=2"
    for link in (
        "http://inner.local/other/Patient",
        "http://inner.local/inner/fhirx",
        "x",
        "http://i/inner/fhir/../x",
    ):
        with pytest.raises(DestinationRefused):
            reanchor(BASE, "/inner/fhir", link)


_PIECES = st.lists(
    st.sampled_from(
        ["https:", "http:", "//", "/", "fhir.example.org", "evil.example", "@", ":", "443", "api", "r4", "..", ".",
         "%2e", "%2E", "%2f", "%5c", "%25", "%", "\\", "?", "#", ";", "&", "=", "[", "]", " ", "\t", "\n", "é", "x",
         "Patient", "\x00", "|", "a" * 3]
    ),
    max_size=14,
)  # fmt: skip


@given(_PIECES.map("".join) | st.text(max_size=60) | st.text(max_size=40).map(lambda t: ASKED + t))
def test_whatever_is_accepted_every_reader_sees_inside_the_pin(link: str) -> None:
    """Property: urllib and httpx agree with us on scheme, host, port and path of an accepted link."""
    try:
        url = resolve_link(BASE, ASKED, link)
    except DestinationRefused:
        return
    split, parsed = urlsplit(url), httpx.URL(url)
    assert (split.scheme, split.hostname, split.port or 443) == ("https", "fhir.example.org", 443)
    assert (parsed.scheme, parsed.host, parsed.port or 443) == ("https", "fhir.example.org", 443)
    for path in (split.path, parsed.raw_path.partition(b"?")[0].decode()):
        assert path == "/api/r4" or path.startswith("/api/r4/")
    assert ".." not in httpx.URL(url).path.split("/")
    assert not split.username and not parsed.userinfo and not split.fragment


@given(st.text(min_size=1, max_size=30).filter(lambda t: t not in {".", ".."}))
def test_an_escaped_segment_without_dots_stays_inside(text: str) -> None:
    segment = quote(text.replace(".", "").replace("%", "").replace("\\", ""), safe="")
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        return
    assert resolve(BASE, f"Patient/{segment}").startswith("https://fhir.example.org/api/r4/Patient/")
