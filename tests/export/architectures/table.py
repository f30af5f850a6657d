"""Which architectures are exported, from what ports, and what is expected of the split."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmedge_export.checkpoint import call_factory
from mmedge_export.pipeline import Exported, ExportOptions, export
from torch import nn

__all__ = ["ARCHITECTURES", "Architecture", "build", "exported", "write_tokenizer"]

SEED = 3
VOCABULARY = ["[PAD]", "[CLS]", "[SEP]", "left", "right", "stop", "go", "now", "slowly", "turn", "to", "[UNK]"]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One row.

    Attributes:
        name: For a reader.
        factory: In this folder.
        inputs: The ports of its spec.
        outputs: In order.
        stages: What the split must be.
        call: Further lines of the spec.
        arguments: Of the factory.
    """

    name: str
    factory: str
    inputs: str
    outputs: tuple[str, ...] = ("event",)
    stages: tuple[str, ...] = ("image", "audio", "head")
    call: str = ""
    arguments: Mapping[str, int] = field(default_factory=dict)

    @property
    def spec(self) -> str:
        arguments = "".join(f"{name} = {value}\n" for name, value in self.arguments.items())
        model = f'[model]\nname = "{self.key}"\nfactory = "architectures.{self.factory}"\n'
        outputs = "".join(f'[outputs.{name}]\ntask = "raw"\n' for name in self.outputs)
        return f"{model}[model.arguments]\n{arguments}{self.call}{self.inputs}{outputs}"

    @property
    def key(self) -> str:
        return "-".join([self.factory.split(":")[1], *map(str, self.arguments.values())])


def build(row: Architecture) -> nn.Module:
    torch.manual_seed(SEED)
    return call_factory(f"architectures.{row.factory}", dict(row.arguments)).eval()


def exported(row: Architecture, folder: Path) -> Exported:
    """By the way a user takes: a state dict and a SPEC.toml beside it."""
    write_tokenizer(folder / "words.json")
    torch.save(build(row).state_dict(), folder / "weights.pt")
    (folder / "SPEC.toml").write_text(row.spec)
    return export(folder / "weights.pt", folder / "out.mmedge", ExportOptions(random_samples=True))


def write_tokenizer(path: Path) -> None:
    import tokenizers

    words = {word: i for i, word in enumerate(VOCABULARY)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(path))


def camera(name: str = "image", *, frames: int = 1, size: int = 32, layout: str = "") -> str:
    several = f"frames = {frames}\n" if frames > 1 else ""
    layout = layout or ("TCHW" if frames > 1 else "CHW")
    color = "" if "C" in layout else 'color = "gray"\n'
    size_line = f'size = [{size}, {size}]\nlayout = "{layout}"\n'
    return f'[inputs.{name}]\nmodality = "camera"\nrate_hz = 15\n{size_line}{several}{color}'


def words(name: str = "input_ids") -> str:
    return f'[inputs.{name}]\nmodality = "text"\ntokenizer = "words.json"\nlength = 8\npad_id = 0\n'


def sound(name: str = "audio", *, ms: int = 200, layout: str = "N") -> str:
    return f'[inputs.{name}]\nmodality = "audio"\nrate_hz = 16000\nwindow_ms = {ms}\nhop_ms = 20\nlayout = "{layout}"\n'


def mels(name: str = "audio", *, frames: int, bins: int, layout: str = "TM", convention: str = "kaldi") -> str:
    ms = 10 * frames if convention == "whisper" else 25 + 10 * (frames - 1)
    features = f'features = "log-mel"\nconvention = "{convention}"\nmels = {bins}\n'
    return f"{sound(name, ms=ms, layout=layout)}{features}"


def tensor(name: str, *shape: int, dtype: str = "float32") -> str:
    return f'[inputs.{name}]\nmodality = "tensor"\nrate_hz = 10\nshape = {list(shape)}\ndtype = "{dtype}"\n'


PICTURE_AND_WORDS = words() + camera("pixel_values")
READ = ("input_ids", "pixel_values", "head")

