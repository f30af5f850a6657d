"""Small models of a window of sound, one for each way in which people write what is done to its parts."""

import torch
from torch import Tensor, nn

MELS = 32
WIDTH = 96


def per_part(size: int) -> nn.Sequential:
    """[..., size] to [..., 16], expensive enough to be worth a call of its own."""
    return nn.Sequential(nn.Linear(size, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 16))


class Sound(nn.Module):
    """[B, T, M], or [B, N], to [B, 8]: something for each part, then a recurrence over the parts."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        name, _, count = kind.partition(" of ")
        self.count = int(count or 1)
        size = self.count if name in {"samples", "frames"} else MELS
        self.each = per_part(size * self.count if name == "chunks" else size)
        self.conv = nn.Conv1d(MELS, WIDTH, self.count, padding=1 if name == "padded kernels" else 0)
        self.more = nn.Conv1d(WIDTH, 16, 1)
        self.patch = nn.Conv1d(1 if name == "frames" else MELS, MELS, self.count, self.count)
        self.after = per_part(MELS)
        self.gru = nn.GRU(16, 8, batch_first=True)

    def forward(self, audio: Tensor) -> Tensor:
        name = self.kind.partition(" of ")[0]
        if name == "columns":
            seen = self.each(audio)
        elif name == "chunks":
            seen = self.each(audio.unflatten(1, (-1, self.count)).flatten(2))
        elif name.endswith("kernels"):
            seen = self.more(torch.relu(self.conv(audio.transpose(1, 2)))).transpose(1, 2)
        elif name == "samples":
            seen = self.each(audio.unflatten(1, (-1, self.count)))
        elif name == "frames":
            seen = self.after(self.patch(audio[:, None]).transpose(1, 2))
        else:
            seen = self.after(self.patch(audio.transpose(1, 2)).transpose(1, 2))
        return self.gru(seen)[1][0]


LOG_MEL = 'window_ms = 415\nfeatures = "log-mel"\nlayout = "TM"\nconvention = "kaldi"\nmels = 32\n'  # 40 columns
CENTRED = LOG_MEL.replace("kaldi", "torchaudio") + "n_fft = 400\nhop_length = 160\n"
WAVEFORM = "window_ms = 400\n"
SPLIT = {  # name: (kind, keys of the spec, slices of an item, items that are looked at)
    "columns": ("columns", LOG_MEL, 2, 1),
    "columns_with_an_odd_hop": ("columns", LOG_MEL + "hop_ms = 25\n", 1, 1),
    "neighbours": ("kernels of 5", LOG_MEL, 1, 5),
    "two_chunks": ("chunks of 2", LOG_MEL + "hop_ms = 40\n", 4, 1),
    "frames": ("frames of 160", WAVEFORM, 320, 1),
}
KEPT = {  # name: (kind, keys of the spec, why)
    "padded": ("padded kernels of 3", LOG_MEL, "combines 3 neighbouring items, with padding at the ends"),
    "centred": ("columns", CENTRED, "3 of its 42 columns are completed at the ends of each window, as torchaudio"),
    "clamped": ("columns", LOG_MEL + "top_db = 80.0\n", "80 dB below the loudest one of each window"),
    "chunks_that_no_hop_meets": ("chunks of 4", LOG_MEL, "its items mix from the first layers on"),
    "a_hop_of_another_measure": ("samples of 320", WAVEFORM + "hop_ms = 3.1875\n", "no chunk of sound divides both"),
}


class Together(nn.Module):
    """All of them side by side, each with a microphone and an output of its own: one export for all."""

    def __init__(self, kinds: dict[str, str]) -> None:
        super().__init__()
        self.models = nn.ModuleDict({name: Sound(kind) for name, kind in kinds.items()})

    def forward(self, **windows: Tensor) -> dict[str, Tensor]:
        return {f"{name}.y": model(windows[name]) for name, model in self.models.items()}


def together(which: str) -> nn.Module:
    return Together({name: row[0] for name, row in {"split": SPLIT, "kept": KEPT}[which].items()})


def spec(which: str) -> str:
    rows = {name: row[1] for name, row in {"split": SPLIT, "kept": KEPT}[which].items()}
    text = f'[model]\nname = "{which}"\nfactory = "sound_models:together"\n[model.arguments]\nwhich = "{which}"\n'
    text += "".join(f'[inputs.{name}]\nmodality = "audio"\nrate_hz = 16000\n{keys}' for name, keys in rows.items())
    return text + "".join(f'[outputs."{name}.y"]\ntask = "raw"\n' for name in rows)
