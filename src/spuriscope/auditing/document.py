"""The audit: the questions of a user about her data, answered in order, on one page.

Each question has a module beside this one. The result is a document of JSON values (docs/audit-json.md);
the page shows what is in it and nothing else.
"""

import inspect
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import spuriscope
from spuriscope.adapters import Fit
from spuriscope.argument_types import checked
from spuriscope.auditing.canaries import canaries
from spuriscope.auditing.deletion import deletion
from spuriscope.auditing.discovery import discovery
from spuriscope.auditing.doses import train_doses
from spuriscope.auditing.membership import membership
from spuriscope.auditing.plan import AuditPlan, plan_audit
from spuriscope.checks import strict_json
from spuriscope.data.given import Given, as_image_set
from spuriscope.data.image_set import ImageSet
from spuriscope.data.pixels import ChannelOrder
from spuriscope.environment import environment
from spuriscope.errors import ConfigError
from spuriscope.report.page import render
from spuriscope.training import OnProgress

__all__ = ["Audit", "audit", "check_folder", "write_audit"]

FORMAT = 1

Audit = dict[str, Any]


@checked(ConfigError)
def audit(
    plan: AuditPlan | ImageSet | None = None,
    *,
    train: Given | None = None,
    test: Given | None = None,
    fit: Fit | None = None,
    class_names: Sequence[str] | None = None,
    name: str = "your data",
    channels: ChannelOrder | None = None,
    image_size: int | None = None,
    device: str = "auto",
    n_workers: int | None = None,
    on_progress: OnProgress | None = None,
    command: str | None = None,
    **settings: Any,
) -> Audit:
    """Train what the plan says, measure it, and put the answers into one document.

    Either give a plan, or a data set, or your own images; with the last two, if you like, your own training:
    `audit(train=(images, labels), test=(more, their_labels), fit=my_training, patterns=["s3"], n_seeds=2)`.

    Args:
        plan: see `plan_audit`; or a data set, of which it is made with the settings.
        train: training images in place of a plan's: a `Split`, a pair of arrays, a data set of torch,
            torchvision or Hugging Face, a pandas frame; see docs/data.md.
        test: test images likewise.
        fit: your training function, `fit(images, labels, seed) -> predict`, see `plan_audit`. What needs our
            own training (weight maps, membership and so on) is then not asked.
        class_names: of the labels in `train` and `test`; by default their numbers.
        name: what the page calls these data.
        channels: "first" or "last", where the shape of arrays in `train` and `test` does not tell.
        image_size: height and width that their images are brought to.
        device: "cpu", "cuda", or "auto".
        n_workers: processes on the CPU; as many as cores by default.
        on_progress: called after each epoch of any model, an autoencoder for the page among them.
        command: the command that repeats the audit, for the page.
        settings: the other arguments of `plan_audit`, where there is no plan: patterns, counts, target, ...

    Returns:
        The document of docs/audit-json.md, JSON values only.

    Raises:
        ConfigError: there is neither a plan nor images, or both, or `fit` gives no function.
        DataError: the images are not of a form that is understood.
        MeasureError: what `fit` gives does not answer with probabilities.
        TrainingError: a model could not be trained.
    """
    start = time.perf_counter()
    if train is not None and test is not None and plan is None:
        plan = as_image_set(
            train, test, class_names=class_names, name=name, channels=channels, image_size=image_size
        )
    elif plan is not None and (train is not None or test is not None):
        raise ConfigError(
            "a plan and a data set have their images; leave out train= and test=, or give them alone"
        )
    plan = _settled(plan, fit, settings)
    how: dict[str, Any] = {"device": device, "n_workers": n_workers, "on_progress": on_progress}
    doses = train_doses(plan, **how)
    answers = asdict(doses)
    if plan.fit is None:
        answers |= {
            "discovery": discovery(plan, doses.headline, **how),
            "membership": membership(plan, doses.headline, **how),
            "canaries": canaries(plan, device=device, on_progress=on_progress),
            "deletion": deletion(plan, doses.headline, **how),
        }
    return {
        "format": FORMAT,
        "spuriscope": spuriscope.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "seconds": round(time.perf_counter() - start, 1),
        "environment": environment(device),
        "data": _describe_data(plan.data),
        "settings": {
            "model": plan.model_name,
            "recipe": plan.recipe.to_json() if plan.fit is None else None,
            "target": plan.target,
            "patterns": list(plan.patterns),
            "counts": [0, *plan.counts],
            "seeds": list(plan.seeds),
            "threshold": plan.threshold,
            "placement": plan.placement,
            "size": plan.size,
            "relabel": plan.relabel,
        },
        **answers,
    }


def _settled(plan: AuditPlan | ImageSet | None, fit: Fit | None, settings: dict[str, Any]) -> AuditPlan:
    """The plan itself, or that of a data set with these settings."""
    if plan is None:
        raise ConfigError(
            "an audit needs a plan, or train= and test= with images, or a data set; see plan_audit"
        )
    if isinstance(plan, AuditPlan):
        if fit is not None or settings:
            raise ConfigError("a plan says all of an audit; give fit and settings to plan_audit instead")
        return plan
    known = [name for name in inspect.signature(plan_audit).parameters if name != "data"]
    for name in settings:
        if name not in known:
            raise ConfigError(f"an audit has no setting {name!r}; there are {', '.join(known)}")
    return plan_audit(plan, fit=fit, **settings)


def check_folder(folder: str | Path) -> None:
    """Refuse, before anything is trained, a folder that could not be written to.

    Raises:
        ConfigError: it is a file, cannot be made or written to, or a file that would be replaced is no
            audit's.
    """
    folder = Path(folder)
    for name in ("audit.json", "report.html"):
        if (folder / name).exists() and not _is_audit(folder / "audit.json"):
            raise ConfigError(
                f"{folder} holds {name}, which is of no audit; choose another folder with --out"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"cannot write in {folder} ({error.strerror}); choose another folder with --out"
        ) from None


@checked(ConfigError)
def write_audit(document: Audit, folder: str | Path) -> Path:
    """Write `audit.json` and `report.html` into `folder`; each replaces its forerunner once complete.

    Returns:
        The path of the page.
    """
    folder = Path(folder)
    check_folder(folder)
    page = render(document)
    for name, text in (("audit.json", strict_json(document) + "\n"), ("report.html", page)):
        partial = folder / f".{name}.{os.getpid()}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / name)
    return folder / "report.html"


def _is_audit(path: Path) -> bool:
    """Whether a file is the document of an audit."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and {"format", "spuriscope", "dose_response"} <= set(found)


def _describe_data(data: ImageSet) -> dict[str, Any]:
    return {
        "name": data.name,
        "fingerprint": data.fingerprint,
        "shape": list(data.shape),
        "n_train": len(data.train),
        "n_test": len(data.test),
        "largest_share": int(data.test.labels.bincount().max()) / len(data.test),
        "class_names": list(data.class_names),
    }
