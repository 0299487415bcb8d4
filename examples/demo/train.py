"""Trains the demo network, a CIFAR-10 ResNet-20, from scratch on a CPU and exports it as ONNX.

The network is the CIFAR ResNet of He et al., "Deep Residual Learning for Image Recognition"
(arXiv:1512.03385), section 4.2, with 16-32-64 channels and projection shortcuts (option B). The
learning rate follows one cycle (Smith and Topin, arXiv:1708.07120), and the exported weights are
an exponential moving average of the trained ones. Test images only measure: nothing is chosen by
them.

    python train.py --epochs 50 --out resnet20_cifar10.onnx
"""

import argparse
import copy
import pathlib
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2023, 0.1994, 0.2010)
# Share of the run in which the learning rate rises.
WARM_UP = 0.15
# The first share of the run sees smaller crops, which cost about half as much.
SMALL_SHARE = 0.3
SMALL_SIDE = 24
IMAGE_SUFFIXES = {".png", ".webp", ".jpg", ".jpeg"}


class Block(nn.Module):
    """Two 3x3 convolutions; the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet20(nn.Module):
    """Input: normalised images, N x 3 x 32 x 32. Output: logits, N x 10."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        blocks, inputs = [], 16
        for outputs, first_stride in ((16, 1), (32, 2), (64, 2)):
            for stride in (first_stride, 1, 1):
                blocks.append(Block(inputs, outputs, stride))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.fc(torch.flatten(self.pool(self.blocks(x)), 1))


def read_batches(paths):
    """Reads CIFAR-10 binary batches: a label byte, then 3072 bytes of R, G and B planes."""
    raw = np.concatenate([np.fromfile(path, np.uint8).reshape(-1, 3073) for path in paths])
    return torch.from_numpy(raw[:, 1:].reshape(-1, 3, 32, 32).copy()), torch.from_numpy(raw[:, 0].astype(np.int64))


def read_folder(root):
    """Reads `root/<class>/<image>`; classes count in alphabetical order, as CIFAR-10's do."""
    from PIL import Image

    folders = sorted(path for path in root.iterdir() if path.is_dir())
    if [path.name for path in folders] != CLASSES:
        raise SystemExit(f"{root}: expected one folder for each of {', '.join(CLASSES)}")
    images, labels = [], []
    for label, folder in enumerate(folders):
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                images.append(np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1))
                labels.append(label)
    return torch.from_numpy(np.stack(images)), torch.tensor(labels)


def read_torchvision(train):
    """Reads CIFAR-10 through torchvision, which downloads it into ./cifar10 at the first use."""
    from torchvision.datasets import CIFAR10

    data = CIFAR10("cifar10", train=train, download=True)
    return torch.from_numpy(data.data.transpose(0, 3, 1, 2).copy()), torch.tensor(data.targets)


def read_images(path, train):
    """Returns (uint8 N x 3 x 32 x 32, int64 N) from a folder of images, of batches, or a batch."""
    if path is None:
        return read_torchvision(train)
    if path.is_file():
        return read_batches([path])
    batches = sorted(path.glob("data_batch_*.bin" if train else "test_batch.bin"))
    return read_batches(batches) if batches else read_folder(path)


