"""Models of Hugging Face transformers that read text beside what a sensor gives; tiny, with random weights.

A factory returns the library's own module wherever ports can feed its forward() as it is.
"""

import transformers as hf
from torch import Tensor, nn

WIDE, HEADS, VOCABULARY = 32, 2, 12
BODY = {"hidden_size": WIDE, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": HEADS}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
WORDS = BODY | IDS | {"vocab_size": VOCABULARY, "max_position_embeddings": 16}
PICTURE = BODY | {"image_size": 32, "patch_size": 8}


def clip() -> nn.Module:
    return hf.CLIPModel(hf.CLIPConfig(text_config=WORDS, vision_config=PICTURE, projection_dim=16))


def clap() -> nn.Module:
    audio = {
        "num_mel_bins": 16,
        "spec_size": 32,
        "patch_size": 4,
        "patch_stride": [4, 4],
        "patch_embeds_hidden_size": 8,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "window_size": 4,
        "hidden_size": 16,
        "projection_dim": 16,
    }
    text = WORDS | {"projection_dim": 16}
    return hf.ClapModel(hf.ClapConfig(text_config=text, audio_config=audio, projection_dim=16))


class Matching(nn.Module):
    """BLIP's answer to whether a sentence is about a picture."""

    def __init__(self) -> None:
        super().__init__()
        text = WORDS | {"encoder_hidden_size": WIDE, "sep_token_id": 2}
        self.blip = hf.BlipForImageTextRetrieval(hf.BlipConfig(text_config=text, vision_config=PICTURE))

    def forward(self, image: Tensor, sentence: Tensor) -> Tensor:
        return self.blip(input_ids=sentence, pixel_values=image).itm_score


def blip() -> nn.Module:
    return Matching()


def flava() -> nn.Module:
    own = {"hidden_size": WIDE, "projection_dim": 16}
    return hf.FlavaModel(hf.FlavaConfig(text_config=WORDS, image_config=PICTURE, multimodal_config=BODY, **own))


def captioner() -> nn.Module:
    decoder = hf.BertConfig(**WORDS, is_decoder=True, add_cross_attention=True)
    encoder = hf.ViTModel(hf.ViTConfig(**PICTURE))
    return hf.VisionEncoderDecoderModel(encoder=encoder, decoder=hf.BertLMHeadModel(decoder))


def whisper_config() -> hf.WhisperConfig:
    body = {
        f"{part}_{what}": value
        for part in ("encoder", "decoder")
        for what, value in {"layers": 1, "attention_heads": HEADS, "ffn_dim": 64}.items()
    }
    sizes = {"vocab_size": VOCABULARY, "num_mel_bins": 16, "d_model": WIDE, "max_source_positions": 40}
    return hf.WhisperConfig(**body, **sizes, **IDS, max_target_positions=16, decoder_start_token_id=1)


def whisper() -> nn.Module:
    return hf.WhisperForConditionalGeneration(whisper_config())


def layout_lm() -> nn.Module:
    places = {"max_2d_position_embeddings": 64, "coordinate_size": 5, "shape_size": 6, "input_size": 32}
    return hf.LayoutLMv3ForSequenceClassification(hf.LayoutLMv3Config(**WORDS, **places, patch_size=8, num_labels=3))


def x_clip() -> nn.Module:
    several = {"mit_hidden_size": WIDE, "mit_intermediate_size": 64, "mit_num_attention_heads": HEADS}
    vision = PICTURE | {"num_frames": 4, "mit_num_hidden_layers": 1} | several
    prompts = {"prompt_layers": 1, "prompt_num_attention_heads": HEADS}
    return hf.XCLIPModel(hf.XCLIPConfig(text_config=WORDS, vision_config=vision, projection_dim=WIDE, **prompts))


def vilt() -> nn.Module:
    return hf.ViltForQuestionAnswering(hf.ViltConfig(**WORDS, image_size=32, patch_size=8, num_labels=5))
