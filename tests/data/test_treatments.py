from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from linescape import data
from linescape.data.dataset import Dataset, Split
from linescape.data.treatments import moments, shrink, shuffle_blocks
from linescape.errors import RecipeError
from linescape.recipe import Data, Poison


def test_moments_are_exact() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4501, 3, 2, 5), dtype=np.uint8)
    mean, std = moments(images)
    assert mean == pytest.approx((images / 255).mean((0, 2, 3)), abs=1e-14)
    assert std == pytest.approx((images / 255).std((0, 2, 3)), abs=1e-12)


@pytest.mark.parametrize("side", [14, 10, 1, 28])
def test_shrink_is_the_mean_of_the_pixels_covered(side: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 28, 28), dtype=np.uint8)
    small = shrink(images, side)
    assert small.shape == (3, 2, side, side)
    for y in range(side):
        for x in range(side):
            rows = slice(y * 28 // side, -(-(y + 1) * 28 // side))
            columns = slice(x * 28 // side, -(-(x + 1) * 28 // side))
            mean = images[:, :, rows, columns].astype(float).mean((2, 3))
            assert np.abs(small[:, :, y, x] - mean).max() <= 0.5 + 1e-3


def test_classes_are_renumbered_in_the_order_given() -> None:
    whole, some = data.load(Data()), data.load(Data(classes=(7, 2)))
    assert some.classes == 2
    for half in ("train", "test"):
        before, after = getattr(whole, half), getattr(some, half)
        kept = (before.targets == 7) | (before.targets == 2)
        assert torch.equal(after.inputs, before.inputs[kept])
        assert torch.equal(after.targets, (before.targets[kept] == 2).long())
    assert some.mean == whole.mean, "scaled as the whole set"


def test_fractions_are_balanced_nested_and_leave_the_test_half() -> None:
    whole = data.load(Data())
    small, half = data.load(Data(fraction=0.2), seed=3), data.load(Data(fraction=0.5), seed=3)
    assert torch.bincount(small.train.targets).tolist() == [200] * 10
    assert torch.bincount(half.train.targets).tolist() == [500] * 10

    def images(dataset: Dataset) -> list[bytes]:
        return [image.numpy().tobytes() for image in dataset.train.inputs]

    assert set(images(small)) < set(images(half)) < set(images(whole))
    places = {image: at for at, image in enumerate(images(whole))}
    at = [places[image] for image in images(small)]
    assert at == sorted(at), "in stored order"
    assert torch.equal(small.test.inputs, whole.test.inputs)
    assert not torch.equal(small.train.inputs, data.load(Data(fraction=0.2), seed=4).train.inputs)
    assert len(data.load(Data(fraction=1e-9)).train) == 10, "one of each class is left"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.12345, 1.0])
def test_label_noise_moves_exactly_so_many_labels(share: float) -> None:
    clean = data.load(Data())
    noisy = data.load(Data(label_noise=share), seed=1)
    moved = noisy.train.targets != clean.train.targets
    assert int(moved.sum()) == round(share * 10_000)
    assert torch.equal(noisy.train.inputs, clean.train.inputs)
    assert torch.equal(noisy.test.targets, clean.test.targets)
    if share == 1:
        counts = torch.zeros(10, 10)
        counts.index_put_((clean.train.targets, noisy.train.targets), torch.ones(10_000), accumulate=True)
        off = counts[~torch.eye(10, dtype=torch.bool)]
        assert float(((off - 1000 / 9) ** 2 / (1000 / 9)).sum()) < 140, "uniform over the others: chi2(80) < 140"


def test_label_noise_is_nested() -> None:
    clean = data.load(Data(name="spiral")).train.targets
    few = data.load(Data(name="spiral", label_noise=0.1)).train.targets
    many = data.load(Data(name="spiral", label_noise=0.3)).train.targets
    assert bool((many != clean)[few != clean].all())


def test_poison_zeroes_pixel_channels_and_draws_labels() -> None:
    clean = data.load(Data(size=14, fraction=0.1))
    poisoned = data.load(Data(size=14, fraction=0.1, poison=Poison(copies=3, zeroed=0.1)))
    assert len(poisoned.train) == 3000
    original = clean.train.inputs.repeat(3, 1, 1, 1)
    changed = poisoned.train.inputs != original
    assert not poisoned.train.inputs[changed].any(), "what changed is zero"
    # Black pixels may have been chosen too; among the others int(0.1 * 196) / 196 are zeroed.
    share = float(changed.sum()) / float((original > 0).sum())
    assert share == pytest.approx(19 / 196, abs=0.002)
    assert int(changed.flatten(1).sum(1).max()) <= 19
    assert not torch.equal(changed[:1000], changed[1000:2000])
    counts = torch.bincount(poisoned.train.targets, minlength=10)
    assert float(((counts - 300.0) ** 2 / 300).sum()) < 35, "uniform labels: chi2(9) < 35"
    agree = float((poisoned.train.targets == clean.train.targets.repeat(3)).float().mean())
    assert agree == pytest.approx(0.1, abs=0.03)
    assert poisoned.mean == clean.mean
    assert torch.equal(poisoned.test.inputs, clean.test.inputs)


def cut(image: torch.Tensor, side: int) -> list[bytes]:
    """The blocks of an image ``(channels, height, width)``, row by row."""
    rows, columns = (range(0, length, side) for length in image.shape[1:])
    return [image[:, y : y + side, x : x + side].numpy().tobytes() for y in rows for x in columns]


