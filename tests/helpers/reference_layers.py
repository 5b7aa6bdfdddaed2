"""Layers as the paper writes them, one after another: what the fast forms must equal.

Parameters have the names, shapes and initialisers of `jser.models`. JAX differentiates.
"""

from flax import linen as nn
import jax.numpy as jnp

from jser.models import dropout, fusion, layers, recurrence_reference
from jser.models.recurrence_reference import dense


class CrossAttention(nn.Module):
    """What each frame of one stream gathers from one other, [B, T, D]."""

    heads: int = 1
    dropout: float = 0.0

    @nn.compact
    def __call__(self, query, other, other_mask, *, train):
        width = query.shape[-1]
        init = layers.uniform((6.0 / (4 * width)) ** 0.5)

        def heads_of(name, x):
            y = nn.Dense(width, kernel_init=init, name=name)(x)
            return y.reshape(*y.shape[:-1], self.heads, -1)

        q_BTAE = heads_of("query", query) / (width / self.heads) ** 0.5
        k_BSAE, v_BSAE = heads_of("key", other), heads_of("value", other)
        scores_BATS = jnp.einsum("btae,bsae->bats", q_BTAE, k_BSAE)
        p_BATS = nn.softmax(scores_BATS, where=other_mask[:, None, None])
        p_BATS = dropout.Dropout(self.dropout)(p_BATS, train=train)
        context = jnp.einsum("bats,bsae->btae", p_BATS, v_BSAE).reshape(query.shape)
        init = layers.uniform(width**-0.5)
        return nn.Dense(width, kernel_init=init, name="out")(context)


class AttentionPool(nn.Module):
    @nn.compact
    def __call__(self, x, mask):
        score_BT = dense(1, x.shape[-1], "score")(x)[..., 0]
        weight_BT = nn.softmax(score_BT, where=mask)
        return jnp.einsum("bt,btd->bd", weight_BT, x)


class Encoder(nn.Module):
    hidden: int

    @nn.compact
    def __call__(self, x, mask):
        h = dense(self.hidden, x.shape[-1], "projection")(x)
        h = nn.LayerNorm(epsilon=layers.LAYER_NORM_EPSILON, name="norm")(h)
        return recurrence_reference.BiGru(self.hidden, name="gru")(h, mask)


class FusionClassifier(fusion.FusionClassifier):
    """Every frame of every stream is computed, attention's queries and results too."""

    def _encode(self, read, mask):
        encoder = lambda s: Encoder(self.hidden, name=f"{s}_encoder")
        return {s: encoder(s)(x, mask[s]) for s, x in read.items()}

    def _pool(self, s, encoded, mask, train):
        fused, others = encoded[s], [o for o in self.streams if o != s]
        if others:
            heads = dict(self.heads).get(s, 1)
            attend = CrossAttention(heads, self.dropout, name=f"{s}_attention")
            for o in others:
                fused += attend(encoded[s], encoded[o], mask[o], train=train)
        return AttentionPool(name=f"{s}_pool")(fused, mask[s])
