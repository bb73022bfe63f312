# make demo, make test: as root, on Debian 12 with root's own Rust by rustup; they install what they need.
SHELL := /bin/bash
CARGO_HOME ?= $(HOME)/.cargo
# Where sudo(8) has left rustup's folder out.
export PATH := $(CARGO_HOME)/bin:$(PATH)
HOST = $(shell PATH="$(PATH)" rustc -vV | sed -n 's/^host: //p')
# What goes to nodes is static, as they have any libc.
STATIC = RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --target $(HOST)
# All of the workspace at once, so that each crate is compiled once.
TESTS = cargo test --workspace
export SHUNT_BIN = $(CURDIR)/target/$(HOST)/release/shunt
export PROGRAMS = $(CURDIR)/target/programs
export FOREIGN = $(CURDIR)/target/foreign
export DEPLOY = $(CURDIR)/target/deploy
export HELM = $(wildcard $(CURDIR)/target/helm/helm)
export K8S = $(CURDIR)/target/k8s
export RUNTIMES = $(CURDIR)/target/runtimes
export CNITOOL = $(CURDIR)/target/cnitool
export ISTIO = $(CURDIR)/target/istio
export SHUNTCTL_BIN = $(CURDIR)/target/$(HOST)/release/shuntctl
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
export ENVOY = $(CURDIR)/target/python/envoy/_bin/envoy
export FORTIO = $(CURDIR)/target/fortio/fortio

NATIVE = $(shell dpkg --print-architecture)
# Not the environment's, which kernel developers set otherwise.
ARCH = $(NATIVE)
BINARIES = $(if $(filter $(NATIVE),$(ARCH)),@$(MAKE) --no-print-directory binaries,scripts/setup cross && scripts/cross $(ARCH))

# What `make test-kernels` boots: the newest of each that Debian has.
KERNEL = $(if $(filter arm64,$(ARCH)),5.10 6.1 7,5.10 6.1 6.12 6.18 7)

.PHONY: demo test halves cases all-but-cases test-foreign test-programs test-runtimes test-chart test-k8s test-kernels bench bench-mesh bench-cni fuzz lint picture binaries image index release setup root

demo: root setup
	@scripts/setup envoy
	@$(MAKE) --no-print-directory binaries
	cargo build --release -p tests --bin demo
	target/release/demo $(ARGS)

test: root setup
	@scripts/setup envoy
	@scripts/setup foreign
	@scripts/setup deploy
	@scripts/setup runtimes bookworm
	@scripts/setup cnitool
	@$(MAKE) --no-print-directory binaries
	tests/other-layout
	$(TESTS) --lib --bin shunt --bin shuntctl
	$(TESTS) --test main --no-run
	$(if $(ARGS),$(TESTS) --test main -- $(ARGS),@$(MAKE) --no-print-directory halves)
	$(TESTS) --test foreign -- $(or $(ARGS),programs)
	$(TESTS) --test runtimes -- $(or $(ARGS),bookworm)

# The two halves of `make test`, at once, as most of the time they wait; what compares times comes alone, after
# them. Both write whole lines, also when they are interrupted.
halves:
	-@$(MAKE) --no-print-directory -j2 -k cases all-but-cases
	tests/again target/cases.log target/all-but-cases.log
	$(TESTS) --test main -- cases::pool
HALF = MAKEFLAGS= $(TESTS) --test main --
LINES = 2>&1 | (trap '' INT TERM; tee target/$@.log | sed -u 's/^/$@: /')
cases:
	set -o pipefail; $(HALF) cases:: --skip cases::pool $(LINES)
all-but-cases:
	set -o pipefail; $(HALF) --skip cases:: $(LINES)

test-foreign: root setup
	@scripts/setup foreign
	@$(MAKE) --no-print-directory binaries
	$(TESTS) --test foreign -- $(ARGS)

# SHUNT_WATCH and SHUNT_BLOCKING are keys of shunt's conf; ARGS=short is one of each kind.
test-programs: root setup
	@scripts/setup envoy
	@scripts/setup programs
	@$(MAKE) --no-print-directory binaries
	$(TESTS) --test programs -- $(ARGS)

test-runtimes: root setup
	@scripts/setup envoy
	@scripts/setup runtimes bookworm trixie sid
	@scripts/setup cnitool
	@scripts/setup istio
	@$(MAKE) --no-print-directory binaries
	$(TESTS) --test runtimes -- $(ARGS)

test-chart: root setup
	@scripts/setup deploy
	@scripts/setup helm
	@$(MAKE) --no-print-directory binaries
	$(TESTS) --test main --no-run
	HELM=$(CURDIR)/target/helm/helm $(TESTS) --test main -- deploy::

# On a cluster of each of these releases.
KUBERNETES = 1.36 1.20
test-k8s: root setup
	@scripts/setup envoy
	@scripts/setup deploy
	@scripts/setup helm
	@scripts/setup k8s $(KUBERNETES)
	@$(MAKE) --no-print-directory binaries
	for release in $(KUBERNETES); do \
	    KUBERNETES=$$release HELM=$(CURDIR)/target/helm/helm $(TESTS) --test k8s -- $(ARGS) || exit; done

