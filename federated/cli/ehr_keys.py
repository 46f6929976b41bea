"""``trialveil ehr keys`` and ``jwks``: make, list and rotate signing keys, and show their public halves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federated.cli import terminal
from federated.cli.exit_codes import ExitCode
from federated.cli.terminal import POD, Config
from federated.errors import UsageError

if TYPE_CHECKING:
    from ehr.auth.keys import KeyRing

keys_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Make, list and rotate signing keys."
)
KeyFolder = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the key ring.")]


def add_to(app: typer.Typer) -> None:
    """Bring ``jwks`` into the group ``ehr``."""
    terminal.command(app, ExitCode.DONE, ExitCode.BAD_FILE, example="trialveil ehr jwks > jwks.json")(jwks)


@terminal.command(
    keys_app, ExitCode.DONE, ExitCode.USAGE, example="trialveil ehr keys new --out keys", name="new"
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


@terminal.command(
    keys_app, ExitCode.DONE, ExitCode.BAD_FILE, example="trialveil ehr keys rotate --out keys", name="rotate"
)
def keys_rotate(
    out: KeyFolder = Path("keys"),
    algorithm: Annotated[str | None, typer.Option(help="Of the new key; default: as the old one.")] = None,
) -> None:
    """Step a key ring on: publish a second key, then sign with it, then retire the old one.

    Three calls make one rotation. After the first host the new JWKS and wait until the EHR has read it (Epic: up to
    12 hours). After the second both keys are still known, for programs that run; then the third removes the old one.
    """
    from ehr.auth.keys import rotate_ring

    ring = rotate_ring(out, None if algorithm is None else _algorithm(algorithm))
    _list_keys(ring)
    if len(ring.keys) == 1:
        terminal.say("The old key is gone. Host the new JWKS; the EHR may forget the old key.")
    elif ring.retires:
        terminal.say(
            "Next: when no program that signed with the old key runs any more, rotate again to remove it."
        )
    else:
        terminal.say(
            "Next: host the new JWKS; when the EHR has read it, rotate again to sign with the new key."
        )


@terminal.command(
    keys_app,
    ExitCode.DONE,
    ExitCode.USAGE,
    example="trialveil ehr keys store --out ~/.config/trialveil/login.key",
    name="store",
)
def keys_store(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the key goes; not yet there.")],
) -> None:
    """Make the key of a store of logins; only its owner can read it.

    Keep it in another folder than the store, and out of the store's backups: who has both has the login.
    """
    from ehr.connect.store_key import new_store_key

    try:
        new_store_key(out)
    except FileExistsError:
        raise UsageError("--out: there is such a file already; nothing was changed.") from None
    except OSError as error:
        raise UsageError(f"--out: the file cannot be written ({type(error).__name__}).") from None
    terminal.out(f"{out}: a key for auth.browser.store.key")


@terminal.command(
    keys_app, ExitCode.DONE, ExitCode.BAD_FILE, example="trialveil ehr keys list --out keys", name="list"
)
def keys_list(out: KeyFolder = Path("keys")) -> None:
    """List the live keys of a ring: which one signs, which one is published beside it."""
    from ehr.auth.keys import read_ring

    _list_keys(read_ring(out))


def _list_keys(ring: KeyRing) -> None:
    second = "retires next" if ring.retires else "published, signs next"
    rows = [(key.kid, key.algorithm, "signs" if key is ring.signing else second) for key in ring.keys]
    terminal.out_table(("kid", "Algorithm", "State"), rows)


def _algorithm(word: str) -> Any:
    if word.upper() not in ("ES384", "RS384"):
        raise UsageError("--algorithm is not one of ES384, RS384.")
    return word.upper()


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
    from ehr.files.pod_file import read_site_file

    if keys is None:
        auth = read_site_file(config).ehr.auth
        named = auth.backend.keys if auth.backend is not None else auth.browser and auth.browser.keys
        if not named:
            raise ConfigurationError("the pod file's login has no keys. Give --keys DIR.")
        keys = config.parent / named
    terminal.out_json(read_ring(keys).jwks())
