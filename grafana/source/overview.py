"""The fleet: which servers are down, why, since when, what is unusual, and what changed."""

from grafana.source.dashboard import Row, chained_variables, dashboard, query_variable, to_server
from grafana.source.expression import (
    SAME_SERVER,
    events,
    rate,
    unnamed,
    week_ago,
)
from grafana.source.panel import Json, Look, Query, bars, time_series
from grafana.source.problems import DOWN_SINCE, incidents, now
from grafana.source.series import (
    ACTIVE,
    ACTIVE_SUM,
    BYTE_SUM,
    BYTES,
    CHANGED,
    CONNECTION_RATE,
    CONNECTION_SUM,
    CONNECTION_SUM_5M,
    CONNECTIONS,
    DURATION,
    DURATION_P50,
    DURATION_P99,
    ERROR,
    ERRORS,
    LOSS,
    LOSS_5M,
    LOSS_MAX,
    NO_RULES,
    NO_SWITCH,
    RESTARTS,
    SERVERS,
    TRANSFORMS,
    TRANSFORMS_CHANGES,
    TRANSFORMS_OFF,
    UP,
    UP_1D,
    UP_5M,
    UP_CHANGES,
    switched,
)
from grafana.source.table import Column, table
from grafana.source.words import ON_OFF, REASONS, STATES

_LOSS_STEPS = ((None, "transparent"), (0.05, "orange"), (0.2, "red"))
_UP_STEPS = ((None, "red"), (0.9, "orange"), (0.999, "transparent"))
_USUAL_STEPS = ((None, "orange"), (0.3, "transparent"), (3, "orange"))


def overview() -> Json:
    return dashboard(
        "smtpstatus-overview",
        "SMTPStatus / Overview",
        "Every mail server: which are down, why, since when, what is unusual, what changed.",
        [*chained_variables("smtpstatus_up"), _group()],
        [now(), *incidents(), _servers(), _traffic(), _busiest(), _health(), _changes()],
        switched(CHANGED, TRANSFORMS),
    )


def _group() -> Json:
    """A label of the servers' series. Grafana completes the text to {__name__=~".*smtpstatus_up.*"}."""
    chosen = query_variable("group", "Group", "label_names(smtpstatus_up)", 0)
    return chosen | {"regex": "/^(?!__name__$|job$|target$)(.+)$/", "sort": 2}


UNREAD = f"last_over_time({UP_1D}[1h])"
"""Servers that were read in the last hour, also if their exporter is down now."""


def _servers() -> Row:
    busiest = f"topk(50, last_over_time({CONNECTION_RATE}[1h] @ end()))"
    down = f"topk(50, {UP} @ end() == 0)"
    began = f"max by (job, instance, target) ({DOWN_SINCE})"
    since = f"{unnamed(UP)} * 0 + {SAME_SERVER} group_left () {began} * 1000"
    usual = f"{unnamed(CONNECTION_RATE)} / ({week_ago(CONNECTION_RATE)} > 0)"
    columns = [
        Column("Server", label="target", links=[to_server("Server")], width=175),
        Column(
            "State",
            f"{unnamed(UP)} or 0 * {UNREAD} - 1",
            look=Look(words=STATES),
            colored=True,
            centered=True,
            width=80,
            complete=True,
        ),
        Column("Why", unnamed(f"{ERROR} == 1"), "reason", Look(words=REASONS), width=115),
        Column("Since", since, look=Look("dateTimeFromNow"), width=120),
        Column(
            "Up, 1 h",
            f"avg_over_time({UP_5M}[1h])",
            look=Look("percentunit", decimals=0, steps=_UP_STEPS),
            colored=True,
            width=65,
        ),
        Column(
            "Last hour",
            unnamed(f"{CONNECTION_RATE} and {SAME_SERVER} ({busiest} or {down})"),
            trend=f"{UP} @ end()",
            width=105,
        ),
        Column("Rate", rate(CONNECTIONS), look=Look("suffix:/s", decimals=2), width=75),
        Column(
            "Usual",
            usual,
            look=Look("prefix:× ", decimals=1, steps=_USUAL_STEPS),
            colored=True,
            width=60,
        ),
        Column("Open", unnamed(ACTIVE), look=Look(), width=60),
        Column("Throughput", rate(BYTES), look=Look("Bps"), width=95),
        Column(
            "Transforms",
            unnamed(TRANSFORMS),
            look=Look(words=ON_OFF),
            colored=True,
            centered=True,
            width=95,
        ),
        Column(
            "Lost",
            unnamed(LOSS_5M),
            look=Look("percentunit", steps=_LOSS_STEPS),
            colored=True,
            width=60,
        ),
        Column("Time", unnamed(DURATION), look=Look("s"), width=75),
        Column("Up, 1 d", unnamed(UP_1D), look=Look("percentunit", decimals=2), width=75),
    ]
    servers = table(
        "All servers",
        "Every server, those that are down first; the name links to its dashboard. Last hour: connections per second "
        "of the 50 busiest servers and of 50 that are down. Rate: connections per second. Usual: that rate as a "
        "multiple of the same hour last week (yesterday, with less than a week of data). Lost: retransmitted "
        "datagrams of the last 5 minutes, of servers that are up. Time: of the last scrape. Usual, Last hour, Lost and "
        "Up require prometheus/rules/recording.yml, Since requires alerts.yml.",
        columns,
        Look(empty="No data: no server is read (is the exporter up?)"),
        sort=[("State", False), ("Server", False)],
        rows=f"{unnamed(UP)} or {unnamed(UNREAD)}",
        period="1h",
    )
    return Row("Servers", 12, [(24, servers)])


