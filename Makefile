# `make run`, `make test`: the two commands. All share one target folder and one profile.
.DEFAULT_GOAL := help
SHELL := /bin/sh
CARGO ?= cargo
TOOLS := target/tools
ARGS ?=

# One after another also under `make -j`: the last line is the tests' own.
.NOTPARALLEL:
.PHONY: help run demo fuzz test check bench needs needs-tests lint deny test-rust test-clients test-observability torture \
	soak million sbom coverage image-steps

help: ## what can be done
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-13s %s\n", $$1, $$2}' Makefile

run: needs ## run the proxy on 127.0.0.1:4000 (ARGS="--config farebox.yaml")
	$(CARGO) run --quiet -- serve $(ARGS)

demo: needs ## the same with a simulated provider: no key needed
	$(CARGO) run --quiet -- demo $(ARGS)

check: needs ## check configuration and catalog (ARGS="--config farebox.yaml")
	$(CARGO) run --quiet -- check $(ARGS)

bench: needs ## measure; results go to benches/results
	benches/run $(ARGS)

test: needs-tests lint deny test-clients test-observability test-rust ## everything that must hold

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings

deny: $(TOOLS)/bin/cargo-deny
	@PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" cargo-deny --log-level error check bans licenses sources
	@PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH"; export GIT_HTTP_LOW_SPEED_LIMIT=1000 GIT_HTTP_LOW_SPEED_TIME=20; \
	if cargo-deny --log-level off fetch db >/dev/null 2>&1; then \
	  cargo-deny --log-level error check --disable-fetch advisories; \
	else echo "advisories: their database cannot be reached from here; not checked"; fi

# Unoptimised: it runs for a second, and would take minutes longer to build.
$(TOOLS)/bin/cargo-deny:
	@mkdir -p $(TOOLS)/bin
	@if found=$$(command -v cargo-deny); then ln -sf "$$found" $@; \
	else $(CARGO) install cargo-deny --version 0.20.2 --locked --debug --root $(TOOLS) --target-dir $(TOOLS)/build \
	  && rm -rf $(TOOLS)/build; fi

# Clients go before it, so that the last line is this one's summary.
test-rust:
	@if $(CARGO) nextest --version >/dev/null 2>&1; then $(CARGO) nextest run --no-fail-fast $(ARGS); else $(CARGO) test --no-fail-fast $(ARGS); fi

fuzz: ## look for inputs that break a law (ARGS="sse json", FUZZ_SECONDS=120 each)
	tools/fuzz $(ARGS)

sbom: ## the bill of materials of the binary: target/sbom
	tools/sbom

image-steps: ## the Dockerfile's steps in clean folders, without Docker (FAREBOX_IMAGE_TARGET=DIR: a target folder to go on with)
	tools/image-steps

coverage: ## what the tests run of the code, by floors
	tools/coverage $(ARGS)

torture: ## 1,000 kills, 40 stops, 1,000 power cuts, and the simulation of budgets and ledger, 10,000 seeds instead of 200
	FAREBOX_SEEDS=10000 $(CARGO) test --lib -- --nocapture ledger::tests::simulation
	FAREBOX_KILLS=$${FAREBOX_KILLS:-1000} FAREBOX_CUTS=$${FAREBOX_CUTS:-1000} $(CARGO) test --test house -- --nocapture --test-threads=1 torture::

soak: ## 30 minutes among changes: nothing grows, everything adds up (FAREBOX_SOAK_SECONDS=1800)
	FAREBOX_SOAK_SECONDS=$${FAREBOX_SOAK_SECONDS:-1800} $(CARGO) test --test house -- --nocapture torture::soak

million: ## a million metered calls, then `ledger verify` (ARGS=20000 for fewer)
	$(CARGO) bench --bench million -- $(ARGS)

test-clients: ## the real SDKs against the simulated provider
	@if [ -x tests/sdk/run ]; then $(CARGO) build --quiet && tests/sdk/run; else echo "tests/sdk/run is not here yet"; fi

test-observability: ## a real Prometheus and Alertmanager before a running Farebox: every panel, rule and alert
	@$(CARGO) build --quiet && tests/observability/run

# What the build asks of the machine; one line says what is missing where we may not install it.
needs:
	@tools/needs

needs-tests:
	@tools/needs tests
