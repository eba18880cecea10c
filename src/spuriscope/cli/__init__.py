"""The command line: parse, call, print. What a command can do, the library does in one call.

Results go to stdout, with `--json` as one JSON document and nothing else; progress and errors go to
stderr. A command ends with 0, or with 2 and one line that says what was wrong and what to do.
"""

import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from spuriscope.cli.attack import attack
from spuriscope.cli.audit import audit
from spuriscope.cli.data import data_app
from spuriscope.cli.discover import discover
from spuriscope.cli.forget import forget
from spuriscope.cli.gate import Command
from spuriscope.cli.known import models, patterns
from spuriscope.cli.studies import study_app
from spuriscope.cli.theory import theory
from spuriscope.cli.training import score, train
from spuriscope.errors import SpuriscopeError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Plant, measure, find and remove rare spurious correlations in image classifiers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (audit, train, score, discover, attack, forget, theory, patterns, models):
    app.command(cls=Command)(command)
app.add_typer(data_app, name="data")
app.add_typer(study_app, name="study")


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context,
    show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Take the options that stand before the command."""
    if show:
        from spuriscope import __version__

        typer.echo(f"spuriscope {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; every error that a user can act on becomes one line on stderr."""
    try:
        code = app(standalone_mode=False)
    except (SpuriscopeError, TyperException) as error:
        message = error.format_message() if isinstance(error, TyperException) else str(error)
        print(f"spuriscope: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(2)
    except typer.Abort:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone, as in `spuriscope ... | head`
        sys.stderr.close()
        sys.exit(141)
    sys.exit(code if isinstance(code, int) else 0)
