"""Lengths like those of MSP-Podcast's labelled utterances."""

import numpy as np

# Seconds at these quantiles of the corpus; straight lines between them.
_QUANTILES = (0.0, 0.5, 0.75, 0.9, 0.95, 1.0)
_SECONDS = (1.913, 5.12, 7.296, 9.344, 10.112, 11.204)
# Tokens: 17.7 words an utterance, 34 at the 95 % quantile, 55 at most.
_TOKENS = (5.0, 20.0, 28.0, 38.0, 44.0, 80.0)
FRAMES_PER_S = 50  # Of Whisper and HuBERT.


def lengths(count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Frames of speech and tokens of text of `count` utterances, each int [N]."""
    at = rng.random(count)
    seconds = np.interp(at, _QUANTILES, _SECONDS)
    # Who speaks longer says more, give or take.
    rank = np.clip(at + 0.15 * rng.standard_normal(count), 0, 1)
    tokens = np.interp(rank, _QUANTILES, _TOKENS)
    return {
        "speech": np.ceil(FRAMES_PER_S * seconds).astype(int),
        "text": np.ceil(tokens).astype(int),
    }
