"""The player: the JSON for the page's script, and the choices beside it.

Everything is precomputed, so the page needs no server and no library; without scripts it is hidden.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from markupsafe import Markup

from spuriscope.answers import Audit, Player
from spuriscope.documents import to_document
from spuriscope.report import wording

__all__ = ["Playing", "playing", "script", "script_hash"]


@dataclass(frozen=True, kw_only=True)
class Playing:
    """What the template shows: the choices, and all answers for the script."""

    images: tuple[str, ...]
    patterns: tuple[str, ...]
    n_counts: int
    n_strengths: int
    target: str
    seed: int
    data: Markup


def playing(audit: Audit) -> Playing | None:
    """The player of an audit; None where it has none."""
    planted = audit.picked_up
    if planted is None or planted.player is None:
        return None
    found: Player = planted.player
    names = audit.conditions.data.class_names
    texts = {
        "names": list(names),
        "target": audit.conditions.target_name,
        **to_document(found),
    }
    return Playing(
        images=tuple(wording.quoted(names[label]) for label in found.labels),
        patterns=tuple(each.pattern for each in found.patterns),
        n_counts=len(found.counts),
        n_strengths=len(found.strengths),
        target=wording.quoted(audit.conditions.target_name),
        seed=found.seed,
        data=Markup(json.dumps(texts, separators=(",", ":")).replace("<", "\\u003c")),
    )


@cache
def script() -> Markup:
    """The script of the page, as it stands in it."""
    return Markup(files("spuriscope.report").joinpath("player.js").read_text(encoding="utf-8"))


def script_hash() -> str:
    """Its hash for the page's security policy, which allows this script only."""
    digest = hashlib.sha256(script().encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
