"""The gate of the command line: no command begins with a number or a path that is none."""

from itertools import pairwise
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from spuriscope.checks import LARGEST_SEED, check_number, check_path, check_whole
from spuriscope.errors import ConfigError

__all__ = ["Command"]


class Command(TyperCommand):
    """A command whose numbers and paths are checked before it runs, whether they are used or not.

    Whole numbers are counts, positions of classes, pixels and seeds: none is negative. Where a number has a
    range of its own, what it is handed to says so.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse, and refuse an empty value, as an empty variable of a shell makes it."""
        for before, given in pairwise(["", *args]):
            if given == "" or (given.startswith("--") and given.endswith("=")):
                option = before if given == "" else given[:-1]
                what = option if option.startswith("-") else "an argument"
                raise ConfigError(f"{what} is empty; give a value, or leave it out")
        return super().parse_args(ctx, args)

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
        return super().invoke(ctx)
