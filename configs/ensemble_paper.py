"""The paper's twelve members, in the order of its stacker's columns, and a stacker.

  jser run --config ensemble_paper

Published: BS-F1 0.430 on dev, macro-F1 0.409 and accuracy 0.413 on the challenge's test
set. Its forests had learned from logits of its members' own training utterances, as
`--config.stacker=paper` does; ours learn from out-of-fold logits, for which each member
is trained once more per fold.
"""

from jser import recipes
from jser.config import Ensemble

MEMBERS = (
    "hubert_roberta",
    "whisper_roberta",
    "wavlm_roberta",
    "whisper_deberta",
    "hubert_whisper",
    "whisper_roberta_facodec",
    "hubert_roberta_sml",
    "whisper_deberta_sml",
    "whisper_roberta_sml",
    "wavlm_roberta_sml",
    "hubert_whisper_sml",
    "whisper_roberta_facodec_sml",
)


def get_config():
    members = tuple(recipes.load(name) for name in MEMBERS)
    return Ensemble(name="ensemble_paper", members=members, stacker="oof")
