#!/usr/bin/env python3
"""The source of the four dashboards: `python3 grafana/dashboards.py` writes grafana/dashboards/*.json, and their maps into
docs/monitoring.md and README.md (a test compares).

Classic dashboards, schemaVersion 39: Grafana 10 to 13 import them without an edit. The data source is a variable.
"""

import json
import sys
from pathlib import Path

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
HERE = 'job=~"$job",instance=~"$instance"'
JOB = 'job=~"$job"'
BUDGET = 'job=~"$job",budget=~"$budget"'
CALLS = HERE + ',team=~"$team",provider=~"$provider",model=~"$model"'
BY_MODEL = HERE + ',provider=~"$provider",model=~"$model"'
TEAM = HERE + ',team=~"$team"'
RULE = HERE + ',rule=~"$rule"'
MONEY, SHARE = "currencyUSD", "percentunit"
USED = [(None, "green"), (0.75, "orange"), (0.9, "red")]
NONE_IS_GOOD = [(None, "green"), (1, "red")]
ONE_IS_GOOD = [(None, "red"), (1, "green")]
# A budget's instances (`for_each`) are many; a chart shows those that matter most.
MOST = 8
INSTANCE = "{{budget}} {{scope}}"
LARGEST = f"and topk(1, budget:farebox_limit_usd:max{{{BUDGET}}})"
YES_IS_GOOD = {0: ("no", "red"), 1: ("yes", "green")}
NO_IS_GOOD = {0: ("no", "green"), 1: ("yes", "red")}
CIRCUIT = {0: ("closed", "green"), 1: ("half open", "orange"), 2: ("open", "red")}
ACTED = {0: ("", "transparent"), 1: ("acted", "orange")}
# Where a click on a series leads.
TO_TEAM = ("Team view", "/d/farebox-team?var-team=${__field.labels.team}&${__url_time_range}")
TO_BUDGET = ("This budget", "/d/farebox-spend?var-budget=${__field.labels.budget}&${__url_time_range}")
TO_PROVIDER = ("This provider", "/d/farebox-health?var-provider=${__field.labels.provider}&${__url_time_range}")
TO_RULE = ("This rule", "/d/farebox-rules?var-rule=${__field.labels.rule}&${__url_time_range}")


def query(expr, legend="__auto", **more):
    return {"expr": expr, "legend": legend, **more}


def row(title):
    return {"type": "row", "title": title}


def panel(kind, title, description, unit, *queries, w=12, h=8, now=False, stack=False, steps=None, names=None, words=None, to=None):
    """`words` are texts and colours by value, `to` the name and address of a link from each series."""
    return locals() | {"type": kind}


def stat(title, description, unit, expr, legend="__auto", w=4, h=4, steps=None, words=None):
    """With a legend, the name stands beside the value."""
    return panel("stat", title, description, unit, query(expr, legend), w=w, h=h, now=True, steps=steps, words=words)


def lines(title, description, unit, *queries, **more):
    return panel("timeseries", title, description, unit, *queries, **more)


def table(title, description, unit, *columns, w=12, h=8, to=None):
    """Columns are (name, unit or None for the table's own, expression)."""
    names = {f"Value #{chr(65 + place)}" if len(columns) > 1 else "Value": column[:2] for place, column in enumerate(columns)}
    queries = [query(column[2], "", table=True) for column in columns]
    return panel("table", title, description, unit, *queries, w=w, h=h, now=True, names=names, to=to)


def per_second(metric, labels, by=""):
    return f"sum {by + ' ' if by else ''}(rate({metric}{{{labels}}}[$__rate_interval]))"


def in_range(metric, labels, by=""):
    return f"sum {by + ' ' if by else ''}(increase({metric}{{{labels}}}[$__range]))"


def most(expr):
    return f"topk({MOST}, {expr})"


def quantile(share, metric, labels, by="le", window="$__rate_interval"):
    return f"histogram_quantile({share}, sum by ({by}) (rate({metric}_bucket{{{labels}}}[{window}])))"


