"""Count the objects of a bucket, and optionally change one first.

Question: `endpoint`, `bucket`, and optionally `spoil`, the key of an object to add a byte to, or `put`, a key, and the
`text` to write there (an empty one deletes the object). Access keys come from the environment. Answer: the number of
`objects` and their `bytes`.
"""

import json
import os
import sys

import boto3


def main() -> None:
    """Change, count, and print the result."""
    question = json.loads(sys.argv[1])
    client = boto3.client(
        "s3",
        endpoint_url=question["endpoint"],
        region_name="us-east-1",
        aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
    )
    where = {"Bucket": question["bucket"]}
    if "spoil" in question:
        key = {**where, "Key": question["spoil"]}
        client.put_object(**key, Body=client.get_object(**key)["Body"].read() + b"\0")
    if "put" in question:
        key = {**where, "Key": question["put"]}
        client.put_object(**key, Body=question["text"].encode()) if question["text"] else client.delete_object(**key)
    pages = client.get_paginator("list_objects_v2").paginate(**where)
    sizes = [item["Size"] for page in pages for item in page.get("Contents", [])]
    print(json.dumps({"objects": len(sizes), "bytes": sum(sizes)}))


if __name__ == "__main__":
    main()
