"""Dense layers equal to PyTorch's, and products in a chosen precision."""

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from jser.shapes import Array

LAYER_NORM_EPSILON = 1e-5  # PyTorch's; Flax's own is 1e-6.


def product(subscripts: str, a: Array, b: Array, dtype: str) -> jax.Array:
    """`jnp.einsum` of two arrays whose elements are multiplied in `dtype`.

    Sums run in float32 and are rounded to `dtype`, which in the backward pass, too, is
    what products read. The result is float32 for whatever follows (wider, if `dtype`
    is).
    """
    c = jnp.einsum(subscripts, a.astype(dtype), b.astype(dtype))
    return c.astype(jnp.promote_types(dtype, jnp.float32))


def uniform(bound: float) -> nn.initializers.Initializer:
    """U(-bound, bound)."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class LinearParams(nn.Module):
    """Parameters of a dense layer under Dense's names, for others to multiply with.

    Attributes:
      features: Width of the result.
      kernel_init: Of the kernel.
      bias_init: Of the bias.
    """

    features: int
    kernel_init: nn.initializers.Initializer
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, width: int) -> tuple[Float[Array, "D F"], Float[Array, " F"]]:
        """Kernel and bias for inputs of `width`."""
        F, f32 = self.features, jnp.float32
        kernel = self.param("kernel", self.kernel_init, (width, F), f32)
        return kernel, self.param("bias", self.bias_init, (F,), f32)


class Linear(nn.Module):
    """A dense layer with PyTorch's initialiser, U(-1/sqrt(D), ...), for the bias too.

    Attributes:
      features: Width of the result.
      dtype: Precision of the product (`product`).
    """

    features: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B F"]:
        """Kernel times `x`, plus bias."""
        init = uniform(x.shape[-1] ** -0.5)
        kernel = self.param("kernel", init, (x.shape[-1], self.features))
        bias = self.param("bias", init, (self.features,))
        return product("...d,df->...f", x, kernel, self.dtype) + bias


def norm(name: str | None = None) -> nn.LayerNorm:
    """A LayerNorm with PyTorch's epsilon."""
    return nn.LayerNorm(epsilon=LAYER_NORM_EPSILON, name=name)
