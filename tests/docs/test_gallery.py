"""Pictures of the documents: small, all in use, and those with figures say what was measured."""

import re
from pathlib import Path

import pytest

from benchmarks.gallery import IMAGES, draw_exits, draw_network, shrink

LARGEST_BYTES = 100_000
PAGES = [IMAGES.parents[1] / "README.md", *sorted(IMAGES.parent.rglob("*.md"))]
SHOWN = re.compile(r"!\[[^\]]+\]\((?:docs/)?images/([\w.]+)\)")


def texts(picture: Path) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]+)</text>", picture.read_text(encoding="utf-8"))


@pytest.mark.parametrize("image", sorted(IMAGES.iterdir()), ids=lambda image: image.name)
def test_a_picture_is_small(image: Path) -> None:
    assert image.stat().st_size < LARGEST_BYTES


def test_every_picture_is_shown_and_every_shown_one_is_there() -> None:
    shown = {name for page in PAGES for name in SHOWN.findall(page.read_text(encoding="utf-8"))}
    assert shown == {image.name for image in IMAGES.iterdir()} - {"mark.svg"}


def test_the_picture_of_exits_says_what_was_measured(tmp_path: Path) -> None:
    draw_exits(tmp_path / "exits.svg")
    drawn = texts(tmp_path / "exits.svg")
    assert texts(IMAGES / "exits.svg") == drawn, "python -m benchmarks.gallery"
    assert any("leave" in text for text in drawn)


def test_drawings_of_a_network_are_those_of_today(tmp_path: Path) -> None:
    draw_network(tmp_path)
    for name in ("network.svg", "memory.svg"):
        assert texts(tmp_path / name) == texts(IMAGES / name), "python -m benchmarks.gallery"


def test_screenshots_are_made_small(tmp_path: Path) -> None:
    from PIL import Image

    Image.effect_noise((1600, 1000), 60).save(tmp_path / "large.png")
    shrink(tmp_path / "large.png", tmp_path / "small.png")
    with Image.open(tmp_path / "small.png") as small:
        assert small.size == (1000, 625)
        assert len(small.getcolors() or ()) <= 24
