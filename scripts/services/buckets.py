"""Buckets of a server that speaks S3: making them, and altering objects behind our back."""

import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
from botocore.config import Config

from scripts.services.ceph import REGION


def client(endpoint: str, access_key: str, secret_key: str, ca_file: Path | None) -> Any:
    """Return a client of an S3 server; `ca_file` is what to trust over TLS."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        verify=str(ca_file) if ca_file else None,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def new_bucket(s3: Any) -> str:
    """Make an empty bucket and return its name."""
    name = f"test-{secrets.token_hex(8)}"
    s3.create_bucket(Bucket=name)
    return name


def storage_url(
    endpoint: str, bucket: str, ca_file: Path | None, prefix: str = "", **more: str
) -> str:
    """Return the BLOCKLIST_STORAGE that names a bucket."""
    options = {"endpoint_url": endpoint, "region": REGION, **more}
    if endpoint.startswith("https:") and ca_file is not None:
        options["ca_file"] = str(ca_file)
    return f"s3://{bucket}/{prefix}?{urlencode(options)}"
