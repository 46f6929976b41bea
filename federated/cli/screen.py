"""``trialveil screen``: the main job."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from federated.cli import terminal
from federated.cli.exit_codes import ExitCode
from federated.cli.keyboard import present
from federated.cli.terminal import Json
from federated.errors import UsageError

app = typer.Typer(rich_markup_mode=None)

_WORDS = {
    ExitCode.DONE: "every patient decided or marked for review",
    ExitCode.SOME_UNREAD: "some could not be read (see summary.json)",
    ExitCode.LOGIN_REFUSED: "the EHR refused the login",
    ExitCode.BAD_FILE: "the pod, patients or trial file is wrong",
    ExitCode.STOPPED: "stopped; the same command goes on",
}


@terminal.command(
    app, *_WORDS, example="trialveil screen --config pod.yaml --trial ga.yaml --out ga-june", words=_WORDS
)
def screen(
    trial: Annotated[Path, typer.Option("--trial", metavar="TRIAL.yaml", help="The trial file.")],
    config: Annotated[Path, typer.Option("--config", metavar="POD.yaml", help="The pod file.")] = Path(
        "pod.yaml"
    ),
    patients: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="CSV with name and birth date, id or MRN. Default: the cohort in POD.yaml."
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Where decisions.csv, decisions.json, summary.json, report.html go."
        ),
    ] = Path("out"),
    on_unknown: Annotated[
        str,
        typer.Option(
            metavar="[review|defer]", help="Which queue an undecided patient goes to; never the decision."
        ),
    ] = "review",
    index_date: Annotated[
        str | None,
        typer.Option(metavar="YYYY-MM-DD", help='What "index_date: run" means. Default: today at the site.'),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter that the trial lets a site set."),
    ] = None,
    draft: Annotated[
        bool, typer.Option("--draft", help='Try a trial whose status is still "draft".')
    ] = False,
    with_identifiers: Annotated[
        bool,
        typer.Option("--with-identifiers", help="Also write contacts.csv with names, for the coordinator."),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask for everyone, also where an earlier run stopped.")
    ] = False,
    json: Json = False,
) -> None:
    """Decide for each patient of this site whether the trial's criteria hold.

    Reads the site's EHR, writes decisions with evidence to DIR. Nothing leaves the machine. Stop it at any time; the
    same command goes on where it stopped.
    """
    from federated.screening.run import Options
    from federated.screening.run import screen as run_screening

    if on_unknown not in ("review", "defer"):
        raise UsageError("--on-unknown is not one of review, defer.")
    with terminal.progress("Patients") as bar, terminal.says_how_to_go_on():
        decisions = run_screening(
            config,
            trial,
            Options(
                patients=patients,
                out=out,
                on_unknown="defer" if on_unknown == "defer" else "review",
                draft=draft,
                overrides=_overrides(override or []),
                index_date=_day(index_date),
                with_identifiers=with_identifiers,
                fresh=fresh,
                progress=bar.update,
                say=terminal.say,
            ),
            present(),
        )
    if json:
        terminal.out_json(decisions.summary)
    else:
        show(decisions.summary, out)
    if decisions.some_unread:
        terminal.say(
            "The quota of requests for today is spent; run the same command tomorrow to go on."
            if decisions.quota_spent
            else "Some patients could not be read completely; run the same command again to ask for them anew."
        )
        raise typer.Exit(ExitCode.SOME_UNREAD)


def show(summary: dict[str, Any], out: Path) -> None:
    """The result in a few lines: numbers, and where to look."""
    counts = summary["counts"]
    words = {
        "eligible": "eligible, to be confirmed by the investigator",
        "undecided": "undecided: something must be looked up",
        "not_eligible": "not eligible",
        "not_evaluated": "not evaluated: the report says why",
    }
    terminal.out(f"{summary['trial']['id']}, {counts['input']} patients:")
    for name, text in words.items():
        terminal.out(f"{counts[name]:>7}  {text}")
    terminal.out(f"report: {out / 'report.html'}")


def _overrides(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise UsageError("--set is not of the form NAME=VALUE.")
        found[name.strip()] = value.strip()
    return found


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError("--index-date is not of the form YYYY-MM-DD.") from None
