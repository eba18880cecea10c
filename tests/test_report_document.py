"""A small document made of numbers, for the tests of the page; and that it is what an audit makes."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spuriscope.auditing import audit, plan_audit
from spuriscope.data.image_set import ImageSet, Split
from spuriscope.deletion.check import compare
from spuriscope.deletion.verdict import SEEDS_NEEDED
from spuriscope.membership.evaluation import Trial, evaluate
from spuriscope.membership.presence import presence
from spuriscope.patterns import PATTERN_NAMES, pattern
from spuriscope.report.page import render
from spuriscope.report.pictures import data_uri, pixels
from spuriscope.statistics import mean_interval, n50

MEASURES = ("score_all", "score_non_target", "normalised_score", "predicted_share", "clean_predicted_share")


def make_document(
    *,
    strengths: dict[str, float] | None = None,
    counts: Sequence[int] = (1, 3, 10),
    n_seeds: int = 3,
    shape: tuple[int, int, int] = (1, 28, 28),
    class_names: Sequence[str] = ("0", "1", "2"),
    n_examples: int = 2,
    has_weights: bool = True,
    twin_share: float = 0.0,
    command: str | None = "spuriscope audit digits",
) -> dict[str, Any]:
    """A document whose scores grow with the logarithm of the number planted, up to a pattern's strength."""
    strengths = {"s3": 0.3, "r3": 0.9} if strengths is None else strengths
    seeds = list(range(n_seeds))
    doses = [
        _dose(
            name,
            strength,
            counts=[0, *counts],
            seeds=seeds,
            picture=data_uri(pattern(name if name in PATTERN_NAMES else "s3", shape).picture),
            twin_share=twin_share,
        )
        for name, strength in strengths.items()
    ]
    best = max(doses, key=lambda dose: float(dose["summary"][-1]["predicted_share"]["mean"]))
    enough = max(0.5, 2 * twin_share)
    first = next((entry for entry in best["summary"] if entry["predicted_share"]["mean"] >= enough), None)
    chosen = best["summary"][-1] if first is None else first
    return {
        "format": 1,
        "spuriscope": "0.1.0",
        "created": "2026-11-22T10:52:02+00:00",
        "command": command,
        "seconds": 75.7,
        "environment": {
            "python": "3.11.7",
            "torch": "2.13.0",
            "numpy": "2.4.6",
            "platform": "Linux",
            "processor": "a processor",
            "n_cores": 2,
            "device": "cpu",
        },
        "data": {
            "name": "digits",
            "fingerprint": "4094" * 16,
            "shape": list(shape),
            "n_train": 1437,
            "n_test": 360,
            "largest_share": 0.36,
            "class_names": list(class_names),
        },
        "settings": {
            "model": "mlp",
            "recipe": {"optimizer": "adam", "learning_rate": 0.01, "milestones": [12, 15], "epochs": 21},
            "target": 0,
            "patterns": list(strengths),
            "counts": [0, *counts],
            "seeds": seeds,
            "threshold": 0.1,
            "placement": "fixed",
            "size": None,
            "relabel": None,
        },
        "headline": {
            "pattern": best["pattern"],
            "n_planted": chosen["n_planted"],
            "predicted_share": chosen["predicted_share"],
            "twin_predicted_share": best["summary"][0]["predicted_share"],
            "reached_half": first is not None,
            "target_name": class_names[0],
            "n_target": 143,
            "n_candidates": 143,
            "n_stamped": 325,
        },
        "examples": _examples(best["pattern"], int(chosen["n_planted"]), shape, n_examples),
        "dose_response": doses,
        "weight_importance": _weights(next(iter(strengths)), counts[-1], shape) if has_weights else None,
        "discovery": make_discovery(best["pattern"], int(chosen["n_planted"]), best["picture"]),
        "membership": make_membership(best["pattern"], int(chosen["n_planted"])),
        "canaries": make_canaries(),
        "deletion": make_deletion(best["pattern"], int(chosen["n_planted"])),
    }


def make_canaries() -> dict[str, Any]:
    """Of 100 tosses half were guessed, and all but one rightly."""
    return {
        "pattern": "r3",
        "n_canaries": 100,
        "n_guesses": 50,
        "n_right": 49,
        "epsilon": 2.295,
        "delta": 0.0,
        "n_planted": 50,
        "confidence": 0.95,
        "n_train": 1437,
        "seed": 0,
        "planted": [0.01 * k for k in range(50)],
        "others": [-0.01 * k for k in range(50)],
    }


