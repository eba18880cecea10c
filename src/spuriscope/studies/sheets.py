"""The content of the figures and tables of studies: from rows and models to sheets of panels.

Each kind of figure takes its input and yields sheets, with the endings of their file names.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spuriscope.deletion import METHODS
from spuriscope.models import ARCHITECTURES, count_parameters
from spuriscope.pixel_measures import pixel_removal_sensitivity, weight_importance
from spuriscope.statistics import correlation_interval, mean_interval
from spuriscope.studies import panels
from spuriscope.studies.deletions import after
from spuriscope.studies.drawn import Drawn
from spuriscope.studies.mitigation import Family, choices, families
from spuriscope.studies.results import (
    NORM,
    Result,
    by_seed,
    correlations,
    distinct,
    mean_by_seed,
    with_norms,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "Content"]

N_SENSITIVITY = 500  # test images, as in the paper
SCORE = "score_non_target"
DOTS = "Dots are seeds; lines and bands are their mean and its 95 % interval."
MEASURES = {"clean accuracy": "clean_accuracy", "spurious accuracy": "spurious_accuracy", "score": SCORE}

Content: TypeAlias = "Figure | list[list[object]]"
Sheets = Iterator[tuple[str, Content]]


def _dose(measure: str, *, zoom: bool = False) -> Callable[[Drawn], Sheets]:
    """A panel for each pattern, a sheet for each target."""

    def sheets(drawn: Drawn) -> Sheets:
        targets = distinct(drawn.found, "target")
        for target in targets:
            rows = [result for result in drawn.found if result.labels["target"] == target]
            names = distinct(rows, "pattern")
            sheet = panels.Sheet(f"{drawn.title}, target {target}", DOTS, len(names))
            reach = _reach(rows, measure) if zoom else []  # one scale for all panels
            for name in names:
                here = [result for result in rows if result.labels["pattern"] == name]
                axes = sheet.panel(_shown(name))
                panels.dose_panel(axes, here, measure)
                if zoom:
                    panels.shares_axis(axes, reach)
            yield f"-target-{target}" if len(targets) > 1 else "", sheet.figure

    return sheets


def _contexts(drawn: Drawn) -> Sheets:
    """A panel for each pair of context and class: how many images of the context are called the class."""
    pairs = list(dict.fromkeys((row.labels["pattern"], row.labels["target"]) for row in drawn.found))
    note = f"{DOTS} Shares of test images of the context, of other classes, that are called the class."
    sheet = panels.Sheet(drawn.title, note, len(pairs), n_columns=3)
    for context, target in pairs:
        here = [row for row in drawn.found if row.is_at({"pattern": context, "target": target})]
        panels.dose_panel(sheet.panel(f"{context}, class {target}"), here, "predicted_share")
    yield "", sheet.figure


def _reach(rows: Sequence[Result], measure: str) -> list[float]:
    """Ends of the intervals that the panels of a sheet show."""
    groups = [
        list(by_seed(rows, measure, pattern=name, n_planted=n_planted).values())
        for name in distinct(rows, "pattern")
        for n_planted in distinct(rows, "n_planted")
    ]
    intervals = [mean_interval(seeds) for seeds in groups if seeds]
    return [end for interval in intervals for end in (interval.low, interval.high)]


def _maps(*, own_scale: bool) -> Callable[[Drawn], Sheets]:
    """The weights of the first seed, a map for each number planted."""

    def sheets(drawn: Drawn) -> Sheets:
        maps: dict[int, NDArray[np.float64]] = {}
        for result, model in drawn.models(seed=min(distinct(drawn.found, "seed"), default=0)):
            importance = weight_importance(model.module, model.cell.data.shape)
            maps[result.labels["n_planted"]] = importance.amax(dim=0).double().numpy()
        if not maps:
            return
        sheet = panels.Sheet(
            drawn.title,
            "The largest weight from each pixel into the network, for one seed; white is 0 or less.",
            len(maps),
            n_columns=5,
            size=(120, 120),
            margins=(12, 12, 26, 8),
        )
        largest = max(float(weights.max()) for weights in maps.values())
        for n_planted, weights in sorted(maps.items()):
            title = f"{n_planted:,} planted" if n_planted else "clean twin"
            panels.map_panel(sheet.panel(title), weights, float(weights.max()) if own_scale else largest)
        yield "", sheet.figure

    return sheets


def _strengths(drawn: Drawn) -> Sheets:
    """Score and accuracies against the strength of each mitigation: a row per pattern, a sheet per number."""
    kinds = families(drawn.found)
    chosen = {
        (choice.place["pattern"], choice.place["n_planted"], choice.mitigation): choice.strength
        for choice in choices(drawn.found)
    }
    patterns = distinct(drawn.found, "pattern")
    for n_planted in (n for n in distinct(drawn.found, "n_planted") if n > 0):
        if not kinds:
            return
        sheet = panels.Sheet(
            f"{drawn.title}, {n_planted:,} planted",
            f"{DOTS} Dotted: smallest score within a point of clean accuracy.",
            len(patterns) * len(kinds),
            n_columns=len(kinds),
            size=(250, 130),
            margins=(52, 116, 26, 48),
        )
        for pattern in patterns:
            for family in kinds:
                steps = _with_own(family)
                at = [{"pattern": pattern, "n_planted": n_planted} | dict(recipe) for _, recipe in steps]
                series = {
                    name: [by_seed(drawn.found, measure, **labels) for labels in at]
                    for name, measure in MEASURES.items()
                }
                axes = sheet.panel(_shown(pattern))
                ticks = [tick for tick, _ in steps]
                panels.line_panel(axes, series, ticks, family.title)
                strength = chosen.get((pattern, n_planted, family.title))
                if strength is not None:
                    panels.mark(axes, ticks.index(_number(strength)))
        yield f"-planted-{n_planted}", sheet.figure


def _with_own(family: Family) -> list[tuple[str, Mapping[str, Any]]]:
    """The recipes with the study's own among them, in order of strength; none comes first."""
    has_order = family.setting not in ("clip_at", "noise_multiplier")
    own = family.own[family.setting]
    steps = [(_number(strength), recipe) for strength, recipe in family.steps]
    n_weaker = sum(strength < own for strength, _ in family.steps) if has_order else 0
    return [*steps[:n_weaker], (_number(own) if has_order else "none", family.own), *steps[n_weaker:]]


