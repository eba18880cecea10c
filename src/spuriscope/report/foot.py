"""The conditions of the numbers: data, settings, versions, hardware, and the command that repeats them."""

from spuriscope.report import wording
from spuriscope.report.lookup import Document

__all__ = ["foot", "python_call", "settings"]

Pairs = tuple[tuple[str, str], ...]


def foot(document: Document) -> Pairs:
    """What the page ends with: names and values."""
    data, where = document["data"], document["environment"]
    channels, height, width = data["shape"]
    return (
        (
            "Data",
            f"{data['name']}: {wording.count(data['n_train'])} training and {wording.count(data['n_test'])} "
            f"test images of {channels} × {height} × {width} (channels × height × width), "
            f"{wording.count(len(data['class_names']))} classes",
        ),
        ("Fingerprint (SHA-256)", data["fingerprint"]),
        ("Seeds", ", ".join(map(str, document["settings"]["seeds"]))),
        (
            "Versions",
            f"spuriscope {document['spuriscope']}, Python {where['python']}, torch {where['torch']}, numpy "
            f"{where['numpy']}",
        ),
        (
            "Hardware",
            f"{where['device']}; {where['processor']}, {where['n_cores']} cores; {where['platform']}",
        ),
        ("Time", f"{wording.duration(document['seconds'])}, finished {document['created']}"),
    )


def settings(document: Document) -> Pairs:
    """What was trained and how: names and values."""
    chosen = document["settings"]
    how: Pairs = (("Trained by", f"{chosen['model']}, a function of your own"),)
    if chosen["recipe"]:
        parts = (f"{key.replace('_', ' ')} {_plain(value)}" for key, value in chosen["recipe"].items())
        how = (("Model", chosen["model"]), ("Recipe", ", ".join(parts)))
    return (
        *how,
        (
            "Target class",
            f"{wording.quoted(document['headline']['target_name'])} (number {chosen['target']})",
        ),
        *_planting(chosen),
        ("Numbers planted", ", ".join(map(wording.count, chosen["counts"]))),
        ("Seeds", ", ".join(map(str, chosen["seeds"]))),
        ("Least rise that counts", f"{chosen['threshold']:g} of probability"),
    )


def _planting(chosen: Document) -> Pairs:
    """Where patterns stand and whose images get the target's label; nothing where it is as in the paper."""
    found = [("Placement", "anywhere, drawn for each image")] * (chosen.get("placement") == "anywhere")
    if chosen.get("size") is not None:
        found.append(("Size of the pattern", wording.count(chosen["size"])))
    if chosen.get("relabel") is not None:
        source = "all other classes" if chosen["relabel"] == "all" else f"class {chosen['relabel']}"
        found.append(("Relabelled", f"images of {source}"))
    return tuple(found)


def _planting_arguments(chosen: Document) -> str:
    """The same as arguments of a call."""
    own = {"placement": "fixed", "size": None, "relabel": None}
    given = {name: chosen[name] for name, usual in own.items() if chosen.get(name, usual) != usual}
    return "".join(f", {name}={value!r}" for name, value in given.items())


def _plain(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(_plain, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def python_call(document: Document) -> str:
    """The Python lines that repeat the audit; `data`, or `train` and `test`, stand for the images above."""
    chosen = document["settings"]
    if not chosen["recipe"]:
        return (
            "import spuriscope as ss\n\n"
            f"document = ss.audit(train=train, test=test, fit={chosen['model']}, target={chosen['target']},\n"
            f"    patterns={chosen['patterns']!r}, counts={chosen['counts'][1:]!r}, "
            f"n_seeds={len(chosen['seeds'])}, threshold={chosen['threshold']!r}"
            f"{_planting_arguments(chosen)})"
        )
    return (
        "import spuriscope as ss\n\n"
        "document = ss.audit(ss.plan_audit(\n"
        f"    data, model={chosen['model']!r}, target={chosen['target']}, "
        f"patterns={chosen['patterns']!r},\n"
        f"    counts={chosen['counts'][1:]!r}, n_seeds={len(chosen['seeds'])}, "
        f"epochs={chosen['recipe']['epochs']}, threshold={chosen['threshold']!r}"
        f"{_planting_arguments(chosen)}))"
    )
