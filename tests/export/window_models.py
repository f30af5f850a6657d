"""Small models of a window of pictures, one for each way in which people write them."""

import torch
from torch import Tensor, nn

SIZE = 8


def cnn(channels: int = 3, width: int = 8) -> nn.Sequential:
    """[N, channels, 8, 8] to [N, width]."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


class Folded(nn.Module):
    """[B, T, 3, H, W]: pictures folded into the batch axis, then something over time."""

    def __init__(self, temporal: str) -> None:
        super().__init__()
        self.cnn, self.temporal = cnn(), temporal
        self.gru, self.lstm = nn.GRU(8, 8, batch_first=True), nn.LSTM(8, 8, 2, bidirectional=True)
        layer = nn.TransformerEncoderLayer(8, 8, 16, batch_first=temporal == "attention")
        self.attention = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.conv = nn.Conv1d(8, 8, 3, padding=1)
        self.place = nn.Parameter(torch.randn(1, 8, 8))

    def forward(self, image: Tensor) -> Tensor:
        seen = self.cnn(image.flatten(0, 1)).view(image.shape[0], image.shape[1], -1)
        if self.temporal == "gru":
            return self.gru(seen)[0][:, -1]
        if self.temporal == "lstm":
            return self.lstm(seen.transpose(0, 1))[0][-1]
        if self.temporal == "attention":
            return self.attention(seen).mean(1)
        if self.temporal == "attention, time first":
            return self.attention(seen.transpose(0, 1)).mean(0)
        if self.temporal == "convolution":
            return self.conv(seen.transpose(1, 2)).amax(2)
        if self.temporal == "place, then gru":
            return self.gru(seen + self.place)[0][:, -1]
        if self.temporal == "each":
            return seen
        return seen.mean(1)


class Volume(nn.Module):
    """[B, 3, T, H, W]: 3-D convolutions, whose kernels look at one picture or at several."""

    def __init__(self, kernel: int, padding: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(3, 8, (kernel, 3, 3), padding=(padding, 1, 1))
        self.second = nn.Conv3d(8, 8, (1, 3, 3), (1, 2, 2))
        self.lstm = nn.LSTM(8, 4, batch_first=True)

    def forward(self, image: Tensor) -> Tensor:
        seen = self.second(torch.relu(self.first(image))).mean((3, 4))
        return self.lstm(seen.transpose(1, 2))[1][0][0]


class Gray(nn.Module):
    """[B, T, H, W] without a channel axis."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn, self.gru = cnn(1), nn.GRU(8, 4, batch_first=True)

    def forward(self, image: Tensor) -> Tensor:
        batch, items, height, width = image.shape
        seen = self.cnn(image.reshape(batch * items, 1, height, width))
        return self.gru(seen.reshape(batch, items, 8))[1][0]


class ChannelsLast(nn.Module):
    """[B, T, H, W, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn, self.gru = cnn(), nn.GRU(8, 4, batch_first=True)

    def forward(self, image: Tensor) -> Tensor:
        seen = self.cnn((image - 0.4).permute(0, 1, 4, 2, 3).flatten(0, 1))
        return self.gru(seen.unflatten(0, (1, -1)))[1][0]


class TimeInTheMiddle(nn.Module):
    """[B, H, T, W, 3]: an odd place for the axis."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn, self.gru = cnn(), nn.GRU(8, 4, batch_first=True)

    def forward(self, image: Tensor) -> Tensor:
        seen = self.cnn(torch.einsum("bhtwc->btchw", image * 2).flatten(0, 1))
        return self.gru(seen[None])[1][0]


class Differences(nn.Module):
    """What changed from picture to picture."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn, self.gru = cnn(), nn.GRU(8, 4, batch_first=True)

    def forward(self, image: Tensor) -> Tensor:
        change = image[:, 1:] - image[:, :-1]
        return self.gru(self.cnn(change.flatten(0, 1))[None])[1][0]


class Scales(nn.Module):
    """Features of two scales, each with a path of its own through time, and the brightness of the raw pictures."""

    def __init__(self, raw: bool) -> None:
        super().__init__()
        self.raw = raw
        self.one, self.two = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, 2, 1)
        self.norm, self.gru, self.head = nn.GroupNorm(2, 4), nn.GRU(4, 4, batch_first=True), nn.Linear(10, 3)

    def forward(self, image: Tensor) -> Tensor:
        fine = torch.relu(self.norm(self.one(image.flatten(0, 1))))
        coarse = torch.relu(self.two(fine)).mean((2, 3))
        steps = self.gru(fine.mean((2, 3))[None])[1][0]
        result = self.head(torch.cat([steps, coarse[None].amax(1)], 1))
        return result * image.mean((1, 2, 3, 4))[:, None] if self.raw else result


class Patches(nn.Module):
    """A vision transformer for each picture, with a class token and position embeddings of the patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 5, 8))
        layer = nn.TransformerEncoderLayer(8, 4, 16, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.gru = nn.GRU(8, 4, batch_first=True)

    def forward(self, image: Tensor) -> Tensor:
        pictures = image.flatten(0, 1)
        tokens = self.patch(pictures).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(pictures.shape[0], -1, -1), tokens], 1) + self.place
        return self.gru(self.blocks(tokens)[:, 0][None])[1][0]


