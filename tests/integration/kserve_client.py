"""Call a server with KServe's own client, and print the answers as JSON; run by a Python that has kserve.

Arguments: the server's address, the model's name, and rows as JSON.
"""

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig


async def main(url: str, name: str, rows: str) -> None:
    """Request readiness, and predictions for JSON and for binary tensors."""
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=30))
    answers = [await client.is_server_live(url), await client.is_server_ready(url)]
    answers.append(await client.is_model_ready(url, name))
    values = np.array(json.loads(rows))
    for binary in (False, True):
        tensor = InferInput(name="features", shape=list(values.shape), datatype="FP64")
        tensor.set_data_from_numpy(values, binary_data=binary)
        request = InferRequest(model_name=name, infer_inputs=[tensor], request_id="mine")
        answer = await client.infer(url, request, model_name=name)
        outputs = {output.name: output.as_numpy().tolist() for output in answer.outputs}
        answers.append([answer.id, outputs["prediction"]])
    print(json.dumps(answers))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