SPEND = [
    row("This window"),
    stat("Spent", "Spent in the current window of the budget named, from the ledger. It is the one with the highest limit of those chosen: budgets count the same calls, so a sum would count them twice.",
         MONEY, f"budget:farebox_spent_usd:max{{{BUDGET}}} {LARGEST}", INSTANCE, w=6),
    stat("Left", "The limit of the same budget, less what is spent.", MONEY,
         f"(budget:farebox_limit_usd:max{{{BUDGET}}} - budget:farebox_spent_usd:max{{{BUDGET}}}) {LARGEST}", INSTANCE, w=6),
    stat("Heading for", "What is spent of the same budget, and the pace of the last day to its window's end. In the first day of watching it is too low.", MONEY,
         f"budget:farebox_forecast_usd:window_end{{{BUDGET}}} {LARGEST}", INSTANCE, w=6),
    stat("Not paid, in range", "List price that swaps and provider caches saved in the range chosen.", MONEY,
         in_range("farebox_savings_usd_total", TEAM), w=6),
    panel("bargauge", "Budgets used", f"Share of each limit that is spent, the {MOST} that are used most; orange from 75 %, red from 90 %.", SHARE,
          query(most(f"budget:farebox_used:ratio{{{BUDGET}}}"), INSTANCE), w=8, h=9, now=True, steps=USED, to=TO_BUDGET),
    table("Budgets", "Each budget with its limit, what is spent and held, the share used, when its window ends and when it is gone at the pace of six hours (no number: not before the window ends, or nothing is spent).", MONEY,
          ("Limit", None, f"budget:farebox_limit_usd:max{{{BUDGET}}}"),
          ("Spent", None, f"budget:farebox_spent_usd:max{{{BUDGET}}}"),
          ("Held", None, f"max by (job, budget, scope, window) (farebox_budget_held_usd{{{BUDGET}}})"),
          ("Used", SHARE, f"budget:farebox_used:ratio{{{BUDGET}}}"),
          ("Ends in", "s", f"budget:farebox_window_left:seconds{{{BUDGET}}}"),
          ("Gone in", "s", f"budget:farebox_exhaustion:seconds_rate6h{{{BUDGET}}} < budget:farebox_window_left:seconds{{{BUDGET}}}"), w=16, h=9,
          to=("budget", "This budget", "/d/farebox-spend?var-budget=${__value.raw}&${__url_time_range}")),
    row("Pace"),
    lines("Spent in the hour before, by team", "At each moment, what the team spent in the hour that ended then.", MONEY,
          query('sum by (team) (team:farebox_cost_usd:rate1h{job=~"$job",team=~"$team"}) * 3600', "{{team}}"), to=TO_TEAM),
    lines("Spent and limit", f"From the ledger; falls when a window begins. The {MOST} budgets that spent most.", MONEY,
          query(most(f"budget:farebox_spent_usd:max{{{BUDGET}}}"), INSTANCE + " spent"),
          query(most(f"budget:farebox_spent_usd:max{{{BUDGET}}}") + f" * 0 + budget:farebox_limit_usd:max{{{BUDGET}}}", INSTANCE + " limit"), to=TO_BUDGET),
    lines("Burn rate", "1: the budget lasts exactly to the end of its window. 14.4: 2 % of a month's budget an hour, which alarms.", "none",
          query(most(f"budget:farebox_burn:ratio_rate1h{{{BUDGET}}}"), INSTANCE + " 1 h"),
          query(most(f"budget:farebox_burn:ratio_rate6h{{{BUDGET}}}"), INSTANCE + " 6 h"), to=TO_BUDGET),
    lines("Gone in", "Until the limit at the pace of the last hour; the soonest.", "s",
          query(f"bottomk({MOST}, budget:farebox_exhaustion:seconds_rate1h{{{BUDGET}}})", INSTANCE), to=TO_BUDGET),
    row("Where the money goes"),
    lines("Cost per hour by model", "List price, in dollars an hour.", MONEY,
          query(per_second("farebox_cost_usd_total", CALLS, "by (model)") + " * 3600", "{{model}}"), stack=True),
    panel("piechart", "Cost by team in range", "Share of each team; `none` sent no team, `other` is not in `metrics.teams`.", MONEY,
          query(in_range("farebox_cost_usd_total", CALLS, "by (team)"), "{{team}}"), w=6, now=True, to=TO_TEAM),
    panel("piechart", "Cost by provider in range", "Share of each provider.", MONEY,
          query(in_range("farebox_cost_usd_total", CALLS, "by (provider)"), "{{provider}}"), w=6, now=True, to=TO_PROVIDER),
    table("Teams and models in range", "Who spent how much on which model: requests that ended well, tokens and list price. The ledger (`farebox usage --by team,model`) has the cents.", "short",
          ("Requests", None, in_range("farebox_requests_total", CALLS + ',outcome="ok"', "by (team, model)")),
          ("Tokens", None, in_range("farebox_tokens_total", CALLS, "by (team, model)")),
          ("Cost", MONEY, in_range("farebox_cost_usd_total", CALLS, "by (team, model)"))),
    lines("Tokens per minute", "By type; the types are disjoint, so they add up.", "short",
          query("60 * " + per_second("farebox_tokens_total", CALLS, "by (type)"), "{{type}}"), stack=True),
    lines("Price of a million tokens", "Cost by tokens of all types: swaps and caches show here.", MONEY,
          query(f"1e6 * {per_second('farebox_cost_usd_total', CALLS, 'by (team)')} / ({per_second('farebox_tokens_total', CALLS, 'by (team)')} > 0)", "{{team}}"), w=8, to=TO_TEAM),
    lines("Price of a thousand requests", "Cost by requests that ended well.", MONEY,
          query("1000 * " + per_second("farebox_cost_usd_total", CALLS, "by (team)") + " / ("
                + per_second("farebox_requests_total", CALLS + ',outcome="ok"', "by (team)") + " > 0)", "{{team}}"), w=8, to=TO_TEAM),
    lines("Not paid per hour", "What provider caches and swaps save, in dollars an hour.", MONEY,
          query(per_second("farebox_savings_usd_total", TEAM, "by (reason)") + " * 3600", "{{reason}}"), w=8),
    row("Can the numbers be trusted?"),
    table("Calls without a price", "Their cost is in no number above. `other`: the catalog does not know the model; `farebox usage --by model` does.", "short",
          ("Calls", None, f"sum by (provider, model) (farebox_unpriced_requests_total{{{HERE}}})"), w=8, h=6),
    stat("Age of the prices", "Since the catalog's date.", "s", f"time() - max(farebox_price_catalog_updated_timestamp_seconds{{{JOB}}})", h=6,
         steps=[(None, "green"), (30 * 86400, "orange"), (60 * 86400, "red")]),
    stat("Not reported by the provider", "Share of good calls whose usage was counted or estimated by us.", SHARE,
         in_range("farebox_usage_source_total", HERE + ',provider=~"$provider",source!="reported"') + " / "
         + in_range("farebox_usage_source_total", HERE + ',provider=~"$provider"'), h=6, steps=[(None, "green"), (0.2, "orange")]),
    stat("Error of estimates", "Half of the estimates before a call were nearer to its cost than this.", SHARE,
         quantile(0.5, "farebox_cost_estimate_error_ratio", HERE + ',provider=~"$provider"', window="$__range"), h=6),
    stat("Calls not in the ledger", "Lost or let through unrecorded in the range; anything but 0 means that spending is under-reported.", "short",
         in_range("farebox_ledger_lost_entries_total", HERE) + " + " + in_range("farebox_ledger_unjournalled_calls_total", HERE), h=6, steps=NONE_IS_GOOD),
    stat("Providers that say another cost", "Calls in the range whose cost as the provider itself reports it is more than 1 % from ours; `farebox usage export` has both.", "short",
         in_range("farebox_provider_cost_differs_total", HERE + ',provider=~"$provider"'), w=12, steps=NONE_IS_GOOD),
    stat("Late results not booked", "Results of batches and background work in the range that say no usage or are too large to be read; their budgets stay charged with the bound.", "short",
         in_range("farebox_late_results_unread_total", HERE + ',provider=~"$provider"'), w=12, steps=NONE_IS_GOOD),
]

