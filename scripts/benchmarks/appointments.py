"""Writes bulk requests for COUNT appointments that begin within the minute after START: COUNT START FOLDER."""

import datetime
import json
import sys

count, start, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
operations = []
for number in range(count):
    at = datetime.datetime.fromtimestamp(start + 60 * number / count, datetime.timezone.utc)
    operations.append(
        {
            "op": "create",
            "data": {
                "subject": f"Visit {number}",
                "starts_at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "reminders": [{"minutes_before": 0}],
            },
        }
    )
for part in range(0, count, 500):
    with open(f"{folder}/appointments-{part:06}.json", "w", encoding="utf-8") as file:
        json.dump({"operations": operations[part : part + 500]}, file)
