"""A small audit made of numbers, for the tests of the page; and that it is what an audit makes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch

from spuriscope.answers import (
    AlreadyThere,
    Audit,
    Conditions,
    DataFacts,
    Deletion,
    DoseResponse,
    ExampleImage,
    Examples,
    Explained,
    Explanation,
    FoundAgain,
    FoundAt,
    FoundCue,
    Headline,
    Left,
    PickedUp,
    PlayedAnswer,
    PlayedPattern,
    Player,
    Proven,
    Quality,
    RecurringCue,
    Replicate,
    Search,
    Settings,
    ShownImage,
    TriedImage,
    WeightImportance,
)
from spuriscope.auditing.doses import summary
from spuriscope.deletion.check import compare_method
from spuriscope.deletion.verdict import MARGINS, SEEDS_NEEDED, is_above
from spuriscope.discovery.finding import Carriers
from spuriscope.environment import Environment
from spuriscope.membership.attacked import Membership, present
from spuriscope.membership.canaries import Canaries
from spuriscope.membership.evaluation import AttackTrial, evaluate
from spuriscope.patterns import PATTERN_NAMES, pattern
from spuriscope.patterns.kinds import Box
from spuriscope.report.page import render
from spuriscope.report.pictures import data_uri, pixels
from spuriscope.statistics import mean_interval, n50
from spuriscope.training import Recipe


@cache
def usual_page() -> str:
    """The page of the audit that nothing was changed in, drawn once for all tests."""
    return render(make_audit())


def put(value: Any, place: str, new: Any) -> Any:
    """A copy of a value with another one at a place in it, as "dose_response.0.summary.-1.n_planted"."""
    first, _, rest = place.partition(".")
    if isinstance(value, tuple):
        k = int(first) % len(value)
        return (*value[:k], put(value[k], rest, new) if rest else new, *value[k + 1 :])
    if isinstance(value, Mapping):
        return {**value, first: put(value[first], rest, new) if rest else new}
    return replace(value, **{first: put(getattr(value, first), rest, new) if rest else new})


def make_audit(
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
    n_cues: int = 0,
) -> Audit:
    """An audit whose scores grow with the logarithm of the number planted, up to a pattern's strength."""
    strengths = {"s3": 0.3, "r3": 0.9} if strengths is None else strengths
    seeds = tuple(range(n_seeds))
    doses = [
        make_dose(
            name,
            strength,
            counts=[0, *counts],
            seeds=seeds,
            picture=data_uri(pattern(name if name in PATTERN_NAMES else "s3", shape).picture),
            twin_share=twin_share,
        )
        for name, strength in strengths.items()
    ]
    best = max(doses, key=lambda dose: dose.summary[-1].score_non_target.mean)
    enough = max(0.5, 2 * twin_share)
    first = next((entry for entry in best.summary[1:] if entry.score_non_target.mean >= enough), None)
    chosen = best.summary[-1] if first is None else first
    return Audit(
        conditions=Conditions(
            spuriscope="0.1.0",
            created="2026-11-22T10:52:02+00:00",
            command=command,
            seconds=75.7,
            environment=Environment(
                python="3.11.7",
                torch="2.13.0",
                numpy="2.4.6",
                platform="Linux",
                processor="a processor",
                n_cores=2,
                device="cpu",
            ),
            data=DataFacts(
                name="digits",
                fingerprint="4094" * 16,
                shape=shape,
                n_train=1437,
                n_test=360,
                largest_share=0.36,
                class_names=tuple(class_names),
            ),
            settings=Settings(
                model="mlp",
                recipe=Recipe(epochs=21),
                target=0,
                patterns=tuple(strengths),
                counts=(0, *counts),
                seeds=seeds,
                threshold=0.1,
            ),
            quality=make_quality(),
        ),
        already=make_already(best.picture, n_cues=n_cues),
        picked_up=PickedUp(
            headline=Headline(
                pattern=best.pattern,
                n_planted=chosen.n_planted,
                score=chosen.score_non_target,
                twin_score=best.summary[0].score_non_target,
                reached_half=first is not None,
                n_target=143,
                n_candidates=143,
                n_stamped=325,
            ),
            examples=make_examples(best.pattern, chosen.n_planted, shape, n_examples),
            dose_response=tuple(doses),
            weight_importance=_weights(next(iter(strengths)), counts[-1], shape) if has_weights else None,
            player=make_player(doses, [0, *counts]) if n_examples else None,
        ),
        found_again=make_found_again(best.pattern, max(3, chosen.n_planted), best.picture),
        membership=make_membership(best.pattern, chosen.n_planted),
        canaries=make_canaries(),
        deletion=make_deletion(best.pattern, chosen.n_planted),
    )


