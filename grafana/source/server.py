"""One server, or a few: what it does, how it answers, and what was done to it."""

from grafana.source.dashboard import Annotation, Row, chained_variables, dashboard
from grafana.source.expression import of_target, over_interval, over_range, rate, ratio
from grafana.source.panel import Json, Look, Query, stat, state_timeline, time_series
from grafana.source.words import ON_OFF, UP_DOWN

UP = of_target("smtpstatus_up")
CONNECTIONS = of_target("smtpstatus_connections_total")
ACTIVE = of_target("smtpstatus_active_connections")
BYTES = of_target("smtpstatus_transferred_bytes_total")
SENT_BYTES = of_target("smtpstatus_sent_bytes_total")
RECEIVED_BYTES = of_target("smtpstatus_received_bytes_total")
MAILS = of_target("smtpstatus_mails_total")
TRANSFORMS = of_target("smtpstatus_transforms_enabled")
VERBOSE = of_target("smtpstatus_verbose_enabled")
CHANGED = of_target("smtpstatus_transforms_changed_timestamp_seconds")
ERROR = of_target("smtpstatus_scrape_error")
DURATION = of_target("smtpstatus_scrape_duration_seconds")
SENT = of_target("smtpstatus_scrape_datagrams_sent")
RETRANSMITTED = of_target("smtpstatus_scrape_retransmissions")
SENT_LATELY = over_interval("sum_over_time", SENT)
RETRANSMITTED_LATELY = over_interval("sum_over_time", RETRANSMITTED)

NOT_SPOKEN = "No data: only servers of some dialects tell this"
BYTES_PER_CONNECTION = ratio(rate(BYTES), rate(CONNECTIONS))

SWITCHED = Annotation(
    "Transforms switched",
    f"{CHANGED} * 1000 > $__from < $__to",
    "Transforms of {{target}} switched through the exporter",
    "purple",
    at_value=True,
)
RESTARTED = Annotation(
    "Restarted",
    f"resets({CONNECTIONS}[$__rate_interval]) > 0 or resets({BYTES}[$__rate_interval]) > 0",
    "{{target}} restarted: its counters began again",
    "blue",
)


def server() -> Json:
    return dashboard(
        "smtpstatus-server",
        "SMTPStatus / Server",
        "One mail server: its traffic, its state, the way to it, and what was done to it.",
        chained_variables("smtpstatus_up", target="first"),
        [_now(), _traffic(), _states(), _way(), _more()],
        [SWITCHED, RESTARTED],
    )


def _now() -> Row:
    whole_range = Look(
        "percentunit", maximum=1, steps=((None, "red"), (0.99, "orange"), (0.999, "green"))
    )
    panels = [
        stat(
            "State",
            "Whether the server answered everything at the last scrape.",
            Query(UP),
            Look(words=UP_DOWN),
            named=True,
        ),
        stat(
            "Answered",
            "The share of scrapes in the time shown that the server answered.",
            Query(over_range("avg_over_time", UP)),
            whole_range,
            named=True,
        ),
        stat(
            "Transforms now",
            "Whether mails are transformed, as the server says.",
            Query(TRANSFORMS),
            Look(
                words=ON_OFF, empty="No data: the server is down, or its dialect has no transforms"
            ),
            named=True,
        ),
        stat(
            "Connections now",
            "SMTP connections accepted, those turned away included.",
            Query(rate(CONNECTIONS)),
            Look("cps", decimals=2),
            named=True,
        ),
        stat(
            "Open now",
            "SMTP connections that are open now.",
            Query(ACTIVE),
            Look(),
            named=True,
        ),
        stat(
            "Restarts",
            "How often the counters began again in the time shown: the server was started anew.",
            Query(over_range("resets", CONNECTIONS)),
            Look(decimals=0, steps=((None, "green"), (1, "orange"))),
            named=True,
        ),
    ]
    return Row("Now", 4, [(4, panel) for panel in panels])


