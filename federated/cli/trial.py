"""``trialveil trial`` and ``trialveil valueset``: make, check, read and freeze a trial file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from federated.cli import terminal
from federated.cli.exit_codes import ExitCode
from federated.cli.mistakes import end_of_check
from federated.cli.terminal import Json

if TYPE_CHECKING:
    from ehr.files.problems import Problem
    from federated.screening.trial.criteria import Trial
    from federated.screening.trial.valueset_files import ValueSetFile

trial_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False,
                        help="Make, check, read and freeze a trial file.")  # fmt: skip
valueset_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False,
                           help="Bring code lists from FHIR or VSAC files into a trial file.")  # fmt: skip
DONE, USAGE, BAD_FILE = ExitCode.DONE, ExitCode.USAGE, ExitCode.BAD_FILE
_WORDS = {BAD_FILE: "the file is wrong; every mistake is listed"}

File = Annotated[Path, typer.Argument(metavar="FILE", help="The trial file.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write here. [default: stdout]")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="A parameter's value, where the file lets a site set it."
    ),
]


@valueset_app.callback()
def _valueset() -> None:
    """Bring code lists from FHIR or VSAC files into a trial file."""


@terminal.command(trial_app, DONE, USAGE, BAD_FILE, example="trialveil trial new trial.yaml")
def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")] = Path("trial.yaml"),
    nct: Annotated[
        Path | None,
        typer.Option(
            "--nct", metavar="FILE.json", help="Start from a study of ClinicalTrials.gov (API v2 JSON)."
        ),
    ] = None,
) -> None:
    """Write a commented trial file to start from.

    With --nct, identifier, title, sex and ages are taken over, and each line of the free text becomes a
    criterion that a person must code. Both are drafts. A file that exists is never overwritten.
    """
    from importlib.resources import files

    if nct is None:
        text = files("federated.screening.trial").joinpath("new_trial.yaml").read_text("utf-8")
    else:
        from federated.screening.trial.from_registry import MAX_BYTES, draft_from_registry

        text = draft_from_registry(_bytes(nct, MAX_BYTES))
    _write(file, text)
    terminal.say(f'Next: fill it in, then "trialveil trial check {file}".')


@terminal.command(trial_app, DONE, USAGE, BAD_FILE, example="trialveil trial check trial.yaml", words=_WORDS)
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Trial files.")],
    json: Json = False,
) -> None:
    """Check trial files and the files they use; no patient data is touched.

    Every mistake and warning is listed in one run as file:line:column: code message. Warnings alone are no
    failure.
    """
    problems: list[Problem] = []
    for file in files:
        problems.extend(_checked(file))
    end_of_check([file.name for file in files], problems, json=json)


@terminal.command(
    trial_app, DONE, USAGE, BAD_FILE, example="trialveil trial explain trial.yaml", words=_WORDS
)
def explain(file: File, setting: Set = None) -> None:
    """Print the trial in words: every criterion, window, unit and code set."""
    from federated.screening.trial.explain import explain as in_words

    terminal.out(in_words(_load(file, setting)).rstrip("\n"))


@terminal.command(
    trial_app,
    DONE,
    USAGE,
    BAD_FILE,
    example="trialveil trial lock trial.yaml --out trial.locked.yaml",
    words=_WORDS,
)
def lock(file: File, out: Out = None, setting: Set = None) -> None:
    """Write one self-contained file with all code sets in it, and its digest.

    A task sends this text. It decides exactly as the original, and a reader notices any change.
    """
    from federated.screening.trial.lock import digest
    from federated.screening.trial.lock import lock as locked

    trial = _load(file, setting)
    text = locked(trial)
    if out is None:
        terminal.out(text.rstrip("\n"))
    else:
        _write(out, text)
    terminal.say(f"digest {digest(trial)}")


@terminal.command(trial_app, DONE, USAGE, example="trialveil trial schema --out trial.schema.json")
def schema(out: Out = None) -> None:
    """Print the JSON Schema of trial files, for editors."""
    from federated.cli.schemas import text as schema_text

    text = schema_text("trial").rstrip("\n")
    if out is None:
        terminal.out(text)
    else:
        _write(out, text + "\n")


@terminal.command(
    valueset_app,
    DONE,
    USAGE,
    BAD_FILE,
    example="trialveil valueset import expansion.json --out valuesets/vegf.json",
    name="import",
)
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="FHIR ValueSet or VSAC export (JSON or CSV).")],
    out: Out = None,
    json: Json = False,
) -> None:
    """Read a published code list and write it in one plain form, with the lines for the trial file.

    Taken are lists that are complete as they stand: an expansion, an enumeration, a VSAC export. A definition by
    filter, or a list that is one page of several, is refused. Nothing is fetched.
    """
    from hashlib import sha256

    from federated.screening.trial.valueset_files import MAX_BYTES, as_json, read_valueset_file

    data = _bytes(file, MAX_BYTES)
    read = read_valueset_file(data)
    text = as_json(read, sha256(data).hexdigest())
    digest = sha256(text.encode()).hexdigest()
    if out is not None:
        _write(out, text, quiet=json)
    if json:
        terminal.out_json(asdict(_import_document(read, digest)))
    elif out is None:
        terminal.out(text.rstrip("\n"))
    left_out = f", {read.left_out} abstract or inactive left out" if read.left_out else ""
    terminal.say(f"{len(read.codes)} codes{left_out}.")
    if out is not None:
        terminal.say(f"In the trial file:  NAME: {{from: {out.as_posix()}, sha256: {digest}}}")


@dataclass(frozen=True, slots=True)
class ImportDocument:
    """What ``trialveil valueset import --json`` prints.

    Args:
        codes, left_out: how many codes were taken, and how many abstract or inactive ones were not.
        systems: short names.
        title, url, version, date: as the publisher gave them.
        sha256: digest of the written form, for the trial file.
    """

    schema: Literal["trialveil/valueset/1"]
    codes: int
    left_out: int
    systems: list[str]
    title: str | None
    url: str | None
    version: str | None
    date: str | None
    sha256: str


def _import_document(read: ValueSetFile, digest: str) -> ImportDocument:
    systems = sorted({code.system for code in read.codes})
    facts = (read.title, read.url, read.version, read.date)
    return ImportDocument("trialveil/valueset/1", len(read.codes), read.left_out, systems, *facts, digest)


def _load(file: Path, settings: list[str] | None) -> Trial:
    from federated.errors import ConfigurationError
    from federated.screening.trial.load import check_trial

    try:
        checked = check_trial(file, overrides=_overrides(settings))
    except OSError as error:
        raise ConfigurationError(f"{file.name}: cannot be read: {error.strerror}.") from None
    trial = checked.require()
    for problem in checked.problems:
        terminal.say(str(problem))
    return trial


def _overrides(settings: list[str] | None) -> dict[str, str]:
    from federated.errors import UsageError

    pairs = [setting.partition("=") for setting in settings or ()]
    if not all(name and equals for name, equals, _ in pairs):
        raise UsageError("--set needs NAME=VALUE")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _checked(file: Path) -> tuple[Problem, ...]:
    from ehr.files.problems import Problem
    from federated.screening.trial.load import check_trial

    try:
        return check_trial(file).problems
    except OSError as error:
        return (Problem(file.name, 1, 0, "TV171", f"the file cannot be read: {error.strerror}."),)


def _bytes(file: Path, limit: int) -> bytes:
    from federated.errors import ConfigurationError

    if not file.is_file():
        raise ConfigurationError(f"{file.name} is not a file")
    with file.open("rb") as stream:
        return stream.read(limit + 1)


def _write(file: Path, text: str, *, quiet: bool = False) -> None:
    from federated.errors import UsageError

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
    except FileExistsError:
        raise UsageError(f"{file.name} exists and is not overwritten; choose another name") from None
    except OSError as error:
        raise UsageError(
            f"{file.name} cannot be written ({type(error).__name__}); choose another place"
        ) from None
    if not quiet:
        terminal.out(f"wrote {file}")