def make_canaries(*, n_right: int = 49, epsilon: float = 2.295) -> Canaries:
    """Of 100 tosses half were guessed, and all but one rightly."""
    return Canaries(
        pattern="r3",
        n_canaries=100,
        n_guesses=50,
        n_right=n_right,
        epsilon=epsilon,
        delta=0.0,
        n_planted=50,
        confidence=0.95,
        n_train=1437,
        seed=0,
        planted=tuple(0.01 * k for k in range(50)),
        others=tuple(-0.01 * k for k in range(50)),
    )


def make_finding(picture: str, *, n: int = 3, first: int = 100, target: int = 0) -> FoundCue:
    """A mark on `n` training images."""
    return FoundCue(
        target=target,
        examples=tuple(range(first, first + n)),
        names=None,
        score=0.87,
        null=(0.0, 0.01, 0.02, 0.01),
        p_value=0.0021,
        p_group=0.0004,
        p_effect=0.005,
        source="marks",
        kind="cover",
        placement="fixed",
        carriers=Carriers(n_train=3, of_train=400, n_fresh=0, of_fresh=100),
        proof=None,
        picture=picture,
        images=(replace(explained_image(first, picture, left_over_mean=0.41), box=Box(0, 0, 5, 5)),),
        tried=(
            TriedImage(
                position=7,
                name="7",
                label=2,
                picture=picture,
                stamped_picture=picture,
                probability=0.02,
                stamped_probability=0.97,
                box=Box(0, 0, 5, 5),
            ),
        ),
    )


def make_quality(test_accuracy: float = 0.97, *, is_near_chance: bool = False) -> Quality:
    """Models that are right so often, where a constant answer is right on 0.36."""
    return Quality(
        train_accuracy=mean_interval([0.99, 0.99]),
        test_accuracy=mean_interval([test_accuracy, test_accuracy]),
        chance=0.36,
        n_test=360,
        is_near_chance=is_near_chance,
    )


def make_already(
    picture: str, *, n_cues: int = 0, n_once: int = 0, proven: Proven = "proven"
) -> AlreadyThere:
    """Three models searched; each cue is in all of them, and gone without its images where it is proven."""
    left = {"proven": 0.01, "not proven": 0.9, "seeds disagree": 0.4, "not tried": None}[proven]
    return AlreadyThere(
        seeds=(0, 1, 2),
        cues=tuple(
            RecurringCue(
                cue=make_finding(picture, n=8, first=200 + 10 * k, target=k + 1),
                seeds=(0, 1, 2),
                score=mean_interval([0.9 - 0.1 * k, 0.92 - 0.1 * k, 0.91 - 0.1 * k]),
                score_without=None if left is None else mean_interval([left, left, left]),
                n_left_out=0 if left is None else 8,
                is_proven=proven,
            )
            for k in range(n_cues)
        ),
        once=tuple(make_finding(picture, first=300 + 10 * k) for k in range(n_once)),
        n_train=1437,
        n_fresh=200,
        n_controls=200,
        level=0.05,
        blind_spots=(),
        taken_out=tuple(range(200, 200 + 8 * n_cues)),
        embedding=make_explanation(picture) if n_cues or n_once else None,
    )


def make_found_again(
    name: str,
    n_planted: int,
    picture: str,
    *,
    n_found: int | None = None,
    n_others: int = 0,
    score: float = 0.9,
) -> FoundAgain:
    """Two planted models searched; `n_found` planted images named in each, by default all."""
    n_found = n_planted if n_found is None else n_found
    search = Search(
        seed=0,
        planted=tuple(range(100, 100 + n_planted)),
        n_found=n_found,
        n_others=n_others,
        findings=(
            *[make_finding(picture, n=n_found)] * bool(n_found),
            *[make_finding(picture, n=n_others, first=500, target=1)] * bool(n_others),
        ),
    )
    return FoundAgain(
        pattern=name,
        target=0,
        n_train=1437,
        n_fresh=200,
        n_controls=199,
        level=0.05,
        doses=(
            FoundAt(
                n_planted=n_planted,
                score=mean_interval([score, score]),
                searches=(search, replace(search, seed=1)),
                is_found=2 * n_found >= n_planted,
            ),
        ),
        embedding=make_explanation(picture) if n_found else None,
    )


