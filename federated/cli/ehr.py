"""``trialveil ehr``: connect an EHR, see what works, ask for one patient, try things out."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federated.cli import contract, ehr_keys, ehr_login, terminal
from federated.cli.exit_codes import ExitCode
from federated.cli.keyboard import present
from federated.cli.patient_tables import show
from federated.cli.terminal import POD, Config, Json
from federated.errors import UsageError

if TYPE_CHECKING:
    from ehr.providers.probe import ProbeReport
    from ehr.reading.cohort import Reading

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
ehr_login.add_to(app)
app.add_typer(ehr_keys.keys_app, name="keys")
ehr_keys.add_to(app)
app.command("contract", epilog=contract.EPILOG)(contract.contract)

_MARKS = {"ok": "ok", "warning": "warning", "failed": "FAILED", "skipped": "skipped"}


@terminal.command(
    app,
    ExitCode.DONE,
    ExitCode.FAULT,
    ExitCode.LOGIN_REFUSED,
    ExitCode.BAD_FILE,
    example="trialveil ehr probe --config pod.yaml",
    words={ExitCode.DONE: "every step works", ExitCode.FAULT: "a step failed"},
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

    async with open_site_async(config, present()) as site:
        return await site.adapter.probe()


def _probe_document(report: ProbeReport) -> dict[str, Any]:
    from federated.cli.command_documents import ProbeDocument, ProbeStepModel

    return ProbeDocument.of(report, checks=[ProbeStepModel.of(check) for check in report.checks])


@terminal.command(
    app,
    ExitCode.DONE,
    ExitCode.USAGE,
    ExitCode.SOME_UNREAD,
    ExitCode.LOGIN_REFUSED,
    ExitCode.BAD_FILE,
    example="trialveil ehr query --family Shaw --given Amy --birth-date 1987-02-20 --kinds conditions",
)
def query(
    config: Config = POD,
    family: Annotated[str | None, typer.Option(help="Family name.")] = None,
    given: Annotated[str | None, typer.Option(help="Given names.")] = None,
    birth_date: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Birth date.")] = None,
    mrn: Annotated[str | None, typer.Option(help="Medical record number, or system|number.")] = None,
    patient_id: Annotated[str | None, typer.Option("--id", help="The EHR's own id.")] = None,
    sex: Annotated[str | None, typer.Option(help="female or male; tells apart, proves nothing.")] = None,
    phone: Annotated[str | None, typer.Option(help="Telephone number; finds, proves nothing.")] = None,
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
    from ehr.people.identity import Person

    if out is None and not sys.stdout.isatty():
        raise UsageError("the output would show a patient and is not a terminal; name a file with --out.")
    person = Person(family, given, birth_date, mrn, patient_id, sex, phone)
    if replace(person, sex=None, phone=None) == Person():
        raise UsageError(
            "nobody was named; give --id, --mrn, or --family and --given with --birth-date (or --sex and --phone)."
        )
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
    from ehr.records.fetched import Kind

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

    async with open_site_async(config, present()) as site:
        return (await site.query([person], names)).readings[0]


def _query_document(reading: Reading) -> dict[str, Any]:
    import msgspec

    from ehr.reading.query import match_word
    from federated.cli.command_documents import Collection, QueryDocument

    record = reading.record
    kinds = {} if record is None else record.kinds
    return QueryDocument.of(
        match=match_word(reading),
        match_detail=repr(reading.match),
        kinds={
            str(kind): Collection.of(
                fetched,
                state=fetched.state.name,
                issues=[f"{issue.code} ×{issue.count}" for issue in fetched.issues],
                items=[msgspec.to_builtins(item) for item in fetched.items],
            )
            for kind, fetched in sorted(kinds.items())
        },
    )


def _write_private(target: Path, document: dict[str, Any]) -> None:
    import json

    from ehr.auth.keys import write_owner_only

    try:
        write_owner_only(target, json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n")
    except OSError as error:
        raise UsageError(f"--out: the file cannot be written ({type(error).__name__}).") from None


@terminal.command(
    app,
    ExitCode.DONE,
    ExitCode.BAD_FILE,
    ExitCode.STOPPED,
    example="trialveil ehr sandbox --data fhir --port 8090",
)
def sandbox(
    skin: Annotated[str, typer.Option(help="Whose ways it has.")] = "smarthealthit",
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Folder with .ndjson, .ndjson.gz or Bundles.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    login: Annotated[
        bool, typer.Option("--login", help="Ask for a token. Alone, people log in with a browser.")
    ] = False,
    app_id: Annotated[
        str | None,
        typer.Option(
            "--app", metavar="ID", help='Client id that people log in with. [with --login: "my-app"]'
        ),
    ] = None,
    answers: Annotated[
        str,
        typer.Option(
            metavar="[ask|auto|deny]", help="What people are told: a page with two buttons, yes, or no."
        ),
    ] = "ask",
    client: Annotated[
        str | None, typer.Option("--client", metavar="ID", help="Client id of an unattended pod.")
    ] = None,
    jwks_file: Annotated[
        Path | None, typer.Option("--jwks", metavar="FILE", help='Its public keys ("trialveil ehr jwks").')
    ] = None,
) -> None:
    """Start an embedded EHR on this machine, for trying things out.

    The first line on stdout is its base URL. Only this machine can reach it; it is open to all programs on it unless
    --login is given. Stop it with Ctrl-C.

    To log in with a browser: start it with --login, write "auth: {browser: {client_id: my-app}}" under "ehr:" in a
    pod file with its base URL and "allow_http: loopback", and run "trialveil ehr login" in a second terminal.
    """
    from ehr.sandbox.apps import RegisteredApp
    from ehr.sandbox.server import Registration, serve

    if (client is None) != (jwks_file is None):
        raise UsageError("--client and --jwks go together.")
    said = next((word for word in ("ask", "auto", "deny") if word == answers), None)
    if said is None:
        raise UsageError("--answers is not one of ask, auto, deny.")
    pods = [Registration(client, jwks_file)] if client is not None and jwks_file is not None else []
    if login and not pods:
        app_id = app_id or "my-app"
    apps = {app_id: RegisteredApp()} if app_id is not None else {}

    def announce(url: str) -> None:
        terminal.out(url)
        sys.stdout.flush()
        if apps and login:
            terminal.say(f'People log in with "auth: {{browser: {{client_id: {app_id}}}}}" in the pod file.')
        terminal.say("The sandbox runs until Ctrl-C.")

    serve(data, skin, port, announce=announce, login=login, registrations=pods, apps=apps, answers=said)