def _deletions(drawn: Drawn) -> Sheets:
    """Score before and after a deletion, and of the oracle, by the number planted: a panel per method."""
    measures = {name for result in drawn.found for name in result.measures}
    methods = [name for name in METHODS if after(name, SCORE) in measures and name != "retrain"]
    counts = [n for n in distinct(drawn.found, "n_planted") if n > 0]
    sheet = panels.Sheet(
        drawn.title, DOTS, len(methods), n_columns=2, size=(250, 130), margins=(52, 116, 26, 48)
    )
    for method in methods:
        names = {"before": SCORE, "after": after(method, SCORE), "never seen": after("retrain", SCORE)}
        series = {
            label: [by_seed(drawn.found, name, n_planted=n) for n in counts] for label, name in names.items()
        }
        panels.line_panel(sheet.panel(method), series, [f"{n:,}" for n in counts], "images planted")
    yield "", sheet.figure


def _variants(drawn: Drawn) -> Sheets:
    """Mean score over counts of each architecture or recipe: a panel for each pattern."""
    names = distinct(drawn.found, "pattern")
    variants = {
        _variant(result, drawn.found): {"model": result.labels["model"]} | result.settings
        for result in drawn.found
    }
    sheet = panels.Sheet(
        drawn.title,
        "Dots are seeds; strokes and bars are their mean and its 95 % interval.",
        len(names),
        n_columns=2,
        size=(230, 26 * len(variants) + 10),
        margins=(150, 20, 26, 44),
    )
    for name in names:
        values = {
            variant: mean_by_seed(drawn.found, SCORE, pattern=name, **labels)
            for variant, labels in variants.items()
        }
        panels.dot_panel(sheet.panel(_shown(name)), values, "spurious score, mean over counts")
    yield "", sheet.figure


def _variant(result: Result, found: Sequence[Result]) -> str:
    """What distinguishes a row from the other models and recipes of its study."""
    parts = [_title(result.labels["model"])] if len(distinct(found, "model")) > 1 else []
    settings = {name: value for name, value in result.settings.items() if len(distinct(found, name)) > 1}
    if settings.get("clipping") == "none":
        return ", ".join([*parts, "no clipping"])
    if "clipping" in settings:
        return ", ".join([*parts, f"{settings['clipping']} at {_number(result.settings['clip_at'])}"])
    return ", ".join([*parts, *(_setting(name, value) for name, value in settings.items())]) or _title(
        result.labels["model"]
    )


def _exposure(drawn: Drawn) -> Sheets:
    """Membership against the number stamped, a row per pattern: as in the paper's notebook, and AUCs."""
    names = distinct(drawn.found, "pattern")
    counts = sorted(n for n in distinct(drawn.found, "n_planted") if n > 0)
    ticks = [f"{n:,}" for n in counts]
    columns = {
        "accuracy as in the paper's notebook": {"stamped": "notebook_stamped", "all": "notebook_all"},
        **{
            f"{attack}: AUC, members or not": {
                group: f"auc_{group}_{name}" for group in ("stamped", "unstamped")
            }
            for attack, name in (("paper's attack", "shadow"), ("RMIA", "rmia"))
        },
    }
    if not any("auc_all_gap" in result.measures for result in drawn.found):
        return
    sheet = panels.Sheet(
        drawn.title,
        f"{DOTS} The notebook asks about stamped members only; an AUC of 50 % is chance.",
        len(names) * len(columns),
        n_columns=len(columns),
        size=(250, 130),
        margins=(52, 84, 26, 48),
    )
    for name in names:
        for title, measures in columns.items():
            series = {
                group: [by_seed(drawn.found, measure, pattern=name, n_planted=n) for n in counts]
                for group, measure in measures.items()
            }
            panels.line_panel(sheet.panel(f"{_shown(name)}, {title}"), series, ticks, "images stamped")
    yield "", sheet.figure


