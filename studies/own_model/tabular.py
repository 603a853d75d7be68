"""A model and data of your own: what the factories behind ``--model`` and ``--data`` look like.

The data are scikit-learn's bundled breast cancer measurements: 30 numbers, two classes.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.utils.data import TensorDataset


def model() -> nn.Module:
    """Called without arguments; returns the network that the weights fit."""
    return nn.Sequential(
        nn.Linear(30, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, 64),
        nn.BatchNorm1d(64),
        nn.ReLU(),
        nn.Linear(64, 2),
    )


def data() -> dict[str, object]:
    """Called without arguments; returns the three splits and the kind of task.

    Each split may be a ``Dataset`` of ``(input, target)`` pairs, a ``DataLoader``, or a pair of tensors.
    """
    features, labels = load_breast_cancer(return_X_y=True)
    rest, test = train_test_split(range(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    train, validation = train_test_split(rest, test_size=0.25, stratify=labels[rest], random_state=0)
    mean, spread = features[train].mean(0), features[train].std(0)

    def split(rows: list[int]) -> TensorDataset:
        inputs: Tensor = torch.tensor((features[rows] - mean) / spread, dtype=torch.float32)
        return TensorDataset(inputs, torch.tensor(labels[rows]))

    return {
        "train": split(train),
        "validation": split(validation),
        "test": split(test),
        "task": "classification",
    }
