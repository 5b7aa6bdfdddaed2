"""The challenge's baseline: WavLM-large, attentive statistics pooling, WCE.

jser train --config baseline

Published: macro-F1 0.329 on test, and 0.284 when the paper's authors ran it again. Both
fine-tune WavLM; here it is frozen. `:tiny` after the name trains it in seconds.
"""

from jser.config import Data, Experiment, Model, Optim


def get_config():
    return Experiment(
        name="baseline",
        data=Data(
            streams={"speech": "wavlm_large"},
            batch_size=32,
            length_buckets=6,
            shuffle_window=16,
        ),
        model=Model(kind="pooling", hidden=1024),
        optim=Optim(lr=1e-5, final_lr=1e-5),
        epochs=20,
    )
