# `make help` lists every target. You need git, make and Python >= 3.11. Everything else is installed into .venv from the
# hashed locks in requirements/.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
UV := $(BIN)/uv
export PATH := $(BIN):$(abspath .cache/tools/bin):$(PATH)

PACKAGES := packages/modelformat services/serving[sklearn] services/gitops services/embedded training[boosting]
# The locks of the demo and the servers; .dev also installs the development tools.
RUN_LOCKS := requirements/serving-sklearn.txt requirements/training.txt requirements/mlflow.txt requirements/embedded.txt requirements/gitops.txt
PYPROJECTS := pyproject.toml $(wildcard packages/*/pyproject.toml services/*/pyproject.toml) training/pyproject.toml

# How to build and name images. BASE_IMAGE replaces the Python image of the Dockerfiles.
CONTAINER_BUILD ?= docker build
IMAGE_PREFIX ?= ml-pipeline
TAG ?= dev
# Where to push them. CONTAINER_PUSH is a command that pushes LOCAL to REMOTE and prints the digest; docker if it is empty.
IMAGE_REPOSITORY ?= $(if $(REGISTRY),$(REGISTRY)/ml-pipeline)
export CONTAINER_BUILD CONTAINER_PUSH BASE_IMAGE
IMAGE_LABELS = $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) --build-arg VERSION=$(TAG) \
  --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown)

##@ Use it

.PHONY: demo
demo: $(VENV)/$(if $(LOOP),.dev,.run) ## Train, gate, register and serve a model on this machine, and show its predictions (KEEP=1 keeps it running; LOOP=1 closes the loop)
	$(if $(and $(LOOP),$(KEEP)),$(error KEEP=1 is for the demo: the closed loop leaves a report and nothing that runs. Leave out one of the two))
	@$(if $(LOOP),./tools/install helm prometheus pushgateway)
	@$(BIN)/embedded $(if $(LOOP),loop,demo $(if $(KEEP),--keep))

.PHONY: install
install: $(VENV)/.run ## Install the commands gitops, training and serving into .venv/bin; all other targets do this too

##@ Check it

# In the order in which workers take their tests (tests/support/units.py): suites that wait long come first.
SUITES := integration faults forges observability clients workflows store gitops charts unit
unit_TESTS := packages services training tests/benchmarks
unit_TOOLS := helm
charts_TOOLS := helm helm-unittest helm-docs minio mc
gitops_TOOLS := helm
observability_TOOLS := prometheus pushgateway helm
workflows_TOOLS := actionlint crane helm
store_TOOLS := helm minio mc
integration_TESTS := tests/integration tests/e2e/test_load.py
integration_TOOLS := helm minio mc prometheus pushgateway
forges_TOOLS := gitea helm
TESTS_OF = $(or $($(1)_TESTS),tests/$(1))
# Twice as many as processors, because tests also wait for servers.
WORKERS ?= $(shell echo $$(($$(nproc 2>/dev/null || echo 2) * 2)))

.PHONY: test
test: lock-check lint test-all ## Run every check that needs no cluster

.PHONY: test-all
test-all: $(VENV)/.dev ## Run all suites at once (WORKERS), which is faster than one after the other
	@./tools/install $(sort $(foreach suite,$(SUITES),$($(suite)_TOOLS)))
	@$(BIN)/pytest -n $(WORKERS) $(foreach suite,$(SUITES),$(call TESTS_OF,$(suite))) $(TEST_OPTIONS)

.PHONY: check
check: lint ## Run on every save, in about a minute: lint, types, `gitops check` and the quick unit tests
	@$(BIN)/gitops check
	@$(BIN)/pytest -n 2 --quick -q $(unit_TESTS) $(TEST_OPTIONS)

.PHONY: $(addprefix test-,$(SUITES))
$(addprefix test-,$(SUITES)): test-%: $(VENV)/.dev
	@$(if $($*_TOOLS),./tools/install $($*_TOOLS))
	@$(BIN)/pytest -n 2 $(call TESTS_OF,$*) $(TEST_OPTIONS)

