"""The front ends by name: what each reads and, where it has weights, which they are.

A front end with weights is one entry of `PRETRAINED`. One without is one of
`WITHOUT_WEIGHTS` and a function in jser/features/frontends.py.
"""

import dataclasses
import functools

from jser.feature_names import FeatureName


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A front end whose numbers also depend on a checkpoint."""

    name: str
    kind: str  # What it reads: "speech" (sound) or "text" (transcript).
    prosody: bool = False  # Whether its frames are of prosody.
    hub: str = ""  # The checkpoint, unless another one is given.
    width: int = 0  # That it must have; 0 for any.
    model_type: str = ""  # That config.json must name; a key of `families.FAMILIES`.
    files: tuple[str, ...] = ()  # Of the weights, where they have names of their own.
    context: str = "full"  # Or "short", unless another one is given.
    version: int = 1  # Raised when windows, preprocessing or the port change numbers.


WITHOUT_WEIGHTS = {
    "waveform": "speech",
    "logmel": "speech",
    "mfcc": "speech",
    "prosody": "speech",
    "functionals": "speech",
    "char_ngrams": "text",
}
_whisper = functools.partial(Pretrained, kind="speech", model_type="whisper")
_short_whisper = functools.partial(_whisper, context="short")
_hubert = functools.partial(Pretrained, kind="speech", model_type="hubert")
_wavlm = functools.partial(Pretrained, kind="speech", model_type="wavlm")
_wav2vec2 = functools.partial(Pretrained, kind="speech", model_type="wav2vec2")
_bert = functools.partial(Pretrained, kind="text", model_type="bert")
_roberta = functools.partial(Pretrained, kind="text", model_type="roberta")
_deberta = functools.partial(Pretrained, kind="text", model_type="deberta-v2")
_facodec = functools.partial(
    Pretrained,
    kind="speech",
    prosody=True,
    hub="amphion/naturalspeech3_facodec",
    model_type="facodec",
    files=("ns3_facodec_encoder_v2.bin", "ns3_facodec_decoder_v2.bin"),
)
_PRETRAINED = (
    # What the paper's members read.
    _whisper(name="whisper_large_v3", hub="openai/whisper-large-v3", width=1280),
    _hubert(name="hubert_xlarge", hub="facebook/hubert-xlarge-ls960-ft", width=1280),
    _wavlm(name="wavlm_large", hub="microsoft/wavlm-large", width=1024),
    _roberta(name="roberta_large", hub="FacebookAI/roberta-large", width=1024),
    _deberta(name="deberta_xxlarge", hub="microsoft/deberta-v2-xxlarge", width=1536),
    _facodec(name="facodec_prosody", width=256),
    _facodec(name="facodec", width=512),
    # What a laptop can run.
    _short_whisper(name="whisper_tiny", hub="openai/whisper-tiny", width=384),
    _short_whisper(name="whisper_base", hub="openai/whisper-base", width=512),
    _short_whisper(name="whisper_small", hub="openai/whisper-small", width=768),
    _hubert(name="hubert_base", hub="facebook/hubert-base-ls960", width=768),
    _wavlm(name="wavlm_base_plus", hub="microsoft/wavlm-base-plus", width=768),
    _roberta(name="roberta_base", hub="FacebookAI/roberta-base", width=768),
    _bert(name="minilm", hub="sentence-transformers/all-MiniLM-L6-v2", width=384),
    # Other sizes that people compare with.
    _whisper(name="whisper_medium", hub="openai/whisper-medium", width=1024),
    _hubert(name="hubert_large", hub="facebook/hubert-large-ll60k", width=1024),
    _wav2vec2(
        name="wav2vec2_large_robust",
        hub="facebook/wav2vec2-large-robust",
        width=1024,
    ),
    # Any size of a kind.
    _whisper(name="whisper"),
    _hubert(name="hubert"),
    _wavlm(name="wavlm"),
    _wav2vec2(name="wav2vec2"),
    _bert(name="bert"),
    _roberta(name="roberta"),
    _deberta(name="deberta"),
    # Any model that transformers knows, in PyTorch.
    Pretrained(name="hf_speech", kind="speech"),
    Pretrained(name="hf_text", kind="text"),
)
PRETRAINED = {p.name: p for p in _PRETRAINED}


def without_weights(name: str) -> str:
    """The front end without weights that reads the same; sound's, of unknown names."""
    name = FeatureName.parse(name).front_end
    entry = PRETRAINED.get(name)
    kind = entry.kind if entry else WITHOUT_WEIGHTS.get(name, "speech")
    if kind == "text":
        return "char_ngrams"
    return "prosody" if name == "prosody" or (entry and entry.prosody) else "logmel"
