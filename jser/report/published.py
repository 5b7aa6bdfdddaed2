"""What the paper and the challenge published, to stand beside a reader's own rows.

Dev is MSP-Podcast's development split, 25,258 utterances of known consensus; test is
the challenge's own, 3,200 utterances whose labels are held back.
"""

import dataclasses

CORPUS = "msp_podcast"  # The importer; rows of another corpus compare with nothing.
SPLIT = "dev"
PER_CLASS = 200  # Utterances of each class in a balanced subset.
SOURCE = (
    "Table 2 of “Improving Speech Emotion Recognition Through Cross Modal Attention"
    " Alignment and Balanced Stacking Model” (Interspeech 2025); range, macro-F1 and"
    " accuracy on dev, where there are any, from the authors' notebooks"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A published row, on dev; None where nothing was published."""

    title: str
    bs_f1: float  # Mean macro-F1 of 100 balanced subsets ...
    lowest: float | None = None  # ... the least of the hundred ...
    highest: float | None = None  # ... and the greatest.
    macro_f1: float | None = None
    accuracy: float | None = None


# By the name of the config that reproduces the row, in the order of the paper.
ROWS = {
    "wavlm_roberta": Row(title="WavLM + RoBERTa", bs_f1=0.392),
    "whisper_roberta": Row(
        title="Whisper + RoBERTa",
        bs_f1=0.417,
        lowest=0.392,
        highest=0.440,
        macro_f1=0.388,
        accuracy=0.524,
    ),
    "whisper_deberta": Row(title="Whisper + DeBERTa", bs_f1=0.383),
    "hubert_roberta": Row(title="HuBERT + RoBERTa", bs_f1=0.387),
    "hubert_whisper": Row(title="HuBERT + Whisper", bs_f1=0.347),
    "whisper_roberta_facodec": Row(
        title="Whisper + RoBERTa + FACodec",
        bs_f1=0.374,
        lowest=0.347,
        highest=0.391,
        macro_f1=0.383,
        accuracy=0.547,
    ),
    "wavlm_roberta_sml": Row(title="WavLM + RoBERTa, SML", bs_f1=0.398),
    "whisper_roberta_sml": Row(title="Whisper + RoBERTa, SML", bs_f1=0.410),
    "whisper_deberta_sml": Row(title="Whisper + DeBERTa, SML", bs_f1=0.404),
    "hubert_roberta_sml": Row(title="HuBERT + RoBERTa, SML", bs_f1=0.382),
    "hubert_whisper_sml": Row(title="HuBERT + Whisper, SML", bs_f1=0.354),
    "whisper_roberta_facodec_sml": Row(
        title="Whisper + RoBERTa + FACodec, SML", bs_f1=0.391
    ),
}

# The twelve together. What the notebook prints beside it is one of five forests.
STACK = Row(title="Stacking of all twelve", bs_f1=0.430, macro_f1=0.379, accuracy=0.498)
TEST_MACRO_F1, TEST_ACCURACY = 0.4094, 0.4128  # Of the twelve together.
BASELINE_TEST_MACRO_F1 = 0.329  # By the organisers; 0.284 when the authors reran it.