test-unit: ## Run the unit tests of all parts
test-charts: ## Test the charts: lint, unit tests, schemas, policies, values that must be rejected, generated docs
test-gitops: ## Render every application in every environment as Argo CD does, and check it
test-observability: ## Test every alert, panel and metric, with promtool and with a real Prometheus and the real API
test-workflows: ## Test the workflows: rules, graph, every line executed, a delivery with a real registry
test-store: ## Test the S3 functions that the pipeline needs, on MinIO and SeaweedFS, or on your store (S3_ENDPOINT_URL, tests/store/conftest.py)
test-integration: ## Test the parts together, with real MLflow, Postgres and S3 servers
test-clients: ## Test the API with the clients on this machine (curl, Java, Node, Go, Python); prints a table: client, request, IP family
test-faults: ## Test the API with broken callers and stores; prints a table: fault, expected, seen (about three minutes)
test-forges: ## Test the gitops commands on a real Gitea, and on stand-ins for GitHub and GitLab

.PHONY: audit
audit: $(VENV)/.dev ## Look up known vulnerabilities of the locked Python and Go dependencies, except those in .vulnerabilities.yaml; needs the internet
	@./tools/install govulncheck
	@./tools/audit $(AUDIT_OPTIONS)

.PHONY: mutants
mutants: $(VENV)/.dev ## Put small faults into copies of the code, and see which the unit tests do not find (MUTANTS_OPTIONS)
	@./tools/install helm
	@$(BIN)/python -m checks.mutants $(MUTANTS_OPTIONS)

.PHONY: docs
docs: $(VENV)/.dev ## Build the documentation as a site in dist/docs and check every link (SERVE=1 shows it while you write)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs $(if $(SERVE),serve --livereload,build --quiet)
	@$(if $(SERVE),,echo "dist/docs/index.html")

.PHONY: bench
bench: $(VENV)/.dev ## Compare the API with `mlflow models serve` and a bare uvicorn; writes docs/benchmarks/uvicorn.md
	@./tools/install fortio
	@$(BIN)/python -m bench --fortio .cache/tools/bin/fortio $(BENCH_OPTIONS)

.PHONY: bench-peers
bench-peers: $(VENV)/.dev ## Compare the API with MLServer, KServe, BentoML, FastAPI and MLflow's server, each in its own environment
	@./tools/install fortio ghz
	@$(BIN)/python -m bench.peers --fortio .cache/tools/bin/fortio --ghz .cache/tools/bin/ghz $(BENCH_OPTIONS)

.PHONY: bench-overload
bench-overload: $(VENV)/.dev ## Send the API up to three times the load that it can answer, and measure the accepted requests (BENCH_OPTIONS)
	@./tools/install fortio vegeta
	@$(BIN)/python -m bench.overload --tools .cache/tools/bin $(BENCH_OPTIONS)

.PHONY: bench-services
bench-services: $(VENV)/.dev ## Measure gitops on a repository of 20 services in 3 environments, and count metric series (BENCH_OPTIONS)
	@./tools/install helm
	@$(BIN)/python -m bench.services $(BENCH_OPTIONS)

.PHONY: soak
soak: $(VENV)/.dev ## Send the API mixed requests for half an hour, and fail if its memory keeps growing (SOAK_OPTIONS)
	@./tools/install fortio
	@$(BIN)/python -m bench.soak --fortio .cache/tools/bin/fortio $(SOAK_OPTIONS)

IMAGES := image-serving image-serving-sklearn image-serving-batch image-training image-mlflow image-gitops
.PHONY: images $(IMAGES)
images: $(IMAGES) ## Build the images of serving (three targets), training, MLflow and gitops (CONTAINER_BUILD, IMAGE_PREFIX, TAG)

image-serving:
	$(CONTAINER_BUILD) --target onnx -t $(IMAGE_PREFIX)/serving:$(TAG) -f services/serving/Dockerfile $(IMAGE_LABELS) .

image-serving-sklearn:
	$(CONTAINER_BUILD) --target sklearn -t $(IMAGE_PREFIX)/serving:$(TAG)-sklearn -f services/serving/Dockerfile $(IMAGE_LABELS) .

