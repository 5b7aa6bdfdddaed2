"""Whisper-large-v3 x RoBERTa-large by deep fusion. Not of the paper: MEDUSA's network.

jser train --config whisper_roberta_deep

MEDUSA (emopodntua/medusa) was first of the challenge, with macro-F1 0.432 on test3, by
14 networks of this kind and what combines them. Network and optimiser are those of its
first stage, and so are four epochs of batches of 32. `:tiny` after the name trains it
in seconds.
"""

from jser.config import Data, Experiment, Model, Optim


def get_config():
    return Experiment(
        name="whisper_roberta_deep",
        data=Data(
            streams={"speech": "whisper_large_v3", "text": "roberta_large"},
            batch_size=32,
            length_buckets=6,
            shuffle_window=16,
        ),
        model=Model(kind="deep", dropout=0.1),
        optim=Optim(lr=1e-5, final_lr=1e-5, weight_decay=1e-2),
        epochs=4,
    )
