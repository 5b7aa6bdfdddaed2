"""Attention of one stream to others and pooling over time, without the frames between.

The plain form (tests/helpers/reference_layers.py, as in the paper) adds to every frame
h_t of the query stream what it gathers from another stream, and pools the sums:

    g_t = Wo sum_s p_ts (Wv x_s + bv) + bo       p = dropout(softmax(q_t . k_s))
    y   = sum_t a_t (h_t + g_t)                  a = softmax(w . (h_t + g_t))

Pooling asks two things of g, w . g_t and sum_t a_t g_t, and both are linear in x. So it
needs no g_t: the scalar (Wv' Wo' w) . x_s stands for a frame in the first, and in the
second Wv and Wo multiply one vector per utterance. As q_t . k_s is h_t' Wq' Wk x_s,
only the shorter of the two streams is multiplied by weights. Dropout keeps the rows of
p from summing to one, hence their sums stay beside bv. The results are the plain
form's, gradients included, up to the order of the sums.
"""

from collections.abc import Sequence

from flax import linen as nn
from flax import struct
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jser.models import dropout, layers
from jser.models.layers import product
from jser.shapes import Array


@struct.dataclass
class Attended:
    """What the frames of a stream gather from others, [B, T, D], kept as factors.

    It is the sum over `others` and heads of p (x Wv + bv) Wo + bo.
    """

    p: list[Array]  # Attention probabilities after dropout, B A T S, by other stream.
    others: list[Array]  # B S D.
    value: tuple[Array, Array]  # D A E, A E.
    out: tuple[Array, Array]  # A E D, D.

    def dot(self, w_D: Array) -> jax.Array:
        """Every frame's product with one vector, [B, T]."""
        out_AED, out_D = self.out
        value_DAE, value_AE = self.value
        w_AE = jnp.einsum("aed,d->ae", out_AED, w_D)
        w_DA = jnp.einsum("dae,ae->da", value_DAE, w_AE)
        w_A = jnp.einsum("ae,ae->a", value_AE, w_AE)
        total = len(self.p) * jnp.dot(out_D, w_D)
        for p_BATS, other_BSD in zip(self.p, self.others, strict=True):
            value_BSA = _weighted_sums(other_BSD, w_DA) + w_A
            total += jnp.einsum("bats,bsa->bt", p_BATS, value_BSA)
        return total

    def sum(self, weight_BT: Array) -> jax.Array:
        """The frames' weighted sum over time, [B, D]."""
        out_AED, out_D = self.out
        value_DAE, value_AE = self.value
        gathered_BAD, share_BA = jnp.zeros(()), jnp.zeros(())
        for p_BATS, other_BSD in zip(self.p, self.others, strict=True):
            share_BAS = jnp.einsum("bt,bats->bas", weight_BT, p_BATS)
            gathered_BAD += jnp.einsum("bas,bsd->bad", share_BAS, other_BSD)
            share_BA += share_BAS.sum(axis=-1)
        value_BAE = jnp.einsum("bad,dae->bae", gathered_BAD, value_DAE)
        value_BAE += share_BA[..., None] * value_AE
        biases = len(self.p) * weight_BT.sum(axis=-1)[:, None] * out_D
        return jnp.einsum("bae,aed->bd", value_BAE, out_AED) + biases

    def frames(self, dtype: str) -> jax.Array:
        """Every one of them, [B, T, D], for who needs more than pooling does."""
        out_AED, out_D = self.out
        value_DAE, value_AE = self.value
        gathered_BTAE = jnp.zeros(())
        for p_BATS, other_BSD in zip(self.p, self.others, strict=True):
            value_BSAE = product("bsd,dae->bsae", other_BSD, value_DAE, dtype)
            value_BSAE += value_AE
            gathered_BTAE += product("bats,bsae->btae", p_BATS, value_BSAE, dtype)
        gathered_BTD = product("btae,aed->btd", gathered_BTAE, out_AED, dtype)
        return gathered_BTD + len(self.p) * out_D


