"""The exporter itself: whether what the other dashboards show can be trusted."""

from grafana.source.dashboard import Row, chained_variables, dashboard
from grafana.source.expression import increase, of_exporter, rate, ratio
from grafana.source.panel import Json, Look, Query, heatmap, stat, time_series

ROUND_TRIPS = of_exporter("smtpstatus_exporter_round_trip_seconds_bucket")
ROUND_TRIP_SUM = of_exporter("smtpstatus_exporter_round_trip_seconds_sum")
ROUND_TRIP_COUNT = of_exporter("smtpstatus_exporter_round_trip_seconds_count")
REQUESTS = of_exporter("smtpstatus_exporter_requests_total")
FAILURES = of_exporter("smtpstatus_exporter_failures_total")
SENT = of_exporter("smtpstatus_exporter_datagrams_sent_total")
RETRANSMITTED = of_exporter("smtpstatus_exporter_datagrams_retransmitted_total")
DISCARDED = of_exporter("smtpstatus_exporter_datagrams_discarded_total")
IN_FLIGHT = of_exporter("smtpstatus_exporter_scrapes_in_flight")
REJECTED = of_exporter("smtpstatus_exporter_scrapes_rejected_total")
RELOADS = of_exporter("smtpstatus_exporter_config_reloads_total")
RELOAD_FAILURES = of_exporter("smtpstatus_exporter_config_reload_failures_total")
LOADED = of_exporter("smtpstatus_exporter_config_last_reload_success_timestamp_seconds")
WRITES = of_exporter("smtpstatus_exporter_writes_total")

BY_INSTANCE = "{{instance}}"


def exporter() -> Json:
    return dashboard(
        "smtpstatus-exporter",
        "SMTPStatus / Exporter",
        "The exporter: round trips, failures, what it discarded, whether it keeps up, and what it uses.",
        chained_variables("smtpstatus_exporter_build_info"),
        [_now(), _round_trips(), _work(), _administration(), _process()],
    )


def _now() -> Row:
    start = of_exporter("process_start_time_seconds")
    panels = [
        stat(
            "State",
            "Whether Prometheus reaches the exporter.",
            Query(f"min by (instance) ({of_exporter('up')})", BY_INSTANCE),
            Look(words={"1": ("up", "green"), "0": ("down", "red")}),
            named=True,
        ),
        stat(
            "Servers",
            "Servers that are configured.",
            Query(of_exporter("smtpstatus_exporter_targets"), BY_INSTANCE),
            Look(),
            named=True,
        ),
        stat(
            "Version",
            "The exporter's version and Python's.",
            Query(
                of_exporter("smtpstatus_exporter_build_info"),
                "{{version}} (Python {{python_version}})",
            ),
            Look(words={"1": ("running", "green")}),
            named=True,
        ),
        stat(
            "Configuration",
            "Whether the configuration that was read last is in use. If not, the one before stays in use.",
            Query(of_exporter("smtpstatus_exporter_config_last_reload_successful"), BY_INSTANCE),
            Look(words={"1": ("in use", "green"), "0": ("refused", "red")}),
            named=True,
        ),
        stat(
            "Configured",
            "When the configuration in use was taken into use.",
            Query(f"{LOADED} * 1000", BY_INSTANCE),
            Look("dateTimeFromNow"),
            named=True,
        ),
        stat(
            "Started",
            "When the process started.",
            Query(f"{start} * 1000", BY_INSTANCE),
            Look("dateTimeFromNow"),
            named=True,
        ),
    ]
    return Row("Now", 4, [(4, panel) for panel in panels])


def _round_trips() -> Row:
    by_bucket = f"sum by (le) ({rate(ROUND_TRIPS)})"
    quantiles = [
        Query(f"histogram_quantile({quantile}, {by_bucket})", f"quantile {quantile}")
        for quantile in (0.5, 0.9, 0.99)
    ]
    mean = ratio(f"sum({rate(ROUND_TRIP_SUM)})", f"sum({rate(ROUND_TRIP_COUNT)})")
    return Row(
        "Round trips",
        9,
        [
            (
                12,
                heatmap(
                    "Round trips",
                    "From a datagram sent once to its answer: how many, by how long they took. Two bands: "
                    "near and far servers. A band that rises: the servers or the network became slow.",
                    Query(f"sum by (le) ({increase(ROUND_TRIPS)})", "{{le}}"),
                    Look("s"),
                ),
            ),
            (
                12,
                time_series(
                    "Round trips, quantiles and mean",
                    "From a datagram sent once to its answer, over all servers.",
                    [*quantiles, Query(mean, "mean")],
                    Look("s"),
                ),
            ),
        ],
    )


