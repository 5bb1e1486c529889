"""One server, or a few: its state in words, its traffic, the network to it, and what changed."""

from grafana.source.dashboard import Annotation, Row, chained_variables, dashboard, label_variable
from grafana.source.expression import (
    JOB_AND_INSTANCE,
    last_time,
    of_server,
    over_interval,
    over_range,
    rate,
    ratio,
    restarts,
    unnamed,
)
from grafana.source.panel import Json, Look, Query, stat, state_timeline, time_series
from grafana.source.series import switched
from grafana.source.table import Column, sentence
from grafana.source.words import ON_OFF, ON_OFF_KNOWN, REASONS, STATES, UP_DOWN

UP = of_server("smtpstatus_up")
CONNECTIONS = of_server("smtpstatus_connections_total")
ACTIVE = of_server("smtpstatus_active_connections")
BYTES = of_server("smtpstatus_transferred_bytes_total")
SENT_BYTES = of_server("smtpstatus_sent_bytes_total")
RECEIVED_BYTES = of_server("smtpstatus_received_bytes_total")
MAILS = of_server("smtpstatus_mails_total")
TRANSFORMS = of_server("smtpstatus_transforms_enabled")
VERBOSE = of_server("smtpstatus_verbose_enabled")
CHANGED = of_server("smtpstatus_transforms_changed_timestamp_seconds")
ERROR = of_server("smtpstatus_scrape_error")
DURATION = of_server("smtpstatus_scrape_duration_seconds")
SENT = of_server("smtpstatus_scrape_datagrams_sent")
RETRANSMITTED = of_server("smtpstatus_scrape_retransmissions")
SENT_LATELY = over_interval("sum_over_time", SENT)
RETRANSMITTED_LATELY = over_interval("sum_over_time", RETRANSMITTED)

NOT_SPOKEN = "No data: only servers of some dialects have this metric"
NO_ANSWER = "No data: the server has not answered in the time range"
NO_DATA = "No data: this server was not read in the time range"
_BECAUSE = {reason: (f" ({word})", color) for reason, (word, color) in REASONS.items()}
_NEVER = {"null": ("not in 7 days", "gray")}
RESTARTED_LATELY = restarts(CONNECTIONS, BYTES, "$__rate_interval")
# Without the ones of the preceding point, a restart is one mark instead of a band.
RESTARTED = Annotation(
    "Restarted",
    f"{RESTARTED_LATELY} unless {RESTARTED_LATELY.replace(']', '] offset 30s')}",
    "{{target}} restarted: its counters were reset",
    "yellow",
)


def server() -> Json:
    server_of = f"smtpstatus_up{{{JOB_AND_INSTANCE}}}"
    return dashboard(
        "smtpstatus-server",
        "SMTPStatus / Server",
        "One mail server: its state, its traffic, the network to it, and what changed.",
        [
            *chained_variables("smtpstatus_up"),
            # Another name than in other dashboards: the drop-down carries variables over by name.
            label_variable("server", "Server", server_of, of="target", everything=False),
        ],
        [_now(), _history(), _traffic(), _network(), _details()],
        [*switched(CHANGED, TRANSFORMS), RESTARTED],
    )


def _state() -> Json:
    last_up = last_time(f"{UP} == 1", "$__range", "$__interval")
    last_other = last_time(f"{UP} != ({UP} @ end())", "$__range", "$__interval")
    last_read = last_time(UP, "$__range", "$__interval")
    last_restart = last_time(restarts(CONNECTIONS, BYTES, "2m"), "7d", "1m")
    last_switch = last_time(f"{TRANSFORMS} != ({TRANSFORMS} @ end())", "7d", "1m")
    present = f"0 * {over_range('last_over_time', UP)}"
    long = {"null": ("the time shown or longer", "gray")}
    columns = [
        Column("State", f"{unnamed(UP)} or {present} - 1", look=Look(words=STATES)),
        Column("Server", label="target"),
        Column(
            "For",
            f"time() - ({last_other} or ({last_read} unless {UP}))",
            look=Look("dtdurations", words=long),
        ),
        Column("Reason", unnamed(f"{ERROR} == 1"), "reason", Look(words=_BECAUSE)),
        Column("Restart", f"{last_restart} * 1000", look=Look("dateTimeFromNow", words=_NEVER)),
        Column("Transforms", unnamed(TRANSFORMS), look=Look(words=ON_OFF)),
        Column("Switch", f"{last_switch} * 1000", look=Look("dateTimeFromNow", words=_NEVER)),
        Column("Begin", f"({last_up} - 3600) * 1000", look=Look("none")),
        Column("End", f"({last_up} + 600) * 1000", look=Look("none")),
    ]
    template = (
        "${__data.fields.Server} is ${__value.text} for ${__data.fields.For}"
        "${__data.fields.Reason}. Restarted: ${__data.fields.Restart}. "
        "Transforms: ${__data.fields.Transforms}. Switched: ${__data.fields.Switch}."
    )
    before = {
        "title": "The hour before the last answer",
        "url": "/d/smtpstatus-server?var-datasource=${datasource}&${job:queryparam}&${instance:queryparam}"
        "&var-server=${__data.fields.Server:percentencode}"
        "&from=${__data.fields.Begin.numeric}&to=${__data.fields.End.numeric}",
        "targetBlank": False,
    }
    return sentence(
        "State",
        "The server in a sentence. Unknown: its exporter is not scraped. Click it for the hour before the last "
        "answer. Restarts and switches of the last 7 days are found.",
        columns,
        template,
        [before],
    )