def _traffic() -> Row:
    panels = [
        time_series(
            "Connections per second",
            "SMTP connections accepted per second by all servers, and the same hour last week "
            "(yesterday, with less than a week of data).",
            [
                Query(f"sum({CONNECTION_SUM})", "all servers"),
                Query(f"sum({week_ago(CONNECTION_SUM_5M)})", "usual"),
            ],
            Look("suffix:conn/s", empty=NO_RULES, colors={"usual": "gray"}),
        ),
        time_series(
            "Open connections",
            "Open SMTP connections of all servers.",
            [Query(f"sum({ACTIVE_SUM})", "all servers")],
            Look(empty=NO_RULES),
            legend=False,
        ),
        time_series(
            "Bytes per second",
            "Bytes per second over the SMTP connections of all servers, in both directions.",
            [Query(f"sum({BYTE_SUM})", "all servers")],
            Look("Bps", empty=NO_RULES),
            legend=False,
        ),
    ]
    return Row("Traffic", 8, [(8, panel) for panel in panels])


def _busiest() -> Row:
    lines = time_series(
        "Connections per second of the busiest servers",
        "The five servers with the most connections per second at the end of the time range.",
        [
            Query(
                f"{CONNECTION_RATE} and {SAME_SERVER} topk(5, {CONNECTION_RATE} @ end())",
            )
        ],
        Look("suffix:conn/s", empty=NO_RULES),
    ) | {"maxDataPoints": 100}
    link = {
        "title": "Server",
        "url": "/d/smtpstatus-server?var-datasource=${datasource}&${job:queryparam}&${instance:queryparam}"
        "&var-server=${__field.labels.target:percentencode}&${__url_time_range}",
        "targetBlank": False,
    }
    now = bars(
        "Busiest servers",
        "The ten servers with the most connections per second; a bar links to its server.",
        Query(f"topk(10, {rate(CONNECTIONS)})"),
        Look("suffix:/s", decimals=2),
        link=link,
    )
    return Row("Busiest servers", 9, [(16, lines), (8, now)])


def _health() -> Row:
    none = f'label_replace(0 * sum({SERVERS}), "reason", "none", "", "")'
    colors = {reason: color for reason, (_, color) in REASONS.items()} | {"none": "gray"}
    panels = [
        time_series(
            "Servers down, by reason",
            "Servers whose last scrape failed, by the reason: timeout and unreachable point to the server or the "
            "network, authentication to the configuration. Many at the same time: the network or the exporter.",
            [Query(f"sum by (reason) ({ERRORS}) or {none}", "{{reason}}")],
            Look(decimals=0, empty=NO_RULES, colors=colors),
            stacked=True,
        ),
        time_series(
            "Retransmitted datagrams",
            "The share of datagrams that were retransmitted, of the servers that are up: of all, and of the worst.",
            [
                Query(f"max({LOSS})", "all servers"),
                Query(f"max({LOSS_MAX})", "worst server"),
            ],
            Look("percentunit", soft_maximum=0.1, empty=NO_RULES),
        ),
        time_series(
            "Time to answer",
            "How long a scrape of a server took, of the servers that are up: the median, and the slowest 1 %.",
            [
                Query(f"max({DURATION_P50})", "median"),
                Query(f"max({DURATION_P99})", "quantile 0.99"),
            ],
            Look("s", empty=NO_RULES),
        ),
    ]
    return Row("Health", 9, [(8, panel) for panel in panels])


def _changes() -> Row:
    columns = [
        Column("Server", label="target", links=[to_server("Server")], width=200),
        Column("Flaps", events(UP_CHANGES), look=Look(), width=90),
        Column("Restarts", events(RESTARTS), look=Look(), width=90),
        Column("Switches", events(TRANSFORMS_CHANGES), look=Look(), width=90),
    ]
    panel = table(
        "What changed",
        "Within the time range: how often a server went down or recovered, restarted, and had its transforms "
        "switched. Servers without a change are not listed. Requires prometheus/rules/recording.yml.",
        columns,
        Look(empty="Nothing changed in this time range"),
        sort=[("Flaps", True), ("Restarts", True)],
        rows=" or ".join(map(events, (UP_CHANGES, RESTARTS, TRANSFORMS_CHANGES))),
    )
    off = time_series(
        "Transforms off",
        "Servers whose transforms are off; marks are switches through the exporter.",
        [Query(f"sum({TRANSFORMS_OFF})", "off")],
        Look(decimals=0, empty=NO_SWITCH),
        legend=False,
    )
    return Row("Changes", 8, [(16, panel), (8, off)])