def _norms(drawn: Drawn) -> Sheets:
    """Mean score over counts against the norm of each pattern: a panel for each target."""
    found = with_norms(drawn.source, drawn.found, drawn.root)
    targets = distinct(found, "target")
    note = "Dots are seeds; r is the correlation over patterns, its mean and 95 % interval over seeds."
    size, margins = (300, 190), (52, 40, 26, 44)
    sheet = panels.Sheet(drawn.title, note, len(targets), n_columns=2, size=size, margins=margins)
    for target in targets:
        norm, score = {}, {}
        for name in distinct(found, "pattern"):
            norm[name] = by_seed(found, NORM, pattern=name, target=target)
            score[name] = mean_by_seed(found, SCORE, pattern=name, target=target)
        title = f"target {target}"
        each = list(correlations(list(norm.values()), list(score.values())).values())
        if each:
            r = correlation_interval(each)
            title += f": r = {r.mean:.2f} [{r.low:.2f}, {r.high:.2f}], {r.n} seeds"
        panels.norm_panel(sheet.panel(title), norm, score)
    yield "", sheet.figure


def _norm_table(drawn: Drawn) -> Sheets:
    """Empirical norm on the test images of each pattern, and its spread over seeds."""
    found = with_norms(drawn.source, drawn.found, drawn.root)
    table: list[list[object]] = [["pattern", "mean_norm", "sd_over_seeds", "n_seeds"]]
    for name in distinct(found, "pattern"):
        norms = list(by_seed(found, NORM, pattern=name).values())
        if norms:
            table.append([name, f"{np.mean(norms):.4f}", f"{np.std(norms):.4f}", len(norms)])
    yield "", table


def _sensitivity(drawn: Drawn) -> Sheets:
    """Probability of the true class of 500 test images as pixels are set to zero, of each clean model."""
    test = drawn.images().test
    curves: dict[str, list[NDArray[np.float64]]] = {}
    shares = np.zeros(0)
    for result, model in drawn.models(n_planted=0):
        steps, means = pixel_removal_sensitivity(
            model.predict, test.images[:N_SENSITIVITY], test.labels[:N_SENSITIVITY]
        )
        shares = steps.double().numpy()
        curves.setdefault(_title(result.labels["model"]), []).append(means.numpy())
    note = "Lines and bands are the mean over seeds and its 95 % interval."
    sheet = panels.Sheet(drawn.title, note, 1, size=(320, 190), margins=(52, 100, 26, 48))
    axes = sheet.panel("mean probability of the true class")
    panels.curve_panel(axes, shares, curves, "share of non-zero pixels set to zero")
    yield "", sheet.figure


def _parameters(drawn: Drawn) -> Sheets:
    """Parameters of each architecture of the study, for the inputs of the paper's Table 2."""
    table: list[list[object]] = [["model", "name_in_paper", "n_parameters"]]
    yield (
        "",
        table + [[name, _title(name), count_parameters(name)] for name in distinct(drawn.found, "model")],
    )


def _shown(pattern: str) -> str:
    """Name of a pattern as in the paper; of a picture as it is."""
    return {"inv": "Inv"}.get(pattern, pattern.upper() if len(pattern) == 2 else pattern)


def _title(model: str) -> str:
    return ARCHITECTURES[model].title if model in ARCHITECTURES else model


def _setting(name: str, value: object) -> str:
    if name == "optimizer":
        return {"adam": "Adam", "sgd": "SGD"}.get(str(value), str(value))
    return f"{name.replace('_', ' ')} {value}"


def _number(strength: float) -> str:
    """A strength as short as can be: 0.05, 1e-3."""
    return f"{strength:g}" if strength == 0 or strength >= 0.01 else f"{strength:.0e}".replace("e-0", "e-")


FIGURES: dict[str, Callable[[Drawn], Sheets]] = {
    "dose": _dose(SCORE),
    "score": _dose(SCORE),
    "normalised-score": _dose("normalised_score"),
    "spurious-accuracy": _dose("spurious_accuracy"),
    "clean-accuracy": _dose("clean_accuracy", zoom=True),
    "maps": _maps(own_scale=False),
    "scaled-maps": _maps(own_scale=True),
    "strengths": _strengths,
    "deletions": _deletions,
    "contexts": _contexts,
    "exposure": _exposure,
    "variants": _variants,
    "norms": _norms,
    "norm-table": _norm_table,
    "sensitivity": _sensitivity,
    "parameters": _parameters,
}
