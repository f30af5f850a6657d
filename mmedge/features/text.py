"""Text becomes token ids, by the tokenizer that travels with the model."""

import numpy as np
import numpy.typing as npt

from mmedge.errors import InputError, SpecError, needs
from mmedge.features.settings import TextSettings

__all__ = ["TextFrontEnd"]

Ids = npt.NDArray[np.int64]


class TextFrontEnd:
    """The front end of one port; may be shared by threads.

    Args:
        settings: Of the port.
        content: The bytes of its ``tokenizer.json``.

    Raises:
        MissingLibraryError: tokenizers is not installed.
        SpecError: The bytes are not a tokenizer, or its special ids alone fill the tensor.
    """

    def __init__(self, settings: TextSettings, content: bytes) -> None:
        tokenizers = needs("tokenizers", fix="pip install 'mmedge[text]'")
        self.settings = settings
        try:
            self._tokenizer = tokenizers.Tokenizer.from_buffer(content)
        except ValueError as error:
            raise SpecError(f"{settings.tokenizer} is not a tokenizer.json ({_line(error)})") from error
        special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        if special >= settings.length:
            raise SpecError(f"length = {settings.length} has no room beside the tokenizer's {special} special ids")
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(settings.length)

    @property
    def vocabulary(self) -> int:
        """How many ids the tokenizer knows."""
        return int(self._tokenizer.get_vocab_size())

    def text_of(self, ids: Ids) -> str:
        """A text that is about these ids."""
        return str(self._tokenizer.decode(ids.tolist()))

    def window(self, text: str | npt.NDArray[np.str_]) -> Ids:
        """The ids of one text.

        Args:
            text: A string, or one of numpy's of rank 0.

        Returns:
            [length] int64, owned by the caller.

        Raises:
            InputError: It is no string, or the tokenizer cannot read it.
        """
        if isinstance(text, np.ndarray) and text.shape == () and text.dtype.kind == "U":
            text = str(text)
        if not isinstance(text, str):
            raise InputError(f"a text is a str, not {type(text).__name__}")
        try:
            given = self._tokenizer.encode(text).ids
        except Exception as error:  # the library raises no narrower class
            raise InputError(f"the tokenizer cannot read {text[:40]!r} ({_line(error)})") from error
        ids = np.full(self.settings.length, self.settings.pad_id, np.int64)
        ids[: len(given)] = given
        return ids


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
