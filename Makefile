# The one door: `make` alone prints what there is, from the ## comments below.
#
# RUNTIME names the runtime under test: orlop (the default, built first), runc, crun, youki (installed first by
# hack/peers), or a path.

SHELL := /bin/bash
comma := ,
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help

arch := $(shell uname -m)
target := $(arch)-unknown-linux-gnu
export CARGO_TARGET_DIR ?= $(CURDIR)/target
binary := $(CARGO_TARGET_DIR)/$(target)/release/orlop

# .cargo/config.toml is written for x86_64. Elsewhere the environment, which wins, names the target and libseccomp.a.
ifneq ($(arch),x86_64)
export CARGO_BUILD_TARGET := $(target)
export LIBSECCOMP_LIB_PATH := $(shell gcc -print-file-name=libseccomp.a | xargs dirname)
endif

RUNTIME ?= orlop
PREFIX ?= /usr/local
peers := runc crun youki
ifeq ($(RUNTIME),orlop)
runtime := $(binary)
installed := build
else ifneq ($(filter $(RUNTIME),$(peers)),)
runtime := $(CURDIR)/.cache/peers/bin/$(RUNTIME)
installed := peer
else
runtime := $(abspath $(RUNTIME))
installed :=
endif

# What `orlop --version` calls the commit: the last one that touched what is built, so that others cost no rebuild.
sources := src Cargo.toml Cargo.lock .cargo
commit = $(shell git describe --always --long --tags $$(git rev-list -1 HEAD -- $(sources)) 2>/dev/null)$(shell \
	[ -z "$$(git status --porcelain -- $(sources) 2>/dev/null)" ] || echo -dirty)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Variables: RUNTIME=runc|crun|youki|/path (itest, validate, clients, k8s), PREFIX, DESTDIR (install), ARGS (passed on)"

# ── building ─────────────────────────────────────────────────────────────────────────────────────────────────────────

# Of the binary alone; crates and tests are built as they are.
leaner := $(if $(filter x86_64,$(arch)),-C link-arg=-Wl$(comma)--no-eh-frame-hdr -C link-arg=-Wl$(comma)-T$(comma)$(CURDIR)/.cargo/no-unwinding.ld)

.PHONY: build debug manual install uninstall package clean print-binary
build: ## the release binary, static; prints its size
	@ORLOP_COMMIT=$(commit) cargo rustc --release --locked --bin orlop -- $(leaner)
	@printf '%s: %s bytes (%s MiB)\n' "$(binary)" $$(stat -c %s "$(binary)") \
		$$(stat -c %s "$(binary)" | awk '{ printf "%.2f", $$1 / 1048576 }')

debug: ## a binary with debug information
	cargo build --locked --bin orlop

manual: ## man pages and shell completions, from the command line's own description, into out/manual
	@rm -rf out/manual
	cargo run --quiet --locked --package manual -- out/manual

# Where what is installed goes, below PREFIX/share. The examples name the binary by its path.
share = $(DESTDIR)$(PREFIX)/share
zsh ?= zsh/site-functions
examples = $(shell cd docs/examples && find . -type f | sort)

