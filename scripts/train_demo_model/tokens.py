"""A tokenizer in the format of Whisper's, in which every word of the grammar is one token."""

from itertools import pairwise
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

WINDOW_S = 10
TICKS_PER_SECOND = 50
SPECIAL = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)


class _Merges:
    """Byte-level BPE merges that turn each added word into one token."""

    def __init__(self) -> None:
        self.vocabulary = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
        self.merges: list[tuple[str, str]] = []
        self._ranks: dict[tuple[str, str], int] = {}

    def add(self, word: str) -> None:
        parts = list(word)
        while len(parts) > 1:
            ranks = [self._ranks.get(pair, len(self.merges)) for pair in pairwise(parts)]
            # Apply existing merges first, as the tokenizer will; otherwise the leftmost pair becomes a new merge.
            at = ranks.index(min(ranks))
            pair = (parts[at], parts[at + 1])
            if pair not in self._ranks:
                self._ranks[pair] = len(self.merges)
                self.merges.append(pair)
                self.vocabulary.setdefault("".join(pair), len(self.vocabulary))
            parts[at : at + 2] = ["".join(pair)]


def build(words: list[str], path: Path) -> "Vocabulary":
    """Write tokenizer.json for the words; raise `ValueError` if one of them has several tokens."""
    merges = _Merges()
    # faster-whisper suppresses the first token of " -" and of " '": each is one token, so that it is not the blank.
    for word in ("-", "'", *words):
        merges.add(f"Ġ{word}")
    tokenizer = Tokenizer(BPE(vocab=merges.vocabulary, merges=merges.merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    timestamps = [f"<|{tick / TICKS_PER_SECOND:.2f}|>" for tick in range(WINDOW_S * TICKS_PER_SECOND + 1)]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (*SPECIAL, *timestamps)])
    split = [word for word in words if len(tokenizer.encode(f" {word}").ids) != 1]
    if split:
        raise ValueError(f"words of several tokens: {split}")
    tokenizer.save(str(path))
    return Vocabulary(path)


class Vocabulary:
    """The token ids that training needs."""

    def __init__(self, path: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(path))
        self.size = self.tokenizer.get_vocab_size()
        end, start, *_, previous, no_speech, no_timestamps = (self.tokenizer.token_to_id(t) for t in SPECIAL)
        self.end, self.start, self.previous = end, start, previous
        self.no_speech, self.no_timestamps = no_speech, no_timestamps
        self._zero = self.tokenizer.token_to_id("<|0.00|>")

    def words(self, text: str) -> list[int]:
        """Return the tokens of a sentence: one per word, then its full stop or question mark."""
        ids: list[int] = self.tokenizer.encode(f" {text}").ids
        if len(ids) != len(text.split()) + 1:
            raise ValueError(f"not one token a word: {text!r}")
        return ids

    def timestamp(self, time_s: float) -> int:
        """Return the token of a time in the window."""
        return int(self._zero) + min(max(round(time_s * TICKS_PER_SECOND), 0), WINDOW_S * TICKS_PER_SECOND)