ARCHITECTURES = [
    Architecture(
        name="CLIP",
        factory="reading:clip",
        inputs=PICTURE_AND_WORDS,
        outputs=("logits_per_image", "image_embeds"),
        stages=READ,
    ),
    Architecture(
        name="CLAP",
        factory="reading:clap",
        inputs=words() + mels("input_features", frames=64, bins=16, layout="CTM"),
        outputs=("logits_per_audio",),
        stages=("input_ids", "input_features", "head"),
    ),
    Architecture(
        name="BLIP, image-text matching",
        factory="reading:blip",
        inputs=camera() + words("sentence"),
        outputs=("match",),
        stages=("image", "sentence", "head"),
    ),
    Architecture(
        name="FLAVA",
        factory="reading:flava",
        inputs=PICTURE_AND_WORDS,
        outputs=("multimodal_embeddings",),
        stages=READ,
    ),
    Architecture(
        name="VisionEncoderDecoder, ViT and BERT",
        factory="reading:captioner",
        inputs=camera("pixel_values") + words("decoder_input_ids"),
        outputs=("logits",),
        stages=("pixel_values", "decoder_input_ids", "head"),
    ),
    Architecture(
        name="Whisper, sound and what was said before",
        factory="reading:whisper",
        inputs=mels("input_features", frames=80, bins=16, layout="MT", convention="whisper")
        + words("decoder_input_ids"),
        outputs=("logits",),
        stages=("input_features", "decoder_input_ids", "head"),
    ),
    Architecture(
        name="LayoutLMv3",
        factory="reading:layout_lm",
        inputs=words() + tensor("bbox", 8, 4, dtype="int64") + camera("pixel_values"),
        outputs=("logits",),
        stages=("pixel_values", "head"),
    ),
    Architecture(
        name="X-CLIP, video and text",
        factory="reading:x_clip",
        inputs=words() + camera("pixel_values", frames=4),
        outputs=("logits_per_video",),
        stages=("input_ids", "pixel_values.item", "pixel_values", "head"),
    ),
    Architecture(
        name="TimeSformer and AST, concatenated",
        factory="watching:timesformer_and_ast",
        inputs=camera(frames=4) + mels(frames=64, bins=32),
        stages=("image.item", "image", "audio", "head"),
    ),
    Architecture(
        name="VideoMAE and HuBERT, concatenated",
        factory="watching:videomae_and_hubert",
        inputs=camera(frames=4) + sound(),
    ),
    Architecture(
        name="DINOv2 and wav2vec 2.0, cross-attention",
        factory="watching:dinov2_and_wav2vec2",
        inputs=camera() + sound(),
    ),
    Architecture(
        name="Swin and WavLM, cross-attention",
        factory="watching:swin_and_wavlm",
        inputs=camera() + sound(),
    ),
    Architecture(
        name="ViT for each frame, a GRU over them, and the encoder of Whisper",
        factory="watching:vit_window_and_whisper",
        inputs=camera(frames=4) + mels(frames=80, bins=16, layout="MT", convention="whisper"),
        stages=("image.item", "image", "audio", "head"),
    ),
    Architecture(
        name="ConvNeXt for each frame, a GRU over them, and wav2vec2-BERT",
        factory="watching:convnext_window_and_wav2vec2_bert",
        inputs=camera(frames=4) + mels(frames=40, bins=80),
        stages=("image.item", "image", "audio.item", "audio", "head"),
    ),
    Architecture(
        name="Perceiver, multimodal",
        factory="several:perceiver",
        inputs=camera(size=16) + sound(ms=100, layout="NC"),
        outputs=("logits",),
        stages=("whole",),
        call='[model.call]\nstyle = "dict"\nargument = "inputs"\n',
    ),
    Architecture(
        name="Three towers bound as in ImageBind",
        factory="several:image_bind",
        inputs=camera() + mels(frames=64, bins=32) + tensor("imu", 6, 64),
        outputs=("heard", "moved", "embedding_imu"),
        stages=("image", "audio", "imu", "image+audio", "image+imu"),
    ),
    Architecture(
        name="Lips and sound as in AV-HuBERT, first convolution over 5 frames",
        factory="several:lip_reader",
        inputs=camera(frames=8, layout="THW") + mels(frames=32, bins=26),
        arguments={"kernel": 5},
    ),
    Architecture(
        name="Lips and sound as in AV-HuBERT, first convolution over 1 frame",
        factory="several:lip_reader",
        inputs=camera(frames=8, layout="THW") + mels(frames=32, bins=26),
        stages=("image.item", "audio", "head"),
        arguments={"kernel": 1},
    ),
]
