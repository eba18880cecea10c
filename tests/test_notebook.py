"""Values show themselves in a notebook: what is read there is what they hold, and no name breaks it."""

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch

from spuriscope.data import ImageSet, Split
from spuriscope.discovery import Finding
from spuriscope.discovery.finding import Proof
from spuriscope.patterns import pattern
from test_report_document import make_audit, make_deletion
from test_report_pictures import opened

SPLIT = Split(torch.arange(4 * 3 * 8 * 8).reshape(4, 3, 8, 8).to(torch.uint8), torch.tensor([0, 1, 0, 2]))
HOSTILE = "<script>alert(1)</script>"
FINDING = Finding(
    target=3, pattern=pattern("s1", (1, 28, 28)), examples=np.arange(12), score=0.87, null=(0.0, 0.02),
    p_value=0.0021, p_group=0.1, p_effect=0.1, source="marks", names=(HOSTILE, *map(str, range(11))),
    proof=Proof(score=0.01, n_left_out=12),
)  # fmt: skip


class Reader(HTMLParser):
    """Text and pictures of a piece of HTML whose elements are all closed, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.pictures: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs)["src"] or "")
        else:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\u00a0", " ").split())


def test_a_data_set_shows_the_first_image_of_each_class() -> None:
    shown = Reader(ImageSet("mine", SPLIT, SPLIT, ("cat", "dog", HOSTILE, "none"))._repr_html_())
    assert "mine 4 training and 4 test images of 3 × 8 × 8, 4 classes" in shown.text
    assert shown.text.endswith(f"cat dog {HOSTILE}")  # no image is of the last
    for uri, place in zip(shown.pictures, (0, 1, 3), strict=True):
        drawn = torch.from_numpy(np.array(opened(uri))).permute(2, 0, 1)
        assert torch.equal(drawn, SPLIT.images[place])


def test_a_pattern_shows_its_picture() -> None:
    shown = Reader(pattern("s3", (1, 28, 28))._repr_html_())
    assert "Pattern('s3', 1x28x28)" in shown.text
    assert np.asarray(opened(shown.pictures[0])).sum() == 25 * 255  # a white square of five


def test_a_finding_shows_its_cue_its_images_and_its_proof() -> None:
    shown = Reader(FINDING._repr_html_())
    assert "12 training images share a cue that pulls to class 3" in shown.text
    assert "moves 87% of fresh images, controls at most 2%; p = 0.0021" in shown.text
    assert f"images: {HOSTILE}, 0, 1, 2, 3, 4, 5, 6, ..." in shown.text
    assert "trained again without them: 1%" in shown.text


@pytest.mark.parametrize("n_cues", [0, 1])
def test_an_audit_shows_its_headline_and_tiles(n_cues: int) -> None:
    shown = Reader(make_audit(n_cues=n_cues)._repr_html_())
    assert shown.text.startswith("Yes, there is a cue" if n_cues else "No cue was found")
    assert "get 97 % of the test images right" in shown.text
    assert "How do I get rid of it? 1.1 % fine" in shown.text


def test_a_deletion_check_is_a_line_and_a_table() -> None:
    check: Any = make_deletion("r3", 3).methods[0]
    assert re.fullmatch(
        r"repair: .*; score 0.90 before, 0.01 after, 0.02 without the images, over 14 seeds; 0.2 s",
        str(check),
    )
    shown = Reader(check._repr_html_())
    assert "score 0.901 0.011 0.021" in shown.text
    assert "membership 0.501 0.501 0.501" in shown.text
