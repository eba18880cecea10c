"""The command line: parse, call, print. What a command can do, the library does in one call.

Results go to stdout, with `--json` as one JSON document and nothing else; progress and errors go to stderr. A
command ends with 0, or with 2 and one line that says what was wrong and what to do. One that is stopped by
Ctrl-C ends with 130, by SIGTERM with 143, and one whose output is no longer read with 141.
"""

from typing import TYPE_CHECKING, Any

from spuriscope.cli.stopping import quiet_until_ready

if TYPE_CHECKING:
    from spuriscope.cli.commands import app as app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; every error that a user can act on becomes one line on stderr."""
    with quiet_until_ready():
        from spuriscope.cli.commands import run
    run()


def __getattr__(name: str) -> Any:
    """The commands, which are imported when first asked for."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from spuriscope.cli.commands import app

    return app
