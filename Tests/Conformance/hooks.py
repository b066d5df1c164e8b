"""What schemathesis can't know of Guanxi's requests."""

import datetime
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
    # What is longer than any server reads of a request's first line is refused before it is known what it asks for.
    if len(str(case.query)) > 12_000:
        case.query = {name: value for name, value in case.query.items() if len(str(value)) < 2_000}
    # A stream of events has no end of its own, and an id of an earlier one is signed, as a cursor is.
    if case.path == "/v1/events":
        case.query = {**(case.query or {}), "once": "true"}
        headers.pop("Last-Event-ID", None)
    keep_rules_between_fields(case)


RULES_PATHS = {
    "/v1/tasks": "task",
    "/v1/relationships": "relationship",
    "/v1/appointments": "appointment",
    "/v1/custom_fields": "custom_field",
}


def keep_rules_between_fields(case):
    """Some fields go together in ways that a schema of one request can't say, least of all of a change."""
    kind, rest = re.fullmatch(r"/v1/([a-z_]+)(.*)", case.path).groups() if case.path.startswith("/v1/") else ("", "")
    if rest in ("", "/{id}"):
        keep_rules_of(KINDS.get(kind), case.body, is_change=rest != "")
    # A batch names the type and has a body, a list of operations of one type has data.
    if kind == "batch" and isinstance(case.body, dict) and isinstance(case.body.get("operations"), list):
        for operation in case.body["operations"]:
            if isinstance(operation, dict):
                keep_rules_of(operation.get("type"), operation.get("body"), is_change=operation.get("op") != "create")


KINDS = {
    "tasks": "task",
    "relationships": "relationship",
    "appointments": "appointment",
    "custom_fields": "custom_field",
}


def keep_rules_of(kind, body, is_change):
    """Well-formed values alone are put right: what is refused for its form must stay as it is."""
    if not isinstance(body, dict):
        return
    if kind == "task" and (body.get("linked_id") in (None, "") or body.get("linked_type") in (None, "")):
        body.pop("linked_id", None)
        body.pop("linked_type", None)
    if kind == "relationship":
        # One of the two, and a change does not say which of them is there.
        other, company = body.get("other_contact_id"), body.get("organization_id")
        if is_change:
            for name in ("other_contact_id", "organization_id"):
                if body.get(name) is None or is_id(body.get(name)):
                    body.pop(name, None)
        elif other is not None:
            body.pop("organization_id", None)
            if other == body.get("contact_id"):
                body["other_contact_id"] = str(uuid.uuid4())
        elif company is None:
            body["other_contact_id"] = str(uuid.uuid4())
        # A company has no family.
        if body.get("kind") in KINDS_OF_PEOPLE and (is_change or company is not None):
            body["kind"] = "other"
    if kind == "appointment":
        starts, ends = moment(body.get("starts_at")), moment(body.get("ends_at"))
        if is_change and ends:
            del body["ends_at"]
        elif starts and ends and ends < starts:
            body["ends_at"] = body["starts_at"]
        if is_change and starts:
            del body["starts_at"]
    if kind == "custom_field":
        # Only a choice has choices, and only some kinds an index; a change does not say which kind it is.
        if body.get("kind") != "choice":
            body.pop("choices", None)
        elif not body.get("choices"):
            body["choices"] = ["one"]
        if body.get("is_indexed") is True:
            body["is_indexed"] = False


KINDS_OF_PEOPLE = ["family", "friend", "colleague", "referred_by", "reports_to"]


def is_id(value):
    return isinstance(value, str) and re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", value)


def moment(text):
    try:
        found = datetime.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else None