image-serving-batch:
	$(CONTAINER_BUILD) --target batch -t $(IMAGE_PREFIX)/serving:$(TAG)-batch -f services/serving/Dockerfile $(IMAGE_LABELS) .

image-training:
	$(CONTAINER_BUILD) -t $(IMAGE_PREFIX)/training:$(TAG) -f training/Dockerfile $(IMAGE_LABELS) .

image-mlflow:
	$(CONTAINER_BUILD) -t $(IMAGE_PREFIX)/mlflow:$(TAG) -f services/mlflow/Dockerfile $(IMAGE_LABELS) .

image-gitops:
	$(CONTAINER_BUILD) -t $(IMAGE_PREFIX)/gitops:$(TAG) -f services/gitops/Dockerfile $(IMAGE_LABELS) .

ON_CLUSTER := $(BIN)/pytest -p pytest_helm_charts.plugin
.PHONY: e2e
e2e: e2e-charts e2e-argocd ## Test everything on a real cluster: needs kubectl, KUBECONFIG and REGISTRY (tests/e2e/README.md); -j2 runs both suites at once

.PHONY: e2e-charts
e2e-charts: $(VENV)/.dev cluster-given e2e-images ## Test only the charts on that cluster: install, upgrade under load, break, restore
	@./tools/install helm
	@$(ON_CLUSTER) tests/e2e/charts $(E2E_OPTIONS)

# Without internet access, the analysis of canaries needs a Prometheus image of our own.
WATCHED := $(if $(ROLLOUTS_INSTALL_MANIFEST),e2e-prometheus,e2e-images)
# Tests that have separate targets.
LONG := test_9c_canary_faults.py test_9d_move_store.py
.PHONY: e2e-argocd
e2e-argocd: $(VENV)/.dev cluster-given $(WATCHED) ## Test everything through git: adopt, bootstrap, promote, break, heal, add; uses the whole cluster
	@./tools/install crane helm
	@$(ON_CLUSTER) tests/e2e/argocd $(addprefix --ignore tests/e2e/argocd/,$(LONG)) $(E2E_OPTIONS)

.PHONY: e2e-migration
e2e-migration: $(VENV)/.dev cluster-given e2e-images ## Test only the migration of a platform of version 0.1, under load
	@./tools/install helm
	@$(ON_CLUSTER) tests/e2e/argocd/test_1_first_release.py tests/e2e/argocd/test_9b_migration.py $(E2E_OPTIONS)

.PHONY: e2e-delivery
e2e-delivery: $(VENV)/.dev cluster-given e2e-images ## Test only a change of code: image, bump, promotion, rollback, hold
	@./tools/install crane helm
	@$(ON_CLUSTER) tests/e2e/argocd/test_1_first_release.py tests/e2e/argocd/test_8_delivery.py $(E2E_OPTIONS)

.PHONY: e2e-canary
e2e-canary: $(VENV)/.dev cluster-given $(WATCHED) e2e-faulty ## Test only canaries: a good version, three bad ones that are rolled back, and faults during a canary
	@./tools/install helm
	@$(ON_CLUSTER) tests/e2e/argocd/test_1_first_release.py $(addprefix tests/e2e/argocd/test_9c_canary,.py _faults.py _end.py) $(E2E_OPTIONS)

.PHONY: e2e-move-store
e2e-move-store: $(VENV)/.dev cluster-given e2e-images ## Test only the move from MinIO to SeaweedFS and back, under load
	@./tools/install helm
	@$(ON_CLUSTER) tests/e2e/argocd/test_1_first_release.py tests/e2e/argocd/test_9d_move_store.py $(E2E_OPTIONS)

.PHONY: e2e-loop
e2e-loop: $(VENV)/.dev cluster-given $(WATCHED) ## The closed loop alone: a model that goes wrong, truth, alert, retraining, promotion; and files answered by two pods
	@./tools/install helm
	@$(ON_CLUSTER) tests/e2e/argocd/test_1_first_release.py tests/e2e/argocd/test_9e_closed_loop.py $(E2E_OPTIONS)

