from __future__ import annotations

import pytest
import torch

from linescape import data
from linescape.errors import DataError, RecipeError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


IMAGES = torch.randint(1, 256, (600, 3, 16, 24), dtype=torch.uint8, generator=seeded())


@pytest.mark.parametrize("kind", ["flip", "crop", "crop-flip", "cutout"])
def test_augmentation_follows_the_generator_and_keeps_its_input(kind: str) -> None:
    before = IMAGES.clone()
    one = data.augment(IMAGES, kind, seeded(1))
    assert torch.equal(one, data.augment(IMAGES, kind, seeded(1)))
    assert not torch.equal(one, data.augment(IMAGES, kind, seeded(2)))
    assert torch.equal(data.augment(IMAGES.float(), kind, seeded(1)), one.float())
    assert one.shape == IMAGES.shape
    assert one.dtype == torch.uint8
    assert torch.equal(IMAGES, before)


def test_no_augmentation_is_the_batch_itself() -> None:
    assert data.augment(IMAGES, "none", seeded()) is IMAGES


@pytest.mark.parametrize("kind", ["flip", "crop", "crop-flip"])
def test_each_image_is_moved_to_one_of_the_allowed_places(kind: str) -> None:
    moved = data.augment(IMAGES, kind, seeded())
    padded = torch.nn.functional.pad(IMAGES, (3, 3, 2, 2))  # an eighth of 24 and of 16
    seen: dict[tuple[int, int, bool], int] = {}
    for before, after in zip(padded, moved, strict=True):
        found = [
            (y, x, flip)
            for y in range(5)
            for x in range(7)
            for flip in (False, True)
            if torch.equal(
                after, before[:, y : y + 16, x : x + 24].flip(2) if flip else before[:, y : y + 16, x : x + 24]
            )
        ]
        assert len(found) == 1
        seen[found[0]] = seen.get(found[0], 0) + 1
    if "crop" not in kind:
        assert {place[:2] for place in seen} == {(2, 3)}
    else:
        assert {place[:2] for place in seen} == {(y, x) for y in range(5) for x in range(7)}
    flipped = sum(count for place, count in seen.items() if place[2])
    assert 240 < flipped < 360 if "flip" in kind else flipped == 0


def test_cutout_zeroes_a_square_that_the_border_may_cut() -> None:
    cut = data.augment(IMAGES, "cutout", seeded())
    sizes = set()
    for before, after in zip(IMAGES, cut, strict=True):
        gone = after == 0
        assert torch.equal(after[~gone], before[~gone])
        assert bool((gone == gone[0]).all()), "the same place in all channels"
        rows, columns = gone[0].any(1), gone[0].any(0)
        assert torch.equal(gone[0], rows[:, None] & columns[None, :])
        sizes.add((int(rows.sum()), int(columns.sum())))
    assert (8, 8) in sizes
    assert max(max(size) for size in sizes) == 8
    assert min(min(size) for size in sizes) == 4


def test_augmentation_refuses_what_it_cannot_change() -> None:
    with pytest.raises(RecipeError, match="'crop-flip'"):
        data.augment(IMAGES, "crop_flip", seeded())
    with pytest.raises(DataError, match="changes images"):
        data.augment(torch.zeros(3, 2), "flip", seeded())