class CrossAttention(nn.Module):
    """Multi-head attention of one stream to others, as `torch.nn.MultiheadAttention`.

    One set of parameters serves all of the others. Dropout acts on the attention
    probabilities. Padded keys get none.

    Attributes:
      heads: Number of heads, A; it divides the width.
      dropout: Rate.
      dtype: Precision of the large products; the softmax is float32.
    """

    heads: int = 1
    dropout: float = 0.0
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        query: Float[Array, "B T D"],
        others: Sequence[tuple[Float[Array, "B _ D"], Bool[Array, "B _"]]],
        *,
        train: bool,
    ) -> Attended:
        """What each frame of `query` gathers from `others`, frames with their masks."""
        D, A = query.shape[-1], self.heads
        # Xavier over PyTorch's stacked [3 D, D] in-projection; its biases start at 0.
        xavier = layers.uniform((6.0 / (4 * D)) ** 0.5)

        def heads_of(name: str) -> tuple[Array, Array]:
            kernel, bias = layers.LinearParams(D, xavier, name=name)(D)
            return kernel.reshape(D, A, -1), bias.reshape(A, -1)

        query_DAE, query_AE = heads_of("query")
        # Its bias adds the same to a frame's whole row of scores: no softmax sees it.
        key_DAE, _ = heads_of("key")
        value = heads_of("value")
        init = layers.uniform(D**-0.5)
        kernel, bias = layers.LinearParams(D, init, name="out")(D)
        scale = (D / A) ** -0.5
        scaled = (scale * query_DAE, scale * query_AE)
        drop = dropout.Dropout(self.dropout)
        p = []
        for other, mask in others:
            scores_BATS = _scores(query, other, scaled, key_DAE, self.dtype)
            p_BATS = nn.softmax(scores_BATS, where=mask[:, None, None])
            p.append(drop(p_BATS, train=train))
        frames = [other for other, _ in others]
        return Attended(p, frames, value, (kernel.reshape(A, -1, D), bias))


def _scores(
    query_BTD: Array,
    other_BSD: Array,
    query: tuple[Array, Array],
    key_DAE: Array,
    dtype: str,
) -> jax.Array:
    """(h Wq + bq) . (x Wk) of every head, [B, A, T, S], in the cheapest order."""
    query_DAE, query_AE = query
    T, S, (D, A, _) = query_BTD.shape[1], other_BSD.shape[1], query_DAE.shape
    if abs(T - S) * D < (A - 1) * T * S:  # Heads narrow the product of long streams.
        q_BTAE = product("btd,dae->btae", query_BTD, query_DAE, dtype) + query_AE
        k_BSAE = product("bsd,dae->bsae", other_BSD, key_DAE, dtype)
        return product("btae,bsae->bats", q_BTAE, k_BSAE, dtype)
    bias_AD = jnp.einsum("dae,ae->ad", key_DAE, query_AE)
    if T <= S:
        q_BTAD = _there_and_back(query_BTD, query_DAE, key_DAE, dtype) + bias_AD
        return product("btad,bsd->bats", q_BTAD, other_BSD, dtype)
    k_BSAD = _there_and_back(other_BSD, key_DAE, query_DAE, dtype)
    bias_BSA = _weighted_sums(other_BSD, bias_AD.T)
    scores_BATS = product("btd,bsad->bats", query_BTD, k_BSAD, dtype)
    return scores_BATS + bias_BSA.swapaxes(1, 2)[:, :, None]


def _there_and_back(
    x_BTD: Array, there_DAE: Array, back_DAE: Array, dtype: str
) -> jax.Array:
    """Frames into every head and out again, [B, T, A, D]."""
    (B, T, D), A = x_BTD.shape, there_DAE.shape[1]
    rows = B * T if isinstance(B, int) else T  # An export leaves B open.
    if A == 1 and rows > D:  # One product for all frames instead of two.
        both_DAD = product("dae,fae->daf", there_DAE, back_DAE, dtype)
        return product("btd,daf->btaf", x_BTD, both_DAD, dtype)
    inside_BTAE = product("btd,dae->btae", x_BTD, there_DAE, dtype)
    return product("btae,fae->btaf", inside_BTAE, back_DAE, dtype)


def _weighted_sums(x_BTD: Array, w_DA: Array) -> jax.Array:
    """A few weighted sums of every frame's columns, [B, T, A].

    As one product of two matrices: XLA's CPU backend takes 20 times as long for that of
    three axes with one, and for its gradient.
    """
    B, T, D = x_BTD.shape
    return jnp.dot(x_BTD.reshape(B * T, D), w_DA).reshape(B, T, -1)


class AttentionPool(nn.Module):
    """A weighted mean over the real frames; weights are a softmax of a linear score."""

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Bool[Array, "B T"],
        attended: Attended | None = None,
    ) -> Float[Array, "B D"]:
        """One vector per utterance, of the frames `x`, plus `attended` if given."""
        D = x.shape[-1]
        init = layers.uniform(D**-0.5)
        kernel_D1, bias = layers.LinearParams(1, init, init, name="score")(D)
        # The bias adds the same to all of a row's scores: no softmax sees it, and what
        # rounding leaves of its gradient Adam would turn into steps of full size.
        score_BT = _weighted_sums(x, kernel_D1)[..., 0] + lax.stop_gradient(bias)
        if attended is not None:
            score_BT += attended.dot(kernel_D1[:, 0])
        weight_BT = nn.softmax(score_BT, where=mask)
        pooled_BD = jnp.einsum("bt,btd->bd", weight_BT, x)
        return pooled_BD if attended is None else pooled_BD + attended.sum(weight_BT)
