"""Writes three ONNX files with the current PyTorch exporter, and what PyTorch computes with them.

    pip install -r requirements.txt
    python make_models.py FOLDER

For every network there are FOLDER/NAME.onnx and FOLDER/NAME.json with `inputs`, images to calibrate
with and to test on, row-major channels, height, width, and `outputs`, the logits of each. Weights are
random and seeded; batch norms have seen a few images, so that their statistics fit.
"""

import json
import pathlib
import sys

import torch
from torch import nn

IMAGES = 40


class VggLike(nn.Sequential):
    """Plain convolutions with max pooling, channel counts that are no powers of two, two dense layers."""

    image = (3, 24, 24)

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 20, (3, 5), padding=(1, 2)),
            nn.BatchNorm2d(20),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Conv2d(20, 28, 3, padding=2, dilation=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(28 * 6 * 6, 40),
            nn.ReLU(),
            nn.Linear(40, 7),
        )


class Separable(nn.Module):
    """Depthwise-separable convolutions whose branches are concatenated."""

    image = (3, 30, 20)

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 4, stride=2, padding=1)
        self.depthwise = nn.Conv2d(10, 10, 3, padding=1, groups=10, bias=False)
        self.norm = nn.BatchNorm2d(10)
        self.pointwise = nn.Conv2d(10, 14, 1)
        self.grouped = nn.Conv2d(10, 6, 5, padding=2, groups=2)
        self.mix = nn.Conv2d(20, 18, 3, stride=2, padding=1)
        self.pool = nn.AvgPool2d(3, stride=2, ceil_mode=True)
        self.head = nn.Linear(18, 5)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        left = torch.relu(self.pointwise(torch.relu(self.norm(self.depthwise(x)))))
        right = torch.relu(self.grouped(x))
        x = torch.relu(self.mix(torch.cat([left, right], dim=1)))
        first, second = torch.split(self.pool(x), [8, 10], dim=1)
        x = torch.cat([second, first], dim=1)
        return self.head(x.mean(dim=(2, 3)))


class Block(nn.Module):
    """A basic residual block."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        y = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.second_norm(self.second(y)) + self.shortcut(x))


class SmallResNet(nn.Sequential):
    """A residual network on 28×28 images with a 5×5 stem and average pooling."""

    image = (1, 28, 28)

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 8, 5, padding=2),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            Block(8, 8, 1),
            Block(8, 12, 2),
            Block(12, 24, 2),
            nn.AvgPool2d(7),
            nn.Flatten(),
            nn.Linear(24, 10),
        )


def smooth(shape):
    """Normalised images with larger structures, as photographs have."""
    coarse = torch.rand(IMAGES, shape[0], shape[1] // 4 + 1, shape[2] // 4 + 1)
    fine = 0.2 * torch.rand(IMAGES, *shape)
    images = nn.functional.interpolate(coarse, size=shape[1:], mode="bilinear")
    return ((0.8 * images + fine).clamp(0, 1) - 0.5) / 0.2


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, network in [("vgg", VggLike), ("separable", Separable), ("resnet", SmallResNet)]:
        torch.manual_seed(11)
        model = network()
        images = smooth(network.image)
        with torch.no_grad():
            for layer in model.modules():
                if isinstance(layer, (nn.Conv2d, nn.Linear)):
                    # The default is so small that logits would hardly depend on the image.
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if isinstance(layer, nn.BatchNorm2d):
                    layer.momentum = None
                    layer.weight.uniform_(0.7, 1.3)
                    layer.bias.uniform_(-0.3, 0.3)
            model.train()
            model(images)
            model.eval()
            logits = model(images)
        torch.onnx.export(
            model, (images[:1],), folder / f"{name}.onnx", input_names=["image"], dynamo=True
        )
        flat = {"inputs": images.flatten(1).tolist(), "outputs": logits.tolist()}
        (folder / f"{name}.json").write_text(json.dumps(flat))
        print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters")


if __name__ == "__main__":
    main()
