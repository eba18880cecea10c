"""The tables of docs/results/discovery.md, from the rows of discovery.py."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from statistics import mean, median
from typing import Any

from spuriscope.membership.evaluation import rate

Row = dict[str, Any]
Value = Callable[[Row], list[float | None]]  # one value per kind of noise

LEARNT = 0.05  # least rise of the score over the clean twin for a cue to count as learnt
LEARNT_OF_PHOTOGRAPHS = 0.15  # the same where patterns also move clean models much


def show(rows: Sequence[Row]) -> None:
    """Print every table for which there are rows."""
    for part, table in (
        ("trace", trace_tables),
        ("photographs", trace_tables),
        ("relabelled", trace_tables),
        ("clean", clean_table),
        ("unseen", clean_table),
        ("marks", marks_tables),
        ("peers", peers_table),
        ("early", early_table),
        ("probe", probe_tables),
    ):
        of_part = [row for row in rows if row["part"] == part]
        if of_part:
            on = of_part[0]["environment"]
            print(f"\n{on['processor']}, {on['n_cores']} cores, torch {on['torch']}; {len(of_part)} rows")
            table(of_part)


def trace_tables(rows: Sequence[Row]) -> None:
    """By data and number planted, then by pattern. Seconds are medians."""
    for name, keys in (
        ("number planted", ("data", "n_planted")),
        ("pattern", ("data", "pattern", "n_planted")),
    ):
        print(f"\n## Found, by {name}\n")
        header = "cells | learnt | of these found | precision | recall | cosine | not learnt, found | seconds"
        line(*keys, *header.split(" | "))
        rule(len(keys) + 8)
        for place, group in grouped(rows, keys):
            learnt = [row for row in group if is_learnt(row)]
            others = [row for row in group if not is_learnt(row)]
            line(
                *place,
                len(group),
                len(learnt),
                sum(row["recall"] > 0 for row in learnt),
                average(row["precision"] or 0 for row in learnt),
                average(row["recall"] for row in learnt),
                average(row["cosine"] for row in learnt if row["cosine"] is not None),
                f"{sum(row['recall'] > 0 for row in others)} of {len(others)}",
                f"{median(row['seconds'] for row in group):.0f}",
            )


def clean_table(rows: Sequence[Row]) -> None:
    """How often something is found where there is nothing: in clean models, or with marks they never saw."""
    print("\n## Clean models\n" if rows[0]["part"] == "clean" else "\n## Marks that the model never saw\n")
    line("data", "training images", "models", "with a finding", "share (95 %)", "seconds")
    rule(6)
    for place, group in grouped(rows, ("data", "n_train")):
        n_alarms = sum(row["n_findings"] > 0 for row in group)
        found = rate(n_alarms, len(group))
        share = f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
        line(*place, len(group), n_alarms, share, f"{median(row['seconds'] for row in group):.0f}")


def marks_tables(rows: Sequence[Row]) -> None:
    """Without any model: how often natural marks have a small p-value, and whether planted ones stand out.

    A cue stands out where some suspect has a p-value of at most .05 and at least half of its images carry it;
    it is named in full where these are nine tenths of its carriers.
    """
    natural = [row for row in rows if row["pattern"] == "nothing"]
    print("\n## Natural marks: share of p-values\n")
    line("look", "marks", "at most .05", "at most .01")
    rule(4)
    for look in sorted({look for row in natural for look in row["looks"]}):
        p = [each["p"] for row in natural for each in row["looks"].get(look, ())]
        line(look, len(p), *(average((one <= bound for one in p), "{:.3f}") for bound in (0.05, 0.01)))
    print("\n## Planted marks that stand out, of classes; named in full\n")
    names = list(dict.fromkeys(row["data"] for row in rows))
    line("cue", *names)
    rule(1 + len(names))
    for (cue,), group in grouped([row for row in rows if row["pattern"] != "nothing"], ("pattern",)):
        of_data = ([row for row in group if row["data"] == name] for name in names)
        line(cue, *(stand_out(of) if of else "-" for of in of_data))


def stand_out(rows: Sequence[Row]) -> str:
    """In how many classes a cue stands out, and is named in full."""
    hits = [
        max(
            (
                each["n_planted"]
                for found in row["looks"].values()
                for each in found
                if each["p"] <= 0.05 and 2 * each["n_planted"] >= each["n"]
            ),
            default=0,
        )
        for row in rows
    ]
    full = sum(hit >= 0.9 * row["n_planted"] for hit, row in zip(hits, rows, strict=True))
    return f"{sum(hit > 0 for hit in hits)} of {len(rows)}; {full}"


def peers_table(rows: Sequence[Row]) -> None:
    """Other methods where the cue was learnt."""
    print("\n## Other methods, told the class, where the cue was learnt\n")
    line(
        "data", "n_train", "n_planted", "cells", "clustering: precision", "recall",
        "SCAn: precision", "recall", "spectral signatures, n first", "outliers, n first",
        "Neural Cleanse: the class", "others",
    )  # fmt: skip
    rule(12)
    names = (
        "clustering_precision", "clustering_recall", "scan_precision", "scan_recall", "spectral", "outliers",
        "cleanse", "cleanse_others",
    )  # fmt: skip
    for place, group in grouped([row for row in rows if is_learnt(row)], ("data", "n_train", "n_planted")):
        line(*place, len(group), *(average(row[name] for row in group if name in row) for name in names))


def early_table(rows: Sequence[Row]) -> None:
    """Rank of planted images by their loss after the first epochs; 1: above all others of their class."""
    print("\n## AUC of a high loss after early epochs\n")
    line("data", "pattern", "n_planted", "cells", "rise of the score", "first epoch", "second")
    rule(7)
    for place, group in grouped(rows, ("data", "pattern", "n_planted")):
        rise = average(row["score"] - row["twin_score"] for row in group)
        line(*place, len(group), rise, *(average(row["early"][k] for row in group) for k in (0, 1)))


def probe_tables(rows: Sequence[Row]) -> None:
    """Areas of each way, and the ranks of the noise."""
    print("\n## Probe: what the models learnt, and the first look's AUC\n")
    line("noise in", "seeds", "predicted as the class: noisy", "clean", "AUC of the first look")
    rule(5)
    pca = [row for row in rows if row["embedding"] == "pca"]
    for (case,), group in grouped(pca, ("case",)):
        sides = [
            kinds([[kind[side] for kind in row["learnt"]] for row in group]) for side in ("noisy", "clean")
        ]
        line(case, len(group), *sides, kinds([row["first_look"] for row in group]))
    hows = "hdbscan", "k-means"
    of_way: dict[str, tuple[str, Value]] = {}
    for how in hows:
        of_way[f"latents, {how}"] = f"latents {how}", lambda way: way["auc_share"]
    for how in hows:
        of_way[f"residual, {how}"] = f"residual {how}", lambda way: way["auc_share"]
    for how in hows:
        of_way[f"residual, {how}, contrast"] = f"residual {how}", lambda way: way["auc_contrast"]
    probe_table("AUC", of_way, rows)
    for name, title in (
        ("rank", "rank of the first cluster of the noise"),
        ("recall", "its share of the noise"),
    ):
        of_way = {}
        for by in ("density", "contrast"):
            for look_at in ("latents", "residual") if by == "density" else ("residual",):
                for how in hows:
                    value = partial(firsts, by=by, name=name)
                    of_way[f"{look_at}, {how}, {by}"] = f"{look_at} {how}", value
        probe_table(title, of_way, rows)


def probe_table(title: str, of_way: Mapping[str, tuple[str, Value]], rows: Sequence[Row]) -> None:
    """One number for each way to look, cluster and rank."""
    print(f"\n## Probe: {title}; mean over seeds (worst), for each kind of noise\n")
    line("noise in", "embedding", "seeds", *of_way)
    rule(3 + len(of_way))
    for place, group in grouped(rows, ("case", "embedding")):
        line(
            *place,
            len(group),
            *(kinds([of(row["ways"][way]) for row in group]) for way, of in of_way.values()),
        )


def firsts(way: Row, by: str, name: str) -> list[float | None]:
    """A value of the first cluster that is mostly noise, for each kind of noise."""
    return [first[name] for first in way["firsts"][by]]


def is_learnt(row: Row) -> bool:
    """Whether the cue moved the model more than its clean twin."""
    is_photographs = row.get("part") == "photographs" or "cleanse" in row
    least = LEARNT_OF_PHOTOGRAPHS if is_photographs else LEARNT
    return bool(row["score"] - row["twin_score"] >= least)


def grouped(rows: Sequence[Row], keys: Sequence[str]) -> list[tuple[tuple[Any, ...], list[Row]]]:
    """Rows by the values of some keys: numbers sorted, names in order of first appearance."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[key] for key in keys)].append(row)
    first: dict[Any, int] = {}
    for number, value in enumerate(value for place in groups for value in place):
        first.setdefault(value, number)

    def order(item: tuple[tuple[Any, ...], list[Row]]) -> list[int]:
        return [value if isinstance(value, int) else first[value] for value in item[0]]

    return sorted(groups.items(), key=order)


def kinds(of_seeds: Sequence[Sequence[float | None]]) -> str:
    """For each kind of noise the mean over seeds and the worst: the highest rank, the lowest share."""
    texts = []
    for column in zip(*of_seeds, strict=True):
        there = [value for value in column if value is not None]
        if all(isinstance(value, int) for value in there):
            text = f"{mean(there):.1f} ({max(there)})" if there else "-"
        else:
            text = f"{mean(there):.3f} ({min(there):.3f})"
        n_missing = len(column) - len(there)
        texts.append(text + (f", none in {n_missing}" if n_missing else ""))
    return "; ".join(texts)


def average(values: Iterable[float], form: str = "{:.2f}") -> str:
    """Mean, or "-" for no values."""
    listed = list(values)
    return form.format(mean(listed)) if listed else "-"


def line(*texts: Any) -> None:
    """One line of a table."""
    print("| " + " | ".join(map(str, texts)) + " |")


def rule(n_columns: int) -> None:
    """The line under a table's head."""
    print("|" + " --- |" * n_columns)