HEALTH = [
    row("Golden signals"),
    stat("Requests", "Attempts at providers that ended, each second.", "reqps", per_second("farebox_requests_total", BY_MODEL)),
    stat("Well", "Share of attempts that no provider and no fault of ours spoilt; callers' mistakes and rules' refusals are left out.", SHARE,
         "1 - (" + per_second("farebox_requests_total", BY_MODEL + ',outcome=~"provider_.*|proxy_.*"') + " or vector(0)) / "
         + per_second("farebox_requests_total", BY_MODEL + ',outcome!~"caller_.*|policy_.*"'), steps=[(None, "red"), (0.95, "orange"), (0.99, "green")]),
    stat("p95 duration", "Of twenty requests, nineteen took less, from arrival to the last byte.", "s", quantile(0.95, "farebox_request_duration_seconds", BY_MODEL)),
    stat("p95 first token", "Of twenty streams, nineteen began sooner.", "s", quantile(0.95, "farebox_time_to_first_token_seconds", BY_MODEL)),
    stat("p99 overhead", "What Farebox itself adds: of a hundred requests, 99 lost less.", "s", quantile(0.99, "farebox_proxy_overhead_seconds", HERE),
         steps=[(None, "green"), (0.01, "orange"), (0.025, "red")]),
    stat("Under way", "Requests now.", "short", f"sum(farebox_requests_in_flight{{{HERE}}})"),
    lines("Outcomes", "caller_: the client's fault, policy_: a rule's no, provider_: the provider's fault, proxy_: ours.", "reqps",
          query(per_second("farebox_requests_total", BY_MODEL, "by (outcome)"), "{{outcome}}"), stack=True),
    table("What is alarming", "The alerts that fire now. The watchdog always does.", "short",
          ("Firing", None, 'count by (alertname, severity, budget, rule, provider, instance) (ALERTS{alertstate="firing",alertname=~"Farebox.*"})')),
    row("Providers"),
    lines("Requests by provider", "Attempts that ended, each second.", "reqps",
          query(per_second("farebox_requests_total", BY_MODEL, "by (provider)"), "{{provider}}"), w=8, stack=True, to=TO_PROVIDER),
    lines("Provider errors", "Share of attempts that the provider spoilt. Above 5 % over five minutes and 2 % over an hour it alarms.", SHARE,
          query('provider:farebox_provider_errors:ratio_rate5m{job=~"$job",provider=~"$provider"}', "{{provider}} 5 min"),
          query('provider:farebox_provider_errors:ratio_rate1h{job=~"$job",provider=~"$provider"}', "{{provider}} 1 h"), w=8, to=TO_PROVIDER),
    lines("Failures in a row", "Failed attempts since the last good one.", "short",
          query(f'max by (provider) (farebox_provider_failures_in_a_row{{{HERE},provider=~"$provider"}})', "{{provider}}"), w=8, to=TO_PROVIDER),
    panel("state-timeline", "Circuits", "Closed: well. Half open: one call is let through to see. Open: not asked for now.", "short",
          query(f'max by (provider) (farebox_provider_circuit_state{{{HERE},provider=~"$provider"}})', "{{provider}}"), w=8, h=6, words=CIRCUIT),
    panel("state-timeline", "Calls fail for our keys", "Yes: the last answer to a call with any key of Farebox's own was 401, 402 or 403. Callers' own keys do not count.", "short",
          query(f'max by (provider) (farebox_provider_key_refused{{{HERE},provider=~"$provider"}})', "{{provider}}"), w=8, h=6, words=NO_IS_GOOD),
    panel("state-timeline", "Our keys out of use", "Yes: this key is cooling, invalid or expired; calls go on while the provider has another.", "short",
          query(f'max by (provider, key, state) (farebox_provider_key_state{{{HERE},provider=~"$provider",state!="valid"}})', "{{provider}} {{key}} {{state}}"), w=8, h=6, words=NO_IS_GOOD),
    row("How long it takes"),
    lines("Duration by model", "From arrival to the last byte.", "s",
          query(quantile(0.5, "farebox_request_duration_seconds", BY_MODEL, "le, model"), "{{model}} p50"),
          query(quantile(0.95, "farebox_request_duration_seconds", BY_MODEL, "le, model"), "{{model}} p95")),
    lines("First token by model", "Streams only; p95.", "s", query(quantile(0.95, "farebox_time_to_first_token_seconds", BY_MODEL, "le, model"), "{{model}}")),
    lines("Tokens a second of a stream", "One by the median time of an output token.", "short",
          query("1 / " + quantile(0.5, "farebox_time_per_output_token_seconds", BY_MODEL, "le, model"), "{{model}}")),
    lines("Overhead", "Time in Farebox's own hands, not spent waiting for the provider or the client.", "s",
          query(quantile(0.5, "farebox_proxy_overhead_seconds", HERE, "le, provider"), "{{provider}} p50"),
          query(quantile(0.99, "farebox_proxy_overhead_seconds", HERE, "le, provider"), "{{provider}} p99")),
    lines("Farebox's own refusals", "Requests it answered itself, by kind.", "reqps", query(per_second("farebox_refusals_total", HERE, "by (kind)"), "{{kind}}"), stack=True),
    lines("Own faults against 99.9 %", "Share of requests that Farebox itself spoilt. 0.1 % may fail in 30 days.", SHARE,
          query(f"job:farebox_own_faults:ratio_rate5m{{{JOB}}}", "5 min"), query(f"job:farebox_own_faults:ratio_rate6h{{{JOB}}}", "6 h")),
    row("Ledger"),
    lines("Waiting for the store", "Share of `ledger.backlog_events_max`; when it is full, calls wait.", SHARE,
          query(f"farebox_ledger_queue_entries{{{HERE}}} / farebox_ledger_queue_capacity_entries{{{HERE}}}", "{{instance}}"), w=8, h=7),
    lines("Not synced for", "What a loss of power would lose at most.", "s", query(f"farebox_ledger_last_sync_age_seconds{{{HERE}}}", "{{instance}}"), w=8, h=7),
    panel("state-timeline", "Accepting", "Does the ledger admit calls?", "short", query(f"farebox_ledger_accepting{{{HERE}}}", "{{instance}}"), w=8, h=7, words=YES_IS_GOOD),
    stat("Last commit", "Since the store last took events.", "s", f"time() - max(farebox_ledger_last_commit_timestamp_seconds{{{HERE}}})"),
    stat("Store faulty", "Yes: the store takes no events; they wait in the journal.", "short", f"max(farebox_ledger_store_faulty{{{HERE}}})", steps=NONE_IS_GOOD, words=NO_IS_GOOD),
    stat("Lost in range", "Events that had no place to go.", "short", in_range("farebox_ledger_lost_entries_total", HERE), steps=NONE_IS_GOOD),
    stat("Overruns in range", "Calls that cost more than was held for them; they are booked in full.", "short", in_range("farebox_ledger_overruns_total", HERE), steps=[(None, "green"), (1, "orange")]),
    stat("Models in the catalog", "With the overlays.", "short", f"max(farebox_price_catalog_models{{{JOB}}})"),
    stat("Rules in force", "Rules and budgets.", "short", f"max(farebox_rules_in_force{{{JOB}}})"),
    row("Process and telemetry"),
    stat("Up", "Nodes that Prometheus reaches.", "short", f"sum(up{{{HERE}}})", steps=ONE_IS_GOOD),
    stat("Last reload", "Is what is on disk what is in force, everywhere?", "short", f"min(farebox_config_last_reload_successful{{{HERE}}})", steps=ONE_IS_GOOD, words=YES_IS_GOOD),
    stat("Failed reloads in range", "Of the catalog and the rules.", "short", in_range("farebox_config_reloads_total", HERE + ',result="error"'), steps=NONE_IS_GOOD),
    stat("Memory", "Resident, of the largest node.", "bytes", f"max(process_resident_memory_bytes{{{HERE}}})"),
    stat("Processor", "Cores busy, of all nodes.", "short", f"sum(rate(process_cpu_seconds_total{{{HERE}}}[$__rate_interval]))"),
    stat("Files open", "Share of what may be open.", SHARE, f"max(process_open_fds{{{HERE}}} / process_max_fds{{{HERE}}})", steps=USED),
    lines("Series on /metrics", "Bounded by `metrics.series_max`.", "short", query(f"scrape_samples_post_metric_relabeling{{{HERE}}}", "{{instance}}"), w=8, h=6),
    lines("Counted under `other`", "Calls whose team, project or model has no label of its own.", "short",
          query(f"sum by (label) (increase(farebox_metric_label_overflow_total{{{HERE}}}[$__rate_interval]))", "{{label}}"), w=8, h=6),
    lines("Log lines dropped", "The log's reader is too slow.", "short", query(f"sum(increase(farebox_log_lines_dropped_total{{{HERE}}}[$__rate_interval]))", "lines"), w=8, h=6),
    lines("OpenTelemetry not taken", "Batches that a collector did not take; none where none is configured.", "short",
          query(f"sum by (signal) (increase(farebox_otlp_export_failures_total{{{HERE}}}[$__rate_interval]))", "{{signal}}"), w=8, h=6),
    lines("OpenTelemetry dropped", "Spans and notes of calls that had no room to wait, and notes that broke down.", "short",
          query(f"sum by (what) (increase(farebox_telemetry_dropped_total{{{HERE}}}[$__rate_interval]))", "{{what}}"), w=8, h=6),
    lines("Alerts to be delivered", "Messages that Farebox's own receivers (`alerts.receivers`) are still to get, and attempts that failed.", "short",
          query(f"sum(farebox_alert_deliveries_waiting{{{HERE}}})", "waiting"),
          query(f'sum by (receiver) (increase(farebox_alert_deliveries_total{{{HERE},result!="delivered"}}[$__rate_interval]))', "{{receiver}} failed"), w=8, h=6),
    table("Versions", "Nodes by version.", "short", ("Nodes", None, f"count by (version) (farebox_build_info{{{HERE}}})"), w=8, h=4),
    stat("Started", "When the youngest process did.", "dateTimeFromNow", f"1000 * max(process_start_time_seconds{{{HERE}}})", w=8),
    stat("Rules read", "When the rules in force were read.", "dateTimeFromNow", f'1000 * max(farebox_config_last_reload_success_timestamp_seconds{{{HERE},what="rules"}})', w=8),
]