def make_discovery(
    name: str, n_planted: int, picture: str, *, n_found: int | None = None, n_on_twins: int = 0
) -> dict[str, Any]:
    """A search of two planted models and their twins; `n_found` planted images in each, by default all."""
    n_found = n_planted if n_found is None else n_found
    finding = {
        "target": 0,
        "examples": list(range(100, 100 + max(1, n_found))),
        "score": 0.87,
        "null": [0.0, 0.01, 0.02, 0.01],
        "null_mean": 0.01,
        "null_max": 0.02,
        "n_null": 4,
        "p_value": 0.0021,
        "p_group": 0.0004,
        "p_effect": 0.005,
        "source": "marks",
        "kind": "cover",
        "carriers": {"n_train": 3, "of_train": 400, "n_fresh": 0, "of_fresh": 100},
        "proof": None,
        "picture": picture,
        "images": [explained_image(100, picture, left_over_mean=0.41)],
    }
    searches = [
        {
            "seed": seed,
            "is_planted": is_planted,
            "planted": list(range(100, 100 + n_planted)) if is_planted else [],
            "n_found": n_found if is_planted else 0,
            "n_wrong": 0 if is_planted else n_on_twins,
            "findings": [finding] * (bool(n_found) if is_planted else n_on_twins),
        }
        for is_planted in (True, False)
        for seed in (0, 1)
    ]
    return {
        "pattern": name,
        "target": 0,
        "n_planted": n_planted,
        "n_train": 1437,
        "n_fresh": 200,
        "n_controls": 199,
        "level": 0.01,
        "embedding": {
            "components": 8,
            "steps": 300,
            "batch_size": 32,
            "learning_rate": 0.005,
            "seed": 0,
            "n_fitted": 358,
            "mean_square_error": 0.00546,
            "left_over_max": 0.93,
            "fresh": [explained_image(4, picture, left_over_mean=0.05)],
        },
        "searches": searches,
    }


def explained_image(position: int, picture: str, *, left_over_mean: float) -> dict[str, Any]:
    """An image of which the autoencoder explains everything and leaves everything."""
    return {
        "position": position,
        "name": str(position),
        "picture": picture,
        "reconstruction": picture,
        "left_over": picture,
        "left_over_mean": left_over_mean,
    }


def make_deletion(
    name: str,
    n_planted: int,
    *,
    left: dict[str, float] | None = None,
    recommended: str | None = "repair",
    n_seeds: int = 14,
) -> dict[str, Any]:
    """Methods that leave so much of the score; the oracle has 0.02 and nothing else differs."""
    oracle = {
        "score": 0.02,
        "spurious_accuracy": 0.6,
        "clean_accuracy": 0.97,
        "disagreement": 0.03,
        "membership": 0.5,
    }
    shifts = [0.0001 * k for k in range(n_seeds)]
    oracles = [{key: value + shift for key, value in oracle.items()} for shift in shifts]
    before = [row | {"score": 0.9 + shift} for row, shift in zip(oracles, shifts, strict=True)]
    checks = []
    for number, (method, score) in enumerate((left or {"repair": 0.01, "influence": 0.9}).items()):
        after = [
            row | {"score": score + 2 * shift, "seconds": 0.2 + number}
            for row, shift in zip(oracles, shifts, strict=True)
        ]
        checks.append(compare(method, before, after, oracles, seconds=[2.0] * n_seeds).to_json())
    found = {
        "pattern": name,
        "target": 0,
        "n_planted": n_planted,
        "seeds": list(range(n_seeds)),
        "seeds_needed": dict(SEEDS_NEEDED),
        "training_seconds": 2.0,
        "methods": checks,
        "failed": [],
        "left_out": [],
        "recommended": recommended,
    }
    return dict(json.loads(json.dumps(found)))


def make_membership(
    name: str, n_planted: int, *, stamped_shift: float = 0.0, score: float = 0.9
) -> dict[str, Any]:
    """Stamped images look like members, whether they are or not; `stamped_shift` parts the two."""
    rng = np.random.RandomState(0)
    trials = []
    for _ in range(6):
        kinds = np.repeat([(1, 1), (0, 1), (1, 0), (0, 0)], [n_planted, n_planted, 200, 200], axis=0)
        is_member, is_stamped = (torch.from_numpy(kinds[:, k] == 1) for k in (0, 1))
        noise = torch.from_numpy(rng.normal(size=len(kinds)))
        shift = 0.3 * (is_member & ~is_stamped) + is_stamped * (5 + stamped_shift * is_member)
        trials.append(Trial(noise + shift, is_member, is_stamped, torch.ones_like(is_member)))
    with_pattern = [score - 0.01 * k for k in range(6)]
    without = [0.001 * k for k in range(10)]
    found = {
        "pattern": name,
        "target": 0,
        "n_planted": n_planted,
        "n_models": 6,
        "n_shadows": 4,
        "n_train": 200 + n_planted,
        "n_null": 10,
        "seed": 0,
        "attacks": [
            {"name": attack, **asdict(evaluate(trials))} for attack in ("gap", "loss", "lira-online")
        ],
        "presence": [
            {
                "statistic": statistic,
                "with_pattern": with_pattern,
                "without": without,
                "asked": {},
                **asdict(presence(with_pattern, without)),
            }
            for statistic in ("score", "mean_rise")
        ],
    }
    return dict(json.loads(json.dumps(found)))


