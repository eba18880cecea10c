"""The page of verdicts: every claim in one table, and then each with its rule, its numbers and its figures.

It stands between two marks of a page, so that what is written by hand around it stays. It is a function of
the rows, of the figures beside the page and of the pages beside the rows alone: equal files, equal page.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from spuriscope.errors import ConfigError
from spuriscope.places import check_place, written
from spuriscope.studies.claims import PAPER_DATA
from spuriscope.studies.evidence import Case
from spuriscope.studies.source import Source
from spuriscope.studies.verdicts import ClaimVerdicts, DataVerdict, Standing, columns

__all__ = ["IN_SHORT", "PAGE", "page_block", "short_block", "write_block", "write_pages"]

PAGE, IN_SHORT = "verdicts", "verdicts in short"  # what stands between the marks
NEW_PAGE = "# The paper's claims, judged\n\n{}\n"
SIGNS: dict[Standing, str] = {"holds": "✓", "fails": "✗", "not enough data": "?", "not run": "–"}
TITLES = {
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "nico": "NICO++",
    "pacs": "PACS",
}
COLUMNS = {"fashion-mnist": "Fashion", "cifar10": "CIFAR"}  # in tables, where it is narrow
KEY = "✓ holds, ✗ fails, ? not enough data, – not run; with the number of seeds"
LEGEND = """\
**✓ holds**: were the sentence wrong, numbers like these would come less than once in twenty times.
**✗ fails**: were it right, likewise. **? not enough data**: neither can be said. **– not run**: there are no
rows. Empty: the sentence is not about these data. The number is that of seeds, trainings with chances of
their own, in the case that has the fewest; fewer than five decide nothing, by rule. *Together* is over the
data sets that the sentence is about: it holds if it holds in each, and fails if it fails in one."""
NUMBERS = """\
An effect is a mean difference over seeds, or a correlation where the rule says so, with its 95 % interval.
*p if wrong* is the probability of such rows or stranger ones, were the sentence wrong; below 0.05 it holds.
*p if right* is that were it right, corrected for the number of cases on these data; below 0.05 it fails.
Both are the larger of a t-test's and a sign test's, as {studies} tells."""
SHEETS = r"(-(target|planted)-\d+)?\.svg"  # what the files of a figure end with
WIDTH = 300  # of a figure on the page, in pixels


def write_pages(
    source: Source, verdicts: Sequence[ClaimVerdicts], out: Path, readme: Path | None = None
) -> None:
    """Write the page of verdicts, and its table in short into another page that is there.

    Raises:
        ConfigError: see `write_block`.
    """
    write_block(out, PAGE, page_block(source, verdicts, out))
    if readme is not None:
        block = short_block(verdicts, _link(out, readme))
        write_block(readme, IN_SHORT, block, "--readme")


def page_block(source: Source, verdicts: Sequence[ClaimVerdicts], at: Path) -> str:
    """What stands on the page.

    Args:
        source: that the claims were judged on.
        verdicts: on it.
        at: the page; rows are linked from there, and figures looked for in its folder `figures`.
    """
    names = columns(verdicts)
    table = [_line(["the paper says", *map(_column, names), "together"]), _line(["---"] * (len(names) + 2))]
    for each in verdicts:
        link = f"[{each.claim.sentence}](#{_anchor(each.claim.name)})"
        table.append(_line([link, *(_sign(each.of(name)) for name in names), SIGNS[each.standing]]))
    parts = ["\n".join(_counts(verdicts, names)), f"{KEY}:", "\n".join(table), LEGEND]
    foreign = [_title(name) for name in names if name not in PAPER_DATA]
    if foreign:
        parts.append(
            f"In italics: {_listed(foreign)}, not the paper's data; they do not count in *together*."
        )
    parts += ["## Claim by claim", NUMBERS.format(studies=_studies(at))]
    parts += [part for each in verdicts for part in _section(source, each, at)]
    return "\n\n".join(parts)


def short_block(verdicts: Sequence[ClaimVerdicts], link: str) -> str:
    """The table in short: the claims by name that were judged on anything.

    Args:
        verdicts: to be shown.
        link: of the page.
    """
    names = columns(verdicts)
    shown = [each for each in verdicts if any(on.standing != "not run" for on in each.on)]
    lines = [_line(["the paper's claims", *map(_column, names)]), _line(["---"] * (len(names) + 1))]
    for each in shown:
        name = f"[{each.claim.name}]({link}#{_anchor(each.claim.name)})"
        lines.append(_line([name, *(_sign(each.of(data)) for data in names)]))
    left = len(verdicts) - len(shown)
    rest = f" {left} more were not run." if left else ""
    return "\n".join([*lines, "", f"{KEY}.{rest} In italics: not the paper's data."])


def write_block(path: Path, kind: str, block: str, option: str = "--out") -> None:
    """Write a block between its marks in a page, whose rest stays; make the page if it is not there.

    Args:
        path: of the page.
        kind: `PAGE` or `IN_SHORT`, what the marks say.
        block: what stands between them.
        option: that named the page.

    Raises:
        ConfigError: the page is there and has no such marks, or it cannot be written.
    """
    check_place(path, option)
    begin, end = f"<!-- {kind} -->", f"<!-- /{kind} -->"
    marked = f"{begin}\n\n{block}\n\n{end}"
    try:
        if path.exists():
            text = path.read_text(encoding="utf-8")
            before, found, rest = text.partition(begin)
            _, closed, after = rest.partition(end)
            if not found or not closed:
                raise ConfigError(
                    f"{path} is there and has no place for the verdicts; put the lines {begin} and {end} "
                    f"where they are to stand, or give another {option}"
                )
            text = f"{before}{marked}{after}"
        else:
            text = NEW_PAGE.format(marked)
        with written(path) as hidden:
            hidden.write_text(text, encoding="utf-8", newline="\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot write {path} ({reason}); give another {option}") from None


def _section(source: Source, each: ClaimVerdicts, at: Path) -> Iterator[str]:
    """A claim: what the paper says and where, the rule, the cases, the figures, the rows."""
    claim = each.claim
    yield f"### {claim.name}"
    yield f"> {claim.sentence} ({claim.place})"
    yield f"Rule, in each case: {' '.join(claim.stated.split())}"
    run = [on for on in each.on if on.standing != "not run"]
    lines = [
        f"Over {_listed([_title(name) for name in each.about])}: **{SIGNS[each.standing]} {each.standing}**."
    ]
    if each.standing != "not run" and len(run) < len(each.on):
        lines.append(f"Not run: {_listed([_title(on.data) for on in each.on if on.standing == 'not run'])}.")
    others = [_title(on.data) for on in run if on.data not in each.about]
    if others:
        lines.append(f"Judged on {_listed(others)} too, which the paper does not speak of here.")
    yield " ".join(lines)
    if not run:
        yield f"`spuriscope study run {claim.study} --data {claim.data[0]}` makes rows for it."
        return
    heads = ["data", "case", "verdict", "effect [95 % interval]", "seeds", "p if wrong", "p if right"]
    table = [_line(heads), _line(["---"] * len(heads))]
    table += [_case(on, case) for on in run for case in on.cases]
    yield "\n".join(table)
    names = dict.fromkeys(each.figure_on(on) for on in run)
    shown = [path for name in names for path in _figures(at.parent / "figures", name)]
    if shown:
        yield "\n".join(_thumbnail(path, at) for path in shown)
    studies = dict.fromkeys(on.study for on in run if on.study is not None)
    files = [path for study in studies if (path := source.folder / f"{study}.csv").is_file()]
    links = [f"[{path.name}]({_link(path, at)})" for path in files]
    pages = [f"[{path.name}]({_link(path, at)})" for path in _pages(files, at)]
    if links:
        yield f"Rows: {', '.join(links)}." + (f" More: {', '.join(pages)}." if pages else "")


def _case(on: DataVerdict, case: Case) -> str:
    """A line of a section's table."""
    labels = case.name.removeprefix(on.data).removeprefix(", ")
    verdict = f"{SIGNS[case.verdict]} {case.verdict}"
    data = _column(on.data)
    labels = labels or "all"
    if case.evidence is None:
        return _line([data, labels, verdict, case.missing, "", "", ""])
    effect, part = case.evidence.effect, case.evidence.part
    told = f"{effect.mean:z.3f} [{effect.low:z.3f}, {effect.high:z.3f}]" + (f", {part}" if part else "")
    return _line([data, labels, verdict, told, str(effect.n), f"{case.p_for:.2g}", f"{case.p_against:.2g}"])