.PHONY: e2e-monitoring
e2e-monitoring: $(VENV)/.dev cluster-given e2e-images ## Test every monitor, rule and panel, and two alerts, with that cluster's own Prometheus and Alertmanager
	@./tools/install helm
	@$(ON_CLUSTER) tests/e2e/monitoring $(E2E_OPTIONS)

.PHONY: bench-scale
bench-scale: $(VENV)/.dev cluster-given e2e-images ## Measure the throughput of one to five pods on that cluster, then with the autoscaler (BENCH_OPTIONS)
	@./tools/install helm fortio
	@$(ON_CLUSTER) tests/e2e/scale $(E2E_OPTIONS)
	@$(BIN)/python -m bench.scale $(BENCH_OPTIONS)

.PHONY: recording
recording: e2e-delivery ## Record a delivery on that cluster, for the first picture in the README
	@$(BIN)/termtosvg render .cache/e2e/delivery.cast docs/recording.svg -t window_frame -m 200 -M 2500 -D 4000

.PHONY: push-images
push-images: ## Push the images of `make images` to IMAGE_REPOSITORY (CONTAINER_PUSH says how)
	@IMAGE_PREFIX=$(IMAGE_PREFIX) TAG=$(TAG) IMAGE_REPOSITORY=$(IMAGE_REPOSITORY) ./tools/push-images

# Also the image of MinIO's guard, so that clusters under test need not pull it from another registry.
.PHONY: e2e-images
e2e-images:
	@$(MAKE) -j1 images
	@$(MAKE) -j1 push-images
	$(CONTAINER_BUILD) -t $(IMAGE_PREFIX)/haproxy:$(TAG) -f tests/e2e/haproxy.Dockerfile $(IMAGE_LABELS) .
	@IMAGE_PREFIX=$(IMAGE_PREFIX) TAG=$(TAG) IMAGE_REPOSITORY=$(IMAGE_REPOSITORY) ./tools/push-images haproxy

# Images of serving with a fault in its code, which a canary must stop.
.PHONY: e2e-faulty
e2e-faulty: e2e-images
	@for fault in slow failing; do \
	  $(CONTAINER_BUILD) --target $$fault --build-arg SERVING=$(IMAGE_PREFIX)/serving:$(TAG) \
	    -t $(IMAGE_PREFIX)/serving:$(TAG)-$$fault -f tests/e2e/faulty/Dockerfile $(IMAGE_LABELS) tests/e2e/faulty; \
	done
	@IMAGE_PREFIX=$(IMAGE_PREFIX) TAG=$(TAG) IMAGE_REPOSITORY=$(IMAGE_REPOSITORY) ./tools/push-images serving-slow serving-failing

# A separate build context: the .dockerignore of the repository excludes .cache.
PROMETHEUS_CONTEXT := .cache/prometheus-image
.PHONY: e2e-prometheus
e2e-prometheus: $(VENV)/.dev e2e-images
	@./tools/install prometheus pushgateway
	@install -D -m 755 -t $(PROMETHEUS_CONTEXT) $(addprefix .cache/tools/bin/,prometheus pushgateway)
	$(CONTAINER_BUILD) -t $(IMAGE_PREFIX)/prometheus:$(TAG) -f tests/e2e/prometheus.Dockerfile $(IMAGE_LABELS) $(PROMETHEUS_CONTEXT)
	@IMAGE_PREFIX=$(IMAGE_PREFIX) TAG=$(TAG) IMAGE_REPOSITORY=$(IMAGE_REPOSITORY) ./tools/push-images prometheus

.PHONY: cluster-given
cluster-given:
	@[ -n "$${KUBECONFIG:-}" ] || { echo "Set KUBECONFIG to the cluster to use. The tests remove everything that they create there." >&2; exit 1; }
	@[ -n "$(IMAGE_REPOSITORY)" ] || { echo "Set REGISTRY to a registry that you can push to and the cluster can pull from." >&2; exit 1; }
	@command -v kubectl >/dev/null || { echo "kubectl is not on PATH." >&2; exit 1; }

