"""Small networks that use a parameter or a module more than once."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class TiedAutoencoder(nn.Module):
    """One matrix, used as it is by the encoder and transposed by the decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(12, 10)
        self.code = nn.Linear(10, 6, bias=False)
        self.outer = nn.Linear(10, 12)

    def forward(self, x: Tensor) -> Tensor:
        code = torch.tanh(self.code(torch.relu(self.inner(x))))
        return self.outer(torch.relu(functional.linear(code, self.code.weight.t())))


class Raw(nn.Module):
    """The same with a bare matrix and products."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(12, 10)
        self.w = nn.Parameter(torch.randn(6, 10))
        self.outer = nn.Linear(10, 12)

    def forward(self, x: Tensor) -> Tensor:
        code = torch.tanh(torch.relu(self.inner(x)) @ self.w.T)
        return self.outer(torch.relu(code @ self.w))


class TiedLanguageModel(nn.Module):
    """The embedding is the output layer's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 12)
        self.hidden = nn.Linear(12, 16)
        self.out = nn.Linear(16, 12)
        self.head = nn.Linear(12, 20)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        x = x + self.out(torch.relu(self.hidden(x)))
        return self.head(x)


class Siamese(nn.Module):
    """One encoder for two images, of which one is halved in size first; the two codes are joined."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 10, 3, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        left = self.encoder(x).mean((2, 3))
        right = self.encoder(functional.avg_pool2d(x, 2)).amax((2, 3))
        return self.head(torch.cat([left, right], 1))


class Repeated(nn.Module):
    """A list that holds one block three times; inside it one layer is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(12, 8)
        block = Twice()
        self.blocks = nn.ModuleList([block, block, block])
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(8, 14)
        self.mix = nn.Linear(14, 14)
        self.down = nn.Linear(14, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.mix(torch.relu(self.up(x))))
        return self.down(torch.relu(self.mix(x)))


class Listed(nn.Module):
    """A layer under two names, of which only one is ever used."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 8)
        self.norm = nn.BatchNorm1d(8)
        self.last = nn.Linear(8, 5)
        self.all = nn.ModuleList([self.first, self.norm, self.last])

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.norm(self.first(x))))
