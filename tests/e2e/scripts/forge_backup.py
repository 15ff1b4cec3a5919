"""Forge a backup with the keys of the backups' user: a changed copy of the newest backup under a later name.

Question: `endpoint`, `bucket`, `prefix`, `name`, and whether to `remove` it again. Answer: the `objects` that were
written or removed.
"""

import hashlib
import json
import os
import sys
from typing import Any

import boto3


def main() -> None:
    """Forge or remove the backup, and print its objects."""
    question = json.loads(sys.argv[1])
    client = boto3.client(
        "s3",
        endpoint_url=question["endpoint"],
        region_name="us-east-1",
        aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
    )
    bucket, folder, name = question["bucket"], question["prefix"], question["name"]
    objects = [f"{folder}/{name}{ending}" for ending in ("", ".hmac", ".sha256")]
    if question["remove"]:
        for key in objects:
            client.delete_object(Bucket=bucket, Key=key)
    else:
        for key, body in zip(objects, _forged(client, bucket, folder, name), strict=True):
            client.put_object(Bucket=bucket, Key=key, Body=body)
    print(json.dumps({"objects": objects}))


def _forged(client: Any, bucket: str, folder: str, name: str) -> tuple[bytes, bytes, bytes]:
    listed = client.list_objects_v2(Bucket=bucket, Prefix=f"{folder}/")["Contents"]
    newest = max(item["Key"] for item in listed if item["Key"].endswith(".dump"))
    dump, signature = (client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in (newest, f"{newest}.hmac"))
    forged = dump + b"\0"
    return forged, signature, f"{hashlib.sha256(forged).hexdigest()}  {name}\n".encode()


if __name__ == "__main__":
    main()