def _counts(verdicts: Sequence[ClaimVerdicts], names: Sequence[str]) -> Iterator[str]:
    """A line for each data set: how many claims hold, fail, are open."""
    for name in names:
        found = [on.standing for each in verdicts if (on := each.of(name)) is not None]
        if set(found) == {"not run"}:
            yield f"- {_in_italics(name, _title(name))}: not run"
            continue
        kinds: tuple[Standing, ...] = ("holds", "fails", "not enough data", "not run")
        holds, fails, open_, left = (found.count(kind) for kind in kinds)
        decided = f"**{_verb(holds, 'holds', 'hold')}, {_verb(fails, 'fails', 'fail')}**"
        rest = f", {left} not run" if left and name in PAPER_DATA else ""
        yield f"- {_in_italics(name, _title(name))}: {decided}, {open_} not enough data{rest}"


def _verb(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


def _figures(folder: Path, name: str) -> list[Path]:
    """The sheets of a figure that were drawn."""
    if not folder.is_dir():
        return []
    pattern = re.compile(re.escape(name) + SHEETS)
    return sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))


def _thumbnail(path: Path, at: Path) -> str:
    link = _link(path, at)
    return f'<a href="{link}"><img src="{link}" width="{WIDTH}" alt="{path.stem}" loading="lazy"></a>'


