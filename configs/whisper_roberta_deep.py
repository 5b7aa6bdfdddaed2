"""Whisper-large-v3 x RoBERTa-large by deep fusion, the winners' first stage.

jser train --config whisper_roberta_deep

Not of the paper: MEDUSA (emopodntua/medusa) was first of the challenge, with macro-F1
0.432 on test3, by 14 networks of this kind and what combines them. Network, loss,
mixup and optimiser are those of its first stage, from its description: raters' votes,
primary and secondary, with the clips that no majority agreed on; arousal, valence and
dominance beside them; four epochs of batches of 32. The table: jser prepare
--keep_no_agreement. `:tiny` after the name trains it in seconds.
"""

from jser.config import Augment, Data, Experiment, Loss, Model, Optim, Tasks


def get_config():
    return Experiment(
        name="whisper_roberta_deep",
        data=Data(
            streams={"speech": "whisper_large_v3", "text": "roberta_large"},
            batch_size=32,
            length_buckets=6,
            shuffle_window=16,
        ),
        augment=Augment(mixup=0.2, mixup_chance=0.3, mixup_each=True),
        model=Model(kind="deep", dropout=0.1),
        loss=Loss(
            soft_labels=True, mentions=True, weight_exponent=0.5, per_utterance=True
        ),
        optim=Optim(lr=1e-5, final_lr=1e-5, weight_decay=1e-2),
        tasks=Tasks(emotion=1.5, attributes=0.4),
        epochs=4,
    )
