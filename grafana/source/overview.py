"""The fleet: which servers are down, what is unusual, since when, and what changed."""

from grafana.source.dashboard import Annotation, Row, chained_variables, dashboard, to_server
from grafana.source.expression import (
    of_exporter,
    of_target,
    over_interval,
    over_range,
    rate,
    ratio,
    unnamed,
)
from grafana.source.panel import Column, Json, Look, Query, bars, stat, table, time_series
from grafana.source.words import ON_OFF, REASONS, UP_DOWN

UP = of_target("smtpstatus_up")
CONNECTIONS = of_target("smtpstatus_connections_total")
ACTIVE = of_target("smtpstatus_active_connections")
BYTES = of_target("smtpstatus_transferred_bytes_total")
TRANSFORMS = of_target("smtpstatus_transforms_enabled")
CHANGED = of_target("smtpstatus_transforms_changed_timestamp_seconds")
ERROR = of_target("smtpstatus_scrape_error")
DURATION = of_target("smtpstatus_scrape_duration_seconds")
SENT = of_target("smtpstatus_scrape_datagrams_sent")
RETRANSMITTED = of_target("smtpstatus_scrape_retransmissions")
SENT_LATELY = over_interval("sum_over_time", SENT)
RETRANSMITTED_LATELY = over_interval("sum_over_time", RETRANSMITTED)
USUAL = of_target("instance_target:smtpstatus_connections:rate5m_avg1d")
RECENT = of_target("instance_target:smtpstatus_connections:rate5m")
AVAILABILITY = of_target("instance_target:smtpstatus_up:avg1d")
SINCE = of_exporter("ALERTS_FOR_STATE", 'alertname=~"Smtpstatus.+"')

NO_SWITCH = "No data: no server here answers the command for its transforms"
GOOD_AT_ZERO = ((None, "green"), (1, "red"))
LOSS = ((None, "transparent"), (0.05, "orange"), (0.2, "red"))

SWITCHED = Annotation(
    "Transforms switched",
    f"{CHANGED} * 1000 > $__from < $__to",
    "Transforms of {{target}} switched through the exporter",
    "purple",
    at_value=True,
)


def overview() -> Json:
    return dashboard(
        "smtpstatus-overview",
        "SMTPStatus / Overview",
        "Every mail server that is watched: which are down, what is unusual, since when, what changed.",
        chained_variables("smtpstatus_up", target="all"),
        [_now(), _alerts(), _servers(), _traffic(), _health(), _changes()],
        [SWITCHED],
        period="now-6h",
    )


def _now() -> Row:
    panels = [
        (
            3,
            stat(
                "Servers watched",
                "How many servers are watched: one for each exporter that asks it.",
                Query(f"count({UP})", "servers"),
                Look(empty="No data: no exporter is scraped"),
            ),
        ),
        (
            3,
            stat(
                "Down",
                "Servers that did not answer everything at the last scrape.",
                Query(f"sum(1 - {UP})", "down"),
                Look(steps=GOOD_AT_ZERO),
            ),
        ),
        (
            3,
            stat(
                "Transforms off",
                "Servers that say that their transforms are off.",
                Query(f"sum(1 - {TRANSFORMS})", "off"),
                Look(steps=((None, "green"), (1, "orange")), empty=NO_SWITCH),
            ),
        ),
        (
            3,
            stat(
                "Retransmitted",
                "The share of datagrams that were sent again, of all servers: 0 on a sound network.",
                Query(
                    ratio(f"sum({RETRANSMITTED_LATELY})", f"sum({SENT_LATELY})"), "retransmitted"
                ),
                Look("percentunit", steps=((None, "green"), (0.05, "orange"), (0.2, "red"))),
            ),
        ),
        (
            4,
            stat(
                "Connections now",
                "SMTP connections that all servers accept, those turned away included.",
                Query(f"sum({rate(CONNECTIONS)})", "connections"),
                Look("cps"),
            ),
        ),
        (
            4,
            stat(
                "Open now",
                "SMTP connections that are open on all servers.",
                Query(f"sum({ACTIVE})", "open"),
                Look(),
            ),
        ),
        (
            4,
            stat(
                "Throughput now",
                "Bytes per second over the SMTP connections of all servers, in both directions.",
                Query(f"sum({rate(BYTES)})", "throughput"),
                Look("Bps"),
            ),
        ),
    ]
    return Row("Now", 4, panels)


def _alerts() -> Row:
    severity = {"critical": ("critical", "red"), "warning": ("warning", "orange")}
    panel = table(
        "What is wrong, and since when",
        "Alerts that are pending or firing. docs/runbook.md has a paragraph on each.",
        [
            Column("Alert", label="alertname", width=280),
            Column("Since", f"{unnamed(SINCE)} * 1000", look=Look("dateTimeFromNow"), width=160),
            Column("Severity", label="severity", look=Look(words=severity), colored=True),
            Column("Server", label="target", link=to_server("Server")),
        ],
        Look(empty="Nothing is wrong, or Prometheus has not loaded prometheus/rules/alerts.yml"),
        sort="Since",
    )
    return Row("Alerts", 6, [(24, panel)])


