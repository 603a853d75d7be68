"""Train the example's model in a few seconds and save its weights: ``python studies/own_model/train.py``."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from tabular import data, model
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

torch.manual_seed(0)
network = model()
optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=1e-2)
for _ in range(20):
    for inputs, targets in DataLoader(data()["train"], batch_size=64, shuffle=True, drop_last=True):
        optimizer.zero_grad()
        cross_entropy(network(inputs), targets).backward()
        optimizer.step()

file = Path("weights.safetensors")
safetensors.torch.save_file(network.state_dict(), file)
print(f"wrote {file}")