def normalise(images):
    """Turns uint8 images into the network's input."""
    mean = torch.tensor(MEAN).view(1, 3, 1, 1)
    std = torch.tensor(STD).view(1, 3, 1, 1)
    return ((images.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def augment(padded, side, generator):
    """Crops a random window of `side` x `side` out of 40x40 images and flips half of them."""
    count = len(padded)
    rows, columns = torch.randint(0, 41 - side, (2, count, 1), generator=generator)
    window = torch.arange(side)
    across = torch.where(torch.rand(count, 1, generator=generator) < 0.5, window, side - 1 - window)
    which = torch.arange(count)[:, None, None]
    # Advanced indices around a slice put the channel last, which is the layout in memory we want.
    picked = padded[which, :, (rows + window)[:, :, None], (columns + across)[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def count_correct(model, images, labels):
    """Number of images whose largest logit is the label's, computed in float32."""
    model.eval()
    with torch.inference_mode():
        return sum(
            (model(normalise(part)).argmax(1) == truth).sum().item()
            for part, truth in zip(images.split(250), labels.split(250))
        )


def average_into(average, model, decay):
    """Moves `average` towards `model`; integer buffers are copied."""
    with torch.no_grad():
        for kept, new in zip(average.state_dict().values(), model.state_dict().values()):
            if kept.dtype.is_floating_point:
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)


def export(model, path):
    """Writes ONNX, opset 17, for one image; BatchNormalization nodes stay as they are."""
    import onnx

    model = copy.deepcopy(model).to(memory_format=torch.contiguous_format).eval()
    torch.onnx.export(
        model,
        (torch.zeros(1, 3, 32, 32),),
        path,
        input_names=["image"],
        output_names=["logits"],
        opset_version=17,
        dynamo=False,
        do_constant_folding=False,
        training=torch.onnx.TrainingMode.PRESERVE,
    )
    onnx.checker.check_model(onnx.load(path), full_check=True)


def cycle(done):
    """Share of the peak learning rate when the share `done` of the run lies behind."""
    return 0.1 + 0.9 * done / WARM_UP if done < WARM_UP else (1 - done) / (1 - WARM_UP)


def with_border(images):
    """Surrounds images with 4 pixels of the mean colour, which normalises to zero."""
    padded = torch.tensor(MEAN).mul(255).round().byte().view(1, 3, 1, 1).repeat(len(images), 1, 40, 40)
    padded[:, :, 4:36, 4:36] = images
    return padded


def load_weights(path, model):
    """Starts from an exported model; equal tensors are stored once there, the others name them."""
    import onnx
    from onnx.numpy_helper import to_array

    graph = onnx.load(path).graph
    weights = {tensor.name: torch.from_numpy(to_array(tensor).copy()) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in weights:
            weights[node.output[0]] = weights[node.input[0]].clone()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    lost = [name for name in missing if not name.endswith("num_batches_tracked")]
    if lost or unexpected:
        raise SystemExit(f"{path}: lacks {lost}, has unknown {unexpected}")


def save_state(path, step, model, average, optimiser, generator):
    """Writes all that a run needs to go on after an interruption."""
    parts = {"model": model, "average": average, "optimiser": optimiser}
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {"step": step, "generator": generator.get_state()}
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def load_state(path, model, average, optimiser, generator):
    """Takes up a run where `save_state` left it and returns its step."""
    state = torch.load(path)
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimiser.load_state_dict(state["optimiser"])
    generator.set_state(state["generator"])
    return state["step"]


def train(options):
    """Trains for the asked epochs or minutes and returns the averaged model."""
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    images, labels = read_images(options.data, train=True)
    tests, truths = read_images(options.test, train=False)
    print(f"{len(images)} training images, {len(tests)} test images", flush=True)
    padded = with_border(images)

    model = ResNet20()
    if options.init:
        load_weights(options.init, model)
    model = model.to(memory_format=torch.channels_last)
    average = copy.deepcopy(model)
    runner = torch.compile(model, dynamic=False) if options.compile else model
    optimiser = torch.optim.SGD(
        [
            {"params": [weight for weight in model.parameters() if weight.ndim > 1], "weight_decay": 5e-4},
            {"params": [weight for weight in model.parameters() if weight.ndim == 1], "weight_decay": 0.0},
        ],
        lr=options.lr,
        momentum=0.9,
        nesterov=True,
    )
    steps = len(images) // options.batch
    begin, step, done = time.time(), 0, 0.0
    if options.state and options.state.exists():
        step = load_state(options.state, model, average, optimiser, generator)
        done = step / (options.epochs * steps)
    while done < 1:
        model.train()
        start, first, total = time.time(), step, 0.0
        order = torch.randperm(len(images), generator=generator)[: steps * options.batch]
        for picked in order.split(options.batch):
            for group in optimiser.param_groups:
                group["lr"] = options.lr * cycle(done)
            side = SMALL_SIDE if done < options.small_share else 32
            logits = runner(normalise(augment(padded[picked], side, generator)))
            loss = F.cross_entropy(logits, labels[picked])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total += loss.item()
            # The horizon grows with the run, so that early weights are forgotten quickly.
            average_into(average, model, min(options.ema, (1 + step) / (10 + step)))
            step += 1
            if options.minutes:
                done = (time.time() - begin) / (60 * options.minutes)
            else:
                done = step / (options.epochs * steps)
            if done >= 1:
                break
        right = count_correct(average, tests, truths)
        print(
            f"epoch {step / steps:.2f} done {done:.1%} loss {total / (step - first):.3f} "
            f"test {right}/{len(tests)} = {right / len(tests):.2%} ({time.time() - start:.0f} s)",
            flush=True,
        )
        if options.checkpoint and (step // steps) % 3 == 0:
            export(average, str(options.checkpoint))
        if options.state:
            save_state(options.state, step, model, average, optimiser, generator)
    return average


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, help="folder of <class>/<image> or of data_batch_*.bin, or one batch")
    parser.add_argument("--test", type=pathlib.Path, help="test batch, or a folder like --data's")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("resnet20_cifar10.onnx"))
    parser.add_argument("--checkpoint", type=pathlib.Path, help="ONNX file to write after every third epoch")
    parser.add_argument("--init", type=pathlib.Path, help="exported ONNX model to start from")
    parser.add_argument("--small-share", type=float, default=SMALL_SHARE, help="first share of the run, on small crops")
    parser.add_argument("--state", type=pathlib.Path, help="file to keep the run's state in, and to resume from")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--minutes", type=float, help="stretch the schedule over this time instead of --epochs")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.2, help="peak of the cycle")
    parser.add_argument("--ema", type=float, default=0.998, help="decay of the average, per step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="run through torch.compile, which needs a C++ compiler")
    options = parser.parse_args()
    export(train(options), str(options.out))


if __name__ == "__main__":
    main()