def _traffic() -> Row:
    panels = [
        time_series(
            "Connections per second",
            "SMTP connections accepted, those turned away included.",
            [Query(rate(CONNECTIONS))],
            Look("cps"),
        ),
        time_series(
            "Open connections",
            "SMTP connections that are open. One that never falls to its former level has stuck connections; "
            "a flat top is a limit.",
            [Query(ACTIVE)],
            Look(),
        ),
        time_series(
            "Throughput",
            "Bytes per second over the SMTP connections, both directions, rejected mail included.",
            [Query(rate(BYTES))],
            Look("Bps"),
        ),
        time_series(
            "Mean bytes per connection",
            "Bytes transferred for each connection accepted: what a typical connection carries. "
            "Long connections count bytes later than their beginning.",
            [Query(BYTES_PER_CONNECTION)],
            Look("bytes"),
        ),
    ]
    return Row("Traffic", 8, [(6, panel) for panel in panels])


def _states() -> Row:
    up = state_timeline(
        "Up and down",
        "When the server answered. A gap: nobody asked, for the exporter or Prometheus was not there.",
        [Query(UP)],
        Look(words=UP_DOWN),
    )
    transforms = state_timeline(
        "Transforms",
        "When mails were transformed. Marks show switching through the exporter, at its exact moment; a change "
        "without a mark was made elsewhere. A gap: the server was down, or not asked.",
        [Query(TRANSFORMS)],
        Look(words=ON_OFF, empty="No data: the server is down, or its dialect has no transforms"),
    )
    return Row("States", 6, [(12, up), (12, transforms)])


def _way() -> Row:
    panels = [
        time_series(
            "Time to answer",
            "How long it took to ask everything, retransmissions included. At the timeout: the server is silent.",
            [Query(DURATION)],
            Look("s"),
        ),
        time_series(
            "Datagrams for one scrape",
            "Datagrams sent for each scrape, and those among them that were sent again.",
            [
                Query(SENT, "{{target}} sent"),
                Query(RETRANSMITTED, "{{target}} again"),
            ],
            Look(),
        ),
        time_series(
            "Retransmitted",
            "The share of datagrams that were sent again for want of an answer. The loss on the way is about "
            "half of it or more, since either the question or its answer can be lost.",
            [Query(ratio(RETRANSMITTED_LATELY, SENT_LATELY))],
            Look("percentunit", maximum=1),
        ),
        time_series(
            "Errors by reason",
            "Why the server did not answer everything; 0 of the reason none while it does.",
            [Query(_errors(), "{{target}} {{reason}}")],
            Look(decimals=0),
            stacked=True,
        ),
    ]
    return Row("The way to the server", 8, [(6, panel) for panel in panels])


def _errors() -> str:
    """A server's reason, or a 0 of the reason "none": a healthy server has no series of errors on /metrics."""
    return f'{ERROR} == 1 or label_replace(0 * ({UP} == 1), "reason", "none", "", "")'


def _more() -> Row:
    panels: list[Json] = [
        time_series(
            "Mails per second",
            "Mails, from servers whose dialect counts them.",
            [Query(rate(MAILS))],
            Look("cps", empty=NOT_SPOKEN),
        ),
        time_series(
            "Bytes in each direction",
            "Bytes per second sent and received, from servers whose dialect tells them apart.",
            [
                Query(rate(SENT_BYTES), "{{target}} sent"),
                Query(rate(RECEIVED_BYTES), "{{target}} received"),
            ],
            Look("Bps", empty=NOT_SPOKEN),
        ),
        state_timeline(
            "Verbose",
            "Whether the server writes its verbose log, where a dialect has that switch.",
            [Query(VERBOSE)],
            Look(words=ON_OFF, empty=NOT_SPOKEN),
        ),
    ]
    return Row("What some dialects tell beyond that", 7, [(8, panel) for panel in panels])
