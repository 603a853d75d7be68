import torch

from autoprune.tasks import CropFlip
from autoprune.tasks.datasets.augment import random_crop, random_flip


def images(count=64):
    return torch.arange(count * 2 * 5 * 4, dtype=torch.float32).reshape(count, 2, 5, 4) + 1


def test_each_crop_is_a_window_of_its_own_padded_image():
    original = images()
    cropped = random_crop(original, 1, torch.Generator().manual_seed(0), fill=-7.0)
    padded = torch.nn.functional.pad(original, (1,) * 4, value=-7.0)

    offsets = set()
    for image, source in zip(cropped, padded, strict=True):
        windows = {(y, x): source[:, y : y + 5, x : x + 4] for y in range(3) for x in range(3)}
        found = [place for place, window in windows.items() if torch.equal(window, image)]
        assert len(found) == 1
        offsets.add(found[0])
    assert len(offsets) == 9


def test_flip_mirrors_about_half_of_the_images():
    original = images()
    flipped = random_flip(original, torch.Generator().manual_seed(0))
    same = sum(torch.equal(a, b) for a, b in zip(original, flipped, strict=True))
    mirrored = sum(torch.equal(a.flip(2), b) for a, b in zip(original, flipped, strict=True))
    assert same + mirrored == 64
    assert 20 < mirrored < 44


def test_augmentation_follows_its_generator_and_leaves_the_input():
    original = images()
    kept = original.clone()
    augment = CropFlip(padding=2)
    first, again, other = (augment(original, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(original, kept)


def test_nothing_to_do():
    original = images()
    assert torch.equal(CropFlip(padding=0, flip=False)(original, torch.Generator()), original)
