"""Networks whose units are not channels of convolutions alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoprune.criteria import Context
from autoprune.structure import discover


class Recurrent(nn.Module):
    def __init__(self, rnn: Callable[..., nn.RNNBase], **settings: Any) -> None:
        super().__init__()
        self.symbols = nn.Embedding(10, 6)
        self.rnn = rnn(6, 7, **settings)
        self.head = nn.Linear(7 * (2 if self.rnn.bidirectional else 1), 5)

    def forward(self, symbols: Tensor) -> Tensor:
        vectors = self.symbols(symbols)
        if not self.rnn.batch_first:
            vectors = vectors.transpose(0, 1)
        result: Tensor = self.rnn(vectors)[0]
        steps = result.unbind(1 if self.rnn.batch_first else 0)
        logits: Tensor = self.head(steps[-1] + steps[0])
        return logits


class Encoder(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.embed = nn.Linear(4, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=batch_first, dropout=0.3)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 5)

    def forward(self, series: Tensor) -> Tensor:
        x = self.embed(series)
        x = self.layers(x) if self.batch_first else self.layers(x.transpose(0, 1)).transpose(0, 1)
        logits: Tensor = self.head(x.mean(1))
        return logits


class Grouped(nn.Module):
    """Grouped convolution, units of several positions behind a flatten, a transposed weight."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 12, 3, padding=1, groups=4)
        self.up = nn.ConvTranspose2d(12, 6, 2, stride=2)
        self.hidden = nn.Linear(6 * 4, 10)
        self.last = nn.Parameter(torch.randn(10, 5))

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.grouped(F.relu(self.stem(images))))
        x = F.adaptive_avg_pool2d(F.relu(self.up(x)), 2).flatten(1)
        return torch.relu(self.hidden(x)) @ self.last


def _symbols(count: int) -> Tensor:
    return torch.randint(0, 10, (count, 6), generator=torch.Generator().manual_seed(count))


def _series(count: int) -> Tensor:
    return torch.randn(count, 5, 4, generator=torch.Generator().manual_seed(count))


def _images(count: int) -> Tensor:
    return torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(count))


NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor]]] = {
    "lstm": (lambda: Recurrent(nn.LSTM, num_layers=2, batch_first=True), _symbols),
    "gru-both-ways": (lambda: Recurrent(nn.GRU, num_layers=2, bidirectional=True), _symbols),
    "rnn": (lambda: Recurrent(nn.RNN, nonlinearity="relu"), _symbols),
    "encoder": (lambda: Encoder(True), _series),
    "encoder-time-first": (lambda: Encoder(False), _series),
    "grouped": (Grouped, _images),
}


def context_of(name: str) -> Context:
    """With two batches of different size, the second one smaller."""
    torch.manual_seed(0)
    make, inputs = NETS[name]
    model = make().eval()
    generator = torch.Generator().manual_seed(2)
    data = [(inputs(n), torch.randint(0, 5, (n,), generator=generator)) for n in (6, 4)]
    return Context(model, discover(model, inputs(1)), lambda: data, F.cross_entropy)