def _work() -> Row:
    again = ratio(
        f"sum by (instance) ({rate(RETRANSMITTED)})", f"sum by (instance) ({rate(SENT)})"
    )
    panels = [
        time_series(
            "Readings per second",
            "Readings of servers (one server once), and those that failed.",
            [
                Query(f"sum by (instance) ({rate(REQUESTS)})", "{{instance}}"),
                Query(f"sum by (instance) ({rate(FAILURES)})", "{{instance}} failed"),
            ],
            Look("reqps"),
        ),
        time_series(
            "Failed readings by reason",
            "Readings that failed, by reason.",
            [Query(f"sum by (reason) ({rate(FAILURES)})", "{{reason}}")],
            Look("reqps"),
            stacked=True,
        ),
        time_series(
            "Datagrams per second",
            "Datagrams sent, and those among them that were sent again.",
            [
                Query(f"sum by (instance) ({rate(SENT)})", "{{instance}}"),
                Query(f"sum by (instance) ({rate(RETRANSMITTED)})", "{{instance}} again"),
            ],
            Look("pps"),
        ),
        time_series(
            "Retransmitted",
            "The share of datagrams that were sent again. For all servers at once: look at this host's network.",
            [Query(again, BY_INSTANCE)],
            Look("percentunit", maximum=1),
        ),
        time_series(
            "Discarded datagrams by reason",
            "Datagrams received and not believed. Late answers have the reason identifier; a stranger's have "
            "source, signature or size: somebody scans or forges.",
            [Query(f"sum by (reason) ({rate(DISCARDED)})", "{{reason}}")],
            Look("pps"),
            stacked=True,
        ),
        time_series(
            "Scrape duration",
            "How long Prometheus waited for an answer. Near the scrape's timeout: see the runbook.",
            [Query(f"max by (instance) ({of_exporter('scrape_duration_seconds')})", BY_INSTANCE)],
            Look("s"),
        ),
        time_series(
            "Scrapes in flight",
            "Requests to /metrics and /probe under way.",
            [Query(IN_FLIGHT, BY_INSTANCE)],
            Look(),
        ),
        time_series(
            "Rejected scrapes",
            "Requests to /metrics and /probe per second that were turned away with 503: too many at once.",
            [Query(rate(REJECTED), BY_INSTANCE)],
            Look("reqps"),
        ),
    ]
    return Row("Work", 7, [(6, panel) for panel in panels])


def _administration() -> Row:
    writes = time_series(
        "Writes by outcome",
        "Requests to switch transforms: done, denied for want of the API token, not supported by the server's "
        "dialect, or failed on the way to the server.",
        [Query(f"sum by (outcome) ({increase(WRITES)})", "{{outcome}}")],
        Look(),
    )
    reloads = time_series(
        "Reloads",
        "Times the configuration was read again, and times it was refused.",
        [
            Query(increase(RELOADS), "{{instance}} read"),
            Query(increase(RELOAD_FAILURES), "{{instance}} refused"),
        ],
        Look(),
    )
    return Row("Administration", 7, [(12, writes), (12, reloads)])


def _process() -> Row:
    generations = f"sum by (generation) ({rate(of_exporter('python_gc_collections_total'))})"
    objects = {
        "collected": of_exporter("python_gc_objects_collected_total"),
        "not collectable": of_exporter("python_gc_objects_uncollectable_total"),
    }
    panels = [
        time_series(
            "CPU",
            "Processors in use: 1 is one of them, and as much as one exporter can use.",
            [Query(rate(of_exporter("process_cpu_seconds_total")), BY_INSTANCE)],
            Look("percentunit"),
        ),
        time_series(
            "Memory",
            "Memory in use, and address space reserved.",
            [
                Query(of_exporter("process_resident_memory_bytes"), "{{instance}} resident"),
                Query(of_exporter("process_virtual_memory_bytes"), "{{instance}} virtual"),
            ],
            Look("bytes"),
        ),
        time_series(
            "Open files and sockets",
            "File descriptors in use, and how many there may be.",
            [
                Query(of_exporter("process_open_fds"), "{{instance}} open"),
                Query(of_exporter("process_max_fds"), "{{instance}} at most"),
            ],
            Look(),
        ),
        time_series(
            "Garbage collections",
            "Collections per second by generation; the oldest one is what pauses.",
            [Query(generations, "generation {{generation}}")],
            Look("ops"),
        ),
        time_series(
            "Garbage",
            "Objects per second that the garbage collector found.",
            [
                Query(f"sum by (instance) ({rate(series)})", f"{{{{instance}}}} {name}")
                for name, series in objects.items()
            ],
            Look("cps"),
        ),
        stat(
            "Python",
            "The interpreter.",
            Query(of_exporter("python_info"), "{{implementation}} {{version}}"),
            Look(words={"1": ("running", "green")}),
            named=True,
        ),
    ]
    return Row("Process", 7, [(8, panel) for panel in panels])
