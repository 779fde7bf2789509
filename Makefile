# What a developer types. `run` needs cargo alone; `test` fetches what it needs.

CARGO ?= cargo
CONFIG ?= deploy/examples/sentinel.toml
TARGET = $(or $(CARGO_TARGET_DIR),target)

.PHONY: run test test-peers conformance cells dashboards-test units-test limits-test compose-test deb proof session bench chaos chaos-planted check

run: ## both daemons and the example server; prints what to do next
	$(CARGO) build --workspace
	$(TARGET)/debug/sentinelctl up --config $(CONFIG)

test: ## everything: installs what it needs, ends with real servers and clients
	CARGO="$(CARGO)" sh tests/scripts/test.sh

test-peers: ## real MCP servers and SDK clients through the gateway
	$(CARGO) build --workspace
	CARGO="$(CARGO)" sh tests/peers/run.sh

conformance: ## the official MCP suite, direct and through the gateway; writes docs/conformance.md
	$(CARGO) build --workspace
	CARGO="$(CARGO)" sh tests/conformance/run.sh

cells: ## clients and servers on three SDKs in both eras, feature by feature; writes docs/cells.md
	$(CARGO) build --workspace
	CARGO="$(CARGO)" sh tests/peers/cells/run.sh

dashboards-test: ## dashboard, rules and scrape configuration against running daemons and promtool
	$(CARGO) build --workspace
	TARGET="$(TARGET)" CARGO="$(CARGO)" sh tests/scripts/dashboards.sh

units-test: ## the Debian package and its units, on a systemd of their own
	$(CARGO) build --release --workspace
	sh tests/systemd/run.sh

limits-test: ## memory_max and pids_max on a kernel of their own (user-mode Linux)
	$(CARGO) build --workspace --tests
	sh tests/limits/run.sh

compose-test: ## deploy/compose.yaml on a Docker engine; starts one if need be
	CARGO="$(CARGO)" sh tests/compose/run.sh

deb: ## the Debian package, in target/debian
	$(CARGO) build --release -p sentinel-controlplane -p sentinel-dataplane -p sentinelctl
	sh deploy/debian/build.sh $(TARGET)/release $(TARGET)/debian

proof: ## the long versions: daemons killed under 20 000 calls; 100 000 rows verified, and damaged; 10 000 processes, one after the other; 100 000 calls with equal ids; 10 000 idle streams
	$(CARGO) build --workspace
	SENTINEL_PROOF=1 $(CARGO) test -p sentinel-tests --test audit p03_p06 -- --nocapture
	SENTINEL_PROOF=1 $(CARGO) test -p sentinel-tests --test watching idle_streams -- --nocapture
	SENTINEL_PROOF=1 $(CARGO) test -p sentinel-tests --test operator three_planes -- --nocapture --test-threads 1
	SENTINEL_PROOF=1 $(CARGO) test -p sentinel-tests --test supervision cycles:: -- --nocapture --test-threads 1
	SENTINEL_PROOF=1 $(CARGO) test -p sentinel-tests --test eras each_answer_comes -- --nocapture

session: ## every command of sentinelctl on terminals of 60 and 160 columns, as table and JSON: target/session/
	$(CARGO) build --workspace
	SENTINEL_SESSION="$(abspath $(TARGET))/session" $(CARGO) test -p sentinel-tests --test operator session::
	@echo "see $(TARGET)/session/"

chaos: ## CHAOS_SECS of random faults (600, shared by three seeds; CHAOS_SEED replays one), and a judge of what everybody saw
	$(CARGO) build --workspace
	CARGO="$(CARGO)" sh tests/scripts/chaos.sh

chaos-planted: ## the same judge against a plane with one bug each that it must find
	CARGO="$(CARGO)" TARGET="$(TARGET)" sh tests/scripts/chaos.sh planted

bench: ## the table of what a call costs beside a bare proxy
	$(MAKE) -C tests/bench

check: ## what a commit must pass
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check; \
	else echo "cargo-deny is not installed: licences and advisories were not checked"; fi