TEAM_VIEW = [
    row("What it costs"),
    stat("Spent in range", "List price of your calls in the range chosen; the ledger has the cents.", MONEY, in_range("farebox_cost_usd_total", TEAM), w=6),
    stat("Spent in the last hour", "List price of your calls of the last hour.", MONEY, 'sum(team:farebox_cost_usd:rate1h{job=~"$job",team=~"$team"}) * 3600', w=6),
    stat("Not paid, in range", "What provider caches and swaps saved.", MONEY, in_range("farebox_savings_usd_total", TEAM), w=6),
    stat("Requests in range", "Attempts that ended well.", "short", in_range("farebox_requests_total", TEAM + ',outcome="ok"'), w=6),
    lines("Cost per hour by model", "In dollars an hour.", MONEY, query(per_second("farebox_cost_usd_total", TEAM, "by (model)") + " * 3600", "{{model}}"), stack=True),
    lines("Cost per hour by project", "In dollars an hour; projects that `metrics.projects` names.", MONEY, query(per_second("farebox_cost_usd_total", TEAM, "by (project)") + " * 3600", "{{project}}"), stack=True),
    row("The budgets"),
    panel("gauge", "Budgets used", "Share of each limit; choose yours under `budget`.", SHARE, query(most(f"budget:farebox_used:ratio{{{BUDGET}}}"), INSTANCE), w=12, h=7, now=True, steps=USED, to=TO_BUDGET),
    stat("Least left", "Of the budgets chosen, the one with the least left.", MONEY,
         f"bottomk(1, budget:farebox_limit_usd:max{{{BUDGET}}} - budget:farebox_spent_usd:max{{{BUDGET}}})", INSTANCE, h=7),
    stat("Window ends in", "The window that ends first.", "s", f"bottomk(1, budget:farebox_window_left:seconds{{{BUDGET}}})", INSTANCE, h=7),
    stat("Gone in", "The budget that is gone first, at the pace of six hours; no data: nothing is spent.", "s", f"bottomk(1, budget:farebox_exhaustion:seconds_rate6h{{{BUDGET}}})", INSTANCE, h=7),
    row("How it goes"),
    lines("Requests per minute", "By how they ended.", "reqpm", query("60 * " + per_second("farebox_requests_total", TEAM, "by (outcome)"), "{{outcome}}"), stack=True),
    lines("Tokens per minute", "By type; the types are disjoint.", "short", query("60 * " + per_second("farebox_tokens_total", TEAM, "by (type)"), "{{type}}"), stack=True),
    lines("Read from caches", "Share of input tokens; more is cheaper.", SHARE,
          query(per_second("farebox_tokens_total", TEAM + ',type="cache_read"', "by (model)") + " / ("
                + per_second("farebox_tokens_total", TEAM + ',type=~"input|cache_read|cache_write"', "by (model)") + " > 0)", "{{model}}")),
    lines("Swapped", "Requests a minute that a rule sent to another model.", "opm",
          query("60 * " + per_second("farebox_model_swaps_total", TEAM, "by (from_model, to_model)"), "{{from_model}} → {{to_model}}")),
    table("Models in range", "What each model was used for and cost.", "short",
          ("Requests", None, in_range("farebox_requests_total", TEAM + ',outcome="ok"', "by (model)")),
          ("Tokens", None, in_range("farebox_tokens_total", TEAM, "by (model)")),
          ("Cost", MONEY, in_range("farebox_cost_usd_total", TEAM, "by (model)")), w=24, h=8),
]

