"""llama.cpp's server with a model and adapters, until it is ended. Its address is the first line of stdout.

python -m tests.llamacpp.serve THREADS PARALLEL MODEL.gguf [ADAPTER.gguf …]      PARALLEL prompts, of 1,024 tokens
"""

import signal
import sys


def main() -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    threads, parallel, (model, *adapters) = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    params.model.path, params.n_ctx, params.n_parallel, params.warmup = model, 1024 * parallel, parallel, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in adapters]
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
