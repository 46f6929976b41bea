"""``trialveil task``: make, check and run a task over hospitals' pods."""

from __future__ import annotations

import typer

from federated.cli.task_files import register as add_files
from federated.cli.task_run import register as add_runs

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
add_files(app)
add_runs(app)
