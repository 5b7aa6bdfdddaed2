"""A linear probe on Whisper base, leave-one-speaker-out on EMO-DB.

jser train --config emodb_whisper_probe

The features: jser extract --table data/emodb --frontend whisper_base@2-4.trimmed.pooled
Add --config.data.holdout="(0,)" to leave out the first speaker. Three layers
lie side by side, each as mean and standard deviation over time.
"""

from jser import recipes
from jser.config import Model


def get_config():
    exp = recipes.emodb("emodb_whisper_probe", speech="whisper_base@2-4.trimmed.pooled")
    exp.model = Model(kind="probe", layers="beside", dropout=0.0)
    exp.loss.label_smoothing = 0.1
    exp.optim.lr, exp.optim.weight_decay = 1e-3, 1.0
    exp.epochs = exp.checkpoint_every = 60
    return exp
