"""A network that Lightning trains, pruned, and put back into its LightningModule to train on.

python examples/lightning_module.py
"""

from __future__ import annotations

import sys

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import autoprune


class Digits(lightning.LightningModule):
    """A LightningModule around a network."""

    def __init__(self) -> None:
        super().__init__()
        self.network: nn.Module = nn.Sequential(
            nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)
        )

    def training_step(self, batch: tuple[Tensor, Tensor], position: int) -> Tensor:
        """Cross-entropy of a batch."""
        inputs, targets = batch
        return nn.functional.cross_entropy(self.network(inputs), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def loader(samples: int, seed: int) -> DataLoader[tuple[Tensor, ...]]:
    """Points, and in which of four quadrants of their first two coordinates they lie."""
    inputs = torch.randn(samples, 16, generator=torch.Generator().manual_seed(seed))
    targets = (inputs[:, 0] > 0).long() + 2 * (inputs[:, 1] > 0).long()
    return DataLoader(TensorDataset(inputs, targets), batch_size=64)


def trainer() -> lightning.Trainer:
    """One that writes nothing."""
    return lightning.Trainer(
        max_epochs=5,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def main(trials: int = 4) -> autoprune.Study:
    """Train, search, show the front, and train the best pruned network on."""
    torch.manual_seed(0)
    module, train = Digits(), loader(512, 0)
    trainer().fit(module, train)
    study = autoprune.search(
        module.network,
        {"train": train, "validation": loader(256, 1), "test": loader(256, 2)},
        budget=["flops=50%"],
        trials=trials,
        storage="sqlite:///lightning_module.db",
        finetune_steps=10,
        latency=False,
    )
    print(study.front().to_string())
    module.network = study.model("best")
    trainer().fit(module, train)
    return study


if __name__ == "__main__":
    sys.exit(None if len(main().front()) else "no candidate within the budget")