class PlaceFirst(nn.Module):
    """An embedding of each picture's place in the window is added before anything is computed."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.randn(1, items, 3, 1, 1))
        self.cnn, self.gru = cnn(), nn.GRU(8, 4, batch_first=True)

    def forward(self, image: Tensor) -> Tensor:
        return self.gru(self.cnn((image + self.place).flatten(0, 1))[None])[1][0]


class Rows(nn.Module):
    """An LSTM down the rows of each picture, the pictures in its batch axis, then a GRU over time."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.LSTM(24, 6, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(12, 4, batch_first=True)

    def forward(self, image: Tensor) -> Tensor:
        seen = self.rows(image.flatten(0, 1).permute(0, 2, 1, 3).flatten(2))[0].amax(1)
        return self.gru(nn.functional.layer_norm(seen, (12,))[None])[1][0]


class Loop(nn.Module):
    """A loop over the pictures, as TimeDistributed layers and recurrent cells are written."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.cnn = kind, cnn()
        self.cell, self.gru = nn.GRUCell(8, 8), nn.GRU(8, 4, batch_first=True)
        self.each = nn.ModuleList(cnn() for _ in range(4))

    def forward(self, image: Tensor) -> Tensor:
        items = image.shape[1]
        if self.kind == "stack":
            return self.gru(torch.stack([self.cnn(image[:, t]) for t in range(items)], 1))[1][0]
        if self.kind == "normalised, then sum":
            image = (image - 0.5) / 0.2
            return torch.stack([self.cnn(picture) * picture.mean() for picture in image.unbind(1)]).sum(0)
        if self.kind == "of its own weights":
            return sum(self.each[t](image[:, t]) for t in range(items))
        state = torch.zeros(1, 8)
        for picture in image.chunk(items, 1):
            state = self.cell(self.cnn(picture[:, 0]), state)
        return state


RECURRENT = {  # name: (model, arguments, T, layout)
    "gru": (Folded, ("gru",), 4, "TCHW"),
    "lstm_in_two_directions": (Folded, ("lstm",), 3, "TCHW"),
    "two_pictures": (Folded, ("gru",), 2, "TCHW"),
    "place_after_the_encoder": (Folded, ("place, then gru",), 8, "TCHW"),
    "mean_over_time": (Folded, ("mean",), 4, "TCHW"),
    "an_output_for_each_picture": (Folded, ("each",), 3, "TCHW"),
    "rows": (Rows, (), 4, "TCHW"),
}
ATTENTION = {
    "all_sizes_equal": (Folded, ("attention",), 8, "TCHW"),
    "time_first": (Folded, ("attention, time first",), 8, "TCHW"),
    "patches": (Patches, (), 4, "TCHW"),
    "place_before_the_encoder": (PlaceFirst, (4,), 4, "TCHW"),
}
LAYOUTS = {
    "kernels_of_one_picture": (Volume, (1, 0), 4, "CTHW"),
    "gray": (Gray, (), 4, "THW"),
    "channels_last": (ChannelsLast, (), 4, "THWC"),
    "time_in_the_middle": (TimeInTheMiddle, (), 3, "HTWC"),
    "two_scales": (Scales, (False,), 4, "TCHW"),
    "raw_pictures_too": (Scales, (True,), 4, "TCHW"),
}
NEIGHBOURS = {
    "convolution_over_features": (Folded, ("convolution",), 5, "TCHW"),
    "kernels_of_two_pictures": (Volume, (2, 0), 6, "CTHW"),
    "padded_kernels": (Volume, (3, 1), 4, "CTHW"),
    "differences": (Differences, (), 6, "TCHW"),
}
LOOPS = {
    "stacked": (Loop, ("stack",), 4, "TCHW"),
    "of_cells": (Loop, ("cells",), 4, "TCHW"),
    "over_normalised_pictures": (Loop, ("normalised, then sum",), 4, "TCHW"),
    "of_different_weights": (Loop, ("of its own weights",), 4, "TCHW"),
}
FAMILIES = {
    "recurrent": RECURRENT,
    "attention": ATTENTION,
    "layouts": LAYOUTS,
    "neighbours": NEIGHBOURS,
    "loops": LOOPS,
}


class Together(nn.Module):
    """All models of a family side by side, each with a camera and an output of its own: one export for all."""

    def __init__(self, models: dict[str, nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleDict(models)

    def forward(self, **windows: Tensor) -> dict[str, Tensor]:
        return {f"{name}.y": model(windows[name]) for name, model in self.models.items()}


def family(name: str) -> nn.Module:
    return Together({key: kind(*arguments) for key, (kind, arguments, _, _) in FAMILIES[name].items()})


def alone(of: str, name: str) -> nn.Module:
    kind, arguments, _, _ = FAMILIES[of][name]
    return kind(*arguments)


def family_spec(name: str) -> str:
    text = f'[model]\nname = "{name}"\nfactory = "window_models:family"\n[model.arguments]\nname = "{name}"\n'
    rows = FAMILIES[name].items()
    text += "".join(_camera(key, frames, layout) for key, (_, _, frames, layout) in rows)
    return text + "".join(f'[outputs."{key}.y"]\ntask = "raw"\n' for key in FAMILIES[name])


def alone_spec(of: str, name: str) -> str:
    _, _, frames, layout = FAMILIES[of][name]
    return (
        f'[model]\nname = "alone"\nfactory = "window_models:alone"\n[model.arguments]\nof = "{of}"\nname = "{name}"\n'
        f'{_camera("image", frames, layout)}[outputs.y]\ntask = "raw"\n'
    )


def _camera(name: str, frames: int, layout: str) -> str:
    color = "rgb" if "C" in layout else "gray"
    return (
        f'[inputs.{name}]\nmodality = "camera"\nsize = [{SIZE}, {SIZE}]\nframes = {frames}\nlayout = "{layout}"\n'
        f'color = "{color}"\n'
    )
