"""The gate of the command line: plugins are imported; numbers, paths and names are checked."""

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from spuriscope.checks import LARGEST_SEED, check_number, check_path, check_whole
from spuriscope.cli.names import check_names
from spuriscope.errors import ConfigError

__all__ = ["Command"]

RENAMED = {  # options of version 0.1 by command, and their new names
    ("audit", "--patterns"): "--pattern",
    ("audit", "--counts"): "--planted",
    ("attack", "--clean"): "--twins",
    ("discover", "--patterns"): "--save-patterns",
    ("check", "--data"): "--judge-on",
}


class Command(TyperCommand):
    """A command that takes plugins and old spellings, and checks its numbers and paths before it runs.

    Whole numbers are counts, positions of classes, pixels and seeds, so none may be negative. A number with
    its own range is checked where it is used. All are checked here, used or not.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(_plugin_option())

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse, and refuse an empty value, such as an empty shell variable gives."""
        for before, given in pairwise(["", *args]):
            if given == "" or (given.startswith("--") and given.endswith("=")):
                option = before if given == "" else given[:-1]
                what = option if option.startswith("-") else "an argument"
                raise ConfigError(f"{what} is empty; give a value, or leave it out")
        return super().parse_args(ctx, [self._as_called_now(given) for given in args])

    def _as_called_now(self, given: str) -> str:
        """An argument in today's spelling; an old one is accepted with a warning, for one version."""
        option, equals, value = given.partition("=")
        now = RENAMED.get((str(self.name), option))
        if now is None:
            return given
        typer.echo(f"spuriscope: {option} is called {now} now; the next version drops the old name", err=True)
        return f"{now}{equals}{value}"

    def invoke(self, ctx: Any) -> Any:
        """Check, and run."""
        for parameter in self.params:
            given = ctx.params.get(str(parameter.name))
            for value in given if isinstance(given, list | tuple) else [given]:
                name = parameter.opts[0]
                if isinstance(value, float):
                    check_number(name, value)
                elif isinstance(value, Path):
                    check_path(name, value)
                elif isinstance(value, int) and not isinstance(value, bool):
                    check_whole(name, value, most=LARGEST_SEED)
        check_names(str(self.name), ctx.params)
        return super().invoke(ctx)


def _load(modules: list[str] | None) -> None:
    from spuriscope.registry import load_plugin

    for module in modules or ():
        load_plugin(module)


def _takes_plugins(
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE",
            help="Import a module that adds architectures, methods and so on; may be repeated.",
            callback=_load,
            is_eager=True,
            expose_value=False,
        ),
    ] = None,
) -> None:
    """Never called: typer makes from it the option that every command has."""


@cache
def _plugin_option() -> Any:
    app = typer.Typer(add_completion=False)
    app.command()(_takes_plugins)
    return typer.main.get_command(app).params[0]
