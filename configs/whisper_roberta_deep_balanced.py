"""Whisper-large-v3 x RoBERTa-large by deep fusion, the winners' second stage.

jser train --config whisper_roberta_deep_balanced

It goes on with the best network of `whisper_roberta_deep`, which has to be trained
first: each epoch has all clips of the rarer half of the emotions, as many of each other
one as the rarest of those has, drawn anew, and some that no majority agreed on. No
class weights, a tenth of the rate, fresh moments. MEDUSA stops when dev has not
improved for 8 epochs, after 50 at most; here all are trained, and the best is kept.
"""

from jser import recipes


def get_config():
    exp = recipes.load("whisper_roberta_deep")
    exp.name, exp.init_from = "whisper_roberta_deep_balanced", "whisper_roberta_deep"
    exp.data.sampler, exp.loss.class_weights = "undersampled", False
    exp.loss.weight_exponent = 1.0
    exp.optim.lr = exp.optim.final_lr = 1e-6
    exp.epochs = 50
    return exp
