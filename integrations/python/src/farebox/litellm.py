"""A LiteLLM callback that tells Farebox of calls that did not pass through it.

    litellm.callbacks = [FareboxLogger(team="research")]

In LiteLLM's proxy: `litellm_settings: {callbacks: farebox.litellm.logger}`. A call whose `api_base` is Farebox's, or whose
answer says that it came through Farebox, is metered there already, and is not told again.
"""

from collections.abc import Mapping
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from ._tell import Teller, passes_through

# LiteLLM's names of providers, where Farebox has another.
PROVIDERS = {"vertex_ai": "vertex", "azure_ai": "azure", "text-completion-openai": "openai", "fireworks_ai": "fireworks", "together_ai": "together"}


class FareboxLogger(CustomLogger):
    """Posts each answer's usage to `/api/usage/track`, under LiteLLM's id of the call: told again, it is booked once."""

    def __init__(
        self,
        admin_url: str | None = None,
        token: str | None = None,
        farebox_url: str | None = None,
        **whose: Any,
    ) -> None:
        """`whose` says whose the calls are, over what LiteLLM knows of its keys: `organisation`, `team`, `project`, `key`,
        `user`, `end_user`, `session`, `run`, `environment`, `tags`."""
        super().__init__()
        self._teller = Teller(admin_url, token)
        self._farebox_url = farebox_url
        self._whose = whose

    def flush(self, seconds: float = 10.0) -> bool:
        """Waits until everything is told."""
        return self._teller.flush(seconds)

    def log_success_event(self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._told(kwargs, response_obj)

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        self._told(kwargs, response_obj)

    def _told(self, kwargs: Mapping[str, Any], response: Any) -> None:
        settings = kwargs.get("litellm_params") or {}
        usage = _usage(getattr(response, "usage", None))
        if not usage or self._is_metered(kwargs, settings, response):
            return
        if kwargs.get("cache_hit"):
            return
        provider = kwargs.get("custom_llm_provider") or settings.get("custom_llm_provider") or "openai"
        self._teller.tell({
            "id": f"litellm/{kwargs.get('litellm_call_id') or response.id}",
            "provider": PROVIDERS.get(provider, provider),
            "model": kwargs.get("model") or getattr(response, "model", None),
            "usage": usage,
            "stream": bool(kwargs.get("stream")),
            **_said(kwargs, settings.get("metadata") or {}),
            **self._whose,
        })

    def _is_metered(self, kwargs: Mapping[str, Any], settings: Mapping[str, Any], response: Any) -> bool:
        hidden = getattr(response, "_hidden_params", None) or {}
        headers = {**(hidden.get("additional_headers") or {}), **(kwargs.get("response_headers") or {})}
        named = (str(name).lower().removeprefix("llm_provider-") for name in headers)
        if "x-farebox-exchange-id" in named:
            return True
        return passes_through(settings.get("api_base") or hidden.get("api_base"), self._farebox_url)


def _said(kwargs: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Whose LiteLLM's proxy says that it is."""
    tags = {"tag": str(tag) for tag in (metadata.get("tags") or [])[:1]}
    said = {
        "team": metadata.get("user_api_key_team_alias") or metadata.get("user_api_key_team_id"),
        "user": metadata.get("user_api_key_user_id"),
        "end_user": metadata.get("user_api_key_end_user_id") or kwargs.get("user"),
        "tags": tags or None,
    }
    return {name: value for name, value in said.items() if value}


def _usage(usage: Any) -> dict[str, int]:
    """LiteLLM's sums hold their parts, as Farebox's do."""
    read, put = getattr(usage, "prompt_tokens_details", None), getattr(usage, "completion_tokens_details", None)
    told = {
        "input_tokens": getattr(usage, "prompt_tokens", None),
        "output_tokens": getattr(usage, "completion_tokens", None),
        "cache_read": getattr(read, "cached_tokens", None),
        "cache_write_5m": getattr(read, "cache_creation_tokens", None) or getattr(usage, "cache_creation_input_tokens", None),
        "input_audio": getattr(read, "audio_tokens", None),
        "reasoning": getattr(put, "reasoning_tokens", None),
        "output_audio": getattr(put, "audio_tokens", None),
    }
    return {name: count for name, count in told.items() if count}
