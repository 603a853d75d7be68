"""Small networks that train in seconds or minutes on a CPU: residual, plain and mobile ones, and an LSTM."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.tasks.datasets.languages import SYMBOLS


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, projected by a 1x1 convolution where shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, inputs, H, W]`` to ``[N, outputs, H / stride, W / stride]``."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out)) + self.shortcut(x)
        return functional.relu(out)


class ResNet(nn.Module):
    """Residual network for small images: a 3x3 stem, stages that halve the resolution, a linear head.

    Args:
        channels: channels of the input.
        widths: channels of every stage.
        blocks: residual blocks a stage.
        classes: number of logits.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], blocks: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        stages: list[nn.Module] = []
        inputs = widths[0]
        for position, width in enumerate(widths):
            for block in range(blocks):
                stride = 2 if position > 0 and block == 0 else 1
                stages.append(BasicBlock(inputs, width, stride))
                inputs = width
        self.blocks = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, classes)

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, classes]`` of images ``[N, channels, H, W]``."""
        features = self.blocks(self.stem(x))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


class PlainNet(nn.Module):
    """Convolutions in a row without shortcuts, as in VGG (Simonyan and Zisserman, 2015), with BatchNorm.

    Every stage has two 3x3 convolutions and halves the resolution; a hidden layer stands before the logits.

    Args:
        channels: channels of the input.
        widths: channels of every stage.
        hidden: width of the hidden layer.
        classes: number of logits.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], hidden: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels
        for width in widths:
            for _ in range(2):
                convolution = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
                layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
                inputs = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.hidden = nn.Linear(inputs, hidden)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, classes]`` of images ``[N, channels, H, W]``."""
        features = self.features(x).mean(dim=(2, 3))
        logits: Tensor = self.head(functional.relu(self.hidden(features)))
        return logits


class InvertedResidual(nn.Module):
    """A 1x1 expansion, a depthwise 3x3 convolution, a linear 1x1 projection; a shortcut where shapes agree.

    Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (2018).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = _normalised(nn.Conv2d(inputs, inner, 1, bias=False), nn.ReLU6())
        depthwise = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False)
        self.depthwise = _normalised(depthwise, nn.ReLU6())
        self.project = _normalised(nn.Conv2d(inner, outputs, 1, bias=False))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, inputs, H, W]`` to ``[N, outputs, H / stride, W / stride]``."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.residual else out


class MobileNet(nn.Module):
    """Inverted residuals for small images: stages that halve the resolution, a wide 1x1 layer, a linear head.

    Args:
        channels: channels of the input.
        widths: channels of the stem and of every stage after it.
        blocks: inverted residuals of every stage.
        last: width of the last 1x1 convolution.
        classes: number of logits.
    """

    def __init__(
        self, channels: int, widths: tuple[int, ...], blocks: tuple[int, ...], last: int, classes: int
    ) -> None:
        super().__init__()
        inputs, *stages = widths
        self.stem = _normalised(nn.Conv2d(channels, inputs, 3, padding=1, bias=False), nn.ReLU6())
        layers: list[nn.Module] = []
        for width, count in zip(stages, blocks, strict=True):
            for block in range(count):
                layers.append(InvertedResidual(inputs, width, 2 if block == 0 else 1, expansion=4))
                inputs = width
        self.blocks = nn.Sequential(*layers)
        self.last = _normalised(nn.Conv2d(inputs, last, 1, bias=False), nn.ReLU6())
        self.head = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, classes]`` of images ``[N, channels, H, W]``."""
        features = self.last(self.blocks(self.stem(x)))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def _normalised(convolution: nn.Conv2d, *activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), *activation)


class LetterLSTM(nn.Module):
    """Classifier of short padded sequences: embedding, stacked LSTM, linear head on the last valid step.

    The steps run forward in time, so the padding at the end reaches no step that is read.

    Args:
        symbols: size of the vocabulary; symbol 0 is padding.
        embedding: size of a symbol's vector.
        hidden: hidden units of each layer.
        layers: number of LSTM layers.
        classes: number of logits.
    """

    def __init__(self, symbols: int, embedding: int, hidden: int, layers: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, embedding, padding_idx=0)
        self.lstm = nn.LSTM(embedding, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, symbols: Tensor) -> Tensor:
        """Logits ``[N, classes]`` of symbols ``[N, length]``, padded at the end."""
        steps, _ = self.lstm(self.embedding(symbols))
        last = (symbols != 0).sum(dim=1) - 1
        rows = torch.arange(symbols.shape[0], device=symbols.device)
        logits: Tensor = self.head(steps[rows, last])
        return logits


def digits_resnet(classes: int = 10) -> ResNet:
    """A residual network for 8x8 grey images, the model of the embedded ``digits`` data."""
    return ResNet(channels=1, widths=(16, 32, 64), blocks=2, classes=classes)


def resnet20(classes: int = 10, channels: int = 1) -> ResNet:
    """The CIFAR ResNet-20 of He et al. (2015) with projection shortcuts: 31 M MACs for ``[1, 28, 28]``."""
    return ResNet(channels=channels, widths=(16, 32, 64), blocks=3, classes=classes)


def plain8(classes: int = 10, channels: int = 1) -> PlainNet:
    """Six convolutions and two linear layers: 29 M MACs for ``[1, 28, 28]``."""
    return PlainNet(channels=channels, widths=(32, 64, 128), hidden=128, classes=classes)


def mobile8(classes: int = 10, channels: int = 1) -> MobileNet:
    """Eight inverted residuals: 13 M MACs for ``[1, 28, 28]``."""
    return MobileNet(channels, widths=(16, 32, 64, 96), blocks=(2, 3, 3), last=256, classes=classes)


def letter_lstm(classes: int = 5) -> LetterLSTM:
    """A two-layer LSTM over the letters of a word, the model of the ``language-id`` data."""
    return LetterLSTM(symbols=SYMBOLS, embedding=32, hidden=128, layers=2, classes=classes)