test-kernels: root setup
	@-scripts/setup kernels $(ARCH)
	@$(if $(filter programs,$(TEST)),scripts/setup envoy && scripts/setup programs)
	@$(if $(filter runtimes,$(TEST)),scripts/setup envoy && scripts/setup runtimes bookworm)
	$(BINARIES)
	$(if $(filter programs runtimes,$(TEST)),,$(if $(filter $(NATIVE),$(ARCH)),tests/other-layout))
	ARGS="$(ARGS)" TEST="$(TEST)" CGROUPS="$(CGROUPS)" PROFILE="$(PROFILE)" ARCH=$(ARCH) tests/kernels/run $(KERNEL)

# Under 25 minutes; ARGS=--quick in under 4, ARGS=--list for the scenes, ARGS="--only mesh-tcp" for one.
bench: root setup
	@scripts/setup envoy
	@scripts/setup fortio
	@$(MAKE) --no-print-directory binaries
	cargo build --release -p tests --bin bench
	target/release/bench $(ARGS)

# Under 20 minutes; ARGS="--meshes l4 --connections 64" for a part.
bench-mesh: root setup
	@scripts/setup envoy
	@$(MAKE) --no-print-directory binaries
	cargo build --release -p tests --bin bench_mesh
	target/release/bench_mesh $(ARGS)

bench-cni: root setup
	@$(MAKE) --no-print-directory binaries
	cargo build --release -p tests --bin bench_cni
	target/release/bench_cni $(ARGS)

# What strangers write and shunt reads, SECONDS of it for each target.
SECONDS = 60
fuzz: setup
	@scripts/setup fuzz
	scripts/fuzz $(SECONDS)

# What they are built from comes slowly: both at once.
lint: setup
	@scripts/setup lint & lint=$$!; scripts/setup helm && wait $$lint
	scripts/layers
	$(foreach workspace,$(WORKSPACES),cargo fmt --all --check --manifest-path $(workspace) &&) true
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
	$(foreach workspace,$(WORKSPACES),target/tools/bin/cargo-deny --manifest-path $(workspace) --config deny.toml \
	    check licenses bans sources &&) true
	shellcheck --severity=warning $(SCRIPTS)
	target/helm/helm lint --strict --quiet deploy/chart
	for profile in deploy/chart/profiles/*; do \
	    target/helm/helm lint --strict --quiet deploy/chart --values $$profile && \
	    target/helm/helm template deploy/chart --values $$profile >/dev/null || exit; done
WORKSPACES = Cargo.toml ebpf/Cargo.toml fuzz/Cargo.toml
SCRIPTS = $(shell grep -lrI -m 1 '^#!/usr/bin/env bash' .ci scripts tests/again tests/other-layout tests/kernels deploy/image)

# README's picture is the last demo's.
picture:
	cp target/demo/effect.svg docs/effect.svg

# shunt and shuntctl, in target/HOST/release.
binaries: setup
	$(STATIC) -p plugin -p install

# What deploy/Containerfile makes, without a registry; `make image ARCH=arm64` on another machine too.
image: export LABELS = {"org.opencontainers.image.title": "shunt", \
    "org.opencontainers.image.version": "$(VERSION)", \
    "org.opencontainers.image.revision": "$(shell git describe --always --dirty --abbrev=40 --exclude '*')", \
    "org.opencontainers.image.licenses": "Apache-2.0 AND (MIT OR GPL-2.0-only)"}
image: setup
	$(BINARIES)
	ARCH=$(ARCH) deploy/image $(if $(filter $(NATIVE),$(ARCH)),target/shunt.tar,target/shunt-$(ARCH).tar) \
	    shunt:$(VERSION) '["/shuntctl"]' \
	    $(if $(filter $(NATIVE),$(ARCH)),$(SHUNT_BIN) $(SHUNTCTL_BIN),target/$(ARCH)/shunt target/$(ARCH)/shuntctl)

# The images of both in one, for a registry or `ctr image import`.
index:
	@$(MAKE) --no-print-directory image ARCH=$(NATIVE)
	@$(MAKE) --no-print-directory image ARCH=arm64
	deploy/index target/shunt-index.tar shunt:$(VERSION) target/shunt.tar target/shunt-arm64.tar

release: index
	$(if $(filter amd64,$(NATIVE)),,$(error a release is made on amd64, as arm64 is cross-built there))
	scripts/release target/release-$(VERSION) target/shunt-index.tar \
	    $(NATIVE) target/shunt.tar $(SHUNT_BIN) $(SHUNTCTL_BIN) \
	    arm64 target/shunt-arm64.tar target/arm64/shunt target/arm64/shuntctl

setup:
	@scripts/setup build

root:
	$(if $(filter 0,$(shell id -u)),@:,$(error this needs root, for BPF, namespaces and cgroups: sudo make $(MAKECMDGOALS)))
