# The same words for people and for CI. Every target sets up what it needs in .venv by itself.

PYTHON ?= python3
# TensorFlow's wheel: `cpu`, or `gpu` for the build with CUDA.
TENSORFLOW ?= cpu
SAMPLE := demo/photo.png
PHOTO ?= $(SAMPLE)
STYLE ?= mosaic
ARGS ?=
export PHOTO STYLE

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready-$(TENSORFLOW)
BENCH_READY := $(VENV)/ready-bench
TRAIN_READY := $(VENV)/ready-train
# VGG19's weights in Keras' layout, and a folder of paintings to train on beside the project's own styles.
TEACHER ?=
PAINTINGS ?=
# What errors of gradients count in each of the trainings whose mean is the light network.
GRADIENT_SHARES := 1 4
PICTURES := --teacher "$(TEACHER)" $(if $(PAINTINGS),--paintings "$(PAINTINGS)")
PROTOC_READY := $(VENV)/protoc/ready

.PHONY: setup demo test torture fuzz serve check audit protos bench train clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(READY) $(PROTOC_READY) ## install everything, pinned, into .venv

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[$(TENSORFLOW),dev]'
	touch $@

$(PROTOC_READY): protos/requirements.txt | $(READY)
	$(PYTHON) -m venv $(VENV)/protoc
	$(VENV)/protoc/bin/python -m pip install --quiet --disable-pip-version-check -r protos/requirements.txt
	touch $@

demo: $(READY) $(filter $(SAMPLE),$(PHOTO)) ## paint PHOTO= in STYLE= through a real server of its own; see demo/
	@mkdir -p demo
	@test -f "$$PHOTO" || { echo "PHOTO: got '$$PHOTO'; allowed: a picture's file that is there" >&2; exit 1; }
	$(BIN)/styleserve stylize "$$PHOTO" --style "$$STYLE" -o demo/painting.png --preset standard --max-side 256 \
		--plot demo/loss.png --json > demo/job.json.part || { rm -f demo/job.json.part; exit 1; }
	@mv demo/job.json.part demo/job.json
	@echo 'picture: demo/painting.png'
	@echo 'loss: demo/loss.png'
	@cat demo/job.json

$(SAMPLE): | $(READY)
	@mkdir -p demo
	$(BIN)/python -c 'from skimage import data, io; io.imsave("$@", data.chelsea())'

test: setup ## run the tests, two at a time since they wait for half of theirs; ARGS='-n 0' one by one
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

torture: setup ## kill a server a hundred times, fuzz, and soak for an hour; figures go to build/torture
	$(BIN)/python -m pytest -m torture -rP --report-dir=build/torture $(ARGS)

fuzz: setup ## try odd inputs; ARGS='--target images --inputs 20000'
	PYTHONPATH=tests $(BIN)/python -m fuzz.run $(ARGS)

serve: $(READY) ## start the server on 127.0.0.1:50051
	$(BIN)/styleserve serve $(ARGS)

check: setup ## lint, format, types, contract, fresh stubs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(VENV)/protoc/bin/python protos/generate.py --image $(VENV)/protoc/contract.binpb
	$(BIN)/buf lint $(VENV)/protoc/contract.binpb --path styleserve --config protos/buf.yaml
	$(VENV)/protoc/bin/python protos/generate.py --check

audit: setup ## look for known vulnerabilities of the pinned packages, where their database can be reached
	$(BIN)/python .ci/audit.py

protos: $(PROTOC_READY) ## make the stubs again
	$(VENV)/protoc/bin/python protos/generate.py

train: ## train the light network anew: TEACHER=vgg19.h5; goes on where it stood in build/light
	@test -f "$(TEACHER)" || { echo "TEACHER: got '$(TEACHER)'; allowed: VGG19's weights, an HDF5 file of Keras'" >&2; exit 1; }
	@$(MAKE) --no-print-directory $(TRAIN_READY)
	for share in $(GRADIENT_SHARES); do \
		$(BIN)/python -m training.train build/light/$$share --gradients $$share $(PICTURES) $(ARGS) || exit; done
	$(BIN)/python -m training.export $(GRADIENT_SHARES:%=build/light/%) $(PICTURES)

$(TRAIN_READY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[$(TENSORFLOW),train]'
	touch $@

$(BENCH_READY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[$(TENSORFLOW),bench]'
	touch $@

# Each with the arguments that docs/benchmarks shows it with. Paintings that are there already are not painted again.
bench: $(BENCH_READY) ## run the benchmarks as docs/benchmarks shows them, for hours; results go there
	$(BIN)/python -m benchmarks.optimizers
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.memory --sides 128 256 512 1024 2048 4096
	$(BIN)/python -m benchmarks.memory --presets paper --sides 1024 --only tiled --iterations 2 --add
	$(BIN)/python -m benchmarks.batching --evaluations 20 --repeats 3
	$(BIN)/python -m benchmarks.fairness --evaluations 60
	$(BIN)/python -m benchmarks.evaluation
	$(BIN)/python -m benchmarks.sizes
	$(BIN)/python -m benchmarks.anytime
	$(BIN)/python -m benchmarks.deadlines
	$(BIN)/python -m benchmarks.deadlines --largest 384
	$(BIN)/python -m benchmarks.watchers --turns 2
	$(BIN)/python -m benchmarks.checkpoints
	$(BIN)/python -m benchmarks.quality --sides 256 --precision bfloat16
	$(BIN)/python -m benchmarks.quality --sides 512 --pairs 16 --precision bfloat16
	$(BIN)/python -m benchmarks.quality --sides 256 --precision bfloat16 --name by-optimizer --recipes \
		classic "classic, L-BFGS" "classic, L-BFGS-B" draft "draft, Adam" "draft, L-BFGS-B" \
		standard "standard, Adam" "standard, L-BFGS-B" "fine, Adam" "fine, L-BFGS-B" fine
	$(BIN)/python -m benchmarks.quality --sides 256 --precision float32 --name paper --recipes paper standard
	$(BIN)/python -m benchmarks.precision
	$(BIN)/python -m benchmarks.precision --side 512 --pairs 2 --recipes draft standard
	$(BIN)/python -m benchmarks.times --pairs 3
	$(BIN)/python -m benchmarks.times --side 512 --pairs 1
	$(BIN)/python -m benchmarks.strength --preset draft --sides 256 512 1024 --pairs 16 2 2 --grid
	$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks.dominance --peers classic schedule --precisions float32 bfloat16
	$(BIN)/python -m benchmarks.dominance --sides 256 --pairs 16 --peers "classic, L-BFGS-B" --precisions float32 bfloat16
	$(BIN)/python -m benchmarks.dominance --sides 512 --pairs 4 --peers "short schedule, content 0.015" "short schedule, content 0.04" "short schedule, content 0.08" "short schedule, content 0.15" "classic, L-BFGS-B" --precisions bfloat16 float32
	$(BIN)/python -m benchmarks.ablation --precision bfloat16
	$(BIN)/python -m benchmarks.networks --pairs 16 16 --reference-precision bfloat16 --timed float32 bfloat16
	$(BIN)/python -m benchmarks.fidelity --pairs 2

clean: ## remove .venv and what the tools made; trainings in build and pictures in demo stay
	rm -rf $(VENV) build/lib build/bdist.* dist .mypy_cache .ruff_cache .pytest_cache