RULES = [
    row("In force"),
    stat("Rules in force", "Rules and budgets.", "short", f"max(farebox_rules_in_force{{{JOB}}})"),
    stat("Read", "When the rules in force were read.", "dateTimeFromNow", f'1000 * max(farebox_config_last_reload_success_timestamp_seconds{{{HERE},what="rules"}})', w=5),
    stat("Last reload", "Are the rules on disk those in force? No: the files have faults, and what was in force before still is.", "short",
         f'min(farebox_config_last_reload_successful{{{HERE},what="rules"}})', steps=ONE_IS_GOOD, words=YES_IS_GOOD),
    stat("Requests changed or refused", "Share of all attempts and refusals in the range that a rule changed, warned of or refused.", SHARE,
         in_range("farebox_rule_decisions_total", RULE) + f" / sum(increase(farebox_requests_total{{{HERE}}}[$__range]) or increase(farebox_refusals_total{{{HERE}}}[$__range]))", w=5),
    stat("Saved by swaps in range", "List price of the models asked for, less the cost.", MONEY, in_range("farebox_savings_usd_total", TEAM + ',reason="model_swap"'), w=6),
    table("What rules did in range", "Requests by rule and by what became of them.", "short", ("Requests", None, in_range("farebox_rule_decisions_total", RULE, "by (rule, action)")),
          to=("rule", "This rule", "/d/farebox-rules?var-rule=${__value.raw}&${__url_time_range}")),
    panel("state-timeline", "When rules acted", "Orange: the rule acted within the last five minutes.", "short",
          query(f"sum by (rule, action) (increase(farebox_rule_decisions_total{{{RULE}}}[5m])) > bool 0", "{{rule}} ({{action}})"), words=ACTED),
    row("Swaps"),
    lines("Swaps per minute", "From the model asked for to the one that answered.", "opm",
          query("60 * " + per_second("farebox_model_swaps_total", RULE + ',team=~"$team"', "by (from_model, to_model)"), "{{from_model}} → {{to_model}}")),
    lines("Share swapped", "Of each team's requests.", SHARE,
          query(per_second("farebox_model_swaps_total", RULE + ',team=~"$team"', "by (team)") + " / (" + per_second("farebox_requests_total", TEAM, "by (team)") + " > 0)", "{{team}}"), to=TO_TEAM),
    lines("Saved by swaps per hour", "In dollars an hour.", MONEY, query("3600 * " + per_second("farebox_savings_usd_total", TEAM + ',reason="model_swap"', "by (team)"), "{{team}}"), to=TO_TEAM),
    lines("Decisions per minute", "By rule and by what it did.", "opm", query("60 * " + per_second("farebox_rule_decisions_total", RULE, "by (rule, action)"), "{{rule}} {{action}}"), to=TO_RULE),
    row("Refusals and holds"),
    lines("Refused per minute", "For a budget, a rule or a limit.", "reqpm",
          query("60 * " + per_second("farebox_refusals_total", HERE + ',kind=~"budget_exceeded|blocked|rate_limited"', "by (kind)"), "{{kind}}")),
    lines("Held for calls under way", f"Counts against a budget until the call is settled; the {MOST} budgets that hold most.", MONEY,
          query(most(f"max by (budget, scope) (farebox_budget_held_usd{{{JOB}}})"), INSTANCE), to=TO_BUDGET),
]


