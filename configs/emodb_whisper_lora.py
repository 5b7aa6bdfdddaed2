"""Whisper base learns on EMO-DB, leave-one-speaker-out, below a network that knows it.

jser train --config emodb_whisper_lora

The sound: jser extract --table data/emodb --frontend waveform.trimmed
Train emodb_whisper_fusion first. Add --config.data.holdout="(0,)" to both to leave out
the first speaker. It starts with that network, on the same layers, whose encoder was
frozen. Adapters of rank 16 in the feed-forward of the two upper blocks of the four that
run. docs/tuning.md says what it gained.
"""

from jser import recipes


def get_config():
    exp = recipes.load("emodb_whisper_fusion")
    exp.name = "emodb_whisper_lora"
    exp.data.streams = {"speech": "waveform.trimmed"}
    exp.data.longest_s = 10.0
    exp.data.batch_size, exp.data.length_buckets = 16, 3
    exp.tune.encoder = "whisper_base@2-4.pooled"
    exp.init_from = "emodb_whisper_fusion"
    exp.optim.lr, exp.optim.clip_norm = 2e-4, 1.0
    exp.epochs = exp.checkpoint_every = 3
    return exp