def _pages(files: Sequence[Path], at: Path) -> list[Path]:
    """The pages beside the rows that speak of them."""
    beside = sorted({page for path in files for page in path.parent.glob("*.md")} - {at})
    return [
        page
        for page in beside
        if page.resolve() != at.resolve()
        and any(f"({path.name})" in page.read_text(encoding="utf-8") for path in files)
    ]


def _sign(on: DataVerdict | None) -> str:
    """A field of the table: the verdict as a sign, and its seeds."""
    if on is None:
        return ""
    sign = SIGNS[on.standing]
    if on.standing == "not run":
        return sign
    return f"**{sign}** {on.n_seeds}" if on.standing in ("holds", "fails") else f"{sign} {on.n_seeds}"


def _link(path: Path, at: Path) -> str:
    return Path(os.path.relpath(path.resolve(), at.parent.resolve())).as_posix()


def _anchor(title: str) -> str:
    """What a link names a heading by, as Python-Markdown and GitHub make it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")


def _studies(at: Path) -> str:
    """Where the rules are told: the page on studies, with a link if this one is beside or below it."""
    for folder in list(at.resolve().parents)[:2]:
        if (folder / "studies.md").is_file():
            return (
                f"[the page on studies]({_link(folder / 'studies.md', at)}#what-is-checked-and-by-which-rule)"
            )
    return "docs/studies.md"


def _title(data: str) -> str:
    return TITLES.get(data, data)


def _column(data: str) -> str:
    return _in_italics(data, COLUMNS.get(data, _title(data)))


def _in_italics(data: str, title: str) -> str:
    """What a data set is called, in italics if it is not the paper's."""
    return title if data in PAPER_DATA else f"*{title}*"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _line(fields: Sequence[str]) -> str:
    return f"| {' | '.join(field.replace('|', chr(92) + '|') for field in fields)} |"
