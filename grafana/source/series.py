"""The series of the overview, and of the recording rules (prometheus/rules/recording.yml)."""

from grafana.source.dashboard import Annotation
from grafana.source.expression import SAME_SERVER, of_target

UP = of_target("smtpstatus_up")
CONNECTIONS = of_target("smtpstatus_connections_total")
ACTIVE = of_target("smtpstatus_active_connections")
BYTES = of_target("smtpstatus_transferred_bytes_total")
TRANSFORMS = of_target("smtpstatus_transforms_enabled")
CHANGED = of_target("smtpstatus_transforms_changed_timestamp_seconds")
ERROR = of_target("smtpstatus_scrape_error")
DURATION = of_target("smtpstatus_scrape_duration_seconds")

CONNECTION_RATE = of_target("instance_target:smtpstatus_connections:rate5m")
UP_5M = of_target("instance_target:smtpstatus_up:avg5m")
UP_1D = of_target("instance_target:smtpstatus_up:avg1d")
UP_CHANGES = of_target("instance_target:smtpstatus_up:changes5m")
TRANSFORMS_CHANGES = of_target("instance_target:smtpstatus_transforms_enabled:changes5m")
RESTARTS = of_target("instance_target:smtpstatus_connections:resets5m")
SERVERS = of_target("instance:smtpstatus_up:count")
LAST_DATA = of_target("instance:smtpstatus_up:timestamp_max")
ERRORS = of_target("instance_reason:smtpstatus_scrape_error:count")
CONNECTION_SUM_5M = of_target("instance:smtpstatus_connections:rate5m_sum")
CONNECTION_SUM = of_target("instance:smtpstatus_connections:rate2m_sum")
BYTE_SUM = of_target("instance:smtpstatus_transferred_bytes:rate2m_sum")
ACTIVE_SUM = of_target("instance:smtpstatus_active_connections:sum")
TRANSFORMS_OFF = of_target("instance:smtpstatus_transforms_disabled:count")
LOSS_5M = of_target("instance_target:smtpstatus_scrape_retransmissions:ratio5m")
LOSS = of_target("instance:smtpstatus_scrape_retransmissions:ratio5m")
LOSS_MAX = of_target("instance:smtpstatus_scrape_retransmissions:ratio5m_max")
DURATION_P50 = of_target("instance:smtpstatus_scrape_duration_seconds:p50")
DURATION_P99 = of_target("instance:smtpstatus_scrape_duration_seconds:p99")

NO_RULES = "No data: is prometheus/rules/recording.yml loaded?"
NO_SWITCH = "No data: no server of this selection has transforms to switch"


def switched(changed: str, transforms: str) -> list[Annotation]:
    """Marks at the moment of each switch through the exporter, by the state at the end of the time range."""
    within = f"{changed} * 1000 > $__from < $__to"
    return [
        Annotation(
            f"Transforms {word}",
            f"{within} and {SAME_SERVER} {transforms} @ end() == {value}",
            f"Transforms of {{{{target}}}} switched {word}",
            color,
            at_value=True,
        )
        for word, value, color in (("on", 1, "blue"), ("off", 0, "purple"))
    ]
