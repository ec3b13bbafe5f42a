"""Sends the calls of the OpenAI and Anthropic SDKs through a Farebox, and says whose they are."""

from ._attribution import headers
from ._clients import configure, reset

__all__ = ["configure", "headers", "reset"]
__version__ = "0.1.0"
