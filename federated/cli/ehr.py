"""``trialveil ehr``: connect an EHR, see what works, ask for one patient, try things out."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federated.cli import contract, terminal
from federated.cli.patient_tables import show
from federated.cli.terminal import Json
from federated.errors import UsageError
from federated.exit_codes import ExitCode

if TYPE_CHECKING:
    from ehr.cohort import Reading
    from ehr.providers.probe import ProbeReport

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
keys_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Make, list and rotate signing keys."
)
app.add_typer(keys_app, name="keys")
app.command("contract", epilog=contract.EPILOG)(contract.contract)

Config = Annotated[Path, typer.Option("--config", metavar="POD.yaml", help="The pod file.")]
KeyFolder = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the key ring.")]
POD = Path("pod.yaml")
_MARKS = {"ok": "ok", "warning": "warning", "failed": "FAILED", "skipped": "skipped"}


@app.command(
    epilog=terminal.epilog(
        ExitCode.DONE,
        ExitCode.FAULT,
        ExitCode.LOGIN_REFUSED,
        ExitCode.BAD_FILE,
        example="trialveil ehr probe --config pod.yaml",
        words={ExitCode.DONE: "every step works", ExitCode.FAULT: "a step failed"},
    )
)
def probe(config: Config = POD, json: Json = False) -> None:
    """Try each step that screening needs, and say which claim, scope, clock or page is wrong.

    Logs in, reads what the server offers, asks for two small pages. The report holds no patient data and may be
    sent to the EHR's support.
    """
    report = asyncio.run(_probe(config))
    if json:
        terminal.out_json(_probe_document(report))
    else:
        rows = [(c.name, _MARKS[c.result], c.detail, c.advice or "") for c in report.checks]
        terminal.out_table(("Step", "Result", "What was seen", "What to do"), rows)
    if report.refused:
        raise typer.Exit(ExitCode.LOGIN_REFUSED)
    if not report.ok:
        raise typer.Exit(ExitCode.FAULT)


async def _probe(config: Path) -> ProbeReport:
    from ehr.site import open_site_async

    async with open_site_async(config) as site:
        return await site.adapter.probe()


def _probe_document(report: ProbeReport) -> dict[str, Any]:
    checks = [
        {"name": c.name, "result": c.result, "detail": c.detail, "advice": c.advice} for c in report.checks
    ]
    return {"schema": "trialveil/probe/1", "provider": report.provider, "ok": report.ok, "checks": checks}


@app.command(
    epilog=terminal.epilog(
        ExitCode.DONE,
        ExitCode.USAGE,
        ExitCode.SOME_UNREAD,
        ExitCode.LOGIN_REFUSED,
        ExitCode.BAD_FILE,
        example="trialveil ehr query --family Shaw --given Amy --birth-date 1987-02-20 --kinds conditions",
    )
)
def query(
    config: Config = POD,
    family: Annotated[str | None, typer.Option(help="Family name.")] = None,
    given: Annotated[str | None, typer.Option(help="Given names.")] = None,
    birth_date: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Birth date.")] = None,
    mrn: Annotated[str | None, typer.Option(help="Medical record number, or system|number.")] = None,
    patient_id: Annotated[str | None, typer.Option("--id", help="The EHR's own id.")] = None,
    kinds: Annotated[
        str, typer.Option(help="What to read, separated by commas.")
    ] = "conditions,appointments",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write JSON to this file (0600).")
    ] = None,
    json: Json = False,
) -> None:
    """Find one patient and show what the EHR has about them.

    Shows patient data: to a terminal, or into a file that you name; anything else is refused.
    """
    from ehr.identity import Person

    if out is None and not sys.stdout.isatty():
        raise UsageError("the output would show a patient and is not a terminal; name a file with --out.")
    person = Person(family=family, given=given, birth_date=birth_date, mrn=mrn, id=patient_id)
    if person == Person():
        raise UsageError("nobody was named; give --id, --mrn, or --family, --given and --birth-date.")
    names = _asked(kinds, birth_date)
    reading = asyncio.run(_query(config, person, names))
    document = _query_document(reading)
    if out is not None:
        _write_private(out, document)
        terminal.say(f"wrote {out}")
    elif json:
        terminal.out_json(document)
    else:
        show(document)
    if document["match"] != "matched" or any(not kind["complete"] for kind in document["kinds"].values()):
        raise typer.Exit(ExitCode.SOME_UNREAD)


def _asked(kinds: str, birth_date: str | None) -> list[str]:
    """The kinds by name; what was typed is refused here, before the EHR is asked."""
    from ehr.dates import BadDate, parse_date
    from ehr.fetched import Kind

    try:
        names = [str(Kind.parse(name)) for name in kinds.split(",") if name.strip()]
    except ValueError as error:
        raise UsageError(f"--kinds: {error}") from None
    try:
        parse_date(birth_date or "2000-01-01")
    except BadDate:
        raise UsageError("--birth-date is not of the form YYYY-MM-DD.") from None
    return names


async def _query(config: Path, person: Any, names: list[str]) -> Reading:
    from ehr.site import open_site_async

    async with open_site_async(config) as site:
        return (await site.query([person], names)).readings[0]


def _query_document(reading: Reading) -> dict[str, Any]:
    import msgspec

    from ehr.query import match_word

    record = reading.record
    kinds = {} if record is None else record.kinds
    return {
        "schema": "trialveil/query/1",
        "match": match_word(reading),
        "match_detail": repr(reading.match),
        "kinds": {
            str(kind): {
                "state": fetched.state.name,
                "complete": fetched.complete,
                "quarantined": fetched.quarantined,
                "issues": [f"{issue.code} ×{issue.count}" for issue in fetched.issues],
                "items": [msgspec.to_builtins(item) for item in fetched.items],
            }
            for kind, fetched in sorted(kinds.items())
        },
    }


def _write_private(target: Path, document: dict[str, Any]) -> None:
    import json

    from ehr.auth.keys import write_owner_only

    try:
        write_owner_only(target, json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n")
    except OSError as error:
        raise UsageError(f"--out: the file cannot be written ({type(error).__name__}).") from None


@keys_app.command(
    "new",
    epilog=terminal.epilog(ExitCode.DONE, ExitCode.USAGE, example="trialveil ehr keys new --out keys"),
)
def keys_new(
    out: KeyFolder = Path("keys"),
    algorithm: Annotated[str, typer.Option(help="ES384 or RS384.")] = "ES384",
) -> None:
    """Make a key ring with one signing key; only its owner can read it.

    Register the public half with the EHR: "trialveil ehr jwks". Epic takes RS384 and ES384.
    """
    from ehr.auth.keys import make_ring
    from ehr.errors import ConfigurationError

    kind = _algorithm(algorithm)
    try:
        ring = make_ring(out, kind)
    except ConfigurationError as error:  # it says that the folder holds a ring already, or cannot be written
        raise UsageError(f"--out: {error}") from None
    terminal.out(f"{out}: one key, {ring.signing.algorithm}, kid {ring.signing.kid}")
    terminal.say(f'Next: "trialveil ehr jwks --keys {out}" prints what to register with the EHR.')


@keys_app.command(
    "rotate",
    epilog=terminal.epilog(ExitCode.DONE, ExitCode.BAD_FILE, example="trialveil ehr keys rotate --out keys"),
)
def keys_rotate(
    out: KeyFolder = Path("keys"),
    algorithm: Annotated[str | None, typer.Option(help="Of the new key; default: as the old one.")] = None,
) -> None:
    """Step a key ring on: first publish a second key, then sign with it and retire the old one.

    Between the two calls host the new JWKS and wait until the EHR has read it (Epic: up to 12 hours).
    """
    from ehr.auth.keys import rotate_ring

    ring = rotate_ring(out, None if algorithm is None else _algorithm(algorithm))
    _list_keys(ring)
    if len(ring.keys) > 1:
        terminal.say(
            "Next: host the new JWKS; when the EHR has read it, rotate again to sign with the new key."
        )


@keys_app.command(
    "list",
    epilog=terminal.epilog(ExitCode.DONE, ExitCode.BAD_FILE, example="trialveil ehr keys list --out keys"),
)
def keys_list(out: KeyFolder = Path("keys")) -> None:
    """List the live keys of a ring: which one signs, which one is published beside it."""
    from ehr.auth.keys import read_ring

    _list_keys(read_ring(out))


def _list_keys(ring: Any) -> None:
    rows = [(key.kid, key.algorithm, "signs" if key is ring.signing else "published") for key in ring.keys]
    terminal.out_table(("kid", "Algorithm", "State"), rows)


def _algorithm(word: str) -> Any:
    if word.upper() not in ("ES384", "RS384"):
        raise UsageError("--algorithm is not one of ES384, RS384.")
    return word.upper()


@app.command(
    epilog=terminal.epilog(ExitCode.DONE, ExitCode.BAD_FILE, example="trialveil ehr jwks > jwks.json")
)
def jwks(
    config: Config = POD,
    keys: Annotated[
        Path | None, typer.Option("--keys", metavar="DIR", help="Key ring; default: of the pod.")
    ] = None,
) -> None:
    """Print the public keys to host or to register with the EHR, as a JWKS document.

    Holds nothing secret. All live keys are in it, so that the EHR knows the next one before it signs.
    """
    from ehr.auth.keys import read_ring
    from ehr.errors import ConfigurationError
    from ehr.pod_file import read_site_file

    if keys is None:
        backend = read_site_file(config).ehr.auth.backend
        if backend is None:
            raise ConfigurationError("the pod file has no backend login, so it has no keys. Give --keys DIR.")
        keys = config.parent / backend.keys
    terminal.out_json(read_ring(keys).jwks())


@app.command(
    epilog=terminal.epilog(
        ExitCode.DONE,
        ExitCode.BAD_FILE,
        ExitCode.STOPPED,
        example="trialveil ehr sandbox --data fhir --port 8090",
    )
)
def sandbox(
    skin: Annotated[str, typer.Option(help="Whose ways it has.")] = "smarthealthit",
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Folder with .ndjson, .ndjson.gz or Bundles.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    login: Annotated[
        bool, typer.Option("--login", help="Ask for a token; needs --client and --jwks.")
    ] = False,
    client: Annotated[
        str | None, typer.Option("--client", metavar="ID", help="Client id that may log in.")
    ] = None,
    jwks_file: Annotated[
        Path | None, typer.Option("--jwks", metavar="FILE", help='Its public keys ("trialveil ehr jwks").')
    ] = None,
) -> None:
    """Start an embedded EHR on this machine, for trying things out.

    The first line on stdout is its base URL. Only this machine can reach it; it is open to all programs on it unless
    --login is given. Stop it with Ctrl-C.
    """
    from ehr.sandbox.server import Registration, serve

    registrations = []
    if client is not None or jwks_file is not None:
        if client is None or jwks_file is None:
            raise UsageError("--client and --jwks go together.")
        registrations.append(Registration(client, jwks_file))
    if login and not registrations:
        raise UsageError("--login needs --client ID and --jwks FILE.")

    def announce(url: str) -> None:
        terminal.out(url)
        sys.stdout.flush()
        terminal.say("The sandbox runs until Ctrl-C.")

    serve(data, skin, port, announce=announce, login=login, registrations=registrations)
