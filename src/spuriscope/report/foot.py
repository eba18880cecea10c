"""The conditions of the numbers: data, settings, versions, hardware, and the command that repeats them."""

from spuriscope.answers import Audit, Settings
from spuriscope.report import wording
from spuriscope.report.section import QUESTIONS

__all__ = ["foot", "python_call", "settings", "unanswered"]

TITLES = {  # by the field of `Audit`
    "already": QUESTIONS["already"],
    "picked_up": QUESTIONS["pick-up"],
    "found_again": QUESTIONS["noticed"],
    "membership": QUESTIONS["recognised"],
    "canaries": "How much privacy is lost at least?",
    "deletion": QUESTIONS["gone"],
}

Pairs = tuple[tuple[str, str], ...]


def foot(audit: Audit) -> Pairs:
    """The foot of the page: names and values."""
    data, where = audit.conditions.data, audit.conditions.environment
    channels, height, width = data.shape
    return (
        (
            "Data",
            f"{data.name}: {wording.count(data.n_train)} training and {wording.count(data.n_test)} "
            f"test images of {channels} × {height} × {width} (channels × height × width), "
            f"{wording.count(len(data.class_names))} classes",
        ),
        ("Fingerprint (SHA-256)", data.fingerprint),
        ("Seeds", ", ".join(map(str, audit.conditions.settings.seeds))),
        (
            "Versions",
            f"spuriscope {audit.conditions.spuriscope}, Python {where.python}, torch {where.torch}, numpy "
            f"{where.numpy}",
        ),
        (
            "Hardware",
            f"{where.device}; {where.processor}, {where.n_cores} cores; {where.platform}",
        ),
        ("Time", f"{wording.duration(audit.conditions.seconds)}, finished {audit.conditions.created}"),
    )


def unanswered(audit: Audit) -> Pairs:
    """The unanswered questions, by their titles, with the reasons; nothing where that is said at the top."""
    quality = audit.conditions.quality
    if quality is not None and quality.is_near_chance:
        return ()
    return tuple((TITLES.get(each.question, each.question), f"{each.reason}.") for each in audit.unanswered)


def settings(audit: Audit) -> Pairs:
    """What was trained and how: names and values."""
    chosen = audit.conditions.settings
    how: Pairs = (("Model" if chosen.target is None else "Trained by", _whose(chosen)),)
    if chosen.recipe:
        parts = (f"{key.replace('_', ' ')} {_plain(value)}" for key, value in chosen.recipe.to_json().items())
        how = (("Model", chosen.model), ("Recipe", ", ".join(parts)))
    if chosen.target is None:
        return (*how, ("Least rise that counts", f"{chosen.threshold:g} of probability"))
    return (
        *how,
        (
            "Target class",
            f"{wording.quoted(audit.conditions.target_name)} (number {chosen.target})",
        ),
        *_planting(chosen),
        ("Numbers planted", ", ".join(map(wording.count, chosen.counts))),
        ("Seeds", ", ".join(map(str, chosen.seeds))),
        ("Least rise that counts", f"{chosen.threshold:g} of probability"),
    )


def _whose(chosen: Settings) -> str:
    return chosen.model if chosen.target is None else f"{chosen.model}, a function of your own"


def _planting(chosen: Settings) -> Pairs:
    """Where patterns stand and whose images get the target's label; nothing where it is as in the paper."""
    found = [("Placement", "anywhere, drawn for each image")] * (chosen.placement == "anywhere")
    if chosen.size is not None:
        found.append(("Size of the pattern", wording.count(chosen.size)))
    if chosen.relabel is not None:
        source = "all other classes" if chosen.relabel == "all" else f"class {chosen.relabel}"
        found.append(("Relabelled", f"images of {source}"))
    return tuple(found)


def _planting_arguments(chosen: Settings) -> str:
    """The same as arguments of a call."""
    own = {"placement": "fixed", "size": None, "relabel": None}
    given = {name: getattr(chosen, name) for name, usual in own.items() if getattr(chosen, name) != usual}
    return "".join(f", {name}={value!r}" for name, value in given.items())


def _shadow_arguments(audit: Audit) -> str:
    """Shadow models as arguments of a call; `fit` stands for the training where the model is not ours."""
    if audit.recognition is None:
        return ""
    fit = "" if audit.conditions.settings.recipe is not None else ", fit=fit"
    return f", shadows={audit.recognition.n_shadows}{fit}"


def _precision_argument(chosen: Settings) -> str:
    """The precision as an argument of a call, where it is not the default."""
    if chosen.recipe is None or chosen.recipe.precision == "float32":
        return ""
    return f", precision={chosen.recipe.precision!r}"


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_plain, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def python_call(audit: Audit) -> str:
    """The Python lines that repeat the audit; `data`, or `train` and `test`, stand for the images above."""
    chosen = audit.conditions.settings
    if chosen.target is None:
        return (
            "import spuriscope as ss\n\n"
            f"answers = ss.audit_model(predict, data, patterns={list(chosen.patterns)!r}, "
            f"threshold={chosen.threshold!r}{_shadow_arguments(audit)})"
        )
    if not chosen.recipe:
        return (
            "import spuriscope as ss\n\n"
            f"answers = ss.audit(train=train, test=test, fit={chosen.model}, target={chosen.target},\n"
            f"    patterns={list(chosen.patterns)!r}, counts={list(chosen.counts[1:])!r}, "
            f"n_seeds={len(chosen.seeds)}, threshold={chosen.threshold!r}"
            f"{_planting_arguments(chosen)})"
        )
    return (
        "import spuriscope as ss\n\n"
        "answers = ss.audit(ss.plan_audit(\n"
        f"    data, model={chosen.model!r}, target={chosen.target}, "
        f"patterns={list(chosen.patterns)!r},\n"
        f"    counts={list(chosen.counts[1:])!r}, n_seeds={len(chosen.seeds)}, "
        f"epochs={chosen.recipe.epochs}, threshold={chosen.threshold!r}"
        f"{_planting_arguments(chosen)}{_precision_argument(chosen)}))"
    )
