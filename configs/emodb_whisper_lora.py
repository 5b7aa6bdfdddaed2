"""Whisper base learns with LoRA on EMO-DB, leave-one-speaker-out.

jser train --config emodb_whisper_lora --config.data.holdout="(0,)"

The sound: jser extract --table data/emodb --frontend waveform.trimmed
Its weights come from the hub, or by --weights whisper_base=DIR. Adapters of rank 16 in
the feed-forward of the upper half of the blocks, attentive statistics of the last
states; docs/tuning.md says what it gained. Without folds held out it trains on all.
"""

from jser import recipes


def get_config():
    exp = recipes.emodb("emodb_whisper_lora", speech="waveform.trimmed")
    exp.data.standardize = ("speech",)
    exp.data.longest_s = 10.0
    exp.data.batch_size, exp.data.length_buckets = 16, 1
    exp.model.kind = "pooling"
    exp.model.hidden = 256
    exp.tune.encoder = "whisper_base"
    exp.optim.lr = 1e-3
    exp.optim.encoder_rate = 0.5
    exp.optim.clip_norm = 1.0
    exp.epochs = exp.checkpoint_every = 10
    return exp
