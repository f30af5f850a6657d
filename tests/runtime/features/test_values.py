import subprocess
import sys

import numpy as np
import pytest

import mmedge
from mmedge.features.settings import TensorSettings, TextSettings
from mmedge.features.tensor import TensorFrontEnd
from mmedge.features.text import TextFrontEnd

WORDS = ["[PAD]", "turn", "left", "stop", "[CLS]", "[SEP]"]


@pytest.fixture
def content():
    """A tokenizer with special ids around each text, and with padding and truncation of its own."""
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 4), ("[SEP]", 5)]
    )
    tokenizer.enable_padding(length=20)
    tokenizer.enable_truncation(20)
    return tokenizer.to_str().encode()


def settings(length=6, pad_id=0):
    return TextSettings(tokenizer="tokenizer/command.json", length=length, pad_id=pad_id)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("turn left", [4, 1, 2, 5, 9, 9]),
        ("", [4, 5, 9, 9, 9, 9]),
        ("stop stop stop stop", [4, 3, 3, 3, 3, 5]),
        ("stop turn left turn left stop", [4, 3, 1, 2, 1, 5]),  # cut, and the special ids are kept
        (np.array("stop"), [4, 3, 5, 9, 9, 9]),
    ],
)
def test_a_text_is_padded_or_cut_to_the_length(content, text, ids):
    made = TextFrontEnd(settings(pad_id=9), content).window(text)
    assert made.dtype == np.int64
    assert made.tolist() == ids


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"turn", "a text is a str, not bytes"),
        (None, "a text is a str, not NoneType"),
        (np.array(["turn"]), "a text is a str, not ndarray"),
        ("fly", "cannot read 'fly'.*UNK"),  # the tokenizer has no id for what it does not know
        ("\ud800", "cannot read"),
    ],
)
def test_what_is_no_text_is_refused(content, text, told):
    with pytest.raises(mmedge.InputError, match=told) as refused:
        TextFrontEnd(settings(), content).window(text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("damaged", [b"", b"{}", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_tokenizer_is_refused(damaged):
    pytest.importorskip("tokenizers")
    with pytest.raises(mmedge.SpecError, match=r"command\.json is not a tokenizer\.json") as refused:
        TextFrontEnd(settings(), damaged)
    assert "\n" not in str(refused.value)


def test_a_length_that_the_special_ids_fill_is_refused(content):
    with pytest.raises(mmedge.SpecError, match="length = 2 has no room beside the tokenizer's 2 special ids"):
        TextFrontEnd(settings(length=2), content)


def test_a_missing_library_is_told_with_what_to_type():
    script = (
        "import sys\n"
        "sys.modules['tokenizers'] = None\n"
        "import mmedge\n"
        "from mmedge.features.settings import TextSettings\n"
        "from mmedge.features.text import TextFrontEnd\n"
        "try:\n"
        "    TextFrontEnd(TextSettings(tokenizer='a.json', length=3), b'')\n"
        "except ImportError as error:\n"
        "    print(error)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "try: pip install 'mmedge[text]'" in result.stdout


@pytest.mark.parametrize(
    ("shape", "dtype", "values"),
    [
        ((2, 3), "float32", np.ones((2, 3), np.float32)),
        ((2, 3), "float32", np.ones((3, 2), np.float32).T),
        ((4,), "uint8", np.arange(4, dtype=np.uint8)),
        ((), "bool", np.array(True)),
    ],
)
def test_values_of_the_shape_and_dtype_are_taken_as_they_are(shape, dtype, values):
    made = TensorFrontEnd(TensorSettings(shape=shape, dtype=dtype)).window(values)
    assert np.array_equal(made, values)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (np.ones((3, 2), np.float32), r"the tensor is \[2, 3\] float32, not \[3, 2\] float32"),
        (np.ones((2, 3)), r"not \[2, 3\] float64"),
        (np.ones((2, 3), np.int64), r"not \[2, 3\] int64"),
        (np.ones((2, 3), ">f4"), r"not \[2, 3\] >f4"),
        (np.full((2, 3), np.nan, np.float32), "NaN or infinity"),
        (np.full((2, 3), -np.inf, np.float32), "NaN or infinity"),
        ([[1, 2, 3], [4, 5, 6]], "not list"),
    ],
)
def test_values_that_do_not_fit_are_refused(values, text):
    with pytest.raises(mmedge.InputError, match=text):
        TensorFrontEnd(TensorSettings(shape=(2, 3))).window(values)
