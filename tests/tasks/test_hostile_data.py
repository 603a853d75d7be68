"""Data folders that strangers filled: nothing is started, waited for, or unpacked without end."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from autoprune.errors import DataError
from autoprune.tasks import load_data
from autoprune.tasks.datasets import image_file
from autoprune.tasks.datasets.idx import read_idx
from autoprune.tasks.datasets.image_file import read_image

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "cat.png"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM"])
def test_pictures_are_read_whatever_their_names_end_with(path: Path, kind: str) -> None:
    Image.new("RGB", (4, 3), (255, 0, 0)).save(path, kind)
    assert read_image(path).size == (4, 3)


def test_no_program_is_started_for_a_picture(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(EPS)
    ghostscript, started = tmp_path / "gs", tmp_path / "started"
    ghostscript.write_text(f"#!/bin/sh\ntouch {started}\n")
    ghostscript.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(DataError, match=r"is no image of JPEG, .*: take it out, or convert it"):
        read_image(path)
    assert not started.exists()


def test_a_pipe_is_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(DataError, match="it is no file"):
        read_image(path)


def test_a_device_behind_a_link_is_not_read(path: Path) -> None:
    path.symlink_to("/dev/zero")
    with pytest.raises(DataError, match="it is no file"):
        read_image(path)


def test_pixels_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_file, "MOST_PIXELS", 100)
    Image.new("RGB", (10, 10)).save(path)
    read_image(path)
    Image.new("RGB", (11, 10)).save(path)
    with pytest.raises(DataError, match="has 11 x 10 pixels, more than 100: make it smaller"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", zlib.compress(b"x" * 100)])
def test_what_is_no_image_is_one_line(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_compressed_idx_file_does_not_unpack_to_more_than_goes_with_its_size(tmp_path: Path) -> None:
    file, zeros = tmp_path / "images.gz", gzip.compress(bytes(1 << 24)) * 12
    # Honest about its length, and not.
    for shape in ((3 << 26,), (60_000, 28, 28)):
        head = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
        file.write_bytes(gzip.compress(head) + zeros)
        with pytest.raises(DataError, match="is not a complete IDX file"):
            read_idx(file)


def test_cifar10_is_unpickled_only_where_it_is_the_one_that_was_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, marker = tmp_path / "cifar-10-batches-py", tmp_path / "ran"
    folder.mkdir()
    batch = {"data": np.arange(3072 * 40, dtype=np.uint8).reshape(40, 3072), "labels": [0, 1] * 20}
    for name, listed in (("a", "train_list"), ("b", "test_list")):
        content = pickle.dumps(batch)
        (folder / name).write_bytes(content)
        monkeypatch.setattr(datasets.CIFAR10, listed, [[name, hashlib.md5(content).hexdigest()]])
    data = load_data(f"cifar10:{tmp_path}")
    assert len(data.test) == 40

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(marker),)

    (folder / "a").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match="a is not the one of CIFAR-10: download it again"):
        load_data(f"cifar10:{tmp_path}")
    assert not marker.exists()


def test_images_have_the_colours_that_torchvision_reads(path: Path) -> None:
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).convert("P").save(path)
    expected = datasets.folder.pil_loader(path)
    assert torch.equal(torch.tensor(np.array(read_image(path))), torch.tensor(np.array(expected)))
