"""Small networks whose layers read units in different ways, their inputs, and literal least squares."""

import numpy as np
import torch
from torch import Tensor, nn


def seeded(net: nn.Module, seed: int = 0) -> nn.Module:
    """The network in float64 with weights of its own drawing, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    net = net.double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3)
    return net


def images(samples: int = 32, channels: int = 3, size: int = 8, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, channels, size, size, generator=generator, dtype=torch.float64)


def least_squares(features: Tensor, targets: Tensor, intercept: bool) -> tuple[Tensor, Tensor]:
    """Weight ``[rows, features]`` and bias of the literal least-squares problem over samples in rows."""
    x = features.detach().numpy()
    if intercept:
        x = np.concatenate([x, np.ones((len(x), 1))], 1)
    solution = torch.from_numpy(np.linalg.lstsq(x, targets.detach().numpy(), rcond=None)[0].T)
    return (solution[:, :-1], solution[:, -1]) if intercept else (solution, torch.zeros(len(solution)))


class Layers(nn.Module):
    """Convolution, convolution without bias, linear."""

    def __init__(self, **options: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.second = nn.Conv2d(8, 6, 3, bias=False, **options)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))).mean((2, 3)))


class Widening(nn.Module):
    """A transposed convolution that reads units; its positions do not overlap."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 2, stride=2)
        self.up = nn.ConvTranspose2d(8, 5, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(torch.relu(self.down(x)))


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 8)
        self.attention = nn.MultiheadAttention(8, 4, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        return self.head(self.attention(x, x, x, need_weights=False)[0])


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM, **options: object) -> None:
        super().__init__()
        self.rnn = kind(3, 6, batch_first=True, **options)
        self.head = nn.Linear(6 * (2 if self.rnn.bidirectional else 1), 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])


class Tied(nn.Module):
    """The embedding's matrix also decodes."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 8)
        self.inner = nn.Linear(8, 8)
        self.decoder = nn.Linear(8, 7, bias=False)
        self.decoder.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(torch.relu(self.inner(self.embedding(x))))


class Raw(nn.Module):
    """A product with a matrix that no layer owns."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 8)
        self.matrix = nn.Parameter(torch.zeros(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) @ self.matrix
