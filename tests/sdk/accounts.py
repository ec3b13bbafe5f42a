"""Holds the ledger against what the simulated provider charged, at list prices written down here once more.

Prices in dollars per million tokens, from the providers' public price lists (OpenAI, Anthropic, Google; read 2026-11-21): on
purpose not read from config/catalog.yaml, which is what they check.
"""

import os
from decimal import Decimal
from typing import NamedTuple

from processes import json_of, rows_at, until

PICO = 10**12
MILLION = 10**6


class Price(NamedTuple):
    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write: Decimal


def price(input, output, cache_read=None, cache_write=None):
    return Price(*(Decimal(rate if rate is not None else input) for rate in (input, output, cache_read, cache_write)))


PRICES = {
    "gpt-4o-mini": price("0.15", "0.60", "0.075"),
    "gpt-4o": price("2.50", "10.00", "1.25"),
    "gpt-4o-2024-08-06": price("2.50", "10.00", "1.25"),
    "gpt-5": price("1.25", "10.00", "0.125"),
    "o4-mini": price("1.10", "4.40", "0.275"),
    "gpt-3.5-turbo-instruct": price("1.50", "2.00"),
    "text-embedding-3-small": price("0.02", "0"),
    "claude-sonnet-4-6": price("3.00", "15.00", "0.30", "3.75"),
    "gemini-2.5-flash": price("0.30", "2.50", "0.03"),
}


def cost_in_pico_dollars(model, usage):
    """Of a usage as the simulator writes it; exact for these prices, so nothing is rounded."""
    rates = PRICES[model]
    uncached = usage["input_tokens"] - usage["cache_read_tokens"] - usage["cache_write_tokens"]
    dollars = (
        uncached * rates.input
        + usage["cache_read_tokens"] * rates.cache_read
        + usage["cache_write_tokens"] * rates.cache_write
        + usage["output_tokens"] * rates.output
    ) / MILLION
    return int(dollars * PICO)


def cost_of(row):
    """The row's cost in pico-dollars."""
    return int(Decimal(row["cost_usd"]) * PICO)


class Accounts:
    """The two books: the provider's, and Farebox's."""

    def __init__(self, simulator_url, admin_url):
        self.simulator_url, self.admin_url = simulator_url, admin_url

    @staticmethod
    def of_environment():
        """For tests that run in an environment of their own."""
        return Accounts(os.environ["TEST_SIMULATOR"], os.environ["TEST_ADMIN"])

    def attempts(self, call):
        everything = json_of(f"{self.simulator_url}/simulator/attempts")
        return [one for one in everything if one["client_request_id"] == call]

    def settled(self, call, attempts=1):
        """The rows of a call as soon as there is one for each attempt that the provider saw."""

        def found():
            rows = rows_at(self.admin_url, call)
            return rows if len(rows) >= attempts else None

        rows = until(found, f"{attempts} ledger row(s) of {call!r}")
        seen = until(lambda: self._ended(call), f"the provider's end of {call!r}")
        assert len(rows) == len(seen) == attempts, f"{len(rows)} rows for {len(seen)} attempts, {attempts} expected"
        return list(zip(seen, rows))

    def _ended(self, call):
        seen = self.attempts(call)
        return seen if all(one["ending"] != "open" for one in seen) else None

    def agree(self, call, attempts=1):
        """Each attempt that ended in an answer is booked with the tokens and the cost that the provider charged."""
        pairs = self.settled(call, attempts)
        for attempt, row in pairs:
            assert row["status"] == attempt["status"]
            if attempt["status"] >= 400:
                assert row["outcome"] != "ok"
                assert cost_of(row) == 0
                continue
            assert row["outcome"] == "ok"
            charged = attempt["usage"]
            if charged is None:
                continue
            assert row["usage_source"] == "reported"
            assert tokens_of(row) == charged
            assert cost_of(row) == cost_in_pico_dollars(attempt["model"], charged)
        return [row for _, row in pairs]


def tokens_of(row):
    """The row's tokens in the simulator's words."""
    return {
        "input_tokens": row["input_tokens"],
        "cache_read_tokens": row["cache_read_input_tokens"],
        "cache_write_tokens": row["cache_write_input_tokens"],
        "output_tokens": row["output_tokens"],
        "reasoning_tokens": row["reasoning_output_tokens"],
    }
