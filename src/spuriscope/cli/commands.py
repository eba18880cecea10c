"""All commands, and how their errors are reported."""

import errno
import os
import sys
from contextlib import suppress
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from spuriscope.cli.attack import attack
from spuriscope.cli.audit import audit
from spuriscope.cli.data import data_app
from spuriscope.cli.discover import discover
from spuriscope.cli.forget import forget
from spuriscope.cli.gate import Command
from spuriscope.cli.known import models, patterns
from spuriscope.cli.stopping import INTERRUPTED, PIPE_CLOSED, stoppable
from spuriscope.cli.studies import study_app
from spuriscope.cli.theory import theory
from spuriscope.cli.training import score, train
from spuriscope.errors import SpuriscopeError

__all__ = ["app", "run"]

PLACES_FAIL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)

app = typer.Typer(
    help="Plant, measure, find and remove rare spurious correlations in image classifiers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich takes as long to import as everything else
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
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


def run() -> None:
    """Run the requested command, and exit with its code."""
    try:
        with stoppable():
            code = app(standalone_mode=False)
            if code == INTERRUPTED:  # typer has caught Ctrl-C
                raise KeyboardInterrupt
            sys.stdout.flush()
    except (SpuriscopeError, TyperException) as error:
        message = error.format_message() if isinstance(error, TyperException) else str(error)
        _refuse(message)
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):  # which typer turns into this
            raise
        _stop_printing()
    except BrokenPipeError:
        _stop_printing()
    except OSError as error:
        if error.errno not in PLACES_FAIL:
            raise
        _refuse(
            f"cannot write {error.filename or 'a file'} ({error.strerror}); make room, and repeat the command"
        )
    sys.exit(code if isinstance(code, int) else 0)


def _refuse(message: str) -> NoReturn:
    print(f"spuriscope: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def _stop_printing() -> NoReturn:
    """Exit because the reader of our output has gone, as in `spuriscope ... | head`, and print no more."""
    with suppress(OSError):  # else the interpreter would write the rest when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(PIPE_CLOSED)
