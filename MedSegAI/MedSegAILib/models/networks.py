"""The U-Nets of nnU-Net v2, rebuilt from their plans with torch alone.

``PlainConvUNet``, ``ResidualEncoderUNet`` and ``ResidualUNet`` follow Isensee et al., Nat Methods 18:203 (2021) and
Isensee et al., MICCAI 2024 (arXiv:2404.09556). Module names equal those of dynamic-network-architectures, so a
checkpoint of nnU-Net loads here with ``strict=True``, and a checkpoint that is written here loads there.

This file needs torch at import; import it inside functions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Layers:
    """The building blocks that all convolutions of one network share."""

    dimensions: int
    conv_bias: bool = False
    norm: type[nn.Module] | None = None
    norm_kwargs: dict[str, Any] = field(default_factory=dict)
    dropout: type[nn.Module] | None = None
    dropout_kwargs: dict[str, Any] = field(default_factory=dict)
    nonlinearity: type[nn.Module] | None = None
    nonlinearity_kwargs: dict[str, Any] = field(default_factory=dict)
    nonlinearity_first: bool = False

    @property
    def conv(self) -> type[nn.Module]:
        return {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[self.dimensions]

    @property
    def transposed_conv(self) -> type[nn.Module]:
        return {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[self.dimensions]

    @property
    def average_pool(self) -> type[nn.Module]:
        return {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}[self.dimensions]

    def activation(self) -> nn.Module | None:
        return self.nonlinearity(**self.nonlinearity_kwargs) if self.nonlinearity else None


class ConvDropoutNormReLU(nn.Module):
    """Convolution, dropout, normalization and activation; each of the last three may be absent."""

    def __init__(
        self,
        layers: Layers,
        in_channels: int,
        out_channels: int,
        kernel_size: Sequence[int],
        stride: Sequence[int],
        *,
        bias: bool | None = None,
        dropout: bool = True,
        activation: bool = True,
    ):
        super().__init__()
        self.conv = layers.conv(
            in_channels,
            out_channels,
            tuple(kernel_size),
            tuple(stride),
            padding=tuple((k - 1) // 2 for k in kernel_size),
            bias=layers.conv_bias if bias is None else bias,
        )
        operations: list[nn.Module] = [self.conv]
        if dropout and layers.dropout is not None:
            self.dropout = layers.dropout(**layers.dropout_kwargs)
            operations.append(self.dropout)
        if layers.norm is not None:
            self.norm = layers.norm(out_channels, **layers.norm_kwargs)
            operations.append(self.norm)
        if activation and layers.nonlinearity is not None:
            self.nonlin = layers.activation()
            operations.append(self.nonlin)
        if layers.nonlinearity_first and hasattr(self, "norm") and hasattr(self, "nonlin"):
            operations[-2:] = [self.nonlin, self.norm]
        # nnU-Net stores every parameter a second time under this name; without it strict loading would fail there.
        self.all_modules = nn.Sequential(*operations)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.all_modules(x)


class StackedConvBlocks(nn.Module):
    """`count` convolutions in a row, the first of which may be strided."""

    def __init__(self, layers: Layers, count: int, in_channels: int, out_channels: int, kernel_size, stride):
        super().__init__()
        ones = (1,) * layers.dimensions
        self.convs = nn.Sequential(
            *(
                ConvDropoutNormReLU(
                    layers, out_channels if i else in_channels, out_channels, kernel_size, ones if i else stride
                )
                for i in range(count)
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convs(x)


class ResidualBlock(nn.Module):
    """Two convolutions beside a skip connection that average-pools and projects where it must (ResNet-D)."""

    def __init__(self, layers: Layers, in_channels: int, out_channels: int, kernel_size, stride):
        super().__init__()
        ones = (1,) * layers.dimensions
        self.conv1 = ConvDropoutNormReLU(layers, in_channels, out_channels, kernel_size, stride)
        self.conv2 = ConvDropoutNormReLU(
            layers, out_channels, out_channels, kernel_size, ones, dropout=False, activation=False
        )
        self.nonlin2 = layers.activation() or nn.Identity()
        shortcut: list[nn.Module] = []
        if any(s != 1 for s in stride):
            shortcut.append(layers.average_pool(tuple(stride), tuple(stride)))
        if in_channels != out_channels:
            shortcut.append(
                ConvDropoutNormReLU(
                    layers, in_channels, out_channels, ones, ones, bias=False, dropout=False, activation=False
                )
            )
        self.skip = nn.Sequential(*shortcut)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.nonlin2(self.conv2(self.conv1(x)) + self.skip(x))


class StackedResidualBlocks(nn.Module):
    """`count` residual blocks in a row, the first of which may be strided."""

    def __init__(self, layers: Layers, count: int, in_channels: int, out_channels: int, kernel_size, stride):
        super().__init__()
        ones = (1,) * layers.dimensions
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(
                    layers, out_channels if i else in_channels, out_channels, kernel_size, ones if i else stride
                )
                for i in range(count)
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(x)


class Encoder(nn.Module):
    """The contracting path; returns the features of every stage, finest first."""

    def __init__(self, layers: Layers, in_channels: int, features, kernel_sizes, strides, counts, residual: bool):
        super().__init__()
        self.layers, self.features, self.kernel_sizes, self.strides = layers, features, kernel_sizes, strides
        self.stem = None
        if residual:
            ones = (1,) * layers.dimensions
            self.stem = StackedConvBlocks(layers, 1, in_channels, features[0], kernel_sizes[0], ones)
        previous = features[0] if residual else in_channels
        stages = []
        for channels, kernel_size, stride, count in zip(features, kernel_sizes, strides, counts, strict=True):
            block = (StackedResidualBlocks if residual else StackedConvBlocks)(
                layers, count, previous, channels, kernel_size, stride
            )
            stages.append(block if residual else nn.Sequential(block))
            previous = channels
        self.stages = nn.Sequential(*stages)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = self.stem(x) if self.stem is not None else x
        skips = []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        return skips


class Decoder(nn.Module):
    """The expanding path; logits at full resolution, or at every resolution for deep supervision, finest first."""

    def __init__(
        self, encoder: Encoder, out_channels: int, counts: Sequence[int], deep_supervision: bool, residual: bool
    ):
        super().__init__()
        self.deep_supervision = deep_supervision
        self.encoder = encoder  # nnU-Net registers it here too: the state dict holds it twice
        layers, features = encoder.layers, encoder.features
        ones = (1,) * layers.dimensions
        blocks = StackedResidualBlocks if residual else StackedConvBlocks
        stages, upsamplings, heads = [], [], []
        for step in range(1, len(features)):
            below, skip, stride = features[-step], features[-(step + 1)], tuple(encoder.strides[-step])
            upsamplings.append(layers.transposed_conv(below, skip, stride, stride, bias=layers.conv_bias))
            stages.append(blocks(layers, counts[step - 1], 2 * skip, skip, encoder.kernel_sizes[-(step + 1)], ones))
            heads.append(layers.conv(skip, out_channels, 1, 1, 0, bias=True))
        self.stages = nn.ModuleList(stages)
        self.transpconvs = nn.ModuleList(upsamplings)
        self.seg_layers = nn.ModuleList(heads)

    def forward(self, skips: list[torch.Tensor]) -> torch.Tensor | list[torch.Tensor]:
        x = skips[-1]
        outputs = []
        for step, (upsampling, stage, head) in enumerate(
            zip(self.transpconvs, self.stages, self.seg_layers, strict=True)
        ):
            x = stage(torch.cat((upsampling(x), skips[-(step + 2)]), dim=1))
            if self.deep_supervision or step == len(self.stages) - 1:
                outputs.append(head(x))
        return outputs[::-1] if self.deep_supervision else outputs[0]


class UNet(nn.Module):
    """A U-Net with a plain or a residual encoder, and a plain or a residual decoder.

    Input ``(batch, in_channels, *spatial)``; output logits ``(batch, out_channels, *spatial)``, or with
    ``deep_supervision`` a list of them, finest first. Every spatial extent must be divisible by the product of the
    strides along its axis.
    """

    def __init__(
        self,
        layers: Layers,
        in_channels: int,
        out_channels: int,
        features: Sequence[int],
        kernel_sizes: Sequence[Sequence[int]],
        strides: Sequence[Sequence[int]],
        encoder_counts: Sequence[int],
        decoder_counts: Sequence[int],
        *,
        residual: bool = False,
        residual_decoder: bool = False,
        deep_supervision: bool = False,
    ):
        super().__init__()
        self.encoder = Encoder(layers, in_channels, features, kernel_sizes, strides, encoder_counts, residual)
        self.decoder = Decoder(self.encoder, out_channels, decoder_counts, deep_supervision, residual_decoder)

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        return self.decoder(self.encoder(x))
