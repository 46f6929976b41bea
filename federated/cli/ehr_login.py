"""``trialveil ehr login`` and ``logout``: a person logs in with a browser."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federated.cli import keyboard, terminal
from federated.cli.exit_codes import ExitCode
from federated.cli.terminal import POD, Config, Json

if TYPE_CHECKING:
    from ehr.connect.person import LoginReport


def add_to(app: typer.Typer) -> None:
    """Bring both commands into the group ``ehr``."""
    codes = (ExitCode.DONE, ExitCode.SOME_UNREAD, ExitCode.LOGIN_REFUSED, ExitCode.BAD_FILE, ExitCode.STOPPED)
    terminal.command(
        app,
        *codes,
        example="trialveil ehr login --config pod.yaml --no-browser",
        words={
            ExitCode.DONE: "logged in",
            ExitCode.SOME_UNREAD: "the EHR gave no usable answer",
            ExitCode.LOGIN_REFUSED: "the login was refused, or nobody finished it in time",
        },
    )(login)
    terminal.command(
        app, ExitCode.DONE, ExitCode.SOME_UNREAD, ExitCode.BAD_FILE, example="trialveil ehr logout"
    )(logout)


def login(
    config: Config = POD,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address to open; start no browser.")
    ] = False,
    wait: Annotated[
        int, typer.Option(metavar="SECONDS", min=1, max=3600, help="How long there is to log in.")
    ] = int(keyboard.WAIT_S),
    json: Json = False,
) -> None:
    """Log in to the EHR with a browser, and say what may be read with that login and what may not.

    For a pod file with "auth: browser". Listens on 127.0.0.1 until the browser comes back. The login is kept for the
    commands that follow where the pod file names a store for it; otherwise it ends with this command.
    """
    from ehr.connect.opening import REAL
    from ehr.connect.person import log_in_at

    person = keyboard.person(browser=not no_browser, wait_s=wait)
    report = asyncio.run(log_in_at(config, REAL, person))
    if json:
        terminal.out_json(_document(report))
    else:
        _show(report)


def logout(config: Config = POD) -> None:
    """End the login that is kept: forget it here, and tell the EHR where it takes that."""
    from ehr.connect.person import log_out_at

    told = asyncio.run(log_out_at(config, keyboard.present()))
    if told is None:
        terminal.out("nobody was logged in.")
    else:
        terminal.out(
            "logged out." if told else "logged out here; the EHR was not told and ends it in its own time."
        )


def _show(report: LoginReport) -> None:
    rows = [(str(kind), "yes", "") for kind in report.granted]
    rows += [(str(kind), "no", f"not granted: {', '.join(types)}") for kind, types in report.missing]
    terminal.out_table(("Kind", "May be read", "Why not"), rows)
    terminal.out("; ".join(_sentences(report)) + ".")


def _sentences(report: LoginReport) -> list[str]:
    minutes = max(1, round(report.life_s / 60))
    said = ["logged in for the one patient chosen in the browser" if report.one_patient else "logged in"]
    if report.missing:
        said.append("criteria over what may not be read stay unknown")
    if report.renewable:
        said.append("it is renewed without you until the EHR ends it")
    else:
        said.append(f"the EHR gave nothing to renew it with, so it ends in {minutes} min")
    if report.kept:
        said.append("it is kept, sealed, for the next commands")
    else:
        said.append(
            "it is not kept: name a store under auth.browser, or each command asks for a login of its own"
        )
    return said


def _document(report: LoginReport) -> dict[str, Any]:
    from federated.cli.command_documents import KindGranted, LoginDocument

    kinds = [KindGranted.of(kind=str(kind), granted=True, missing_types=[]) for kind in report.granted]
    kinds += [
        KindGranted.of(kind=str(kind), granted=False, missing_types=list(types))
        for kind, types in report.missing
    ]
    return LoginDocument.of(report, kinds=kinds)