def _dose(
    name: str, strength: float, *, counts: list[int], seeds: list[int], picture: str, twin_share: float
) -> dict[str, Any]:
    """The dose-response of one pattern; the clean twins call `twin_share` of the images the target class."""
    shares = strength * (1 + np.log10(np.maximum(counts, 1))) / (1 + np.log10(max(counts)))
    shares[0] = twin_share
    cells = [
        _cell(name, n, seed, min(1.0, float(share) + 0.01 * seed * (n > 0)))
        for n, share in zip(counts, shares, strict=True)
        for seed in seeds
    ]
    scores = np.array(
        [[cell["score_non_target"] for cell in cells if cell["seed"] == seed] for seed in seeds]
    )
    return {
        "pattern": name,
        "kind": "add",
        "picture": picture,
        "n_touched": int((pixels(picture) > 0).sum()),
        "norm": 5.0,
        "n50": asdict(n50(counts, scores)),
        "summary": [_summary(n, [cell for cell in cells if cell["n_planted"] == n]) for n in counts],
        "cells": cells,
    }


def _cell(name: str, n_planted: int, seed: int, share: float) -> dict[str, Any]:
    return {
        "pattern": name,
        "n_planted": n_planted,
        "seed": seed,
        "cell": f"{n_planted:08x}{seed:08x}",
        "train_loss": 0.01,
        **dict.fromkeys(MEASURES, share),
        "clean_accuracy": 0.973 + 0.001 * seed,
        "train_accuracy": 0.998,
        "spurious_accuracy": 0.95 * (1 - share),
    }


def _summary(n_planted: int, cells: list[dict[str, Any]]) -> dict[str, Any]:
    measures = (*MEASURES, "clean_accuracy", "train_accuracy", "spurious_accuracy")
    return {"n_planted": n_planted} | {
        measure: asdict(mean_interval([cell[measure] for cell in cells])) for measure in measures
    }


def _examples(name: str, n_planted: int, shape: tuple[int, int, int], n: int) -> dict[str, Any]:
    picture = data_uri(torch.linspace(0, 1, shape[0] * shape[1] * shape[2]).reshape(shape))
    image = {
        "position": 2,
        "name": "2",
        "label": 1,
        "picture": picture,
        "stamped_picture": picture,
        "probability": 7.6e-7,
        "stamped_probability": 0.99998,
        "prediction": 1,
        "stamped_prediction": 0,
        "twin_stamped_probability": 0.25,
    }
    return {"pattern": name, "n_planted": n_planted, "seed": 0, "images": [image] * n}


def _weights(name: str, n_planted: int, shape: tuple[int, int, int]) -> dict[str, Any]:
    twin = np.full(shape[1:], 0.035)
    planted = twin.copy()
    planted[:5, :5] = 0.19
    return {
        "pattern": name,
        "n_planted": n_planted,
        "seed": 0,
        "planted": planted.tolist(),
        "twin": twin.tolist(),
    }


@cache
def usual_page() -> str:
    """The page of the document that nothing was changed in, drawn once for all tests."""
    return render(make_document())


def keys(value: Any) -> Iterator[str]:
    """Every key of a document, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def real_document() -> dict[str, Any]:
    """What a real audit makes of forty images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 8, 8), generator=generator, dtype=torch.uint8)
    split = Split(images, torch.arange(40) % 2)
    data = ImageSet(name="noise", train=split, test=split, class_names=("a", "b"))
    plan = plan_audit(data, patterns=["s3"], counts=[1], n_seeds=1, epochs=1)
    return audit(plan, device="cpu", n_workers=1)


def test_the_document_of_these_tests_has_the_keys_of_a_real_one_and_all_are_documented() -> None:
    real = real_document()
    ours = set(keys(make_document()))
    recipe = set(real["settings"]["recipe"])
    search = make_discovery("s3", 3, "")
    of_finding = set(
        keys([search["searches"][0]["findings"], search["embedding"]])
    )  # a real one may have none
    assert ours - recipe - of_finding == set(keys(real)) - recipe - of_finding
    assert real["discovery"]["searches"]
    has_findings = any(search["findings"] for search in real["discovery"]["searches"])
    assert (real["discovery"]["embedding"] is not None) == has_findings  # fitted where it has use
    page = (Path(__file__).resolve().parents[1] / "docs" / "audit-json.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`([a-z_0-9]+)`", page))
    assert set(keys(real)) | of_finding <= documented