def _servers() -> Row:
    description = (
        "Every server, those that do not answer first; the name leads to its own dashboard. "
        "Against usual: connections per second of the last 5 minutes, less the mean of the last day. "
        "It and the share of time up need prometheus/rules/recording.yml. "
        "Lost: the share of datagrams sent again in the last 15 minutes."
    )
    lost = ratio(f"sum_over_time({RETRANSMITTED}[15m])", f"sum_over_time({SENT}[15m])")
    columns = [
        Column("Server", label="target", link=to_server("Server"), width=200),
        Column("State", unnamed(UP), look=Look(words=UP_DOWN), colored=True, width=80),
        Column("Why", unnamed(f"{ERROR} == 1"), "reason", Look(words=REASONS), width=180),
        Column("Connections", rate(CONNECTIONS), look=Look("cps", decimals=2)),
        Column("Against usual", f"{RECENT} - {USUAL}", look=Look("cps", decimals=2)),
        Column("Open", unnamed(ACTIVE), look=Look()),
        Column("Throughput", rate(BYTES), look=Look("Bps")),
        Column("Transforms", unnamed(TRANSFORMS), look=Look(words=ON_OFF), colored=True),
        Column("Switched", f"{CHANGED} * 1000", look=Look("dateTimeFromNow")),
        Column("Lost", lost, look=Look("percentunit", steps=LOSS), colored=True),
        Column("Answers in", unnamed(DURATION), look=Look("s")),
        Column("Up, last day", unnamed(AVAILABILITY), look=Look("percentunit", decimals=2)),
    ]
    return Row("Servers", 12, [(24, table("Servers", description, columns, Look(), sort="State"))])


def _traffic() -> Row:
    connections = time_series(
        "Connections per second",
        "All servers together, what is usual (the mean of the last day, by prometheus/rules/recording.yml), "
        "and the busiest server.",
        [
            Query(f"sum({rate(CONNECTIONS)})", "all"),
            Query(f"sum({USUAL})", "usual"),
            Query(f"max({rate(CONNECTIONS)})", "busiest"),
        ],
        Look("cps"),
    )
    throughput = time_series(
        "Throughput",
        "Bytes per second over the SMTP connections, both directions: all servers, and the busiest.",
        [
            Query(f"sum({rate(BYTES)})", "all"),
            Query(f"max({rate(BYTES)})", "busiest"),
        ],
        Look("Bps"),
    )
    concurrency = time_series(
        "Open connections",
        "SMTP connections that are open: all servers, and the server with the most.",
        [Query(f"sum({ACTIVE})", "all"), Query(f"max({ACTIVE})", "most on one server")],
        Look(),
    )
    busiest = bars(
        "Busiest servers",
        "The ten servers with the most connections per second now.",
        Query(f"topk(10, {rate(CONNECTIONS)})"),
        Look("cps", decimals=2),
    )
    return Row("Traffic", 8, [(9, connections), (5, concurrency), (5, throughput), (5, busiest)])


def _health() -> Row:
    # A healthy server has no series of errors: its zero is called "none".
    none = f'label_replace(0 * {UP}, "reason", "none", "", "")'
    failing = time_series(
        "Servers that do not answer, by reason",
        "Servers whose last scrape failed. Silent or closed: the server or the way to it; wrong token: the "
        "configuration. Many at once: the network, or the exporter.",
        [Query(f"sum by (reason) ({ERROR} or {none})", "{{reason}}")],
        Look(decimals=0),
        stacked=True,
    )
    lost = time_series(
        "Retransmitted datagrams",
        "The share of datagrams that were sent again for want of an answer: all servers, and the worst.",
        [
            Query(ratio(f"sum({RETRANSMITTED_LATELY})", f"sum({SENT_LATELY})"), "all"),
            Query(f"max({ratio(RETRANSMITTED_LATELY, SENT_LATELY)})", "worst"),
        ],
        Look("percentunit", maximum=1),
    )
    duration = time_series(
        "Time to answer",
        "How long it took to ask a server everything: the median server, and the slowest.",
        [
            Query(f"quantile(0.5, {DURATION})", "median"),
            Query(f"max({DURATION})", "slowest"),
        ],
        Look("s"),
    )
    off = time_series(
        "Servers with transforms off",
        "Servers that say that their transforms are off; marks show switching through the exporter.",
        [Query(f"sum(1 - {TRANSFORMS})", "off")],
        Look(decimals=0, empty=NO_SWITCH),
    )
    return Row("Health", 8, [(6, failing), (6, lost), (6, duration), (6, off)])


def _changes() -> Row:
    columns = [
        Column("Server", label="target", link=to_server("Server"), width=200),
        Column("Went down or came back", over_range("changes", UP), look=Look()),
        Column("Restarted", over_range("resets", CONNECTIONS), look=Look()),
        Column("Transforms switched", over_range("changes", TRANSFORMS), look=Look()),
    ]
    panel = table(
        "What changed in this time",
        "How often each server went down or came back, restarted (its counters began again) and had its "
        "transforms switched, in the time shown.",
        columns,
        Look(),
        sort="Went down or came back",
        descending=True,
    )
    return Row("Changes", 8, [(24, panel)])