def make_explanation(picture: str) -> Explanation:
    """An autoencoder, and an ordinary image seen through it."""
    return Explanation(
        components=8,
        steps=300,
        batch_size=32,
        learning_rate=0.005,
        seed=0,
        n_fitted=358,
        mean_square_error=0.00546,
        left_over_max=0.93,
        fresh=(explained_image(4, picture, left_over_mean=0.05),),
    )


def explained_image(position: int, picture: str, *, left_over_mean: float) -> ShownImage:
    """An image of which the autoencoder explains everything and leaves everything."""
    made = Explained(reconstruction=picture, left_over=picture, left_over_mean=left_over_mean)
    return ShownImage(position=position, name=str(position), picture=picture, explained=made)


def make_deletion(
    name: str,
    n_planted: int,
    *,
    left: dict[str, float] | None = None,
    recommended: str | None = "repair",
    n_seeds: int = 14,
    before: float = 0.9,
) -> Deletion:
    """Methods that leave so much of the score; the oracle has 0.02 and nothing else differs."""
    oracle = {
        "score": 0.02,
        "spurious_accuracy": 0.6,
        "clean_accuracy": 0.97,
        "disagreement": 0.03,
        "membership": 0.5,
    }
    left = {"repair": 0.01, "influence": 0.9} if left is None else left
    shifts = [0.0001 * k for k in range(n_seeds)]
    oracles = [{key: value + shift for key, value in oracle.items()} for shift in shifts]
    planted = [row | {"score": before + shift} for row, shift in zip(oracles, shifts, strict=True)]
    checks = []
    for number, (method, score) in enumerate(left.items()):
        after = [
            row | {"score": score + 2 * shift, "seconds": 0.2 + number}
            for row, shift in zip(oracles, shifts, strict=True)
        ]
        checks.append(compare_method(method, planted, after, oracles, seconds=[2.0] * n_seeds))
    differences = [old["score"] - new["score"] for old, new in zip(planted, oracles, strict=True)]
    return Deletion(
        pattern=name,
        target=0,
        n_planted=n_planted,
        seeds=tuple(range(n_seeds)),
        seeds_needed=dict(SEEDS_NEEDED),
        training_seconds=2.0,
        was_learnt=is_above(differences, MARGINS["score"]),
        before=_left(planted),
        oracle=_left(oracles),
        disagreement=mean_interval([row["disagreement"] for row in oracles]),
        methods=tuple(checks),
        failed=(),
        left_out=(),
        recommended=recommended,
    )


def _left(rows: Sequence[Mapping[str, float]]) -> Left:
    names = ("score", "spurious_accuracy", "clean_accuracy")
    return Left(**{name: mean_interval([row[name] for row in rows]) for name in names})


def make_membership(
    name: str, n_planted: int, *, stamped_shift: float = 0.0, score: float = 0.9
) -> Membership:
    """Stamped images look like members, whether they are or not; `stamped_shift` parts the two."""
    rng = np.random.RandomState(0)
    trials = []
    for _ in range(6):
        kinds = np.repeat([(1, 1), (0, 1), (1, 0), (0, 0)], [n_planted, n_planted, 200, 200], axis=0)
        is_member, is_stamped = (torch.from_numpy(kinds[:, k] == 1) for k in (0, 1))
        noise = torch.from_numpy(rng.normal(size=len(kinds)))
        shift = 0.3 * (is_member & ~is_stamped) + is_stamped * (5 + stamped_shift * is_member)
        trials.append(AttackTrial(noise + shift, is_member, is_stamped, torch.ones_like(is_member)))
    with_pattern = [score - 0.01 * k for k in range(6)]
    without = [0.001 * k for k in range(10)]
    return Membership(
        pattern=name,
        target=0,
        n_planted=n_planted,
        n_models=6,
        n_shadows=4,
        n_train=200 + n_planted,
        n_null=10,
        seed=0,
        attacks=tuple(evaluate(attack, trials) for attack in ("gap", "loss", "lira-online")),
        presence=tuple(present(statistic, with_pattern, without, {}) for statistic in ("score", "mean_rise")),
    )