def variable(name, metric, within=JOB, multi=True, all_value=".*"):
    """`all_value` is what *All* stands for; without it, for every value that there is, and for nothing else."""
    text = f"label_values({metric}{{{within}}}, {name})"
    return {"name": name, "label": name, "type": "query", "datasource": SOURCE, "definition": text,
            "query": {"query": text, "refId": "v"}, "refresh": 2, "sort": 1, "multi": multi, "includeAll": True,
            **({"allValue": all_value} if all_value else {}), "current": {"text": "All", "value": "$__all"}, "hide": 0, "options": [], "regex": "",
            "skipUrlSync": False}


# `up` and the series of a scrape are every job's.
JOBS = variable("job", "farebox_build_info", "", all_value=None)
INSTANCES = variable("instance", "farebox_build_info")
TEAMS = variable("team", "farebox_requests_total")
PROVIDERS = variable("provider", "farebox_usage_source_total")
MODELS = variable("model", "farebox_requests_total", JOB + ',provider=~"$provider"')
BUDGETS = variable("budget", "farebox_budget_limit_usd")
RULE_NAMES = variable("rule", "farebox_rule_decisions_total")


def targets(spec):
    return [{"refId": chr(65 + place), "datasource": SOURCE, "editorMode": "code", "expr": one["expr"],
             "legendFormat": one["legend"], "instant": spec["now"], "range": not spec["now"],
             **({"format": "table"} if one.get("table") else {})} for place, one in enumerate(spec["queries"])]