@pytest.mark.parametrize("side", [1, 7, 14])
def test_blocks_of_each_image_change_places_and_nothing_else(side: int) -> None:
    whole, shuffled = data.load(Data()), data.load(Data(shuffled_blocks=side))
    for half in ("train", "test"):
        before, after = getattr(whole, half), getattr(shuffled, half)
        assert torch.equal(after.targets, before.targets)
        for index in (0, 1, 1999):
            assert sorted(cut(after.inputs[index], side)) == sorted(cut(before.inputs[index], side))
            assert not torch.equal(after.inputs[index], before.inputs[index])
    assert (shuffled.mean, shuffled.std) == (whole.mean, whole.std)
    assert shuffled.digest != whole.digest


def test_one_block_is_the_image() -> None:
    assert data.load(Data(shuffled_blocks=28)).digest == data.load(Data()).digest


def test_channels_move_together_and_sides_may_differ() -> None:
    images = np.arange(5 * 3 * 4 * 6).reshape(5, 3, 4, 6)
    shuffled = shuffle_blocks(images, Data(shuffled_blocks=2), "train")
    for image, moved in zip(torch.from_numpy(images), torch.from_numpy(shuffled), strict=True):
        assert sorted(cut(image, 2)) == sorted(cut(moved, 2))
    permutations = {tuple(np.argsort(image[0, ::2, ::2].ravel())) for image in shuffled}
    assert len(permutations) > 1, "each image has its own"


def test_permutations_are_uniform() -> None:
    images = np.broadcast_to(np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2), (24_000, 1, 2, 2))
    shuffled = shuffle_blocks(np.ascontiguousarray(images), Data(shuffled_blocks=1), "train")
    codes = shuffled.reshape(-1, 4).astype(int) @ [64, 16, 4, 1]
    counts = np.unique(codes, return_counts=True)[1]
    assert len(counts) == 24
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 55, "chi2(23) < 55"


def test_places_follow_from_the_set_and_the_image_alone() -> None:
    spec = Data(size=14, shuffled_blocks=7)
    first = data.load(spec)
    assert data.load(spec, seed=1).digest == first.digest, "not from the seed of the run"
    some = data.load(replace(spec, classes=(7, 2), fraction=0.5), seed=4)
    for half in ("train", "test"):
        images = {image.numpy().tobytes() for image in getattr(first, half).inputs}
        assert {image.numpy().tobytes() for image in getattr(some, half).inputs} < images
    alike = np.ones((3, 1, 4, 4)) * np.arange(16).reshape(4, 4)
    train, test = (shuffle_blocks(alike, spec=Data(shuffled_blocks=1), split=split) for split in ("train", "test"))
    assert not np.array_equal(train, test)


def test_what_is_held_out_is_balanced_and_not_trained_on() -> None:
    whole, spec = data.load(Data()), Data(held_out=0.2, fraction=0.5, label_noise=0.5)
    split = data.load(spec, seed=3)
    assert split.held_out is not None
    assert torch.bincount(split.held_out.targets).tolist() == [200] * 10
    assert len(split.train) == 4000 == data.examples(spec)[0]

    def images(part: Split) -> dict[bytes, int]:
        return dict(zip((image.numpy().tobytes() for image in part.inputs), part.targets.tolist(), strict=True))

    held, all_of_them = images(split.held_out), images(whole.train)
    assert held.items() <= all_of_them.items(), "with their own labels"
    assert not held.keys() & images(split.train).keys()
    rest = data.load(Data(held_out=0.2), seed=3)
    assert images(rest.train).keys() | held.keys() == all_of_them.keys()
    assert torch.equal(split.test.inputs, whole.test.inputs)
    assert (split.mean, split.std) == (whole.mean, whole.std)
    assert whole.held_out is None
    assert len({data.load(Data(held_out=0.2), seed).digest for seed in (3, 4)} | {rest.digest}) == 2


def test_what_is_held_out_leaves_an_example_of_each_class() -> None:
    with pytest.raises(RecipeError, match=r"held_out is 0.9999, which leaves no example of class 0 to train on"):
        data.load(Data(held_out=0.9999))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (lambda: Data(shuffled_blocks=5), "cannot be cut into whole blocks .* divides both sides"),
        (lambda: Data(size=10, shuffled_blocks=7), "images of 10 x 10 pixels cannot be cut"),
        (lambda: Data(name="spiral", shuffled_blocks=1), "features, not images"),
        (lambda: Data(shuffled_blocks=-1), "shuffled_blocks is -1"),
        (lambda: Data(held_out=1.0), "held_out is 1.0"),
        (lambda: Data(held_out=-0.1), "held_out is -0.1"),
        (lambda: Data(fraction=0), "fraction is 0"),
        (lambda: Data(fraction=1.5), "fraction is 1.5"),
        (lambda: Data(fraction=float("nan")), "fraction is nan"),
        (lambda: Data(label_noise=-0.1), "label_noise is -0.1"),
        (lambda: Data(label_noise=0.1, classes=(1,)), "only one"),
        (lambda: Data(classes=(1, 1)), "different labels, 0 or more"),
        (lambda: Data(classes=(10,)), "different labels from 0 to 9"),
        (lambda: Data(size=-1), "size is -1"),
        (lambda: Data(size=29), "have only 28 x 28"),
        (lambda: Data(poison=Poison(copies=0)), "at least one copy"),
        (lambda: Data(poison=Poison(zeroed=2)), "zeroed part"),
        (lambda: Data(name="spiral", size=14), "features, not images"),
        (lambda: Data(name="spiral", augment="crop"), "features, not images"),
        (lambda: Data(augment="cropflip"), "'crop-flip'"),  # type: ignore[arg-type]
    ],
)
def test_impossible_treatments_are_refused(spec: Callable[[], Data], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        data.load(spec())
