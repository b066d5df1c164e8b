"""What schemathesis can't know of Guanxi's requests."""

import os
import re
import uuid

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    """Puts in place of well-formed inventions what only the service can have given."""
    headers = case.headers or {}
    # A key that came before with another body is refused, rightly: each request gets its own.
    if re.fullmatch(r"[A-Za-z0-9_-]{8,64}", str(headers.get("Idempotency-Key", ""))):
        headers["Idempotency-Key"] = uuid.uuid4().hex
    # An invented version is stale, rightly.
    if re.fullmatch(r'"[1-9][0-9]{0,8}"', str(headers.get("If-Match", ""))):
        headers["If-Match"] = "*"
    # What was deleted for practice is still there, which the check for deleted resources can't know.
    if case.method == "DELETE" and str((case.query or {}).get("dry_run")).lower() == "true":
        del case.query["dry_run"]
    # A cursor is signed: none can be invented.
    if isinstance((case.query or {}).get("cursor"), str):
        del case.query["cursor"]
    # Whoever revokes the key they ask with gets no further.
    if case.method == "DELETE" and (case.path_parameters or {}).get("id") == os.environ["GUANXI_KEY"].split("_")[1]:
        case.path_parameters["id"] = "0" * 24
    # A stream of events has no end of its own, and an id of an earlier one is signed, as a cursor is.
    if case.path == "/v1/events":
        case.query = {**(case.query or {}), "once": "true"}
        headers.pop("Last-Event-ID", None)