##@ Run it on a cluster

.PHONY: cluster-up
cluster-up: ## Create a k3s cluster with a registry in Docker, with k3d, and print the variables to use it
	@./tools/k3d-cluster up >&2
	@./tools/k3d-cluster env

.PHONY: publish
publish: $(VENV)/.run images push-images ## Build and push images and charts, and pin the platform's images in envs/platform/pins
	@./tools/install helm
	@REGISTRY_PREFIX=$(IMAGE_REPOSITORY) ./tools/push-charts model-serving
	@$(BIN)/gitops bump platform --image mlflow=$$(./tools/pushed mlflow) --image training=$$(./tools/pushed training)

.PHONY: bootstrap
bootstrap: $(VENV)/.run ## Install the platform on the cluster of KUBECONFIG (BOOTSTRAP_OPTIONS); safe to run again
	@$(BIN)/gitops bootstrap $(BOOTSTRAP_OPTIONS)

.cache/images.json:
	@$(MAKE) publish

.PHONY: first-release
first-release: $(VENV)/.run .cache/images.json ## Train the models of services that have no release yet (SERVICES) in the cluster, and release them; publishes images and charts first, if needed
	@./tools/first-release $(SERVICES)

##@ Work on it

.PHONY: dev
dev: $(VENV)/.dev ## Run the quick tests of a part again each time one of its files is saved (PART=services/serving, or all)
	@$(BIN)/python -m tools.watch $(PART)

.PHONY: lint
lint: $(VENV)/.dev ## Check style, types, YAML, shell, Dockerfiles, compose.yaml, links and prose
	@./checks/lint

.PHONY: format
format: $(VENV)/.dev ## Rewrite Python files in the project's style
	@$(BIN)/ruff check --fix-only --quiet . && $(BIN)/ruff format --quiet .

.PHONY: derived
derived: $(VENV)/.dev ## Write the files and tables that derive from code and values: values and READMEs of charts, dashboards, schemas, alerts, settings, help
	@./tools/install helm-docs
	@$(BIN)/python -m tools.chart_values
	@./tools/chart-docs
	@$(BIN)/python -m tools.dashboards
	@$(BIN)/python -m tools.derived

.PHONY: lock
lock: $(VENV)/.uv ## Recompile the locks in requirements/ (UPGRADE=1 takes newer versions)
	@./requirements/compile $(if $(UPGRADE),--upgrade)

.PHONY: lock-check
lock-check: $(VENV)/.uv ## Fail if a lock is stale
	@./requirements/compile --check

.PHONY: release
release: $(VENV)/.dev ## Cut VERSION (1.2.3): write the changelog's section and every version, and print what to do next
	@[ -n "$(VERSION)" ] || { echo "Name the version, as in: make release VERSION=1.2.3" >&2; exit 1; }
	@./tools/install helm-docs
	@$(BIN)/python -m tools.release $(VERSION)
	@./tools/chart-docs

.PHONY: clean
clean: ## Remove everything that make created
	@rm -rf $(VENV) .cache dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## List every target
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- set-up -----------------------------------------------------------------------------------------------------------

$(VENV)/.uv: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, and $(PYTHON) is $$($(PYTHON) --version 2>&1 || true). Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make a virtual environment (on Debian and Ubuntu: apt-get install python3-venv)." >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/.run: $(VENV)/.uv $(RUN_LOCKS) $(PYPROJECTS)
	@echo "Installing what the pipeline needs into $(VENV)"
	@VIRTUAL_ENV=$(abspath $(VENV)) $(UV) pip install --quiet --compile-bytecode --require-hashes $(addprefix -r ,$(RUN_LOCKS))
	@VIRTUAL_ENV=$(abspath $(VENV)) $(UV) pip install --quiet --no-deps $(addprefix -e ./,$(PACKAGES))
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	@echo "Installing the development tools into $(VENV)"
	@VIRTUAL_ENV=$(abspath $(VENV)) $(UV) pip install --quiet --compile-bytecode --require-hashes -r requirements/dev.txt
	@touch $@