install: build manual ## binary, man pages, completions, examples of clients' settings, into DESTDIR/PREFIX
	install -D -m 755 "$(binary)" "$(DESTDIR)$(PREFIX)/bin/orlop"
	install -d "$(share)/man/man8"
	install -m 644 out/manual/man/man8/* "$(share)/man/man8"
	install -D -m 644 out/manual/bash-completion/completions/orlop "$(share)/bash-completion/completions/orlop"
	install -D -m 644 out/manual/fish/vendor_completions.d/orlop.fish "$(share)/fish/vendor_completions.d/orlop.fish"
	install -D -m 644 out/manual/zsh/site-functions/_orlop "$(share)/$(zsh)/_orlop"
	@for file in $(examples); do \
		install -D -m 644 "docs/examples/$$file" "$(share)/doc/orlop/examples/$$file" && \
		sed -i 's,/usr/local/bin/orlop,$(PREFIX)/bin/orlop,' "$(share)/doc/orlop/examples/$$file" || exit; \
	done

uninstall: ## removes what install put there
	rm -f "$(DESTDIR)$(PREFIX)/bin/orlop" "$(share)"/man/man8/orlop{,-*}.8 "$(share)/$(zsh)/_orlop"
	rm -f "$(share)/bash-completion/completions/orlop" "$(share)/fish/vendor_completions.d/orlop.fish"
	rm -rf "$(share)/doc/orlop"

package: build manual ## Debian's package, into out; ARGS=--test installs and removes it in a scratch root
	hack/package $(ARGS)

clean: ## removes what was built (not .cache: reference runtimes, clients, the suite)
	cargo clean
	rm -rf out

# For scripts.
print-binary:
	@echo "$(binary)"

# ── proving ──────────────────────────────────────────────────────────────────────────────────────────────────────────

.PHONY: test unit seccomp-long itest itest-vm itest-runc soak validate clients clients-docs critest k8s bench fuzz replay vm peers peer need-test
test: unit itest ## what every change must pass: unit tests, integration tests, their ledger of skips

unit: ## tests of decisions, as values; no privileges needed
	cargo test --locked --package orlop $(ARGS)

itest: need-test $(installed) ## drives the RUNTIME on real bundles; ARGS=filter chooses tests
	RUNTIME="$(runtime)" integration-tests/run $(ARGS)

itest-vm: need-test ## the same in the second machine: systemd, pure cgroup v2; RUNTIME and ARGS as above
	RUNTIME="$(if $(filter $(RUNTIME),orlop runc),$(RUNTIME),$(runtime))" hack/vm/itest $(ARGS)

seccomp-long: ## seccomp programs of ten thousand profiles against the profiles and against libseccomp's
	ORLOP_TEST_ROUNDS=10000 cargo test --release --locked --lib seccomp::tests::random::the -- --nocapture
	@# By itself and last: libseccomp loses itself in some of these, and spins until the tests end.
	ORLOP_TEST_ROUNDS=10000 cargo test --release --locked --lib seccomp::tests::random::overlapping -- --nocapture

soak: need-test $(installed) ## races and 10 000 lifecycles, with counters: hours, on a machine with nothing else to do
	ITEST_SOAK=1 RUNTIME="$(runtime)" integration-tests/run $(or $(ARGS),soak:: --test-threads 1)

itest-runc: ## the same tests on the reference: proves the tests
	@$(MAKE) --no-print-directory itest RUNTIME=runc

attacks: need-test $(installed) ## the attacks of the security bar in their long form: races and sweeps, an hour
	RUNTIME="$(runtime)" ATTACKS=long integration-tests/run attacks:: crash:: exec::a_container_that_snoops exec::a_cwd_that_is_swapped $(ARGS)

missing: need-test build ## all tests without openat2, clone3, … (integration-tests/missing.toml); ARGS='clone3:EPERM' chooses
	ORLOP_BIN="$(binary)" integration-tests/missing $(ARGS)

bites: need-test build ## writes docs/bites.md: what the attacks do to runc 1.1.5, to runc 1.5.2, to orlop
	ORLOP_BIN="$(binary)" hack/bites >docs/bites.md

validate: need-test $(installed) ## the OCI runtime-tools suite on the RUNTIME, judged by its ledger
	RUNTIME="$(runtime)" oci-validation/run $(ARGS)

clients: need-test $(installed) ## all real clients with the RUNTIME, beside runc; ARGS=--short: CI's form; ARGS='podman:exec*' chooses
	RUNTIME="$(runtime)" hack/clients/run $(ARGS)

clients-docs: ## writes the tables of docs/clients.md and docs/client-errors.md from the last `make clients`
	hack/clients/table

critest: need-test $(installed) ## Kubernetes' critest against containerd and CRI-O with the RUNTIME; ARGS='crio:Streaming' chooses
	RUNTIME="$(runtime)" hack/critest/run $(ARGS)

k8s: need-test $(installed) ## Kubernetes: two nodes, pods of the RUNTIME; ARGS='exec_*' chooses (built first: minutes, 2 GB; not in CI)
	RUNTIME="$(runtime)" hack/k8s/run $(ARGS)

fuzz: ## libFuzzer on each target of hack/fuzz for a minute; ARGS='--seconds 5 config' and the like
	@hack/setup build fuzz
	hack/fuzz/run $(ARGS)

replay: ## the fuzz targets on their seeds and random changes of those, without libFuzzer: seconds
	cargo test --locked --package orlop-fuzz $(ARGS)

bench: need-test build ## orlop beside crun and runc: times, memory, system calls; writes docs/performance.md, unless ARGS=--quick
	ORLOP="$(binary)" hack/bench/run $(ARGS)
	@[ -n "$(ARGS)" ] || hack/bench/report

vm: need-test ## builds the second machine (QEMU, three minutes), for itest-vm and hack/vm/run
	hack/vm/build

peers: ## installs the reference runtimes: runc, crun (ARGS=youki: that one, minutes)
	hack/peers $(ARGS)

peer:
	@hack/peers $(RUNTIME)

need-test:
	@hack/setup build test

# ── judging the source ───────────────────────────────────────────────────────────────────────────────────────────────

.PHONY: lint deny docs
scripts = $(shell git ls-files -co --exclude-standard | xargs -r awk 'FNR == 1 && /^\#!\/bin\/(ba)?sh/ { print FILENAME } { nextfile }' | \
	while read -r f; do [ -L "$$f" ] || echo "$$f"; done) # each once

lint: ## rustfmt, clippy with warnings as errors, shellcheck where there is one, the docs against the tree
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@if command -v shellcheck >/dev/null; then echo shellcheck; shellcheck -x -P SCRIPTDIR -S warning $(scripts); \
	else echo "shellcheck is not installed: scripts are not checked"; fi
	hack/check-docs

deny: ## licences, sources and versions of the crates, by deny.toml; advisories where their database is
	hack/licences

docs: ## writes docs/conformance.md anew from the validation suite's ledger and last results
	hack/conformance >docs/conformance.md