def make_dose(
    name: str,
    strength: float,
    *,
    counts: Sequence[int],
    seeds: Sequence[int],
    picture: str,
    twin_share: float = 0.0,
) -> DoseResponse:
    """The dose-response of one pattern; the clean twins call `twin_share` of the images the target class."""
    shares = strength * (1 + np.log10(np.maximum(counts, 1))) / (1 + np.log10(max(counts)))
    shares[0] = twin_share
    cells = [
        _cell(name, n, seed, min(1.0, float(share) + 0.01 * seed * (n > 0)))
        for n, share in zip(counts, shares, strict=True)
        for seed in seeds
    ]
    return dose_of_cells(name, cells, picture)


def dose_of_cells(name: str, cells: Sequence[Replicate], picture: str, kind: str = "add") -> DoseResponse:
    """The dose-response that follows from trainings."""
    counts, seeds = (sorted({getattr(cell, key) for cell in cells}) for key in ("n_planted", "seed"))
    scores = np.array([[cell.score_non_target for cell in cells if cell.seed == seed] for seed in seeds])
    return DoseResponse(
        pattern=name,
        kind=kind,
        picture=picture,
        n_touched=int((pixels(picture) > 0).sum()),
        norm=5.0,
        n50=n50(counts, scores),
        summary=tuple(summary(n, [cell for cell in cells if cell.n_planted == n]) for n in counts),
        cells=tuple(cells),
    )


def _cell(name: str, n_planted: int, seed: int, share: float) -> Replicate:
    return Replicate(
        pattern=name,
        n_planted=n_planted,
        seed=seed,
        cell=f"{n_planted:08x}{seed:08x}",
        train_loss=0.01,
        score_all=share,
        score_non_target=share,
        normalised_score=share,
        predicted_share=share,
        clean_predicted_share=share,
        clean_accuracy=0.973 + 0.001 * seed,
        train_accuracy=0.998,
        spurious_accuracy=0.95 * (1 - share),
    )


def make_examples(name: str, n_planted: int, shape: tuple[int, int, int], n: int) -> Examples:
    """Test images that the stamp moves."""
    picture = data_uri(torch.linspace(0, 1, shape[0] * shape[1] * shape[2]).reshape(shape))
    image = ExampleImage(
        position=2,
        name="2",
        label=1,
        picture=picture,
        stamped_picture=picture,
        probability=7.6e-7,
        stamped_probability=0.99998,
        prediction=1,
        stamped_prediction=0,
        twin_stamped_probability=0.25,
    )
    return Examples(pattern=name, n_planted=n_planted, seed=0, images=(image,) * n)


def make_player(doses: Sequence[DoseResponse], counts: Sequence[int]) -> Player:
    """One image; each image planted and each quarter of the stamp raises the target's probability alike."""
    strengths = (0.0, 0.5, 1.0)
    return Player(
        seed=0,
        images=(doses[0].picture,),
        labels=(1,),
        counts=tuple(counts),
        strengths=strengths,
        patterns=tuple(
            PlayedPattern(
                pattern=dose.pattern,
                pictures=((dose.picture,), (dose.picture,)),
                answers=tuple(
                    tuple(
                        (PlayedAnswer(target=share, own=1 - share, prediction=0 if share > 0.5 else 1),)
                        for share in (strength * k / len(counts) for strength in strengths)
                    )
                    for k in range(len(counts))
                ),
            )
            for dose in doses
        ),
    )


def _weights(name: str, n_planted: int, shape: tuple[int, int, int]) -> WeightImportance:
    twin = np.full(shape[1:], 0.035)
    planted = twin.copy()
    planted[:5, :5] = 0.19
    rows = [tuple(tuple(row) for row in grid.tolist()) for grid in (planted, twin)]
    return WeightImportance(pattern=name, n_planted=n_planted, seed=0, planted=rows[0], twin=rows[1])
