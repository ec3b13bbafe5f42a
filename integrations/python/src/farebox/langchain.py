"""A LangChain callback that tells Farebox of calls that did not pass through it.

    model = ChatOpenAI(model="gpt-4o-mini", callbacks=[FareboxCallbackHandler(team="research")])

A call whose client points at Farebox, or whose answer says that it came through Farebox, is metered there already, and is
not told again.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import LLMResult

from ._tell import Teller, passes_through

# LangChain's names of providers, where Farebox has another.
PROVIDERS = {
    "azure": "azure",
    "google_genai": "gemini",
    "google_vertexai": "vertex",
    "amazon_bedrock": "bedrock",
    "bedrock": "bedrock",
    "mistralai": "mistral",
    "fireworks": "fireworks",
    "xai": "xai",
}
# Members in which LangChain's clients say where they call.
BASE_URLS = ("openai_api_base", "anthropic_api_url", "base_url", "api_base", "endpoint")


class FareboxCallbackHandler(BaseCallbackHandler):
    """Posts each answer's usage to `/api/usage/track`, under the run's id: told again, it is booked once."""

    def __init__(
        self,
        admin_url: str | None = None,
        token: str | None = None,
        farebox_url: str | None = None,
        provider: str | None = None,
        **whose: Any,
    ) -> None:
        """`farebox_url` is the data port's address, by which calls through it are told apart; `whose` says whose the calls are:
        `organisation`, `team`, `project`, `key`, `user`, `end_user`, `session`, `run`, `environment`, `tags`."""
        super().__init__()
        self._teller = Teller(admin_url, token)
        self._farebox_url = farebox_url
        self._provider = provider
        self._whose = whose
        self._begun: dict[UUID, dict[str, Any] | None] = {}

    def flush(self, seconds: float = 10.0) -> bool:
        """Waits until everything is told."""
        return self._teller.flush(seconds)

    def on_chat_model_start(
        self, serialized: Mapping[str, Any] | None, messages: Any, *, run_id: UUID, **more: Any
    ) -> None:
        self._begin(serialized, run_id, more)

    def on_llm_start(self, serialized: Mapping[str, Any] | None, prompts: Any, *, run_id: UUID, **more: Any) -> None:
        self._begin(serialized, run_id, more)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
        self._begun.pop(run_id, None)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **more: Any) -> None:
        begun = self._begun.pop(run_id, None)
        if begun is None:
            return
        usages, answered, exchange = [], None, None
        for generation in (one for several in response.generations for one in several):
            message = getattr(generation, "message", None)
            said = getattr(message, "response_metadata", None) or {}
            answered = answered or said.get("model_name") or said.get("model")
            headers = {str(name).lower(): value for name, value in (said.get("headers") or {}).items()}
            exchange = exchange or headers.get("x-farebox-exchange-id")
            if usage := getattr(message, "usage_metadata", None):
                usages.append(usage)
        # Several answers of one call carry the same usage: it is the call's.
        usage = _usage(usages[0]) if usages else _usage_of_completion(response.llm_output)
        if exchange is not None or not usage:
            return
        self._teller.tell({
            "id": f"langchain/{run_id}",
            "provider": self._provider or begun["provider"],
            "model": answered or begun["model"],
            "usage": usage,
            **self._whose,
        })

    def _begin(self, serialized: Mapping[str, Any] | None, run_id: UUID, more: Mapping[str, Any]) -> None:
        settings = (serialized or {}).get("kwargs") or {}
        asked = more.get("invocation_params") or {}
        urls = [source.get(name) for source in (settings, asked) for name in BASE_URLS]
        if any(passes_through(url, self._farebox_url) for url in urls):
            self._begun[run_id] = None
            return
        said = more.get("metadata") or {}
        provider = said.get("ls_provider") or "openai"
        model = said.get("ls_model_name") or asked.get("model") or asked.get("model_name") or settings.get("model_name")
        self._begun[run_id] = {"provider": PROVIDERS.get(provider, provider), "model": model}


def _usage(usage: Mapping[str, Any]) -> dict[str, int]:
    """LangChain's sums hold their parts, as Farebox's do."""
    read, put = usage.get("input_token_details") or {}, usage.get("output_token_details") or {}
    told = {
        "input_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "cache_read": read.get("cache_read"),
        "cache_write_5m": read.get("ephemeral_5m_input_tokens") or read.get("cache_creation"),
        "cache_write_1h": read.get("ephemeral_1h_input_tokens"),
        "input_audio": read.get("audio"),
        "reasoning": put.get("reasoning"),
        "output_audio": put.get("audio"),
    }
    return {name: count for name, count in told.items() if count}


def _usage_of_completion(output: Mapping[str, Any] | None) -> dict[str, int]:
    usage = (output or {}).get("token_usage") or {}
    told = {"input_tokens": usage.get("prompt_tokens"), "output_tokens": usage.get("completion_tokens")}
    return {name: count for name, count in told.items() if count}
