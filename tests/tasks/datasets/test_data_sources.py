import gzip
import struct

import pytest
import torch
from PIL import Image

from autoprune.errors import DataError
from autoprune.tasks import load_data
from autoprune.tasks.datasets.images import FASHION
from autoprune.tasks.datasets.split import hold_out, three_way


def write_idx(path, array, *, compress):
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    raw = header + array.to(torch.uint8).numpy().tobytes()
    target = path.with_name(path.name + ".gz") if compress else path
    target.write_bytes(gzip.compress(raw) if compress else raw)


def idx_folder(folder, *, compress=True):
    generator = torch.Generator().manual_seed(0)
    for prefix, count in (("train", 240), ("t10k", 20)):
        images = torch.randint(0, 256, (count, 28, 28), generator=generator)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images, compress=compress)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", torch.arange(count) % 10, compress=compress)
    return folder


def test_digits_are_standardised_and_stratified():
    data = load_data("digits")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [1079, 359, 359]
    assert data.example(5).shape == (5, 1, 8, 8)
    inputs = data.train.inputs
    assert inputs.dtype == torch.float32
    assert abs(float(inputs.mean())) < 1e-5
    assert abs(float(inputs.std()) - 1) < 1e-5
    for split in (data.train, data.validation, data.test):
        shares = torch.bincount(split.targets, minlength=10) / len(split)
        assert float((shares - 0.1).abs().max()) < 0.01


def test_digits_are_split_the_same_way_every_time():
    torch.manual_seed(1)
    first = load_data("digits")
    torch.manual_seed(2)
    second = load_data("digits")
    assert torch.equal(first.test.inputs, second.test.inputs)


def test_held_out_samples_are_disjoint_and_complete():
    targets = torch.arange(100) % 5
    parts = three_way(targets, validation=0.15, test=0.15)
    assert [len(part) for part in parts] == [70, 15, 15]
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(100))
    assert torch.bincount(targets[parts[2]]).tolist() == [3] * 5


def test_too_few_samples_of_a_class():
    with pytest.raises(DataError, match="cannot split"):
        hold_out(torch.tensor([0, 0, 0, 1]), 2)


@pytest.mark.parametrize("name", ["fashion-mnist", "mnist"])
@pytest.mark.parametrize("compress", [True, False])
def test_idx_files(tmp_path, name, compress):
    data = load_data(f"{name}:{idx_folder(tmp_path, compress=compress)}")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [220, 20, 20]
    assert data.example(2).shape == (2, 1, 28, 28)
    assert data.task.name == "classification"
    inputs, _ = next(data.train.batches(64, shuffle=torch.Generator().manual_seed(0)))
    assert inputs.shape == (64, 1, 28, 28)


def test_standardisation_of_fashion_mnist():
    black_and_white = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
    values = FASHION.standardise(black_and_white).flatten().tolist()
    assert values == pytest.approx([-0.2860 / 0.3530, (1 - 0.2860) / 0.3530])
    assert FASHION.augment().fill == pytest.approx(values[0])


def test_a_truncated_file(tmp_path):
    path = idx_folder(tmp_path) / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="download it again"):
        load_data(f"mnist:{tmp_path}")


def test_a_short_plain_file(tmp_path):
    path = idx_folder(tmp_path, compress=False) / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="not a complete IDX file"):
        load_data(f"mnist:{tmp_path}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("digit", "did you mean digits"),
        ("something", "use digits, fashion-mnist"),
        ("mnist:/does/not/exist", "no folder"),
        ("cifar10:/does/not/exist", "no CIFAR-10"),
        ("imagefolder:", "write imagefolder:ROOT"),
        ("imagefolder:/does/not/exist", "no folder"),
        ("imagefolder:photos,sizes=160", "no option 'sizes': there are size=160"),
        ("imagefolder:photos,size=big", "size=big is not a number of pixels"),
        ("imagefolder:photos,mean=nan", "mean=nan is invalid: write mean=0.5"),
        ("imagefolder:photos,std=0", "std=0 is invalid: write std=0.5"),
    ],
)
def test_data_that_cannot_be_found(spec, message):
    with pytest.raises(DataError, match=message) as caught:
        load_data(spec)
    assert "\n" not in str(caught.value)


def photos(folder, classes=("cat", "dog"), count=10):
    for position, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (40, 30), (position * 100, number * 20, 50)).save(
                folder / name / f"{number}.png"
            )
    return folder


def test_one_folder_of_class_folders(tmp_path):
    data = load_data(f"imagefolder:{photos(tmp_path)}")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [14, 3, 3]
    assert data.example().shape == (1, 3, 224, 224)
    inputs, targets = next(data.train.batches(4, shuffle=torch.Generator()))
    assert inputs.shape == (4, 3, 224, 224)
    assert set(targets.tolist()) <= {0, 1}


def test_images_are_prepared_as_the_model_was_trained(tmp_path):
    folder = photos(tmp_path / "a, b")
    data = load_data(f"imagefolder:{folder},size=40,mean=0.5,std=0.5")
    assert data.example().shape == (1, 3, 40, 40)
    assert data.name == "imagefolder:a, b,size=40,mean=0.5,std=0.5"
    usual = load_data(f"imagefolder:{folder},size=40").example()
    colours = usual * torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    colours += torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    assert torch.allclose(data.example(), (colours - 0.5) / 0.5, atol=1e-6)


def test_folders_of_one_name_are_told_apart(tmp_path):
    sources = {load_data(f"imagefolder:{photos(tmp_path / part / 'photos')}").source for part in "ab"}
    assert len(sources) == 2


def test_given_parts_are_kept(tmp_path):
    for part, count in (("train", 4), ("val", 2), ("test", 1)):
        photos(tmp_path / part, count=count)
    data = load_data(f"imagefolder:{tmp_path}")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [8, 4, 2]


def test_a_missing_part(tmp_path):
    photos(tmp_path / "train", count=1)
    with pytest.raises(DataError, match="no folder val"):
        load_data(f"imagefolder:{tmp_path}")


def test_parts_with_other_classes(tmp_path):
    for part in ("train", "val"):
        photos(tmp_path / part, count=1)
    photos(tmp_path / "test", classes=("cat", "horse"), count=1)
    with pytest.raises(DataError, match="test has other class folders"):
        load_data(f"imagefolder:{tmp_path}")


def test_a_folder_without_images(tmp_path):
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="one folder a class"):
        load_data(f"imagefolder:{tmp_path}")
