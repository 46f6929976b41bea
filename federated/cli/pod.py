"""``trialveil pod``: the file that describes one hospital."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from federated.cli import pod_audit, pod_run, terminal
from federated.cli.exit_codes import ExitCode
from federated.cli.identity_key import KeyOut, ShownKey, make_key, say_made
from federated.cli.mistakes import check_document, problems_in
from federated.cli.terminal import POD, Config, Json
from federated.errors import UsageError

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

DONE, USAGE, BAD_FILE = ExitCode.DONE, ExitCode.USAGE, ExitCode.BAD_FILE


@terminal.command(
    app,
    DONE,
    USAGE,
    example='trialveil pod new pod.yaml --name "North clinic" --base-url https://ehr.example/fhir',
)
def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")] = Path("pod.yaml"),
    name: Annotated[str, typer.Option(help="Name of the hospital or site.")] = "my-site",
    provider: Annotated[str, typer.Option(help="Which EHR it is.")] = "smarthealthit r4",
    base_url: Annotated[str, typer.Option(help="FHIR base address.")] = "https://ehr.example/fhir",
    time_zone: Annotated[str, typer.Option(help="IANA time zone of the site.")] = "Europe/London",
) -> None:
    """Write a commented pod file to start from, with a site key and an identity beside it.

    The site key is the secret of all pseudonyms, the identity signs what the pod says in tasks: both stay in the pod
    and are readable by their owner only. The public key that is printed goes to the modeller and to the other pods.
    A file that exists is never overwritten.
    """
    from federated.pod.new import new_pod

    made = new_pod(file, name=name, provider_name=provider, base_url=base_url, zone=time_zone)
    say_made(made)
    terminal.say(
        f'Next: fill it in, make keys with "trialveil ehr keys new", then "trialveil pod check {file}".'
    )


@terminal.command(app, DONE, USAGE, BAD_FILE, example="trialveil pod check --config pod.yaml")
def check(
    named: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The pod file; the same as --config FILE.")
    ] = None,
    config: Config = POD,
    json: Json = False,
) -> None:
    """Check a pod file and all that it names: provider, keys, patients file, tables, policy, identity.

    Every mistake is listed in one run as file:line:column: code message. No server is asked; that is what
    "trialveil ehr probe" does.
    """
    from ehr.errors import ConfigurationError
    from federated.pod.check import check_pod

    if named is not None and config not in (POD, named):
        raise UsageError("the pod file is given twice; give FILE or --config.")
    file = named or config
    try:
        _, found = check_pod(file)
    except ConfigurationError as error:
        if json:
            terminal.out_json(check_document(problems_in(error, file, "PV101")))
            raise typer.Exit(ExitCode.BAD_FILE) from None
        raise
    if json:
        terminal.out_json(check_document(found))
        return
    for problem in found:
        terminal.say(str(problem))
    terminal.out(f"{file.name}: no mistakes" + (f", {len(found)} warnings" if found else ""))


@terminal.command(app, DONE, USAGE, BAD_FILE, example="trialveil pod key --out pod.key")
def key(out: KeyOut = Path("pod.key"), show: ShownKey = None, json: Json = False) -> None:
    """Make a pod's Ed25519 identity, for its owner alone, and print the public key.

    "federation.key" of the pod file names it. The public key goes to the modeller and to the other pods. A file that
    exists is never overwritten.
    """
    make_key(out, show, json=json)


pod_run.register(app)
pod_audit.register(app)
