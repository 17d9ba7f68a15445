"""Train networks with a swappable normalization layer, and compare what it did."""

from importlib.metadata import version

__version__ = version("normlab")
