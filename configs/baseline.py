"""The challenge's baseline: WavLM-large, attentive statistics pooling, WCE.

python scripts/train.py --config configs/baseline.py

Published: macro-F1 0.329 on test, and 0.284 when the paper's authors ran it again. Both
fine-tune WavLM; here it is frozen. `:tiny` after the path trains it in seconds.
"""

from jser import config as cfg
from jser import recipes


def get_config(arg: str | None = None):
    exp = cfg.Experiment(
        name="baseline",
        data=cfg.Data(
            streams={"speech": "wavlm_large"},
            batch_size=32,
            length_levels=6,
            shuffle_window=16,
        ),
        model=cfg.Model(kind="pooling", hidden=1024),
        optim=cfg.Optim(lr=1e-5, final_lr=1e-5),
        epochs=20,
    )
    return recipes.tiny(exp) if arg == "tiny" else exp
