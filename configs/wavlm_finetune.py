"""The challenges' baseline on MSP-Podcast: WavLM-large tuned as a whole.

jser train --config wavlm_finetune

The sound: jser extract --table data/msp_podcast --frontend waveform
Of the Interspeech 2025 and Odyssey 2024 challenges, as their code has it: convolutions
frozen, all else trained at a constant 1e-5, 32 utterances a step by 4 batches of 8, the
first 12 s, sound scaled by the training set's mean and deviation, attentive statistics,
class weights, 20 epochs. docs/tuning.md says how much memory it takes.

What differs:

- The epoch is chosen by macro-F1 over all of dev; theirs by the loss of dev's last
  batch.
- Batches are of like length within a window of 16; theirs of any.
- No dropout, dropped layers or masked spans within WavLM, which Hugging Face's config
  turns on in training.
- Convolution of positions: one kernel here, magnitude and direction there.
- The attention's vector starts by Xavier's rule, and theirs as N(0, 1).
"""

from jser.config import Data, Experiment, Model, Optim, Tune


def get_config():
    return Experiment(
        name="wavlm_finetune",
        data=Data(
            streams={"speech": "waveform"},
            batch_size=8,
            shuffle_window=16,
            longest_s=12.0,
        ),
        model=Model(kind="pooling", hidden=1024),
        optim=Optim(lr=1e-5, final_lr=1e-5, weight_decay=1e-2, accumulate=4),
        tune=Tune(encoder="wavlm_large", how="full", level="corpus"),
        epochs=20,
    )
