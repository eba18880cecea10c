"""Shadow models for one finished model: which of its training images can be recognised?

The pool has the images that the model was trained on, the members, and test images, the outsiders. Shadow
models are trained on complementary halves of the pool in pairs, so exactly half of them never saw a given
image, member or outsider. An attack treats both kinds alike: they differ only in whether the finished model
saw them.

The attacks are those of `attacks.ATTACKS`: offline LiRA compares the model's confidence with that of the
shadow models without the image itself (Carlini et al., 2022), RMIA with the mean over all shadow models
(Zarifzadeh et al., 2024), and loss with nothing.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spuriscope.checks import check_whole
from spuriscope.data.duplicates import copied_in_test
from spuriscope.data.image_set import ImageSet, Split
from spuriscope.errors import MembershipError
from spuriscope.membership.attacks import ATTACKS, Knowledge, confidence
from spuriscope.membership.one_model import AttackOnModel, judge_one
from spuriscope.training import AnyModel, Cell, DataKey, Part, Recipe

__all__ = [
    "ATTACKS_ON_ONE",
    "MOST_SHADOWS",
    "AttackedModel",
    "ShadowPool",
    "attack_model",
    "balanced_halves",
    "check_n_shadows",
    "confidences",
    "draw_shadow_pool",
    "shadow_cells",
]

ATTACKS_ON_ONE = ("lira-offline", "rmia", "loss")
LEAST_SHADOWS, MOST_SHADOWS = 4, 256  # a spread needs two models on each side; 256 as in the paper
LEAST_IMAGES = 20  # of members, and of outsiders
SEED = 0  # draws the halves


@dataclass(frozen=True, eq=False)
class ShadowPool:
    """The images in question, and which shadow model is trained on which.

    Attributes:
        data: its training images are the pool: the members in their order, then the outsiders.
        outsiders: (m,), positions of the outsiders among the test images.
        was_in: (k, n + m), whether each shadow model is trained on each image.
        n_members: n.
        n_copies: test images that were left out because they are copies.
    """

    data: ImageSet
    outsiders: Tensor
    was_in: Tensor
    n_members: int
    n_copies: int


def check_n_shadows(n_shadows: int) -> None:
    """Refuse a number of shadow models that no attack can use.

    Raises:
        MembershipError: it is odd, below 4 or above 256.
    """
    check_whole("shadows", n_shadows, error=MembershipError)
    if n_shadows % 2 or not LEAST_SHADOWS <= n_shadows <= MOST_SHADOWS:
        raise MembershipError(
            "shadow models come in pairs, and two must never see a given image: give an even number from "
            f"{LEAST_SHADOWS} to {MOST_SHADOWS}, such as 8, got {n_shadows}"
        )


def draw_shadow_pool(data: ImageSet, n_shadows: int, *, is_stamped: Tensor | None = None) -> ShadowPool:
    """Pool the images of a finished model, and draw the halves.

    Test images that are copies, above all of training images, are left out: whether the model saw them cannot
    be said.

    Args:
        data: as the model saw them; the test images are fresh.
        n_shadows: shadow models, an even number.
        is_stamped: (n,), which training images carry a plant: both halves get equally many of them.

    Raises:
        MembershipError: see `check_n_shadows`; or fewer than 20 members or outsiders.
    """
    check_n_shadows(n_shadows)
    is_copy = copied_in_test(data)
    outsiders = (~is_copy).nonzero().flatten()
    n_members = len(data.train)
    _check_sizes(n_members, len(outsiders), len(data.test) - len(outsiders))
    train, test = data.train, data.test
    labels = torch.cat([train.labels, test.labels[outsiders]])
    stamped = torch.zeros(len(labels), dtype=torch.int64)
    if is_stamped is not None:
        stamped[:n_members] = is_stamped.long()
    pool = Split(torch.cat([train.images, test.images[outsiders]]), labels)
    return ShadowPool(
        data=ImageSet(data.name, pool, test, data.class_names),
        outsiders=outsiders,
        was_in=balanced_halves(2 * labels + stamped, n_shadows, SEED),
        n_members=n_members,
        n_copies=int(is_copy.sum()),
    )


def _check_sizes(n_members: int, n_outsiders: int, n_copies: int) -> None:
    if min(n_members, n_outsiders) >= LEAST_IMAGES:
        return
    copies = f" ({n_copies} more are copies of others)" if n_copies else ""
    raise MembershipError(
        f"shadow models need {LEAST_IMAGES} training and {LEAST_IMAGES} test images, there are {n_members} "
        f"and {n_outsiders}{copies}; give more, or leave out shadows"
    )


def balanced_halves(groups: Tensor, n_rows: int, seed: int) -> Tensor:
    """Halves (n_rows, n) in complementary pairs, each pair drawn at random.

    The two halves of a pair share every group, and the whole, evenly: their sizes differ by at most one.

    Args:
        groups: (n,), from 0; such as classes.
        n_rows: an even number.
        seed: draws them.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(n_rows // 2):
        place = torch.randperm(int(groups.max()) + 1, generator=generator)  # order of the groups, else the
        order = torch.randperm(len(groups), generator=generator)  # small ones would always share a half
        order = order[place[groups[order]].sort(stable=True).indices]
        row = torch.zeros(len(groups), dtype=torch.bool)
        row[order[::2]] = True
        rows += [row, ~row]
    return torch.stack(rows)


def shadow_cells(pool: ShadowPool, cell: Cell) -> list[Cell]:
    """The trainings of the shadow models: like the model's, with as many steps, each on its half.

    Args:
        pool: what they are trained on.
        cell: the finished model's; its plants are in the pool's images.
    """
    seeds = [seed for seed in range(len(pool.was_in) + 1) if seed != cell.seed]
    key = DataKey.of(pool.data)
    parts = [Part.of(row.nonzero().flatten()) for row in pool.was_in]
    return [
        replace(
            cell,
            data=key,
            plants=(),
            part=part,
            recipe=with_steps_of(cell.recipe, pool.n_members, len(part)),
            seed=seed,
        )
        for part, seed in zip(parts, seeds, strict=False)
    ]


def with_steps_of(recipe: Recipe, n_images: int, n_other: int) -> Recipe:
    """A recipe whose training on `n_other` images has about as many steps as `recipe` on `n_images`.

    The milestones move with the epochs.
    """
    steps, others = (-(-n // recipe.batch_size) for n in (n_images, n_other))
    epochs = max(min(recipe.epochs, 1), round(recipe.epochs * steps / others))
    stretch = epochs / max(recipe.epochs, 1)
    milestones = tuple(sorted({round(stretch * milestone) for milestone in recipe.milestones or ()}))
    return replace(recipe, epochs=epochs, milestones=milestones)


def confidences(model: AnyModel, pool: ShadowPool) -> Tensor:
    """A model's `confidence` on each image of the pool (n + m,), which is all that the attacks need.

    Raises:
        MembershipError: it answers for fewer classes than there are.
    """
    logits = model.logits(pool.data.train.images)
    if logits.shape[1] < pool.data.n_classes:
        raise MembershipError(
            f"a model answers for {logits.shape[1]} classes, the data have {pool.data.n_classes}; predict "
            "returns a column for each, also for those that few images are of"
        )
    return confidence(logits, pool.data.train.labels)


@dataclass(frozen=True, eq=False)
class AttackedModel:
    """The results of attacks on one model.

    Attributes:
        attacks: each of `ATTACKS_ON_ONE`, judged.
        scores: for each attack (n + m,), the scores of the members in their order, then of the outsiders.
    """

    attacks: tuple[AttackOnModel, ...]
    scores: dict[str, Tensor]


def attack_model(own: Tensor, shadows: Tensor, pool: ShadowPool) -> AttackedModel:
    """Attack a finished model with its shadow models.

    Args:
        own: (n + m,), its `confidences`.
        shadows: (k, n + m), those of the shadow model of each row of `pool.was_in`.
        pool: the images in question.
    """

    def two_classes(confident: Tensor) -> Tensor:
        """Logits with this confidence in the first of two classes, which save memory over 100 classes."""
        return torch.stack([confident, torch.zeros_like(confident)], dim=-1)

    labels = torch.zeros_like(pool.data.train.labels)
    knowledge = Knowledge(two_classes(own), labels, two_classes(shadows), pool.was_in)
    scores = {name: ATTACKS[name](knowledge) for name in ATTACKS_ON_ONE}
    n = pool.n_members
    return AttackedModel(
        tuple(judge_one(name, found[:n], found[n:]) for name, found in scores.items()),
        scores,
    )
