"""What the site adds to the pages: the command reference, the list of the Python API, formulas as MathML.

Formulas are drawn by the browser itself, so that the site needs no script and no font from elsewhere; a page
that would load one is an error.
"""

import ast
import html
import re
from pathlib import Path
from typing import Any

COMMANDS, API = "<!-- commands -->", "<!-- api -->"
REMOTE = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//[^>]*>""")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)
SOURCE = Path(__file__).resolve().parents[2] / "src" / "spuriscope"
ROOMS = {  # of the API, in the order of a reader
    "auditing": "The audit",
    "answers": "The audit",
    "data": "Data",
    "data.contexts": "Data",
    "patterns": "Patterns",
    "planting": "Planting",
    "models": "Models and training",
    "training": "Models and training",
    "runs": "Models and training",
    "measures": "Measures",
    "adequacy": "Measures",
    "added_measures": "Measures",
    "pixel_measures": "Measures",
    "placement_measures": "Measures",
    "discovery": "The search",
    "contexts": "Natural contexts",
    "membership": "Membership",
    "deletion": "Deletion",
    "adapters": "Your own models",
    "theory": "Theory",
    "errors": "Errors",
}
SHIM, OWN_SHIM = re.compile(r"https://[^\s\"']+/iframe-worker/shim"), "site/iframe-worker.js"
PIPE = "\\|"  # a bar inside a cell
VALUES = {"ATTACKS", "METHODS", "PATTERN_NAMES", "COVER_NAMES", "SHADE_NAMES"}  # told where they are used


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the generated references in their places."""
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, command_reference())
    return markdown.replace(API, api_reference()) if API in markdown else markdown


def on_page_content(content: str, **_: Any) -> str:
    """Turn formulas into MathML."""
    return FORMULA.sub(_math, content)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Take the theme's helper of the search from here, and refuse what would be loaded from elsewhere."""
    output = SHIM.sub("../" * page.url.count("/") + OWN_SHIM, output)
    found = [tag for tag in REMOTE.findall(output) if 'rel="canonical"' not in tag]
    if found:
        raise SystemExit(f"{page.file.src_path} loads something from elsewhere: {found[0]}")
    return output


def on_post_template(output_content: str, **_: Any) -> str:
    """The same for the page that is shown where there is none."""
    return SHIM.sub(f"/{OWN_SHIM}", output_content)


def _math(found: re.Match[str]) -> str:
    from latex2mathml.converter import convert

    return str(convert(html.unescape(found[2]).strip(), display="block" if found[1] == "div" else "inline"))


def public_names() -> dict[str, list[str]]:
    """The public names by the room of the house that has them, read from the list of them."""
    found: dict[str, list[str]] = {}
    for node in ast.parse((SOURCE / "__init__.pyi").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            found.setdefault(str(node.module), []).extend(name.name for name in node.names)
    return found


def api_reference() -> str:
    """A heading for each room, and what is public in it."""
    names = public_names()
    parts: list[str] = []
    for room, title in ROOMS.items():
        if f"## {title}" not in parts:
            parts.append(f"## {title}")
        shown = [name for name in sorted(names.pop(room, [])) if name not in VALUES]
        parts += [f"::: spuriscope.{room}.{name}" for name in shown]
    if names:
        raise SystemExit(f"the API reference has no place for {names}")
    return "\n\n".join(parts)


def command_reference() -> str:
    """Every command: what it does, an example, its arguments and options."""
    import typer

    from spuriscope.cli import app

    return "\n\n".join(_commands(typer.main.get_command(app), "spuriscope"))


def _commands(command: Any, name: str) -> list[str]:
    inner = getattr(command, "commands", None)
    if inner is not None:
        own = [] if name == "spuriscope" else [f"## {name}", str(command.help)]
        return own + [part for key, each in inner.items() for part in _commands(each, f"{name} {key}")]
    about, _, example = str(command.help).partition("Example: ")
    arguments = " ".join(_name(each) for each in command.params if _is_argument(each))
    parts = [f"## {name}", about.strip(), f"```sh\n{name} {arguments} [OPTIONS]\n{example.strip()}\n```"]
    rows = ["| argument or option | what it does | by default |", "| --- | --- | --- |"]
    parts.append("\n".join([*rows, *map(_row, command.params)]))
    return parts


def _row(parameter: Any) -> str:
    """A line of a table: what it is called, what it does, its default."""
    cells = [f"`{_name(parameter)}`", str(parameter.help or ""), _default(parameter)]
    return f"| {' | '.join(cell.replace('|', PIPE) for cell in cells)} |"


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _name(parameter: Any) -> str:
    if _is_argument(parameter):
        return str(parameter.metavar or parameter.name.upper())
    return ", ".join([*parameter.opts, *parameter.secondary_opts])


def _default(parameter: Any) -> str:
    default = parameter.default
    is_told = _is_argument(parameter) or callable(default) or default in (None, False, (), [])
    return "" if is_told else f"`{default}`"