def options(spec):
    kind = spec["type"]
    if kind == "timeseries":
        return {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull"]},
                "tooltip": {"mode": "multi", "sort": "desc"}}
    if kind == "table":
        # The most, or the dearest, first: the last column that counts something.
        by = next((new for new, _ in reversed(spec["names"].values()) if not new.endswith(" in")), "")
        return {"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": by, "desc": True}]}
    if kind == "state-timeline":
        return {"mergeValues": True, "showValue": "auto", "rowHeight": 0.8,
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []}}
    shown = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    if kind == "stat":
        named = spec["queries"][0]["legend"] != "__auto"
        shown |= {"colorMode": "value", "graphMode": "none", "textMode": "value_and_name" if named else "value", "justifyMode": "auto"}
    if kind == "bargauge":
        shown |= {"orientation": "horizontal", "displayMode": "basic", "namePlacement": "left", "valueMode": "color", "showUnfilled": True}
    if kind == "piechart":
        shown |= {"pieType": "donut", "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": [], "values": ["value", "percent"]}}
    return shown


def mappings(spec):
    """No number means no traffic; 0 and 1 are words where a person would say one."""
    words = {str(value): {"index": value, "text": text, "color": colour} for value, (text, colour) in (spec["words"] or {}).items()}
    return [{"type": "special", "options": {"match": "nan", "result": {"index": 9, "text": "No traffic"}}},
            *([{"type": "value", "options": words}] if words else [])]


def drawn(spec, number, place):
    kind = spec["type"]
    custom = {}
    if kind == "timeseries":
        custom = {"drawStyle": "line", "fillOpacity": 30 if spec["stack"] else 8, "lineWidth": 1, "showPoints": "never",
                  "spanNulls": False, "stacking": {"mode": "normal" if spec["stack"] else "none", "group": "A"}}
    steps = [{"color": colour, "value": value} for value, colour in spec["steps"] or [(None, "green")]]
    defaults = {
        "unit": spec["unit"],
        "color": {"mode": "thresholds" if kind in ("stat", "gauge", "bargauge", "state-timeline") else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": steps},
        "mappings": mappings(spec),
        "noValue": "–" if kind == "table" else "No data",
        "custom": custom,
    }
    if spec["unit"] == SHARE and kind in ("gauge", "bargauge"):
        defaults |= {"min": 0, "max": 1}
    if spec["to"] and kind != "table":
        defaults["links"] = [link_to(*spec["to"])]
    shown = {"id": number, "type": kind, "title": spec["title"], "description": spec["description"], "datasource": SOURCE,
             "gridPos": place, "targets": targets(spec), "fieldConfig": {"defaults": defaults, "overrides": []},
             "options": options(spec)}
    if kind == "table":
        names = spec["names"]
        left_out = {"Time": True, "__name__": True, "job": True}
        shown["transformations"] = [
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {"excludeByName": left_out, "renameByName": {old: new for old, (new, _) in names.items()}}},
        ]
        overrides = [(new, {"id": "unit", "value": unit}) for new, unit in names.values() if unit]
        if spec["to"]:
            overrides.append((spec["to"][0], {"id": "links", "value": [link_to(*spec["to"][1:])]}))
        shown["fieldConfig"]["overrides"] = [
            {"matcher": {"id": "byName", "options": column}, "properties": [one]} for column, one in overrides
        ]
    return shown


def link_to(title, url):
    return {"title": title, "url": url, "targetBlank": False}


