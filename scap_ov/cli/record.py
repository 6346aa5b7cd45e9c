"""What scap_ov noted about a model, for the commands that show it."""

from __future__ import annotations

import json
from pathlib import Path

from scap_ov.errors import BadModelError, reason_of
from scap_ov.json_values import JsonObject
from scap_ov.storage.model_files import model_file
from scap_ov.storage.rt_info import CONFIG_FILE, checked_summary


def record_of(model: str) -> JsonObject | None:
    """Configuration and summary, from the file beside the model where there is one: that needs no library.

    :return: `{"config": …, "summary": …}`, or None of a stock model.
    :raises BadModelError: there is no model, or the record is damaged.
    """
    from scap_ov.backends import backend_of

    path = Path(model)
    model_file(path)
    noted = path / CONFIG_FILE
    if path.is_dir() and noted.is_file():
        try:
            record = json.loads(noted.read_text(encoding="utf-8"))
            return {"config": dict(record.get("config", {})), "summary": checked_summary(record["summary"])}
        except OSError as e:
            msg = f"{noted} cannot be read ({reason_of(e)}); make it readable, or remove it"
            raise BadModelError(msg) from e
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            msg = f"{noted} is damaged ({e}); remove it, or apply the plan to the stock model again"
            raise BadModelError(msg) from e
    backend = backend_of(model)
    record = backend.record(backend.open_model(model).model)
    return {"config": record.get("config", {}), "summary": record["summary"]} if record.get("summary") else None
