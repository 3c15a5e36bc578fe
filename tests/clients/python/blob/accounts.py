"""Storage accounts of simulated Azure, and clients of them."""

import datetime
import json
import os
import urllib.request
import uuid
from dataclasses import dataclass

from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import BlobServiceClient, generate_blob_sas

CONTROL = os.environ["AZURE_SIM_CONTROL"]


@dataclass(frozen=True)
class Account:
    name: str
    key: str
    endpoint: str

    def service(self, credential=None, **options):
        """A client that tries once, so that each answer is seen; with the account's key unless told otherwise."""
        credential = credential or AzureNamedKeyCredential(self.name, self.key)
        return BlobServiceClient(self.endpoint, credential=credential, retry_total=0, **options)

    def anonymous(self, **options):
        return BlobServiceClient(self.endpoint, retry_total=0, **options)

    def readable(self, blob, **options):
        """The blob's URL with a SAS to read it, as the source of a copy needs."""
        token = generate_blob_sas(
            self.name, blob.container_name, blob.blob_name, account_key=self.key, permission="r", expiry=hours(24), **options
        )
        return f"{blob.url}?{token}"


def control(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(CONTROL + path, data=data, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def new_account(location):
    """The account of a new lab: the simulator tells its key."""
    lab = {
        "subscriptionId": "00000000-0000-4000-8000-00000000b10b",
        "resourceGroup": "judges",
        "name": f"blob{uuid.uuid4().hex[:12]}",
        "location": location,
    }
    added = control("POST", "/labs", lab)
    return Account(added["storageAccount"], added["storageKey"], added["blobEndpoint"])


def new_container(service):
    return service.create_container(f"c-{uuid.uuid4().hex}")


def hours(count):
    """So many hours from now."""
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=count)