def _now() -> Row:
    share = Look(
        "percentunit", maximum=1, steps=((None, "red"), (0.99, "orange"), (0.999, "green"))
    )
    restarted = over_range("resets", CONNECTIONS)
    last = last_time(f"{UP} == 1", "$__range", "$__interval")
    panels = [
        stat(
            "Answered",
            "The share of scrapes in the time range that the server answered.",
            Query(over_range("avg_over_time", UP)),
            share,
            mode="auto",
        ),
        stat(
            "Last answer",
            "When the server last answered, within the time range.",
            Query(f"{last} * 1000"),
            Look("dateTimeFromNow"),
            mode="auto",
        ),
        stat(
            "Transforms",
            "Whether the server transforms messages.",
            Query(TRANSFORMS),
            Look(words=ON_OFF),
            mode="auto",
        ),
        stat(
            "Restarts",
            "Restarts in the time range: how often the counters were reset, a wrapped counter excepted.",
            Query(f"({restarts(CONNECTIONS, BYTES, '$__range')}) or 0 * {restarted}"),
            Look(decimals=0, steps=((None, "green"), (1, "orange"))),
            mode="auto",
        ),
    ]
    return Row("Now", 3, [(24, _state()), *((6, panel) for panel in panels)])


def _history() -> Row:
    up = state_timeline(
        "Up and down",
        "When the server answered. A gap: it was not read, because the exporter or Prometheus was down.",
        [Query(UP)],
        Look(words=UP_DOWN, empty=NO_DATA),
    )
    transforms = state_timeline(
        "Transforms on and off",
        "When messages were transformed. Marks are switches through the exporter, at their exact time; a change "
        "without a mark was made otherwise. Unknown: the server was down, or its dialect has no transforms.",
        [Query(f"max without () ({TRANSFORMS}) or 0 * {UP} - 1")],
        Look(words=ON_OFF_KNOWN, empty=NO_DATA),
    )
    return Row("History", 4, [(12, up), (12, transforms)])


def _traffic() -> Row:
    panels = [
        time_series(
            "Connections per second",
            "SMTP connections accepted per second, rejected ones included.",
            [Query(rate(CONNECTIONS))],
            Look("suffix:conn/s", empty=NO_ANSWER),
        ),
        time_series(
            "Open connections",
            "Open SMTP connections. A level that never falls: stuck connections. A flat maximum: a limit.",
            [Query(ACTIVE)],
            Look(empty=NO_ANSWER),
        ),
        time_series(
            "Throughput",
            "Bytes per second over the SMTP connections, in both directions, rejected messages included.",
            [Query(rate(BYTES))],
            Look("Bps", empty=NO_ANSWER),
        ),
    ]
    return Row("Traffic", 8, [(8, panel) for panel in panels])


def _network() -> Row:
    colors = {reason: color for reason, (_, color) in REASONS.items()} | {"none": "gray"}
    panels = [
        time_series(
            "Time to answer",
            "How long a scrape of the server took, retransmissions included. At the timeout: no response.",
            [Query(DURATION)],
            Look("s"),
        ),
        time_series(
            "Retransmitted",
            "The share of datagrams that were retransmitted after a timeout. The loss of the network is about half "
            "of it or more, since either the request or the response can be lost.",
            [Query(ratio(RETRANSMITTED_LATELY, SENT_LATELY))],
            Look("percentunit", soft_maximum=0.1),
        ),
        time_series(
            "Errors by reason",
            "Why the scrape of the server failed: the number of selected servers for each reason; none while it "
            "does not fail.",
            [Query(f"sum by (reason) ({_errors()})", "{{reason}}")],
            Look(decimals=0, colors=colors),
            stacked=True,
        ),
    ]
    return Row("Network", 8, [(8, panel) for panel in panels])


def _errors() -> str:
    """A server's reason, or a 0 of the reason "none": a server that is up has no series of errors on /metrics."""
    return f'{ERROR} == 1 or label_replace(0 * ({UP} == 1), "reason", "none", "", "")'


def _details() -> Row:
    panels: list[Json] = [
        time_series(
            "Mean bytes per connection",
            "Bytes transferred for each accepted connection. Long connections count bytes after their start.",
            [Query(ratio(rate(BYTES), rate(CONNECTIONS)))],
            Look("decbytes"),
        ),
        time_series(
            "Datagrams per scrape",
            "Datagrams sent in a scrape, and the retransmitted ones among them.",
            [Query(SENT, "{{target}} sent"), Query(RETRANSMITTED, "{{target}} retransmitted")],
            Look(),
        ),
        time_series(
            "Messages per second",
            "Messages, from servers whose dialect counts them.",
            [Query(rate(MAILS))],
            Look("suffix:msg/s", empty=NOT_SPOKEN),
        ),
        time_series(
            "Bytes in each direction",
            "Bytes per second sent and received, from servers whose dialect counts them separately.",
            [
                Query(rate(SENT_BYTES), "{{target}} sent"),
                Query(rate(RECEIVED_BYTES), "{{target}} received"),
            ],
            Look("Bps", empty=NOT_SPOKEN),
        ),
        state_timeline(
            "Verbose",
            "Whether the server writes a verbose log, in dialects that have such a switch.",
            [Query(f"max without () ({VERBOSE}) or 0 * {UP} - 1")],
            Look(words=ON_OFF_KNOWN, empty=NO_DATA),
        ),
    ]
    return Row(
        "Details, and metrics of some dialects",
        8,
        [(8, panel) for panel in panels],
        collapsed=True,
    )
