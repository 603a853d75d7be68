"""A BERT classifier, built from a configuration and pruned without a download.

python examples/hugging_face.py
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

import autoprune

WORDS, LENGTH = 50, 12


class Classifier(nn.Module):
    """A Hugging Face model that takes one input, tokens ``[N, length]``, and returns its logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of padded tokens; 0 is padding."""
        logits: Tensor = self.model(input_ids=tokens, attention_mask=(tokens != 0).long()).logits
        return logits


def bert() -> Classifier:
    """A small BERT with random weights; yours would come from ``from_pretrained``."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=LENGTH,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=2,
    )
    return Classifier(BertForSequenceClassification(config))


def sentences(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random sentences, and whether the word 7 is in them."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, WORDS, (count, LENGTH), generator=generator)
    asked = torch.arange(count) % 2 == 0
    tokens[tokens == 7] = 8
    tokens[asked, 3] = 7
    return tokens, asked.long()


def train(model: nn.Module, tokens: Tensor, targets: Tensor, steps: int) -> None:
    """A few steps of AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(tokens), targets).backward()
        optimizer.step()


def main(trials: int = 4) -> autoprune.Study:
    """Train, search, and show the front."""
    data = {
        "train": sentences(256, 0),
        "validation": sentences(128, 1),
        "test": sentences(128, 2),
    }
    model = bert()
    train(model, *data["train"], steps=30)
    study = autoprune.search(
        model,
        data,
        budget=["flops=60%"],
        trials=trials,
        storage="sqlite:///hugging_face.db",
        optimizer="adamw",
        lr=1e-3,
        finetune_steps=10,
        latency=False,
    )
    print(study.front().to_string())
    return study


if __name__ == "__main__":
    sys.exit(None if len(main().front()) else "no candidate within the budget")
