"""`pod.yaml`: every mistake in one run, with its place, and never the value."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from ehr.errors import ConfigurationError
from ehr.files.pod_file import checked, read_site_file
from ehr.files.problems import FileErrors
from ehr.files.settings import SiteFile

GOOD = """\
name: north
ehr:
  provider: smarthealthit r4
  base_url: https://ehr.example/fhir
  auth:
    backend:
      client_id: screener
      keys: keys
site:
  time_zone: Europe/London
  key: {file: site.key}
cohort:
  patients: patients.csv
"""


def read(text: str) -> SiteFile:
    return checked(text.encode(), "pod.yaml", SiteFile)


def mistakes(text: str) -> list[str]:
    with pytest.raises(FileErrors) as refused:
        read(text)
    return str(refused.value).splitlines()


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def test_a_plain_file_is_read() -> None:
    file = read(GOOD)
    assert (file.name, file.ehr.provider, file.ehr.auth.mode) == ("north", "smarthealthit r4", "backend")
    assert file.site.key.file == "site.key"
    assert file.cohort is not None


def test_defaults_are_the_strict_ones() -> None:
    section = read(GOOD).ehr
    assert (section.allow_http, section.strict, section.validation, section.headers) == (
        None,
        False,
        "light",
        {},
    )
    assert section.patient_seconds == 300


BACKEND = "  auth:\n    backend:\n      client_id: screener\n      keys: keys\n"


@pytest.mark.parametrize(
    "auth", ["auth: none", "auth: {none: {}}", "auth: {none: }", "auth:\n    none:", "auth:\n    none: {}"]
)
def test_no_login_is_written_in_any_of_its_forms(auth: str) -> None:
    assert read(changed(BACKEND, f"  {auth}\n")).ehr.auth.mode == "none"


def test_an_external_callable_is_named() -> None:
    file = read(changed(BACKEND, "  auth: {external: {callable: 'site.tokens:current'}}\n"))
    assert file.ehr.auth.mode == "external"


def test_text_becomes_numbers_truths_and_days() -> None:
    more = "  strict: yes\n  patient_seconds: 12.5\n  rate: {concurrency: 2, requests_per_s: 1.5}\n"
    text = changed("site:\n", more + "site:\n  care_since: 2015-01-31\n")
    file = read(text)
    assert (file.ehr.strict, file.ehr.patient_seconds) == (True, 12.5)
    assert (file.ehr.rate.concurrency, file.ehr.rate.requests_per_s) == (2, 1.5)
    assert file.site.care_since == date(2015, 1, 31)


def test_what_silence_means_is_read_per_kind() -> None:
    text = changed(
        "site:\n", "site:\n  world: {medication: open, condition: closed}\n  consent_complete: [image]\n"
    )
    site = read(text).site
    assert site.world == {"medication": "open", "condition": "closed"}
    assert site.consent_complete == ("image",)


def test_sections_of_other_readers_are_left_alone() -> None:
    assert read(GOOD + "policy: {budget: 3}\ndata: {}\n").name == "north"


# Each mistake: what is changed, where it must be found, and what must be said.
MISTAKES = [
    (
        "  provider: s",
        "  provdier: s",
        "3:3",
        'PV103 "provdier" is not a key here',
        'Did you mean "provider"?',
    ),
    ("  provider: s", "  provdier: s", "2:1", 'PV104 "provider" is missing'),
    ("name: north\n", "", "1:1", 'PV104 "name" is missing'),
    ("name: north", "name: ../north", "1:1", "PV110 name: has another form than 1 to 63 letters"),
    ("      keys: keys\n", "", "6:5", 'PV104 "keys" is missing'),
    ("client_id: screener", "client_id: ''", "7:7", "PV110 client_id: is empty"),
    ("client_id: screener", "client_id: [a]", "7:7", "PV110 client_id: is one text; found a list"),
    (BACKEND, "  auth: {}\n", "5:3", "PV110 auth: give exactly one way to log in; found 0"),
    (BACKEND, "  auth:\n", "5:3", "PV110 auth: "),
    (BACKEND, "  auth: basic\n", "5:3", "PV110 auth: "),
    (BACKEND, "", "2:1", 'PV104 "auth" is missing'),
    (BACKEND, BACKEND + "    none:\n", "5:3", "PV110 auth: give exactly one way to log in; found 2"),
    (
        BACKEND,
        "  auth: {backnd: {}}\n",
        "5:10",
        'PV103 "backnd" is not a key here',
        'Did you mean "backend"?',
    ),
    (BACKEND, "  auth: {nextech: {}}\n", "5:3", "PV110 auth: ", "not part of this release"),
    (BACKEND, "  auth: {browser: {}}\n", "5:10", 'PV104 "client_id" is missing'),
    (
        BACKEND,
        "  auth: {browser: {client_id: a, client_secret: hunter2}}\n",
        "5:34",
        "PV110 client_secret: is a table of keys",
    ),
    (
        BACKEND,
        "  auth: {browser: {client_id: a, keys: k, client_secret: {env: S}}}\n",
        "5:10",
        'PV110 browser: give "client_secret" or "keys", not both',
    ),
    (
        BACKEND,
        "  auth: {browser: {client_id: a, redirect_port: 70000}}\n",
        "5:34",
        "PV110 redirect_port: must be at most 65535",
    ),
    (
        BACKEND,
        "  auth: {browser: {client_id: a, store: {file: s}}}\n",
        "5:34",
        'PV104 "key" is missing',
    ),
    (
        BACKEND,
        "  auth: {browser: {client_id: a, store: {key: {file: k, env: K}}}}\n",
        "5:42",
        'PV110 key: give exactly one of "file", "env", "keyring", "passphrase"',
    ),
    (
        BACKEND,
        "  auth: {external: {callable: nothing}}\n",
        "5:21",
        "PV110 callable: has another form than package.module:function",
    ),
    ("site:\n", "  allow_http: yes\nsite:\n", "9:3", "PV110 allow_http: expected one of 'loopback'"),
    ("site:\n", "  strict: perhaps\nsite:\n", "9:3", "PV110 strict: is not true or false"),
    ("site:\n", "  rate: {concurrency: 0}\nsite:\n", "9:10", "PV110 concurrency: must be at least 1"),
    ("site:\n", "  rate: {concurrency: many}\nsite:\n", "9:10", "PV110 concurrency: is not a whole number"),
    ("site:\n", "  rate: {concurrency: 65}\nsite:\n", "9:10", "PV110 concurrency: must be at most 64"),
    ("site:\n", "  rate: {requests_per_s: inf}\nsite:\n", "9:10", "PV110 requests_per_s: is not a number"),
    ("site:\n", "  patient_seconds: 0\nsite:\n", "9:3", "PV110 patient_seconds: must be more than 0"),
    ("site:\n", "  patient_seconds: nan\nsite:\n", "9:3", "PV110 patient_seconds: "),
    ("site:\n", "  patient_seconds: soon\nsite:\n", "9:3", "PV110 patient_seconds: is not a number"),
    ("site:\n", "  headers: text\nsite:\n", "9:3", "PV110 headers: is a table of keys"),
    (
        "site:\n",
        "site:\n  care_since: 2015\n",
        "10:3",
        "PV110 care_since: is not a date of the form YYYY-MM-DD",
    ),
    ("site:\n", "site:\n  care_since: 86400\n", "10:3", "PV110 care_since: is not a date"),
    ("site:\n", "site:\n  care_since: 2015-02-30\n", "10:3", "PV110 care_since: is not a date"),
    (
        "site:\n",
        "site:\n  world: {condtion: open}\n",
        "10:11",
        'PV103 "condtion"',
        'Did you mean "condition"?',
    ),
    ("site:\n", "site:\n  world: {condition: shut}\n", "10:11", "PV110 condition: expected one of 'closed'"),
    ("site:\n", "site:\n  consent_complete: [picture]\n", "10:22", "PV110 consent_complete: expected one of"),
    ("Europe/London", "London", "10:3", "PV110 time_zone: is not an IANA time zone"),
    ("Europe/London", "../../etc/passwd", "10:3", "PV110 time_zone: is not an IANA time zone"),
    ("{file: site.key}", "{}", "11:3", 'PV110 key: give either "file" or "env"'),
    ("{file: site.key}", "{file: a, env: B}", "11:3", 'PV110 key: give either "file" or "env"'),
    ("{file: site.key}", "hunter2", "11:3", "PV110 key: is a table of keys"),
    ("{file: site.key}", "{value: hunter2}", "11:9", 'PV103 "value" is not a key here. Known: env, file'),
    ("  patients: patients.csv", "  patients: p.xlsx", "12:1", "PV110 cohort: patients is not a CSV file"),
    (
        "  patients: patients.csv",
        "  patients: p.csv\n  group: g",
        "12:1",
        "PV110 cohort: give exactly one of",
    ),
    ("name: north", "name: north\nname: south", "2:1", 'TV102 "name" is given twice'),
    ("name: north", "name: &x north", "1:7", "TV101 anchors are not used"),
    ("name: north", "name: !!python/name:os.system north", "1:7", "TV101 tags are not used"),
    ("  provider: s", "\tprovider: s", "3:1", "TV100 tabs cannot indent"),
    ("name: north", "name: [north", "2:4", "TV100 "),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: f"{mistake[3][:40]}-{mistake[1][:25]!r}")
def test_each_mistake_is_found_at_its_place(mistake: tuple[str, ...]) -> None:
    old, new, place, *words = mistake
    found = [line for line in mistakes(changed(old, new)) if line.startswith(f"pod.yaml:{place}: {words[0]}")]
    assert len(found) == 1, mistakes(changed(old, new))
    assert all(word in found[0] for word in words)


def test_all_mistakes_come_in_one_run_sorted_by_place() -> None:
    text = (
        GOOD.replace("provider:", "provdier:").replace("London", "Lundun").replace("keys: keys", "kees: keys")
    )
    found = mistakes(text)
    assert [line.split(" ")[1] for line in found] == ["PV104", "PV103", "PV104", "PV103", "PV110"]
    lines = [int(line.split(":")[1]) for line in found]
    assert lines == sorted(lines)


@pytest.mark.parametrize(
    "text",
    [
        changed("{file: site.key}", "canary-4711"),
        changed("{file: site.key}", "{file: [canary-4711]}"),
        changed("client_id: screener", "client_id: {a: canary-4711}"),
        changed("Europe/London", "canary-4711"),
        changed("https://ehr.example/fhir", "[canary-4711]"),
        changed("site:\n", "  rate: {concurrency: canary-4711}\nsite:\n"),
        changed("site:\n", "  allow_http: canary-4711\nsite:\n"),
        changed("site:\n", "site:\n  world: {condition: canary-4711}\n"),
        changed("site:\n", "site:\n  care_since: canary-4711\n"),
        changed("name: north", "name: /canary-4711"),
    ],
)
def test_no_value_of_the_file_is_repeated(text: str) -> None:
    with pytest.raises(FileErrors) as refused:
        read(text)
    assert "canary" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("text", ["", "just text", "[a, b]", "---\n", "# nothing\n"])
def test_what_is_no_table_is_refused(text: str) -> None:
    assert mistakes(text)[0].startswith(("pod.yaml:1:1: ", "pod.yaml:2:1: "))


@pytest.mark.parametrize(
    "data", [b"\xff\xfe", b"name: \x00", b"name: x\n" * 200_000, b"[" * 1000, b"a: " + b"{b: " * 90]
)
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FileErrors):
        checked(data, "pod.yaml", SiteFile)


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert checked(b"\xef\xbb\xbf" + GOOD.encode(), "pod.yaml", SiteFile).name == "north"


def test_a_file_that_is_not_there_is_named_by_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="pod file: there is no such file") as refused:
        read_site_file(tmp_path / "secret-place.yaml")
    assert "secret-place" not in str(refused.value)
    with pytest.raises(ConfigurationError, match="IsADirectoryError"):
        read_site_file(tmp_path)


def test_nothing_can_be_changed_after_reading() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read(GOOD).name = "south"