def laid_out(specs):
    """Left to right, then down; a row of the grid is as high as its highest panel."""
    panels, x, y, high = [], 0, 0, 0
    for number, spec in enumerate(specs, 1):
        if spec["type"] == "row":
            y, x, high = y + high, 0, 0
            panels.append({"id": number, "type": "row", "title": spec["title"], "collapsed": False, "panels": [], "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}})
            y += 1
            continue
        if x + spec["w"] > 24:
            y, x, high = y + high, 0, 0
        panels.append(drawn(spec, number, {"h": spec["h"], "w": spec["w"], "x": x, "y": y}))
        x, high = x + spec["w"], max(high, spec["h"])
    return panels


def annotation(name, colour, expr, title, text):
    return {"name": name, "datasource": SOURCE, "enable": True, "iconColor": colour, "expr": expr, "step": "60s", "titleFormat": title, "textFormat": text}


ANNOTATIONS = [
    {"builtIn": 1, "datasource": {"type": "grafana", "uid": "-- Grafana --"}, "enable": True, "hide": True,
     "iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts", "type": "dashboard"},
    annotation("Swaps in force", "orange", 'sum by (rule) (increase(farebox_rule_decisions_total{job=~"$job",action="swap"}[2m])) > 0', "{{rule}}", "swaps models"),
    annotation("Reloads", "blue", 'changes(farebox_config_last_reload_success_timestamp_seconds{job=~"$job"}[2m]) > 0', "{{what}} reloaded", "{{instance}}"),
    annotation("Critical alerts", "red", 'sum by (alertname, budget, provider) (ALERTS{alertstate="firing",alertname=~"Farebox.*",severity="critical"})', "{{alertname}}", "{{budget}} {{provider}}"),
]


def dashboard(title, uid, tag, purpose, specs, variables, since, refresh):
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1,
              "hide": 0, "includeAll": False, "multi": False, "options": [], "regex": "", "skipUrlSync": False}
    link = {"title": "Farebox", "type": "dashboards", "tags": ["farebox"], "asDropdown": True, "includeVars": True, "keepTime": True,
            "icon": "external link", "targetBlank": False, "tooltip": "", "url": ""}
    return {"annotations": {"list": ANNOTATIONS}, "description": purpose, "editable": False, "fiscalYearStartMonth": 0,
            "graphTooltip": 1, "id": None, "links": [link], "panels": laid_out(specs), "preload": False, "refresh": refresh,
            "schemaVersion": 39, "tags": ["farebox", tag], "templating": {"list": [source, *variables]},
            "time": {"from": since, "to": "now"}, "timepicker": {}, "timezone": "browser", "title": title, "uid": uid,
            "version": 1, "weekStart": ""}


# An hour, so that the first minutes show. Who pays chooses the month; what budgets say is of their own windows anyway.
SINCE = "now-1h"
DASHBOARDS = [
    dashboard("Spend and budgets", "farebox-spend", "finops", "For those who pay: what is spent and left, how fast it goes, on whom and on what, and whether the numbers can be trusted.",
              SPEND, [JOBS, INSTANCES, BUDGETS, TEAMS, PROVIDERS, MODELS], SINCE, "1m"),
    dashboard("Proxy health", "farebox-health", "platform", "For those who run it: is it well, are the providers, how long does it take, and does the ledger keep up.",
              HEALTH, [JOBS, INSTANCES, PROVIDERS, MODELS], SINCE, "30s"),
    dashboard("Team view", "farebox-team", "team", "For one team: what its calls cost, what is left of its budgets, and how its requests fare.",
              TEAM_VIEW, [JOBS, INSTANCES, TEAMS, BUDGETS], SINCE, "1m"),
    dashboard("Rules and swaps", "farebox-rules", "rules", "For those who write rules: what is in force, what rules did and when, what swaps saved and whom it hit.",
              RULES, [JOBS, INSTANCES, RULE_NAMES, TEAMS], SINCE, "30s"),
]

# A map is as wide as this in letters; a panel has its share of the grid's 24 columns.
MAP_WIDTH = 120
MARKS = ("<!-- dashboards: written by grafana/dashboards.py -->", "<!-- end -->")


def screen(one):
    """A dashboard as text: its rows, and its panels where they are."""
    drawing = [f"{one['title']}: {one['description'][0].lower()}{one['description'][1:]}"]
    across = {}
    for each in one["panels"]:
        across.setdefault(each["gridPos"]["y"], []).append(each)
    for panels in across.values():
        if panels[0]["type"] == "row":
            drawing.append(f"── {panels[0]['title']} ".ljust(MAP_WIDTH, "─"))
            continue
        cells = [(each["title"], each["gridPos"]["w"] * MAP_WIDTH // 24 - 2) for each in panels]
        drawing.append("│" + " │".join(title.ljust(room) if len(title) <= room else title[: room - 1] + "…" for title, room in cells) + "│")
    return "\n".join(drawing)


def purpose(one):
    """A dashboard in few lines, for the README: for whom, its rows, and what they begin with."""
    whom, what = one["description"].removesuffix(".").split(": ")
    drawing = [f"┌ {one['title']} ─ {whom[0].lower()}{whom[1:]} ".ljust(MAP_WIDTH - 4, "─"), f"│ {what}"]
    rows = []
    for each in one["panels"]:
        if each["type"] == "row":
            rows.append((each["title"], []))
        else:
            rows[-1][1].append(each["title"])
    for name, titles in rows:
        line = f"├ {name}".ljust(31)
        while titles and len(line) + len(titles[0]) + 3 < MAP_WIDTH - 4:
            line += ("" if line.endswith(" ") else " · ") + titles.pop(0)
        drawing.append(line + (" …" if titles else ""))
    return "\n".join(drawing)


def maps():
    """What stands between the marks of a page, by its path in the repository."""
    return {"docs/monitoring.md": "\n\n".join(screen(one) for one in DASHBOARDS), "README.md": "\n".join(purpose(one) for one in DASHBOARDS)}


def with_map(page, drawing):
    before, rest = page.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    return f"{before}{MARKS[0]}\n```text\n{drawing}\n```\n{MARKS[1]}{after}"


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for one in DASHBOARDS:
        (folder / f"{one['uid']}.json").write_text(json.dumps(one, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    ROOT = Path(__file__).resolve().parents[1]
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dashboards")
    for path, drawing in maps().items():
        page = ROOT / path
        page.write_text(with_map(page.read_text(), drawing))
