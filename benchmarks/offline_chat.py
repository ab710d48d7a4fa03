"""vLLM's own offline LLM.chat on given requests; runs in the engine's environment.

python offline_chat.py MODEL_FOLDER REQUESTS.json RESULT.json      tokens and seconds
"""

import json
import sys
import time


def main() -> None:
    from vllm import LLM, SamplingParams

    with open(sys.argv[2]) as handle:
        bodies = json.load(handle)
    llm = LLM(
        sys.argv[1],
        dtype="bfloat16",
        enforce_eager=True,
        max_model_len=2048,
        max_num_seqs=64,
        enable_chunked_prefill=False,
    )
    keys = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed")
    params = [SamplingParams(**{key: body[key] for key in keys}) for body in bodies]
    llm.chat([bodies[0]["messages"]], params[0], use_tqdm=False)
    began = time.monotonic()
    outputs = llm.chat([body["messages"] for body in bodies], params, use_tqdm=False)
    seconds = time.monotonic() - began
    tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
    with open(sys.argv[3], "w") as handle:  # vLLM prints when it ends, too
        json.dump({"tokens": tokens, "seconds": seconds}, handle)


if __name__ == "__main__":
    main()
