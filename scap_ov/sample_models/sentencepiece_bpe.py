"""Build a SentencePiece BPE tokenizer from a GGUF file's tokens and scores (Gemma, Llama 2).

1. SentencePiece joins the two neighbours whose joint token has the best score; `tokenizers` joins by rank. So every way to cut a token in
   two tokens becomes a merge, ranked by the score of what it makes.
2. Runs of one character that the file calls user-defined (blanks, line ends, tabs) are made by merges that rank before all others.
   A run that is a token becomes that token, as in SentencePiece, in OpenVINO too, where added tokens are tried in the order of a
   pattern; runs longer than any token (31 for Gemma) may be cut elsewhere than SentencePiece does.
3. Other user-defined tokens (markup) are added tokens, kept whole; control tokens are special.
4. A character without a token becomes its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPACE = "▁"
_NORMAL, _CONTROL, _USER = 1, 3, 4  # GGUF's token types


def sentencepiece_bpe(
    tokens: Sequence[str], scores: Sequence[float], types: Sequence[int], *, bos: int | None, unknown: int, prefix_space: bool
) -> Tokenizer:
    """Build the tokenizer.

    :param tokens: token texts, index = id; blanks in user-defined ones are blanks, elsewhere `▁`.
    :param scores: the better, the earlier a token is joined.
    :param types: GGUF token types.
    :param bos: id of the token that opens every text, None for none.
    :param unknown: id of the unknown token.
    :param prefix_space: whether a text is tokenized as if a blank stood before it.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    stored = [token.replace(" ", SPACE) if kind == _USER else token for token, kind in zip(tokens, types, strict=True)]
    vocabulary = {token: index for index, token in enumerate(stored)}
    runs = sorted((t for t, kind in zip(stored, types, strict=True) if kind == _USER and is_run(t)), key=len)
    ranked = [i for i, kind in enumerate(types) if kind == _NORMAL]
    ranked.sort(key=lambda i: -scores[i])
    merges = [pair for token in (*runs, *(stored[i] for i in ranked)) for pair in ways_to_cut(token, vocabulary)]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token=stored[unknown], fuse_unk=True, byte_fallback=True))
    before = [normalizers.Prepend(SPACE)] if prefix_space else []
    tokenizer.normalizer = normalizers.Sequence([*before, normalizers.Replace(" ", SPACE)])
    after = [decoders.Strip(" ", 1, 0)] if prefix_space else []
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *after])
    added = [t for t, kind in zip(tokens, types, strict=True) if kind == _USER and not is_run(t)]
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in added])
    special = [t for t, kind in zip(tokens, types, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    if bos is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{tokens[bos]} $A", pair=f"{tokens[bos]} $A {tokens[bos]}:1 $B:1", special_tokens=[(tokens[bos], bos)]
        )
    return tokenizer


def is_run(token: str) -> bool:
    """Whether a token is one character, repeated or not."""
    return len(set(token)) == 1


def ways_to_cut(token: str, vocabulary: dict[str, int]) -> Iterator[tuple[str, str]]:
    """Every pair of tokens that makes up a token."""
    for at in range(1, len(token)):
        if token[:at] in vocabulary and token[at:] in vocabulary:
            yield token[:at], token[at:]
