"""Speech emotion recognition in JAX/Flax. Importing `jser` alone imports no JAX."""

__version__ = "0.1.0"
